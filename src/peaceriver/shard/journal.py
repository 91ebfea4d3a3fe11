"""The journal of one shard in the database: what is appended, and what readers ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from peaceriver.limits import PULL_RECORDS_MAX
from peaceriver.postgres import Row, Statements, Transaction, copy_rows_in
from peaceriver.record import Record, Resolution, Tip, from_row
from peaceriver.shard import rows as copied
from peaceriver.stamp import Stamp

sql = Statements("peaceriver.shard", "journal")

_STREAMED_ROWS = 2_000
#: More than any group may hold: a group is never cut.
_GROUP_RECORDS_MAX = 1_000_000
#: What a usual row has besides its body, in bytes.
_REST_BYTES = 300
_columns_of = msgspec.structs.astuple


class ActorState(msgspec.Struct, frozen=True, gc=False):
    """What admission knows of an actor: its document after its last record."""

    version: int
    position: int
    status: str
    model_version: int | None
    document: str


type_and_id: TypeAlias = tuple[str, str]
#: No value was read yet; a body may well be null.
UNREAD: Final = msgspec.UNSET


class Documents(NamedTuple):
    """An actor's document before and after a record, as text."""

    before: str | None
    after: str | None
    #: What ``after`` denotes, where admission has read it: it is not read again.
    value: Any = UNREAD


NO_DOCUMENTS: Final = Documents(None, None)


class Mark(msgspec.Struct, frozen=True):
    """How far a reader has acted on a source, and the source's chain there."""

    reader: str
    source: int
    position: int
    chain: bytes
    #: The mark is needed no longer: of an actor that waited behind an exception and is level with its rule again.
    ended: bool = False


class ExceptionState(msgspec.Struct, frozen=True, kw_only=True):
    """What is folded from an exception's records."""

    id: UUID
    #: Of its last record.
    position: int
    state: Resolution
    attempt: int
    retry_at: datetime | None
    rule: str | None
    actor_type: str
    actor_id: str
    source_position: int | None
    #: Whether its last record asks for another attempt; told to those who follow, and not kept.
    asked: bool = False

    @property
    def key(self) -> type_and_id:
        return self.actor_type, self.actor_id


_EXCEPTION_COLUMNS = tuple(name for name in ExceptionState.__struct_fields__ if name != "asked")


def exception_state(row: Row) -> ExceptionState:
    """What a row of the table says."""
    return ExceptionState(**{name: row[name] for name in _EXCEPTION_COLUMNS})


class Effects(msgspec.Struct, kw_only=True):
    """What records make of the standing: of actors, marks, timers and exceptions. The last word on each counts."""

    created: dict[type_and_id, ActorState] = msgspec.field(default_factory=dict)
    changed: dict[type_and_id, ActorState] = msgspec.field(default_factory=dict)
    marks: list[Mark] = msgspec.field(default_factory=list)
    timers: list[tuple[int, datetime]] = msgspec.field(default_factory=list)
    released: list[int] = msgspec.field(default_factory=list)
    exceptions: list[ExceptionState] = msgspec.field(default_factory=list)

    def last_marks(self, *, ended: bool) -> list[Mark]:
        """Where marks end up that move on, or those that end; a batch may hold many steps of one reader."""
        if not self.marks:
            return []
        last = {(each.reader, each.source): each for each in self.marks}
        return [each for each in last.values() if each.ended == ended]


class Batch(Effects):
    """What one transaction appends: records, and what they fold into."""

    tip: Tip
    records: list[Record] = msgspec.field(default_factory=list)
    chains: list[bytes] = msgspec.field(default_factory=list)
    #: Of each record, its actor's document before and after it; None where it concerns no actor.
    documents: list[Documents | None] = msgspec.field(default_factory=list)
    #: Pending messages (drafts) that this batch turns into history.
    promoted: list[UUID] = msgspec.field(default_factory=list)

    @property
    def has_side_effects(self) -> bool:
        """Whether its records change more than the statement does that appends them."""
        is_ended = any(each.ended for each in self.marks)
        return bool(is_ended or self.timers or self.released or self.promoted or self.exceptions)


async def append(tx: Transaction, batch: Batch, *, expected: int, complete: int) -> bool:
    """Append a batch that builds on position ``expected``; False, and nothing written, where the fence refuses it.

    Rows go as arrays of the tables' own row types: one value for the driver to look at where columns would be dozens.
    """
    shard = batch.records[0].shard
    fenced_by = await sql.append.value(
        tx,
        shard=shard,
        epoch=batch.tip.epoch,
        expected_position=expected,
        last_position=batch.tip.position,
        last_stamp=batch.tip.stamp,
        last_chain=batch.tip.chain,
        complete_position=complete,
        records=[(*_columns_of(record), chain) for record, chain in zip(batch.records, batch.chains, strict=True)],
        created=actor_rows(shard, batch.created),
        changed=actor_rows(shard, batch.changed),
        marks=mark_rows(shard, batch),
    )
    if fenced_by is None:
        return False
    if batch.has_side_effects:
        await side_effects(tx, shard, batch)
        if batch.promoted:
            await pending_sql.drop.run(tx, ids=batch.promoted)
    return True


