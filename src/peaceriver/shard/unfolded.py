"""What views of a shard have still to fold: from memory while it is fresh, from the journal when they are behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from peaceriver.limits import STEP_RECORDS_MAX, UNFOLDED_BYTES_MAX
from peaceriver.record import Record
from peaceriver.shard.documents import Change
from peaceriver.shard.journal import Batch

#: What a record and its parts take beside the document, roughly.
_OVERHEAD_BYTES = 1_000


class Stretch(NamedTuple):
    """Consecutive whole groups of a journal, and what they change."""

    first: int
    last: int
    #: The stamp at ``last``.
    stamp: int
    changes: list[Change]
    #: All its records, where it was read from the journal.
    records: Sequence[Record] = ()


class Unfolded:
    """The newest batches of a shard, without a gap. What was appended before them, the journal knows."""

    def __init__(self) -> None:
        self._kept: deque[Stretch] = deque()
        self._bytes = 0

    def offer(self, batch: Batch) -> None:
        """A batch was appended."""
        first, last = batch.records[0].position, batch.records[-1]
        if self._kept and self._kept[-1].last + 1 != first:
            self.forget()
        changes = [
            (record, documents)
            for record, documents in zip(batch.records, batch.documents, strict=True)
            if record.kind == "received" and documents is not None
        ]
        stretch = Stretch(first, last.position, last.stamp, changes)
        self._bytes += _bytes(stretch)
        self._kept.append(stretch)
        if self._bytes > UNFOLDED_BYTES_MAX:
            # The views are far behind: they read what they missed from the journal.
            self.forget()

    def until(self, after: int, until: int) -> int:
        """How far to read what follows a position and is not in memory."""
        return min(until, self._kept[0].first - 1) if self._kept and self._kept[0].first > after + 1 else until

    def next(self, after: int, until: int) -> Stretch | None:
        """What follows a position directly, as much as a step takes; None where that is not in memory."""
        while self._kept and self._kept[0].first <= after:
            self._drop()
        taken: list[Stretch] = []
        changes: list[Change] = []
        while self._kept and self._kept[0].first == after + 1 and self._kept[0].last <= until:
            if taken and len(changes) + len(self._kept[0].changes) > STEP_RECORDS_MAX:
                break
            stretch = self._drop()
            taken.append(stretch)
            changes += stretch.changes
            after = stretch.last
        return Stretch(taken[0].first, after, taken[-1].stamp, changes) if taken else None

    def _drop(self) -> Stretch:
        stretch = self._kept.popleft()
        self._bytes -= _bytes(stretch)
        return stretch

    def forget(self) -> None:
        """Keep nothing: what is here may have been taken back since, and the journal knows what came in its place."""
        self._kept.clear()
        self._bytes = 0


def _bytes(stretch: Stretch) -> int:
    documents = sum([len(documents.after or "") for _, documents in stretch.changes])
    return documents + _OVERHEAD_BYTES * (1 + len(stretch.changes))
