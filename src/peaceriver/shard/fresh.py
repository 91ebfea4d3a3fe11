"""The newest rows of a leader's journal in memory: what followers that keep up are served from."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from peaceriver.limits import FRESH_BYTES_MAX
from peaceriver.protocol.messages import Place
from peaceriver.record import Record
from peaceriver.shard import rows

#: What a row takes beside its body, roughly.
_ROW_BYTES = 400


class _Batch:
    """What one transaction appended. Rows are made of it when somebody asks for them, once."""

    __slots__ = ("_chains", "_records", "_rows", "bytes", "end", "first")

    def __init__(self, records: Sequence[Record], chains: Sequence[bytes]) -> None:
        last = records[-1]
        self.first = records[0].position
        self.end = Place(last.epoch, last.position)
        self.bytes = sum([len(each.body) for each in records]) + _ROW_BYTES * len(records)
        self._records = records
        self._chains = chains
        self._rows: list[bytes] | None = None

    def rows(self) -> list[bytes]:
        if self._rows is None:
            self._rows = [rows.row_of(record, chain) for record, chain in zip(self._records, self._chains, strict=True)]
            self._records = self._chains = ()
        return self._rows


class Fresh:
    """The newest batches of one epoch, without a gap."""

    def __init__(self) -> None:
        self._batches: deque[_Batch] = deque()
        self._bytes = 0

    def offer(self, records: Sequence[Record], chains: Sequence[bytes]) -> None:
        """A batch was appended."""
        batch = _Batch(records, chains)
        self._batches.append(batch)
        self._bytes += batch.bytes
        while self._bytes > FRESH_BYTES_MAX and len(self._batches) > 1:
            self._bytes -= self._batches.popleft().bytes

    def forget(self) -> None:
        """What is here is not the journal any more."""
        self._batches.clear()
        self._bytes = 0

    def has(self, place: Place) -> bool:
        """Whether a batch here ended at a place."""
        return any(each.end == place for each in reversed(self._batches))

    def after(self, place: Place, bytes_max: int) -> tuple[list[bytes], Place] | None:
        """Rows after a place, whole batches, about so many bytes, and where they end; None where they are not here."""
        following: list[_Batch] = []
        for batch in reversed(self._batches):
            if batch.first <= place.position:
                if batch.end != place:
                    return None
                break
            following.append(batch)
        else:
            if not following or following[-1].first != place.position + 1:
                return None
        taken: list[bytes] = []
        size, end = 0, place
        for batch in reversed(following):
            if taken and size + batch.bytes > bytes_max:
                break
            taken += batch.rows()
            size, end = size + batch.bytes, batch.end
        return taken, end
