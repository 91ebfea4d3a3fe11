"""What follows from what: the consequences of a message, whether all of them were acted on, and where a record is from.

A message and everything that rules made of it, in whatever department, share a root. A consequence is always later than
its cause, so one pass over the records of a root in the order of their stamps finds all that follow from one of them.

Only what is complete is counted and shown. What rules did and departments took in is known as soon as it is recorded
here, where this node leads: that it was done holds once it is complete as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from peaceriver.errors import Behind, NotFound, TooLarge
from peaceriver.limits import CONSEQUENCES_MAX, READ_TIMEOUT_S
from peaceriver.node.departments import Departments
from peaceriver.node.exceptions import Exceptions
from peaceriver.node.progress import Progress
from peaceriver.node.receipts import Receipts
from peaceriver.node.stamps import Stamps
from peaceriver.node.standings import Standing
from peaceriver.postgres import Database, Row
from peaceriver.record import Record, from_row
from peaceriver.shard import journal
from peaceriver.shard.exceptions import exception_id
from peaceriver.shard.shard import DELIVERY, Shard
from peaceriver.stamp import Stamp

_LOOK_AGAIN_S = 0.05


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every consequence of a message was acted on, timers aside."""

    settled: bool
    #: How many records it led to, with its own.
    records: int
    #: What keeps it from being settled and waits for a retry, a person or a rule.
    exceptions: tuple[Standing, ...]
    #: Where its last record stands, per department: a read after them shows all the consequences.
    positions: dict[int, int]

    def public(self) -> dict[str, Any]:
        return {
            "settled": self.settled,
            "records": self.records,
            "exceptions": [each.public() for each in self.exceptions],
            "positions": {str(code): position for code, position in self.positions.items()},
        }


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a record is from, and what it led to."""

    record: Record
    #: The record that it follows from; None for a message from outside that names no cause.
    cause: Record | None
    #: What follows from it directly, oldest first.
    consequences: tuple[Record, ...]
    #: The first of them all.
    root: Record
    #: All that share the root, in the order of their stamps.
    records: tuple[Record, ...]

    def public(self) -> dict[str, Any]:
        return {
            "record": self.record.public(),
            "cause": None if self.cause is None else self.cause.public(),
            "consequences": [each.public() for each in self.consequences],
            "root": self.root.public(),
            "records": [each.public() for each in self.records],
        }


class Consequences:
    """Follows causes and effects through a node's journals."""

    def __init__(
        self,
        database: Database,
        shards: Departments,
        progress: Progress,
        exceptions: Exceptions,
        stamps: Stamps,
        receipts: Receipts,
    ) -> None:
        self._stamps = stamps
        self._receipts = receipts
        self._database = database
        self._shards = shards
        self._progress = progress
        self._exceptions = exceptions

    async def settled(self, message_id: UUID, timeout_s: float) -> Settled:
        """Wait, so long, until every consequence of a message was acted on; raises NotFound for an unknown message.

        Answers at once where only exceptions are left that nobody retries by himself.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        if not await self._arrived(message_id, deadline):
            return Settled(settled=False, records=0, exceptions=(), positions={})
        before = await self._consequences_of(message_id)
        records, done = await self._looked_again(message_id, before, deadline)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not done:
                    await self._acted_on(records)
                    records, done = await self._looked_again(message_id, records, deadline)
        return await self._result(records, acted_on=done)

    async def _arrived(self, message_id: UUID, deadline: float) -> bool:
        """Whether this node has what became of a message by then; raises NotFound where no node has seen it.

        What waits somewhere for a leader is not recorded yet, and so not settled.
        """
        while not await self._rows_of(message_id):
            try:
                seen = await self._receipts.of(message_id)
                async with asyncio.timeout_at(deadline):
                    if seen.shard is not None and seen.position is not None and seen.shard in self._shards:
                        await self._shards[seen.shard].complete.reached(seen.position)
                    await asyncio.sleep(_LOOK_AGAIN_S)
            except TimeoutError:
                return False
        return True

    async def _rows_of(self, message_id: UUID) -> list[Row]:
        """The complete records of a message, and the exceptions that answer it."""
        answers = [exception_id(message_id, each) for each in self._shards]
        complete = self._shards.complete()
        async with self._database.reading() as tx:
            rows = await journal.sql.recorded_anywhere.rows(tx, ids=[message_id, *answers])
        return _complete(rows, complete)

    async def _looked_again(
        self, message_id: UUID, before: Sequence[Record], deadline: float
    ) -> tuple[list[Record], bool]:
        """The consequences as they are now; and whether all that were there before were acted on, to no further end.

        Where they were, it waits until then for what was recorded by that to be complete.
        """
        shards = self._concerned(before)
        voids = [each.voids for each in shards]
        done = all([await self._is_acted_on(each) for each in before]) and await _completed(shards, deadline)
        # Where something was taken back meanwhile, what was done may be undone.
        done = done and voids == [each.voids for each in shards]
        records = await self._consequences_of(message_id)
        return records, done and len(records) == len(before)

    def _concerned(self, records: Iterable[Record]) -> list[Shard]:
        """The departments where something is to be done for records: where rules act on them, and where they go."""
        codes = {code for each in records for code in (each.shard, each.receiver_shard)}
        return [self._shards[code] for code in codes if code is not None and code in self._shards]

    async def _result(self, records: Sequence[Record], *, acted_on: bool) -> Settled:
        waiting = await self._waiting_for(records)
        return Settled(
            settled=acted_on and not waiting,
            records=len(records),
            exceptions=tuple(waiting),
            # Records come in the order of their stamps, so the last one of a department counts.
            positions={each.shard: each.position for each in records},
        )

    async def _is_acted_on(self, record: Record) -> bool:
        """Whether nothing is left to do for a record, but for what an exception holds up that waits for somebody."""
        if self._shards[record.shard].standing < record.position or not self._has_arrived(record):
            return False
        return not await self._progress.is_busy(record)

    async def _acted_on(self, records: Sequence[Record]) -> None:
        """Wait until there may be nothing left to do for any of the records."""
        for record in records:
            shard = self._shards[record.shard]
            if shard.standing < record.position:
                # A follower folds a moment later what a record says of exceptions and marks.
                await shard.folded.reached(record.position)
            await self._arrival(record)
            await self._progress.done(record)

    def _has_arrived(self, record: Record) -> bool:
        """Whether its receiver has taken a record in; so where it is sent to nobody here.

        The mark tells: those who wait for it are not told where it was taken back.
        """
        receiver = self._receiver(record)
        return receiver is None or receiver.marks.get((DELIVERY, record.shard), 0) >= record.position

    async def _arrival(self, record: Record) -> None:
        """Wait until its receiver may have taken a record in."""
        receiver = self._receiver(record)
        if receiver is not None:
            await receiver.delivered_from(record.shard).reached(record.position)
            if not self._has_arrived(record):
                await asyncio.sleep(_LOOK_AGAIN_S)

    def _receiver(self, record: Record) -> Shard | None:
        """The department that a record is sent to, if it is here."""
        if record.kind != "sent" or record.receiver_shard is None:
            return None
        return self._shards.get(record.receiver_shard)

    async def _waiting_for(self, records: Sequence[Record]) -> list[Standing]:
        """The exceptions that are open among the records, or that one of the records waits behind."""
        ids = {each.message_id for each in records if each.kind == "exception"}
        for record in records:
            ids.update(await self._progress.held_up_by(record))
        return await self._exceptions.open_among(each for each in ids if each is not None)

    async def _consequences_of(self, message_id: UUID) -> list[Record]:
        first = [from_row(row) for row in await self._rows_of(message_id)]
        self._shards.check_records(first)
        if not first or first[0].root is None:
            raise NotFound(f"no department here has seen message {message_id}")
        answers = {each.message_id for each in first if each.message_id is not None}
        return following_from(await self._under(first[0].root), message_id, *answers)

    async def explain(self, stamp: Stamp) -> Explanation:
        """Where the record with a stamp is from, and what it led to; raises NotFound, Behind, TooLarge."""
        record = await self._at(stamp)
        records = [record] if record.root is None else await self._under(record.root)
        parents = parents_of(records)
        cause = parents.get(stamp)
        return Explanation(
            record=record,
            cause=cause,
            consequences=tuple(each for each in records if (of := parents.get(each.moment)) and of.moment == stamp),
            root=records[0],
            records=tuple(records),
        )

    async def _at(self, stamp: Stamp) -> Record:
        """The record that has a stamp, once it is complete; raises NotFound, and Behind where that takes too long."""
        deadline = asyncio.get_running_loop().time() + READ_TIMEOUT_S
        while True:
            complete = self._shards.complete()
            found = await self._stamps.find([stamp], _left(deadline))
            if found.behind:
                raise Behind(f"this node is not as far as {stamp} yet; ask again in a moment")
            self._shards.check_records(found.records.values())
            record = found.records.get(stamp)
            if record is None:
                raise NotFound(f"no record has the stamp {stamp}; GET /journal lists those that there are")
            if record.position <= complete.get(record.shard, 0):
                return record
            # It may be taken back as well: then it is not found the next time.
            if not await self._shards[record.shard].complete.reached_within(record.position, _left(deadline)):
                raise Behind(f"the record with the stamp {stamp} is not complete yet; ask again in a moment")

    async def _under(self, root: UUID) -> list[Record]:
        complete = self._shards.complete()
        async with self._database.reading() as tx:
            rows = await journal.sql.under_root.rows(tx, root=root, shards=list(complete), records=CONSEQUENCES_MAX + 1)
        if len(rows) > CONSEQUENCES_MAX:
            raise TooLarge(f"message {root} led to more than {CONSEQUENCES_MAX:,} records: look at its parts")
        found = [from_row(row) for row in _complete(rows, complete)]
        self._shards.check_records(found)
        return found


def _complete(rows: Iterable[Row], complete: Mapping[int, int]) -> list[Row]:
    """The rows up to where each department was complete."""
    return [row for row in rows if row["position"] <= complete.get(row["shard"], 0)]


async def _completed(shards: Sequence[Shard], deadline: float) -> bool:
    """Whether all that is folded into departments' standings now is complete by then."""
    ends = [(each.complete, each.standing) for each in shards]
    return all([await complete.reached_within(end, _left(deadline)) for complete, end in ends])


