"""Verification: a shard recomputes its own chain from its rows, and its views and its standing from its records.

Equal chain at equal position is equal history. A row that was changed behind the journal's back no longer fits the
chain that is kept beside it, so it is found without a peer and named by its position.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias, TypeVar

import msgspec

from peaceriver.errors import Damaged
from peaceriver.postgres import Database, Statements, Transaction
from peaceriver.record import CHAIN_START, Tip, from_row
from peaceriver.shard import journal, view_tables
from peaceriver.shard.journal import ActorState, Effects, Mark
from peaceriver.shard.rebuild import intervals
from peaceriver.shard.rows import Incoming, faults, follow, tip_of
from peaceriver.shard.standing import effects_of
from peaceriver.shard.view_tables import Interval, ViewTable
from peaceriver.shard.views import Views
from peaceriver.stamp import OPEN_END

T = TypeVar("T")
#: A row by (actor id, since).
_Keyed: TypeAlias = tuple[tuple[str, int], T]

sql = Statements("peaceriver.shard", "verify")

_ROWS_AT_A_TIME = 2_000
#: Rows of one COPY: few enough for it to end in good time, however large their bodies are.
_COPIED_ROWS = 10_000
_POSITION_MAX = 2**63 - 1
#: Enough to see what happened; a ruined table must not fill the answer.
_FINDINGS_MAX = 1_000


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it must be."""

    shard: int
    #: journal, state, mark, timer, exception, actor or view.
    where: str
    #: The position in the journal, or what it is about.
    place: str
    detail: str


class Verdict(msgspec.Struct, frozen=True):
    """What verification found in one shard."""

    shard: int
    records: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.findings

    def public(self) -> dict[str, Any]:
        """The verdict as ``POST /cluster/verify`` answers it."""
        damaged = [{"where": each.where, "place": each.place, "detail": each.detail} for each in self.findings]
        return {"shard": self.shard, "records": self.records, "ok": self.ok, "damaged": damaged}


async def verify(database: Database, views: Views, codes: Iterable[int]) -> list[Verdict]:
    """Check shards against their own chains and folds; each in one snapshot, so work may go on meanwhile.

    What is folded is compared only where the journal is sound: from altered records nothing can be told about it.
    """
    verdicts: list[Verdict] = []
    for code in sorted(codes):
        async with database.snapshot() as tx:
            records, findings = await _verify_journal(tx, code)
            if not findings:
                # A follower's is behind its journal: what is not complete is not folded.
                standing = await sql.standing.value(tx, shard=code)
                findings += await _verify_told(tx, code, standing)
                findings += [each async for each in _verify_folds(tx, code, standing, views)]
        verdicts.append(Verdict(code, records, tuple(findings[:_FINDINGS_MAX])))
    return verdicts


async def _verify_journal(tx: Transaction, code: int) -> tuple[int, list[Finding]]:
    walk = _Walk(code)
    while await walk.goes_on(tx):
        pass
    tip, findings = walk.tip, walk.findings
    state = await sql.tip.row(tx, shard=code)
    if state is not None and (state["last_position"], bytes(state["last_chain"])) != (tip.position, tip.chain):
        detail = f"the journal ends at {tip.position}, its state says {state['last_position']} or another chain"
        findings.append(Finding(code, "state", str(tip.position), detail))
    return tip.position, findings


class _Walk:
    """A walk along a journal, from its first record to its last, over its rows as bytes."""

    def __init__(self, code: int) -> None:
        self.tip = Tip(0, 0, 0, CHAIN_START)
        self.findings: list[Finding] = []
        self._code = code
        self._incoming = Incoming()

    async def goes_on(self, tx: Transaction) -> bool:
        """Walk along the next stretch; False where there is none, or where there is no point in going on."""
        after, self._incoming = self.tip.position, Incoming()
        await journal.sql.rows_after.copy_out(
            tx, self._take, shard=self._code, after=after, until=_POSITION_MAX, records=_COPIED_ROWS
        )
        self._incoming.end()
        return self.tip.position > after and len(self.findings) < _FINDINGS_MAX

    async def _take(self, piece: bytes) -> None:
        rows = self._incoming.feed(piece)
        try:
            self.tip = follow(rows, self._code, self.tip)
        except Damaged:
            for row in rows:
                self._look_at(row)

    def _look_at(self, row: bytes) -> None:
        for fault in faults(row, self._code, self.tip):
            self.findings.append(Finding(self._code, "journal", str(fault.position), fault.detail))
        # Go on from the chain that is kept, so that each altered row is named and not everything after it.
        self.tip = tip_of(row)


#: What the standing says, but for actors: by table and key.
_Told: TypeAlias = dict[tuple[str, str], object]


