"""The ledger of a batch: what the journal and the actors will be when it commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from peaceriver.record import Record, chained
from peaceriver.shard.journal import ActorState, Batch, Documents, Tip, type_and_id
from peaceriver.stamp import following


class Actors(Protocol):
    """The actors that are known as they were before the batch."""

    def get(self, key: type_and_id) -> ActorState | None: ...
    def __contains__(self, key: type_and_id) -> bool: ...


class Ledger:
    """What the journal and the actors will be when the batch commits. Undone record by record where a unit fails."""

    def __init__(self, shard: int, tip: Tip, actors: Actors, known: Mapping[UUID, Record]) -> None:
        self.shard = shard
        self.tip = tip
        self._actors = actors
        self._known = known
        self._overlay: dict[type_and_id, ActorState] = {}
        self._new: set[type_and_id] = set()
        self._ids: dict[UUID, Record] = {}
        self.batch = Batch(tip, [], [], [], {}, {}, [], [], [], [], [])

    def actor(self, key: type_and_id) -> ActorState | None:
        return self._overlay.get(key) or self._actors.get(key)

    def seen(self, message_id: UUID) -> Record | None:
        return self._ids.get(message_id) or self._known.get(message_id)

    def take(self, unit: Unit) -> None:
        """Keep what a unit made: it is part of the batch from here on."""
        self.tip = unit.tip
        self.batch.records.extend(unit.records)
        self.batch.chains.extend(unit.chains)
        self.batch.documents.extend(unit.documents)
        for key, state in unit.actors.items():
            if key not in self._overlay and key not in self._actors:
                self._new.add(key)
            self._overlay[key] = state
        for record in unit.records:
            if record.message_id is not None:
                self._ids[record.message_id] = record

    def finish(self) -> Batch:
        """The batch as the transaction needs it."""
        self.batch.tip = self.tip
        for key, state in self._overlay.items():
            (self.batch.created if key in self._new else self.batch.changed)[key] = state
        return self.batch


class Unit:
    """The records of one proposal while it is being looked at."""

    def __init__(self, ledger: Ledger, received_time: int) -> None:
        self._ledger = ledger
        self.tip = ledger.tip
        self.received_time = received_time
        self.drafts: list[dict[str, Any]] = []
        self.actors: dict[type_and_id, ActorState] = {}
        self.records: list[Record] = []
        self.chains: list[bytes] = []
        self.documents: list[Documents | None] = []
        self._ids: dict[UUID, int] = {}

    @property
    def next_position(self) -> int:
        return self._ledger.tip.position + len(self.drafts) + 1

    def actor(self, key: type_and_id) -> ActorState | None:
        return self.actors.get(key) or self._ledger.actor(key)

    def repeats(self, message_id: UUID) -> int | None:
        """The place in this very unit of a message with the same id."""
        return self._ids.get(message_id)

    def add(self, draft: dict[str, Any], received_time: int = 0, documents: Documents | None = None) -> int:
        """Add a record, with its actor's documents before and after it; answer its place in the unit."""
        self.received_time = max(self.received_time, received_time)
        if "message_id" in draft:
            self._ids[draft["message_id"]] = len(self.drafts)
        self.drafts.append(draft)
        self.documents.append(documents)
        return len(self.drafts) - 1

    def seal(self, wall: int) -> None:
        """Give every record its position, stamp and chain. The first stamp is later than all the unit received."""
        first, tip = self._ledger.tip.position + 1, self._ledger.tip
        group_end, received = tip.position + len(self.drafts), self.received_time
        stamp, chain = tip.stamp, tip.chain
        for offset, draft in enumerate(self.drafts):
            stamp = following(stamp, wall, received)
            record = Record(
                shard=self._ledger.shard,
                position=first + offset,
                group_end=group_end,
                epoch=tip.epoch,
                stamp=stamp,
                **draft,
            )
            chain = chained(chain, record)
            self.records.append(record)
            self.chains.append(chain)
        self.tip = Tip(tip.epoch, group_end, stamp, chain)
