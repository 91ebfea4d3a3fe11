"""The ledger of a batch: what the journal and the actors will be when it commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from msgspec.structs import force_setattr

from peaceriver.record import Record, Tip, chained
from peaceriver.shard.journal import ActorState, Batch, Documents, type_and_id
from peaceriver.stamp import following


class Actors(Protocol):
    """The actors that are known as they were before the batch."""

    def get(self, key: type_and_id) -> ActorState | None: ...


class Ledger:
    """What the journal and the actors will be when the batch commits; nothing of it counts before.

    ``before``: the ledger of a batch that is still being committed, which this one builds on. ``known``: messages that
    the journal has already, by id.
    """

    def __init__(
        self,
        shard: int,
        tip: Tip,
        actors: Actors,
        marks: Mapping[tuple[str, int], int],
        known: Mapping[UUID, Record] | None = None,
        before: Ledger | None = None,
    ) -> None:
        self.shard = shard
        self.tip: Tip = tip if before is None else before.tip
        #: Set to None once that batch is committed: its actors are among ``actors`` from there on.
        self.before = before
        self.batch = Batch(tip=self.tip)
        self._actors = actors
        self._marks = marks
        self._known = known or {}
        self._ids: dict[UUID, Record] = {}
        #: The actors that this batch creates or changes.
        self._made: dict[type_and_id, ActorState] = {}

    def actor(self, key: type_and_id) -> ActorState | None:
        """An actor as it will be; None where it is not in memory."""
        state = self._made.get(key)
        if state is not None:
            return state
        return self._actors.get(key) if self.before is None else self.before.actor(key)

    def mark(self, reader: str, source: int) -> int:
        """How far a reader has acted on a source, with what this batch and the one before make of it."""
        for mark in reversed(self.batch.marks):
            if mark.reader == reader and mark.source == source:
                return 0 if mark.ended else mark.position
        return self._marks.get((reader, source), 0) if self.before is None else self.before.mark(reader, source)

    def seen(self, message_id: UUID) -> Record | None:
        """The record of a message that is in this batch, in the one before, or known to be in the journal."""
        found = self._ids.get(message_id) or self._known.get(message_id)
        return found if found is not None or self.before is None else self.before.seen(message_id)

    def take(self, unit: Unit) -> None:
        """Keep what a unit made: it is part of the batch from here on."""
        batch = self.batch
        self.tip = batch.tip = unit.tip
        batch.records += unit.records
        batch.chains += unit.chains
        batch.documents += unit.documents
        for key, state in unit.actors.items():
            made = batch.created if key in unit.created or key in batch.created else batch.changed
            made[key] = self._made[key] = state
        self._ids.update(unit.ids)


class Unit:
    """The records of one proposal while it is being looked at."""

    __slots__ = (
        "_ledger",
        "actors",
        "chains",
        "created",
        "documents",
        "epoch",
        "ids",
        "next_position",
        "received_time",
        "records",
        "tip",
    )

    def __init__(self, ledger: Ledger, received_time: int) -> None:
        self._ledger = ledger
        self.tip = ledger.tip
        self.epoch = ledger.tip.epoch
        self.next_position = ledger.tip.position + 1
        self.received_time = received_time
        self.actors: dict[type_and_id, ActorState] = {}
        #: Those among them that were not there before.
        self.created: set[type_and_id] = set()
        self.ids: dict[UUID, Record] = {}
        self.records: list[Record] = []
        self.chains: list[bytes] = []
        self.documents: list[Documents | None] = []

    @property
    def shard(self) -> int:
        return self._ledger.shard

    def actor(self, key: type_and_id) -> ActorState | None:
        return self.actors.get(key) or self._ledger.actor(key)

    def add(self, record: Record, received_time: int = 0, documents: Documents | None = None) -> Record:
        """Add the record at the next position, with its actor's documents before and after it.

        Its group's end and its stamp come when the unit is sealed.
        """
        if received_time > self.received_time:
            self.received_time = received_time
        if record.message_id is not None:
            self.ids[record.message_id] = record
        self.records.append(record)
        self.documents.append(documents)
        self.next_position += 1
        return record

    def seal(self, wall: int) -> None:
        """Give every record its group's end, stamp and chain. The first stamp is later than all the unit received."""
        stamp, chain, group_end = self.tip.stamp, self.tip.chain, self.next_position - 1
        for record in self.records:
            stamp = following(stamp, wall, self.received_time)
            # Nobody has seen the record yet: it is still being made.
            force_setattr(record, "group_end", group_end)
            force_setattr(record, "stamp", stamp)
            chain = chained(chain, record)
            self.chains.append(chain)
        self.tip = Tip(self.epoch, group_end, stamp, chain)
