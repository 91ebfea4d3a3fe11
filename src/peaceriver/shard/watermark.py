"""A number that only grows, and those who wait for it: how far something has come, in this process."""

from __future__ import annotations

import asyncio
import heapq
from contextlib import suppress
from itertools import count


class Watermark:
    """A position that readers wait for. A wake-up is only a hint: whoever is woken looks at the truth again."""

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        #: Set by whoever begins to wait: the one who moves the mark may have been taking a rest.
        self.wanted = asyncio.Event()
        self._given_up = False

    def advance(self, value: int) -> None:
        """Move on to ``value`` and wake whom that concerns; a smaller value changes nothing."""
        if value <= self.value:
            return
        self.value = value
        while self._waiting and self._waiting[0][0] <= value:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    def give_up(self) -> None:
        """Wake everybody, wherever the mark stands, and make nobody wait: it moves no more, and they look elsewhere."""
        self._given_up = True
        for _, _, future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def reached(self, value: int) -> None:
        """Return once the mark is at ``value`` or beyond, or was given up; use asyncio.timeout for a bound."""
        if self.value >= value or self._given_up:
            return
        self.wanted.set()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (value, next(self._order), future))
        if len(self._waiting) > 64 and sum(each[2].done() for each in self._waiting) > len(self._waiting) // 2:
            # Waiters that gave up are dropped in bulk, so that impatient clients cost no memory.
            self._waiting = [each for each in self._waiting if not each[2].done()]
            heapq.heapify(self._waiting)
        await future

    async def reached_within(self, value: int, timeout_s: float) -> bool:
        """Whether the mark is at ``value`` or beyond, waiting so long for it; False at once where it was given up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.reached(value)
        return self.value >= value

    async def passed(self, value: int) -> None:
        """Return once the mark is beyond ``value``."""
        await self.reached(value + 1)
