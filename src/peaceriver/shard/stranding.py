"""Stranding: a replica takes back the end of its journal that another leader's journal does not have.

None of it was ever complete, so nobody but the senders who asked for no more than ``local`` has heard of it. What came
from outside is kept as pending and offered again; what actors, marks, timers and exceptions had become by it is undone:
each is folded again from the records that are left, and is then what a rebuild from them would make it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from uuid import UUID

import msgspec

from peaceriver.limits import POSITION_MAX
from peaceriver.postgres import Transaction
from peaceriver.record import Record, from_row
from peaceriver.shard import journal, view_tables
from peaceriver.shard.documents import ModelAt, key_of
from peaceriver.shard.exceptions import entry_ids, exception_id, state_in
from peaceriver.shard.journal import ActorState, Effects, ExceptionState, type_and_id
from peaceriver.shard.rebuild import intervals
from peaceriver.shard.standing import beginning_of, fold_standing, mark_in, release_id, released_by, sql
from peaceriver.stamp import OPEN_END

_ROWS_AT_A_TIME = 2_000
#: Actors that are folded again at a time: so many documents are in memory.
_ACTORS_AT_A_TIME = 500


class Stranded(msgspec.Struct, frozen=True, kw_only=True):
    """How much was taken back."""

    #: Records that the journal no longer has.
    removed: int
    #: Messages among them that are pending now, to be offered again.
    kept: int


class Touched(msgspec.Struct):
    """What records had made something of, and is to be folded again without them."""

    #: Ids by type.
    actors: dict[str, set[str]] = msgspec.field(default_factory=dict)
    #: Readers and their sources.
    marks: set[tuple[str, int]] = msgspec.field(default_factory=set)
    #: Positions of timers that were set or released.
    timers: set[int] = msgspec.field(default_factory=set)
    #: How many attempts each exception had come to.
    exceptions: dict[UUID, int] = msgspec.field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Note what a record had made something of."""
        if record.kind == "received":
            actor_type, actor_id = key_of(record)
            self.actors.setdefault(actor_type, set()).add(actor_id)
        elif record.kind == "mark":
            mark = mark_in(record)
            self.marks.add((mark.reader, mark.source))
        elif record.kind == "timer":
            self.timers.add(record.position)
        elif record.kind == "exception":
            state = state_in(record)
            self.exceptions[state.id] = max(state.attempt, self.exceptions.get(state.id, 0))
        if (timer := released_by(record)) is not None:
            self.timers.add(timer)


async def strand(
    tx: Transaction, shard: int, after: int, *, epoch: int, position: int, chain: bytes, models: ModelAt
) -> Stranded | None:
    """Take back all records after a position; the standing is then what the records up to it make of it.

    ``position`` and ``chain`` are where the caller saw the journal end, ``epoch`` that of the leader it follows. None,
    and nothing done, where the journal has moved or a later epoch was promised meanwhile. The database refuses
    (DatabaseError) to take back what is complete, and to cut a group.

    Whatever is kept in memory of the shard, by an appender, its readers and its views, is void afterwards.
    """
    state = await journal.sql.state.row(tx, shard=shard)
    assert state is not None
    touched = Touched()
    async for record in _records(tx, shard, after, state["standing_position"]):
        touched.add(record)
    row = await sql.strand.row(tx, shard=shard, after=after, epoch=epoch, position=position, chain=chain)
    if row is None:
        return None
    if state["standing_position"] > after:
        await fold_again(tx, shard, after, touched, models)
    return Stranded(removed=row["removed"], kept=row["kept"])


async def _records(tx: Transaction, shard: int, after: int, until: int) -> AsyncIterator[Record]:
    following = journal.sql.following
    values = following.bound({"shard": shard, "after": after, "until": until, "records": POSITION_MAX})
    async for row in tx.cursor(following.text, *values, prefetch=_ROWS_AT_A_TIME):
        yield from_row(row)


async def fold_again(tx: Transaction, shard: int, after: int, touched: Touched, models: ModelAt) -> None:
    """Forget what was touched, and fold it from the records up to ``after``, where the standing is."""
    for actor_type, ids in touched.actors.items():
        for some in _parts(sorted(ids)):
            await sql.forget_actors.run(tx, shard=shard, actor_type=actor_type, ids=some)
            left = await _actors(tx, shard, after, actor_type, some, models)
            await fold_standing(tx, shard, Effects(changed=left), expected=after, last=after)
    readers, sources = [each[0] for each in touched.marks], [each[1] for each in touched.marks]
    await journal.sql.end_marks.run(tx, shard=shard, readers=readers, sources=sources)
    await journal.sql.release_timers.run(tx, shard=shard, positions=list(touched.timers))
    await sql.forget_exceptions.run(tx, shard=shard, ids=list(touched.exceptions))
    beginnings = [beginning_of(each) for each in readers]
    marks = await sql.last_marks.rows(tx, shard=shard, beginnings=beginnings, sources=sources, until=after)
    effects = Effects(
        marks=[mark_in(from_row(row)) for row in marks],
        timers=[(each.position, each.due) for each in await _waiting(tx, shard, after, touched.timers) if each.due],
        exceptions=await _exceptions(tx, shard, after, touched.exceptions),
    )
    await fold_standing(tx, shard, effects, expected=after, last=after)


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _ACTORS_AT_A_TIME):
        yield list(ids[start : start + _ACTORS_AT_A_TIME])


async def _actors(
    tx: Transaction, shard: int, until: int, actor_type: str, ids: list[str], models: ModelAt
) -> dict[type_and_id, ActorState]:
    """Some actors as their records, up to a position, make them; one without records is missing."""
    statement = view_tables.sql.of_actors
    values = statement.bound({"shard": shard, "actor_type": actor_type, "ids": ids, "until": until})
    rows = tx.cursor(statement.text, *values, prefetch=_ROWS_AT_A_TIME)

    async def records() -> AsyncIterator[Record]:
        async for row in rows:
            yield from_row(row)

    return {(actor_type, each.id): each.state async for each in intervals(records(), models) if each.until == OPEN_END}


async def _exceptions(tx: Transaction, shard: int, until: int, attempts: Mapping[UUID, int]) -> list[ExceptionState]:
    """What the entries up to a position make of exceptions that had come to so many attempts."""
    ids = [each for exception, count in attempts.items() for each in entry_ids(exception, count)]
    entries = (await journal.recorded(tx, shard, ids)).values()
    return [state_in(each) for each in entries if each.position <= until]


async def _waiting(tx: Transaction, shard: int, until: int, positions: set[int]) -> list[Record]:
    """The timers among some that the journal has up to a position, and no release of them."""
    rows = await journal.sql.timers_recorded.rows(tx, shard=shard, positions=list(positions))
    timers = [each for row in rows if (each := from_row(row)).position <= until]
    ids = [release_id(each) for each in timers]
    ended = await journal.recorded(tx, shard, [*ids, *(exception_id(each, shard) for each in ids)])
    released = {released_by(each) for each in ended.values() if each.position <= until}
    return [each for each in timers if each.position not in released]
