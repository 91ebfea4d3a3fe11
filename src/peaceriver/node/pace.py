"""Work that takes no more than a share of the time."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Takes rests between pieces of work, so that all of it takes a share of the time."""

    def __init__(self, share: float) -> None:
        self._rest_per_work = (1 - share) / share
        self._since = time.monotonic()

    def begin(self) -> None:
        """Work begins: what was before was none."""
        self._since = time.monotonic()

    async def rest(self) -> None:
        """A piece of work is done."""
        await asyncio.sleep((time.monotonic() - self._since) * self._rest_per_work)
        self._since = time.monotonic()
