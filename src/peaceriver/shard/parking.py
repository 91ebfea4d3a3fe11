"""Actors that wait for a rule behind an exception, as a department's marks and exceptions tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from peaceriver.record import Record
from peaceriver.shard.journal import Batch, ExceptionState, type_and_id
from peaceriver.shard.steps import parked_key


class Parked(msgspec.Struct):
    """An actor that waits for a rule."""

    #: The rule has acted on the actor's records up to here; what comes after, up to the rule's own mark, waits.
    position: int
    #: The exception that the next record is; None where that is resolved, and the rest can go on.
    exception: ExceptionState | None = None
    #: Somebody asked for the next attempt.
    asked: bool = False

    def due(self, now: datetime) -> bool:
        if self.exception is None:
            return True
        return self.exception.retry_at is not None and self.exception.retry_at <= now


class Parking(dict[type_and_id, Parked]):
    """The actors that are parked for one rule."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self._rule = rule

    def of(self, record: Record) -> Parked | None:
        """The record's actor, if it is parked."""
        return self.get((record.actor_type or "", record.actor_id or ""))

    def load(self, marks: Mapping[tuple[str, int], int], states: Iterable[ExceptionState]) -> None:
        """Forget what was known, and take up what marks and open exceptions say."""
        self.clear()
        for (reader, _), position in marks.items():
            key = parked_key(self._rule, reader)
            if key is not None:
                self[key] = Parked(position)
        for state in states:
            if state.key in self:
                self[state.key].exception = state

    def follow(self, batch: Batch) -> bool:
        """Take in what a batch says of parked actors; True where it says anything."""
        changed = False
        for mark in batch.marks:
            key = parked_key(self._rule, mark.reader)
            if key is None:
                continue
            changed = True
            if mark.ended:
                self.pop(key, None)
            else:
                self.setdefault(key, Parked(mark.position)).position = mark.position
        for state in batch.exceptions:
            parked = self.get(state.key) if state.rule == self._rule else None
            if parked is not None:
                changed = True
                parked.asked = state.asked
                parked.exception = state if state.state == "open" else None
        return changed

    def due(self, now: datetime) -> list[type_and_id]:
        """Whose next attempt is due, or who can go on."""
        return [key for key, each in self.items() if each.due(now)]

    def free(self) -> dict[type_and_id, int]:
        """Who waits behind no exception any more and was not gone on with yet, and how far the rule has come there."""
        return {key: each.position for key, each in self.items() if each.exception is None}

    def first_due(self) -> datetime | None:
        """When the first attempt is due that nobody has to ask for."""
        times = [each.exception.retry_at for each in self.values() if each.exception is not None]
        return min((each for each in times if each is not None), default=None)