def _left(deadline: float) -> float:
    """How many seconds are left until then."""
    return max(deadline - asyncio.get_running_loop().time(), 0.0)


def following_from(records: Iterable[Record], message_id: UUID, *answers: UUID) -> list[Record]:
    """The records, in the order of their stamps, of a message and of all that follows from it.

    What answers a message that was refused has an id that is derived from the message's; it need not name a cause.
    ``answers`` are such ids that are known.
    """
    ids, stamps = {message_id, *answers}, set[Stamp]()
    found: list[Record] = []
    for record in records:
        if record.message_id in ids or record.cause in stamps:
            if record.message_id is not None:
                ids.update((record.message_id, exception_id(record.message_id, record.shard)))
            stamps.add(record.moment)
            found.append(record)
    return found


def parents_of(records: Iterable[Record]) -> dict[Stamp, Record]:
    """Of records in the order of their stamps, by stamp: the one that each follows from directly.

    What was received from another department, or refused there, follows from the record that was sent there.
    """
    known: dict[Stamp, Record] = {}
    sent: dict[UUID, Record] = {}
    parents: dict[Stamp, Record] = {}
    for record in records:
        source = None if record.message_id is None else sent.get(record.message_id)
        if source is None and record.cause is not None:
            source = known.get(record.cause)
        if source is not None:
            parents[record.moment] = source
        known[record.moment] = record
        if record.kind == "sent" and record.message_id is not None:
            sent[record.message_id] = sent[exception_id(record.message_id, record.shard)] = record
    return parents