async def _verify_told(tx: Transaction, code: int, until: int) -> list[Finding]:
    """The vector clock, timers and exceptions are folded from their records, like everything else."""
    recorded: _Told = {}
    told = sql.told
    async for row in tx.cursor(told.text, *told.bound({"shard": code, "until": until}), prefetch=_ROWS_AT_A_TIME):
        _tell(recorded, effects_of([from_row(row)], ()))
    kept: _Told = {}
    for table, read in (("mark", _marks), ("timer", _timers), ("exception", _exceptions)):
        kept |= {(table, place): said for place, said in await read(tx, code)}
    return [
        Finding(code, table, place, _difference(recorded.get((table, place)), kept.get((table, place))))
        for table, place in sorted(recorded.keys() | kept.keys())
        if recorded.get((table, place)) != kept.get((table, place))
    ]


def _tell(told: _Told, effects: Effects) -> None:
    """Fold what one record makes of the standing into what those before it made."""
    for mark in effects.marks:
        told[_of_mark(mark)] = (mark.position, mark.chain)
        if mark.ended:
            del told[_of_mark(mark)]
    for position, due in effects.timers:
        told["timer", str(position)] = due
    for position in effects.released:
        told.pop(("timer", str(position)), None)
    for state in effects.exceptions:
        told["exception", str(state.id)] = msgspec.structs.replace(state, asked=False)


def _of_mark(mark: Mark) -> tuple[str, str]:
    return "mark", f"{mark.reader} of {mark.source}"


async def _marks(tx: Transaction, code: int) -> list[tuple[str, object]]:
    rows = await journal.sql.marks.rows(tx, shard=code)
    return [(f"{row['reader']} of {row['source_shard']}", (row["position"], bytes(row["chain"]))) for row in rows]


async def _timers(tx: Transaction, code: int) -> list[tuple[str, object]]:
    return [(str(row["position"]), row["due"]) for row in await journal.sql.timers.rows(tx, shard=code)]


async def _exceptions(tx: Transaction, code: int) -> list[tuple[str, object]]:
    return [(str(row["id"]), journal.exception_state(row)) for row in await sql.exceptions.rows(tx, shard=code)]


async def _verify_folds(tx: Transaction, code: int, standing: int, views: Views) -> AsyncIterator[Finding]:
    """Fold every type again and compare with the live view, and with what admission goes by."""
    mark = (await view_tables.sql.marks.rows(tx, shards=[code]))[0]
    for row in await view_tables.sql.types.rows(tx, shards=[code]):
        actor_type = row["actor_type"]
        async for finding in _verify_actors(tx, code, actor_type, standing, views):
            yield finding
        table = views.tables.get(actor_type)
        if table is not None:
            async for finding in _verify_view(tx, code, table, mark["position"], views):
                yield finding


async def _verify_actors(
    tx: Transaction, code: int, actor_type: str, standing: int, views: Views
) -> AsyncIterator[Finding]:
    folded = _last_states(intervals(journal.of_type(tx, code, actor_type, standing), views.model_at))
    kept = _kept_states(tx, code, actor_type)
    async for expected, found in _paired(folded, kept):
        if expected != found:
            actor_id = (expected or found or (("", 0), None))[0][0]
            detail = _difference(expected, found)
            yield Finding(code, "actor", f"{actor_type}/{actor_id}", f"what admission goes by: {detail}")


async def _last_states(rows: AsyncIterator[Interval]) -> AsyncIterator[_Keyed[ActorState]]:
    async for row in rows:
        if row.until == OPEN_END:
            yield (row.id, 0), row.state


async def _kept_states(tx: Transaction, code: int, actor_type: str) -> AsyncIterator[_Keyed[ActorState]]:
    statement = sql.actors
    values = statement.bound({"shard": code, "actor_type": actor_type})
    async for row in tx.cursor(statement.text, *values, prefetch=_ROWS_AT_A_TIME):
        actor_id, *state = row.values()
        yield (actor_id, 0), ActorState(*state)


async def _verify_view(
    tx: Transaction, code: int, table: ViewTable, until: int, views: Views
) -> AsyncIterator[Finding]:
    folded = _keyed(intervals(journal.of_type(tx, code, table.actor_type, until), views.model_at))
    kept = _keyed(view_tables.stored(tx, table, code, prefetch=_ROWS_AT_A_TIME))
    async for expected, found in _paired(folded, kept):
        if expected != found:
            row = (expected or found or ((), None))[1]
            assert row is not None
            place = f"{table.actor_type}/{row.id} version {row.version}"
            yield Finding(code, "view", place, _difference(expected, found))


async def _keyed(rows: AsyncIterator[Interval]) -> AsyncIterator[_Keyed[Interval]]:
    async for row in rows:
        yield (row.id, row.since), row


def _difference(expected: object | None, found: object | None) -> str:
    return "a row is missing" if found is None else "a row too many" if expected is None else "a row was altered"


async def _paired(
    expected: AsyncIterator[_Keyed[T]], found: AsyncIterator[_Keyed[T]]
) -> AsyncIterator[tuple[_Keyed[T] | None, _Keyed[T] | None]]:
    """Merge two streams in the order of their keys; None where one lacks what the other has."""
    left, right = await anext(expected, None), await anext(found, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            yield left, None
            left = await anext(expected, None)
        elif left is None or right[0] < left[0]:
            yield None, right
            right = await anext(found, None)
        else:
            yield left, right
            left, right = await anext(expected, None), await anext(found, None)
