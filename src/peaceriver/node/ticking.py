"""Time for a node's replicas: each is looked at a few times within a lease, and often while something goes on.

With a hundred departments at rest, even to look at each of them often costs more than all else that a node does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import structlog

from peaceriver.shard.keeper import Keeper

log = structlog.get_logger()

#: Within a lease, replicas with which something goes on are looked at so often, and all of them so often.
_TICKS = 10
_ROUNDS = 3


class Ticking:
    """Lets time pass for the keepers."""

    def __init__(self, keepers: Mapping[int, Keeper], *, lease_s: float) -> None:
        self._keepers = keepers
        self._tick_s = lease_s / _TICKS
        self._round_s = lease_s / _ROUNDS
        self._awake: set[Keeper] = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="ticks")

    def wake(self, keeper: Keeper) -> None:
        """Something has happened to a replica: look at it at the next tick."""
        self._awake.add(keeper)
        self._woken.set()

    async def _run(self) -> None:
        next_round = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= next_round:
                next_round = now + self._round_s
                self._awake.update(self._keepers.values())
            for keeper in list(self._awake):
                self._awake.discard(keeper)
                if _quiet_until(keeper, now) < next_round:
                    self._awake.add(keeper)
            if not self._awake:
                self._woken.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(next_round - now):
                        await self._woken.wait()
            await asyncio.sleep(self._tick_s)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _quiet_until(keeper: Keeper, now: float) -> float:
    try:
        return keeper.tick(now)
    except Exception:  # outermost: the other replicas go on, and this one is looked at again, and loudly
        log.exception("a replica could not be looked at", shard=keeper.shard.code)
        return now
