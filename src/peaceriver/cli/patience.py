"""Patience: what a node cannot do at the moment is tried again, and what it refuses is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from peaceriver.errors import Busy, Conflict, OutcomeUnknown, PeaceRiverError, Unavailable, Unreachable

#: How long to wait for a node that is away, or too busy, before giving up.
PATIENCE_S = 120.0
FIRST_PAUSE_S = 0.1
PAUSE_MAX_S = 2.0
T = TypeVar("T")


async def patiently(
    attempt: Callable[[], Awaitable[T]],
    *,
    patience_s: float = PATIENCE_S,
    waits: Callable[[str | None], None] = lambda reason: None,
) -> T:
    """Try until it succeeds; ``waits`` is told why it waits, again and again, and None when it goes on.

    Gives up, with the last error, when that is not for want of a node or of time.
    """
    deadline, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            done = await attempt()
        except PeaceRiverError as error:
            if not is_passing(error) or time.monotonic() + pause_s > deadline:
                raise
            reason = str(error)
        else:
            waits(None)
            return done
        waits(reason)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


def is_passing(error: PeaceRiverError) -> bool:
    """Whether the same message may be taken a moment later."""
    match error:
        case Unreachable() | Unavailable() | Busy() | OutcomeUnknown():
            return True
        case Conflict():
            # Its cause is still on its way to this department.
            return any(each.pointer == "/cause" for each in error.errors)
        case _:
            return False
