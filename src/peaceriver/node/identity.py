"""New identities and the wall clock: the two things a node makes from nothing."""

from __future__ import annotations

import os
import time
from uuid import UUID

from peaceriver.stamp import TICKS_PER_MICROSECOND


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562): rising with time, so that the index of ids is written at its end."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def wall_clock() -> int:
    """The wall clock as a logical time."""
    return time.time_ns() // 1_000 * TICKS_PER_MICROSECOND
