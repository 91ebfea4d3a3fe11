"""New identities and the wall clock: the two things a node makes from nothing."""

from __future__ import annotations

import os
import time
from uuid import UUID

from peaceriver.postgres import uuid_of
from peaceriver.stamp import TICKS_PER_MICROSECOND

_RANDOM_BYTES = 10
_DRAWN_BYTES = 400 * _RANDOM_BYTES
#: Random bytes that were drawn and not used yet: asking the system once an id would cost more than all the rest.
_drawn = bytearray()


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562): rising with time, so that the index of ids is written at its end."""
    if not _drawn:
        _drawn.extend(os.urandom(_DRAWN_BYTES))
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(_drawn[-_RANDOM_BYTES:])
    del _drawn[-_RANDOM_BYTES:]
    return uuid_of((value & _NEITHER | _VERSION_AND_VARIANT).to_bytes(16))


_NEITHER = ~(0xF << 76 | 0x3 << 62)
_VERSION_AND_VARIANT = 0x7 << 76 | 0x2 << 62
# A forked process would draw the same ids from what its parent has left.
os.register_at_fork(after_in_child=_drawn.clear)


def wall_clock() -> int:
    """The wall clock as a logical time."""
    return time.time_ns() // 1_000 * TICKS_PER_MICROSECOND
