"""What a node does for the departments that it leads, and for no others: deliveries, timers, rules.

Leadership comes and goes; whatever it is at the moment, one worker brings this level with it, one department at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from peaceriver.node.agents import Agents
from peaceriver.node.timers import Timers
from peaceriver.postgres import DatabaseError, Unreachable
from peaceriver.shard.delivery import Delivery
from peaceriver.shard.shard import Shard

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5


class Role:
    """What goes on for one department in one reign."""

    def __init__(self, shard: Shard, epoch: int, shards: Mapping[int, Shard]) -> None:
        self.epoch = epoch
        self.delivery = Delivery(shard, shards)
        self.timers = Timers(shard)

    async def start(self) -> None:
        await self.timers.start()
        await self.delivery.start()

    async def stop(self) -> None:
        await self.timers.stop()
        await self.delivery.stop()


class Roles:
    """Starts and stops what belongs to leading."""

    def __init__(self, shards: Mapping[int, Shard], agents: Agents) -> None:
        self._shards = shards
        self._agents = agents
        self._roles: dict[int, Role] = {}
        self._turned: dict[int, Shard] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="roles")

    def at(self, code: int) -> Role | None:
        """What goes on for a department that is led here; None for any other, and until it has begun."""
        return self._roles.get(code)

    def turned(self, shard: Shard) -> None:
        """Leadership of a department has changed."""
        self._turned[shard.code] = shard
        self._wake.set()

    def sent(self, source: Shard, receivers: Iterable[int]) -> None:
        """What was sent to some departments is complete: those that are led here take it in."""
        for receiver in receivers:
            role = self._roles.get(receiver)
            if role is not None:
                role.delivery.wake(source.code)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._turned:
                code, shard = self._turned.popitem()
                try:
                    await self._level(shard)
                except (*Unreachable, DatabaseError) as error:
                    log.warning("a department's work waits", shard=code, reason=str(error))
                    self._again(shard)
                except Exception:  # outermost: without it nothing would be done for any department any more
                    log.exception("a department's work could not be taken up", shard=code)
                    self._again(shard)

    def _again(self, shard: Shard) -> None:
        asyncio.get_running_loop().call_later(_RETRY_PAUSE_S, self.turned, shard)

    async def _level(self, shard: Shard) -> None:
        role = self._roles.get(shard.code)
        if role is not None and not (shard.serving and role.epoch == shard.epoch):
            del self._roles[shard.code]
            await self._agents.leave(shard)
            await role.stop()
            role = None
        if role is None and not shard.serving:
            # Its rules may have begun though nothing else had: in a reign that was over before it came to that.
            await self._agents.leave(shard)
        if role is None and shard.serving:
            role = Role(shard, shard.epoch, self._shards)
            try:
                await role.start()
                # Before it looks at what has come: it must not miss what comes meanwhile.
                self._roles[shard.code] = role
                await role.delivery.catch_up()
            except BaseException:
                # Else the next try would find it, and take everything for done.
                self._roles.pop(shard.code, None)
                await role.stop()
                raise
            self._agents.take_up(shard)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(role.stop() for role in self._roles.values()))
        self._roles.clear()
