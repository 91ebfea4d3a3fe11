"""Cutoffs: the moment a read is answered "as of". A query is a value and its cutoff is part of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from peaceriver.errors import Invalid, Offence
from peaceriver.limits import CODE_MAX, POSITION_MAX
from peaceriver.message import moment
from peaceriver.stamp import Stamp, end_of

_VECTOR = re.compile(r"\d+:\d+(,\d+:\d+)*")


class AtTime(msgspec.Struct, frozen=True):
    """Everything stamped up to a logical time, in every shard."""

    time: int


class AtPositions(msgspec.Struct, frozen=True):
    """Everything up to a position in each of some shards."""

    positions: Mapping[int, int]


AsOf = AtTime | AtPositions


class Place(msgspec.Struct, frozen=True):
    """Where a shard is cut: a position at which a group ends, and the stamp there (0 before the first record)."""

    position: int
    time: int


class Cutoff(msgspec.Struct, frozen=True):
    """A resolved cutoff: one place per shard. Asked again, on any node, it gives the same answer."""

    places: Mapping[int, Place]

    def public(self) -> dict[str, Any]:
        """The greatest stamp at the cutoff, and the vector of positions that repeats it."""
        greatest = max((Stamp(place.time, shard) for shard, place in self.places.items()), default=None)
        return {
            "stamp": None if greatest is None or greatest.time == 0 else str(greatest),
            "positions": {str(shard): place.position for shard, place in sorted(self.places.items())},
        }

    def vector(self) -> str:
        """The cutoff as ``as_of`` takes it."""
        return ",".join(f"{shard}:{place.position}" for shard, place in sorted(self.places.items()))


def parse(text: str, name: str) -> AsOf:
    """Read ``as_of``: a stamp, an RFC 3339 time with an offset, or a vector such as ``100:17,110:4``.

    Raises Invalid, naming the parameter.
    """
    if _VECTOR.fullmatch(text):
        return AtPositions(_positions(text, name))
    if "T" in text or "t" in text or " " in text:
        errors: list[Offence] = []
        at = moment(text, name, errors)
        if at is None:
            raise Invalid(
                f"{name}={text[:60]!r} is not a time with an offset (a + must be escaped as %2B)", errors=tuple(errors)
            )
        return AtTime(end_of(at))
    try:
        return AtTime(Stamp.parse(text).time)
    except Invalid:
        detail = "is not a stamp, an RFC 3339 time with an offset, or a vector like 100:17,110:4"
        raise Invalid(f"{name}={text[:60]!r} {detail}", errors=(Offence(name, detail),)) from None


def parse_after(text: str, name: str = "after") -> Stamp | AtPositions:
    """Read ``after``: the stamp of a receipt, or a vector. Raises Invalid."""
    if _VECTOR.fullmatch(text):
        return AtPositions(_positions(text, name))
    return Stamp.parse(text, pointer=name)


def _positions(text: str, name: str) -> dict[int, int]:
    positions: dict[int, int] = {}
    for pair in text.split(","):
        shard, position = (int(each) for each in pair.split(":"))
        if shard > CODE_MAX or position > POSITION_MAX or shard in positions:
            raise Invalid(
                f"{name}: {pair} is out of range or stands twice", errors=(Offence(name, f"{pair} cannot be"),)
            )
        positions[shard] = position
    return positions
