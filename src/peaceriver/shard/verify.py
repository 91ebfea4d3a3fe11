"""Verification: a shard recomputes its own chain from its rows, and its views and its standing from its records.

Equal chain at equal position is equal history. A row that was changed behind the journal's back no longer fits the
chain that is kept beside it, so it is found without a peer and named by its position.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import msgspec

from peaceriver.postgres import Database, Statements, Transaction
from peaceriver.record import Tip, from_row
from peaceriver.shard import journal, replicas, view_tables
from peaceriver.shard.damage import Finding, Range
from peaceriver.shard.journal import ActorState, Effects, ExceptionState, Mark
from peaceriver.shard.rebuild import intervals
from peaceriver.shard.standing import effects_of
from peaceriver.shard.view_tables import Interval, ViewTable
from peaceriver.shard.views import Views
from peaceriver.shard.walking import FINDINGS_MAX, POSITION_MAX, Walk
from peaceriver.stamp import OPEN_END

T = TypeVar("T")
#: A row by (actor id, since).
_Keyed: TypeAlias = tuple[tuple[str, int], T]
#: Awaited between pieces of the work, by whoever is in no hurry.
Rest: TypeAlias = Callable[[], Awaitable[None]]

sql = Statements("peaceriver.shard", "verify")

_ROWS_AT_A_TIME = 2_000
#: Rows of one COPY: few enough for it to end in good time, however large their bodies are.
_COPIED_ROWS = 10_000
#: Of what is folded, these are found at a time, to be repaired together; the rest is for the next time.
_FOLD_FINDINGS_MAX = 100_000


async def at_once() -> None:
    """No rest."""


class Verdict(msgspec.Struct, frozen=True):
    """What verification found in one shard."""

    shard: int
    #: Where the journal ends.
    tip: Tip
    findings: tuple[Finding, ...]

    @property
    def records(self) -> int:
        """How many records the journal has."""
        return self.tip.position

    @property
    def misplaced(self) -> bool:
        """Whether the state row says another end than the journal has."""
        return any(each.part == "state" for each in self.findings)

    @property
    def ok(self) -> bool:
        return not self.findings


async def verify(database: Database, views: Views, codes: Iterable[int], *, rest: Rest = at_once) -> list[Verdict]:
    """Check shards against their own chains and folds; each in one snapshot, so work may go on meanwhile.

    What is folded is compared only where the journal is sound: from altered records nothing can be told about it.
    """
    return [await verify_shard(database, views, code, rest=rest) for code in sorted(codes)]


async def verify_shard(database: Database, views: Views, code: int, *, rest: Rest = at_once) -> Verdict:
    """The same for one shard. ``rest`` is awaited between pieces of the work."""
    async with database.snapshot() as tx:
        tip, findings = await _verify_journal(tx, code, rest)
        if any(each.part == "journal" for each in findings):
            return Verdict(code, tip, tuple(findings[:FINDINGS_MAX]))
        # A follower's is behind its journal: what is not complete is not folded.
        standing = await sql.standing.value(tx, shard=code)
        findings += await _verify_told(tx, code, standing)
        async for each in _verify_folds(tx, code, standing, views, rest):
            if len(findings) >= _FOLD_FINDINGS_MAX:
                break
            findings.append(each)
    return Verdict(code, tip, tuple(findings))


async def _verify_journal(tx: Transaction, code: int, rest: Rest) -> tuple[Tip, list[Finding]]:
    walk = Walk(code)
    while await walk.goes_on(tx, until=POSITION_MAX, rows=_COPIED_ROWS):
        await rest()
    tip, findings = walk.tip, walk.findings
    state = await sql.tip.row(tx, shard=code)
    if state is None:
        return tip, findings
    last = state["last_position"]
    if last > tip.position:
        lost = Range(tip.position + 1, last)
        # The last row that is here may have been altered along with its chain: nothing after it tells.
        key = (max(1, tip.position), last)
        findings.append(Finding(code, "journal", str(lost), f"positions {lost} are missing", key))
    elif not findings and replicas.tip_of(state) != tip:
        detail = f"the journal ends at {tip.position}, its state says {last} or another chain"
        findings.append(Finding(code, "state", str(tip.position), detail))
    return tip, findings


#: A table of the standing, but for actors, and a row's key in it.
_Key: TypeAlias = tuple[Any, ...]
_Told: TypeAlias = dict[_Key, object]


async def _verify_told(tx: Transaction, code: int, until: int) -> list[Finding]:
    """The vector clock, timers and exceptions are folded from their records, like everything else."""
    recorded: _Told = {}
    told = sql.told
    async for row in tx.cursor(told.text, *told.bound({"shard": code, "until": until}), prefetch=_ROWS_AT_A_TIME):
        _tell(recorded, effects_of([from_row(row)], ()))
    kept = await _marks(tx, code) | await _timers(tx, code) | await _exceptions(tx, code)
    return [
        Finding(code, key[0], _place(key), _difference(recorded.get(key), kept.get(key)), _found_by(key, recorded))
        for key in sorted(recorded.keys() | kept.keys(), key=str)
        if recorded.get(key) != kept.get(key)
    ]


def _place(key: _Key) -> str:
    return " of ".join(map(str, key[1:]))


def _found_by(key: _Key, recorded: _Told) -> tuple[Any, ...]:
    said = recorded.get(key)
    return (*key[1:], said.attempt) if isinstance(said, ExceptionState) else key[1:]


def _tell(told: _Told, effects: Effects) -> None:
    """Fold what one record makes of the standing into what those before it made."""
    for mark in effects.marks:
        told[_of_mark(mark)] = (mark.position, mark.chain)
        if mark.ended:
            del told[_of_mark(mark)]
    for position, due in effects.timers:
        told["timer", position] = due
    for position in effects.released:
        told.pop(("timer", position), None)
    for state in effects.exceptions:
        told["exception", state.id] = msgspec.structs.replace(state, asked=False)


def _of_mark(mark: Mark) -> _Key:
    return "mark", mark.reader, mark.source


async def _marks(tx: Transaction, code: int) -> _Told:
    rows = await journal.sql.marks.rows(tx, shard=code)
    return {("mark", row["reader"], row["source_shard"]): (row["position"], bytes(row["chain"])) for row in rows}


async def _timers(tx: Transaction, code: int) -> _Told:
    return {("timer", row["position"]): row["due"] for row in await journal.sql.timers.rows(tx, shard=code)}


async def _exceptions(tx: Transaction, code: int) -> _Told:
    rows = await sql.exceptions.rows(tx, shard=code)
    return {("exception", row["id"]): journal.exception_state(row) for row in rows}


async def _verify_folds(tx: Transaction, code: int, standing: int, views: Views, rest: Rest) -> AsyncIterator[Finding]:
    """Fold every type again and compare with the live view, and with what admission goes by."""
    mark = (await view_tables.sql.marks.rows(tx, shards=[code]))[0]
    types = {row["actor_type"] for row in await sql.types.rows(tx, shard=code)}
    for actor_type in sorted(types | views.tables.keys()):
        async for finding in _verify_actors(tx, code, actor_type, standing, views):
            yield finding
        await rest()
        table = views.tables.get(actor_type)
        if table is not None:
            async for finding in _verify_view(tx, code, table, mark["position"], views):
                yield finding
            await rest()


async def _verify_actors(
    tx: Transaction, code: int, actor_type: str, standing: int, views: Views
) -> AsyncIterator[Finding]:
    folded = _last_states(intervals(journal.of_type(tx, code, actor_type, standing), views.model_at))
    kept = _kept_states(tx, code, actor_type)
    async for expected, found in _paired(folded, kept):
        if expected != found:
            actor_id = (expected or found or (("", 0), None))[0][0]
            detail = f"what admission goes by: {_difference(expected, found)}"
            yield Finding(code, "actor", f"{actor_type}/{actor_id}", detail, (actor_type, actor_id))


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
    folded = _as_rows(intervals(journal.of_type(tx, code, table.actor_type, until), views.model_at), table)
    kept = _keyed(view_tables.stored(tx, table, code, prefetch=_ROWS_AT_A_TIME))
    async for expected, found in _paired(folded, kept):
        if expected != found:
            row = (expected or found or ((), ()))[1]
            actor_id, version = row[_ID], row[_VERSION]
            place = f"{table.actor_type}/{actor_id} version {version}"
            yield Finding(code, "view", place, _difference(expected, found), (table.actor_type, actor_id))


#: A row of a view, all its columns in order.
_ViewRow: TypeAlias = tuple[Any, ...]
_columns = [name for name, _ in view_tables.SYSTEM_COLUMNS]
_ID, _SINCE, _VERSION = (_columns.index(name) for name in ("actor_id", "actor_from", "actor_version"))


async def _as_rows(folded: AsyncIterator[Interval], table: ViewTable) -> AsyncIterator[_Keyed[_ViewRow]]:
    async for each in folded:
        yield (each.id, each.since), each.row(table)


async def _keyed(rows: AsyncIterator[_ViewRow]) -> AsyncIterator[_Keyed[_ViewRow]]:
    async for row in rows:
        yield (row[_ID], row[_SINCE]), row


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
