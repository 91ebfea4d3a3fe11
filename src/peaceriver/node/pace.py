"""Work that takes no more than a share of the time."""

from __future__ import annotations

import asyncio
import time

#: One that took in a piece for long, because its disk is slow perhaps, is not kept waiting for as long.
_SPARED_S_MAX = 0.2


class Pace:
    """Takes rests between pieces of work, so that all of it takes a share of the time."""

    def __init__(self, share: float) -> None:
        self._rest_per_work = _rest_per_work(share)
        self._since = time.monotonic()

    def begin(self) -> None:
        """Work begins: what was before was none."""
        self._since = time.monotonic()

    async def rest(self) -> None:
        """A piece of work is done."""
        await asyncio.sleep((time.monotonic() - self._since) * self._rest_per_work)
        self._since = time.monotonic()


class Sparing:
    """Has somebody else, who takes in much at a time, rest between the pieces while there is other work to be done.

    ``done`` counts that other work. Times are by the steady clock.
    """

    def __init__(self, share: float) -> None:
        self._rest_per_work = _rest_per_work(share)
        self._given_at: float | None = None
        self._asked_at: float | None = None
        self._done = 0

    def given(self, now: float, done: int) -> None:
        """A piece was given."""
        self._given_at, self._asked_at, self._done = now, None, done

    def asked(self, now: float) -> None:
        """The piece is taken in, and the next one asked for."""
        self._asked_at = now

    def rest_s(self, now: float, done: int) -> float:
        """How long the next piece is not to be given yet; 0 where nothing else was done since the last one was."""
        if self._given_at is None or self._asked_at is None or done == self._done:
            return 0.0
        rest_s = min((self._asked_at - self._given_at) * self._rest_per_work, _SPARED_S_MAX)
        return max(0.0, self._asked_at + rest_s - now)


def _rest_per_work(share: float) -> float:
    return (1 - share) / share
