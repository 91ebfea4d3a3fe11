"""Stamps: hybrid logical time and sharding code, the Lamport stamp of a record.

Logical time counts sixteenths of a microsecond since 1970-01-01T00:00:00Z, so that it can be read as a wall-clock
time and still has room for records that share a microsecond. It follows Kulkarni et al., "Logical Physical Clocks"
(2014), in one integer: order never depends on clocks, but stays close to them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import total_ordering

import msgspec

from peaceriver.errors import Invalid, Offence

TICKS_PER_MICROSECOND = 16
#: The largest logical time: what PostgreSQL's bigint holds. As a wall-clock time it lies beyond the year 9999.
TIME_MAX = 2**63 - 1
#: Later than every stamp: the end of an interval that is still open.
OPEN_END = TIME_MAX

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WRITTEN = re.compile(r"([0-9a-f]{20})\.(0|-?[1-9][0-9]{0,9})")


@total_ordering
class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When and where a record was made: totally ordered, and written as a string that sorts the same way."""

    time: int
    shard: int

    def __str__(self) -> str:
        return f"{self.time:020x}.{self.shard}"

    def __lt__(self, other: Stamp) -> bool:
        # Ties between shards go by the written form, so that sorting strings and sorting stamps never disagree.
        return (self.time, str(self.shard)) < (other.time, str(other.shard))

    @property
    def wall(self) -> datetime:
        """The stamp's time as a wall-clock time in UTC, to the microsecond below."""
        return wall_of(self.time)

    @classmethod
    def parse(cls, text: str, *, pointer: str = "") -> Stamp:
        """Read a stamp as it was written; raise Invalid, naming ``pointer``, where it is none."""
        match = _WRITTEN.fullmatch(text)
        if match is None or int(match[1], 16) > TIME_MAX:
            detail = f"{text[:60]!r} is not a stamp: 20 hexadecimal digits, a dot and a sharding code"
            raise Invalid(detail, errors=(Offence(pointer, "not a stamp"),))
        return cls(int(match[1], 16), int(match[2]))


def wall_of(time: int) -> datetime:
    """The wall-clock time of a logical time, in UTC; the last moment of the year 9999 where it lies beyond."""
    try:
        return _EPOCH + timedelta(microseconds=time // TICKS_PER_MICROSECOND)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def logical(wall: datetime) -> int:
    """The first logical time of the microsecond ``wall``, which must carry an offset."""
    return (wall - _EPOCH) // timedelta(microseconds=1) * TICKS_PER_MICROSECOND


def end_of(wall: datetime) -> int:
    """The last logical time of the microsecond ``wall``: a cutoff at a time includes all that was stamped in it."""
    return logical(wall) + TICKS_PER_MICROSECOND - 1


def following(last: int, wall: int, received: int = 0) -> int:
    """The logical time of the next record: later than the last and than anything received, not before the clock.

    Strictly increasing whatever the clock does: where it jumps back, time goes on from ``last``.
    """
    return max(last + 1, received + 1, wall)
