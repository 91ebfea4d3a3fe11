"""The product as a contestant: one embedded node, used through its public Python API, with validation on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from bench import orders
from bench.load import ACTORS, Load, actor_id
from bench.place import Place, url
from peaceriver import Cluster, Department, Envelope
from peaceriver.errors import Conflict, NotFound, Refused

SEND_TIMEOUT_S = 60.0
_ARRAY_MESSAGES = 10_000


class Product:
    """A cluster, and the load that it has taken so far."""

    def __init__(self, cluster: Cluster, load: Load) -> None:
        self.cluster = cluster
        self.load = load

    @classmethod
    @asynccontextmanager
    async def opened(cls, connection: Mapping[str, Any], load: Load) -> AsyncIterator[Product]:
        """A product on a database that has taken ``load`` so far, for the block."""
        async with Cluster.embedded(orders, dsn=url(connection)) as cluster:
            yield cls(cluster, load)

    @classmethod
    @asynccontextmanager
    async def on(cls, place: Place, database: str) -> AsyncIterator[Product]:
        """A product in a new database, in which every actor of the load has been created, for the block."""
        async with cls.opened(await place.database(database), Load()) as product:
            await product.grow(ACTORS)
            yield product

    async def grow(self, count: int) -> None:
        """Take so many messages more, in arrays, and wait until the views show them."""
        for first in range(0, count, _ARRAY_MESSAGES):
            await self.send(self.load.messages(min(_ARRAY_MESSAGES, count - first)))
        await self.folded()

    async def send(self, messages: Sequence[Envelope]) -> None:
        """Send an array; raises the first refusal, for a refused message costs less than a recorded one."""
        for outcome in await self.cluster.send(messages, timeout_s=SEND_TIMEOUT_S):
            if isinstance(outcome, Refused):
                raise outcome

    async def folded(self, department: Department = orders.sales) -> None:
        """Wait until the views show all that was sent: what one contestant owes must not slow the next one down."""
        while True:
            try:
                with suppress(NotFound):
                    await self.cluster.get(orders.Order, actor_id(0), at=department)
                return
            except Conflict:
                continue

    async def arrays(self, count: int, *, size: int, until_folded: bool = False) -> float:
        """Messages per second in arrays of ``size``, one after the other."""
        messages = self.load.messages(count)
        began = time.perf_counter()
        for first in range(0, count, size):
            await self.send(messages[first : first + size])
        if until_folded:
            await self.folded()
        took = time.perf_counter() - began
        await self.folded()
        return count / took

    async def singles(self, count: int, *, clients: int) -> float:
        """Messages per second, each on its own, of so many clients at once; a client waits for each receipt."""
        messages = iter(self.load.messages(count))

        async def client() -> None:
            for each in messages:
                await self.cluster.send(each, timeout_s=SEND_TIMEOUT_S)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        took = time.perf_counter() - began
        await self.folded()
        return count / took