def actor_rows(shard: int, actors: Mapping[type_and_id, ActorState]) -> list[tuple[Any, ...]]:
    """Actors as rows of their table."""
    return [(shard, *key, *_columns_of(state)) for key, state in actors.items()]


def mark_rows(shard: int, effects: Effects) -> list[tuple[Any, ...]]:
    """The marks that move on, as rows of their table."""
    return [(shard, each.reader, each.source, each.position, each.chain) for each in effects.last_marks(ended=False)]


async def side_effects(tx: Transaction, shard: int, effects: Effects) -> None:
    """Write what few records have: marks that end, timers that are set or released, and exceptions."""
    ended = effects.last_marks(ended=True)
    if ended:
        await sql.end_marks.run(
            tx, shard=shard, readers=[each.reader for each in ended], sources=[each.source for each in ended]
        )
    if effects.timers:
        positions, dues = zip(*effects.timers, strict=True)
        await sql.set_timers.run(tx, shard=shard, positions=list(positions), dues=list(dues))
    if effects.released:
        await sql.release_timers.run(tx, shard=shard, positions=effects.released)
    if effects.exceptions:
        values = {name: [getattr(each, name) for each in effects.exceptions] for name in _EXCEPTION_COLUMNS}
        await sql.keep_exceptions.run(tx, shard=shard, **values)


pending_sql = Statements("peaceriver.shard", "pending")


async def actors_at(tx: Transaction, shard: int, keys: Sequence[type_and_id]) -> dict[type_and_id, ActorState]:
    """The actors among ``keys`` that exist."""
    rows = await sql.actors_at.rows(tx, shard=shard, types=[key[0] for key in keys], ids=[key[1] for key in keys])
    return {
        (row["type"], row["id"]): ActorState(
            row["version"], row["position"], row["status"], row["model_version"], row["document"]
        )
        for row in rows
    }


async def recorded(tx: Transaction, shard: int, ids: Iterable[UUID]) -> dict[UUID, Record]:
    """The records, by message id, of messages that this shard has seen before."""
    rows = await sql.recorded.rows(tx, shard=shard, ids=list(ids))
    return {row["message_id"]: from_row(row) for row in rows}


async def following(tx: Transaction, shard: int, *, after: int, until: int, records: int) -> list[Row]:
    """Rows after a position, in order, up to and including ``until``; each has its ``chain``."""
    return await sql.following.rows(tx, shard=shard, after=after, until=until, records=records)


async def whole_groups(tx: Transaction, shard: int, *, after: int, until: int, records: int) -> list[Row]:
    """About so many rows after a position, ending where a group ends; none where ``until`` is not beyond it."""
    rows = await following(tx, shard, after=after, until=until, records=records)
    if rows and (end := rows[-1]["group_end"]) > rows[-1]["position"]:
        rows += await following(tx, shard, after=rows[-1]["position"], until=end, records=_GROUP_RECORDS_MAX)
    return rows


async def rows_after(tx: Transaction, shard: int, after: int, until: int, bytes_max: int) -> list[bytes]:
    """Rows after a position as bytes (``shard/rows.py``): whole groups, up to ``until`` and to about ``bytes_max``.

    There are at least those of the first group, whatever its size, and none only where no whole group is there. Run it
    where all statements see one snapshot of the journal, or where nothing is taken out of it meanwhile.
    """
    stretch = {"shard": shard, "after": after}
    end = await sql.groups_within.value(
        tx, **stretch, until=until, bytes=bytes_max, rest_bytes=_REST_BYTES, records=PULL_RECORDS_MAX
    )
    if end is None:
        return []
    found: list[bytes] = []
    incoming = copied.Incoming()

    async def take(piece: bytes) -> None:
        found.extend(incoming.feed(piece))

    await sql.rows_after.copy_out(tx, take, **stretch, until=end, records=end - after)
    incoming.end()
    return found


async def insert_rows(tx: Transaction, shard: int, before: Tip, rows: Sequence[bytes]) -> None:
    """Add rows that follow ``before`` to the journal as they are; whoever calls moves the state row with them.

    Raises Damaged where they do not follow, UniqueViolation where one of them is there already, and DatabaseError where
    they are no journal rows: then some were written, and the transaction is not to be committed.
    """
    await copy_rows_in(tx, "journal", copied.checked(rows, shard, before))


async def at_stamps(tx: Transaction, stamps: Iterable[Stamp]) -> dict[Stamp, Record]:
    """The records that stamps name; a stamp of no record is missing from the answer."""
    wanted = list(stamps)
    rows = await sql.at_stamps.rows(tx, shards=[each.shard for each in wanted], times=[each.time for each in wanted])
    return {Stamp(row["stamp"], row["shard"]): from_row(row) for row in rows}


async def of_type(tx: Transaction, shard: int, actor_type: str, until: int) -> AsyncIterator[Record]:
    """All records of one type up to a position, one actor after the other, each actor's oldest first; streamed."""
    values = {"shard": shard, "actor_type": actor_type, "until": until}
    statement = sql.of_type
    async for row in tx.cursor(statement.text, *statement.bound(values), prefetch=_STREAMED_ROWS):
        yield from_row(row)
