"""Verification: a shard recomputes its own chain from its rows, and its views and its standing from its records.

Equal chain at equal position is equal history. A row that was changed behind the journal's back no longer fits the
chain that is kept beside it, so it is found without a peer and named by its position.

It goes piece by piece, each in a snapshot of its own, and rests outside of them: a transaction that is idle is ended by
the server, and keeps what is dead in the database from being removed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from peaceriver.limits import POSITION_MAX
from peaceriver.postgres import Database, DatabaseCorrupted, Row
from peaceriver.record import Tip
from peaceriver.shard import replicas
from peaceriver.shard.comparing import Rest, compare_folds, compare_told, sql
from peaceriver.shard.damage import Finding, Range
from peaceriver.shard.views import Views
from peaceriver.shard.walking import FINDINGS_MAX, Walk

#: Rows of one COPY: few enough for it to end in good time, however large their bodies are.
_COPIED_ROWS = 10_000


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
    def damaged(self) -> bool:
        """Whether the journal is: then nothing else was looked at."""
        return any(each.part == "journal" for each in self.findings)

    @property
    def ok(self) -> bool:
        return not self.findings


async def verify(database: Database, views: Views, codes: Iterable[int], *, rest: Rest = at_once) -> list[Verdict]:
    """Check shards against their own chains and folds; work may go on meanwhile.

    What is folded is compared only where the journal is sound: from altered records nothing can be told about it.
    """
    return [await verify_shard(database, views, code, rest=rest) for code in sorted(codes)]


async def verify_shard(database: Database, views: Views, code: int, *, rest: Rest = at_once) -> Verdict:
    """The same for one shard. ``rest`` is awaited between pieces of the work, while no transaction is open.

    Repairs that are made meanwhile void what comes of it: one piece saw the shard before them, another one after.
    """
    walk = Walk(code)
    findings = walk.findings

    async def rest_unless_found() -> None:
        # What is damaged is served until it is known.
        if not findings:
            await rest()

    await _verify_journal(database, code, walk, rest_unless_found)
    if any(each.part == "journal" for each in findings):
        return Verdict(code, walk.tip, tuple(findings[:FINDINGS_MAX]))
    findings += await compare_told(database, code, rest_unless_found)
    await compare_folds(database, views, code, findings, rest_unless_found)
    return Verdict(code, walk.tip, tuple(findings))


async def _verify_journal(database: Database, code: int, walk: Walk, rest: Rest) -> None:
    """Walk along the journal to its end.

    What is complete stays as it is, so it is walked along in pieces. What is not may be taken back: it is seen at once,
    together with what the state says of the end.
    """
    while True:
        try:
            if await _reaches_end(database, code, walk):
                return
        except DatabaseCorrupted as error:
            # A page does not fit its checksum, say: that is damage as any other.
            if not await walk.passes(database, until=await _end(database, code), rows=_COPIED_ROWS, why=str(error)):
                if walk.findings:
                    return  # not even that there are no more rows can be read
                raise
        await rest()


async def _end(database: Database, code: int) -> int:
    async with database.reading() as tx:
        state = await sql.state.row(tx, shard=code)
    return 0 if state is None else int(state["last_position"])


async def _reaches_end(database: Database, code: int, walk: Walk) -> bool:
    """Walk along the next piece; whether it was the last one."""
    async with database.snapshot() as tx:
        state = await sql.state.row(tx, shard=code)
        complete = 0 if state is None else state["complete_position"]
        if await walk.goes_on(tx, until=complete, rows=_COPIED_ROWS):
            return False
        while await walk.goes_on(tx, until=POSITION_MAX, rows=_COPIED_ROWS):
            pass
    if state is not None:
        walk.findings += _of_end(code, walk, state)
    return True


def _of_end(code: int, walk: Walk, state: Row) -> list[Finding]:
    tip, last = walk.tip, state["last_position"]
    if last > tip.position:
        lost = Range(tip.position + 1, last)
        # The last row that is here may have been altered along with its chain: nothing after it tells.
        key = (max(1, tip.position), last)
        return [Finding(code, "journal", str(lost), f"positions {lost} are missing", key)]
    if not walk.findings and replicas.tip_of(state) != tip:
        detail = f"the journal ends at {tip.position}, its state says {last} or another chain"
        return [Finding(code, "state", str(tip.position), detail)]
    return []
