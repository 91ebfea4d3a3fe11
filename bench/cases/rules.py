"""Rules: one follow-up for each order, of a backlog and one at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench import invoicing, names
from bench.children import Peer, peer
from bench.load import fields, written
from bench.orders import Order
from bench.place import Place, url
from bench.rounds import Contestant
from peaceriver import Cluster, Envelope, Receipt
from peaceriver.shard.agent import Agent

_BACKLOG = 3_000


@asynccontextmanager
async def rules(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """A rule of the product beside the process application of the `eventsourcing` package."""
    connection = await place.database("rules_events")
    arguments = [str(connection[key]) for key in ("host", "port", "user", "database")]
    async with (
        Cluster.embedded(invoicing, dsn=url(await place.database("rules"))) as cluster,
        peer("bench.peers.eventsourcing_system", *arguments) as system,
    ):
        yield [*_of_product(_Invoicing(cluster)), *_of_peer(system)]


class _Invoicing:
    """The product's rule, and the orders that it has seen."""

    def __init__(self, cluster: Cluster) -> None:
        assert cluster.node is not None
        self._cluster = cluster
        self._node = cluster.node
        self._placed = 0

    def _orders(self, count: int) -> list[Envelope]:
        first, self._placed = self._placed, self._placed + count
        return [
            Envelope(
                to=invoicing.sales.code,
                actor_type=Order.__name__,
                actor_id=f"SO-{number:08}",
                action="create",
                body=written(fields(number)),
            )
            for number in range(first, self._placed)
        ]

    async def backlog(self, count: int) -> float:
        """Orders recorded while the rule's agent is stopped; answers how many per second it then acts on."""
        agent = self._agent()
        await agent.stop()
        receipts = [each for each in await self._cluster.send(self._orders(count)) if isinstance(each, Receipt)]
        assert len(receipts) == count, "an order was refused, so the measurement would be of something else"
        await self._shown()
        began = time.perf_counter()
        await agent.start()
        await agent.acted.reached(receipts[-1].position)
        took = time.perf_counter() - began
        await self._shown()
        return count / took

    async def follow_ups(self, count: int) -> float:
        """One order at a time; answers the median time from before it is sent to after its invoice's record, in ms."""
        agent, times = self._agent(), []
        for each in self._orders(count):
            began = time.perf_counter()
            receipt = await self._cluster.send(each)
            await agent.acted.reached(receipt.position)
            times.append(time.perf_counter() - began)
        await self._shown()
        return statistics.median(times) * 1000

    def _agent(self) -> Agent:
        agent = self._node.agents.of(invoicing.invoice.name)
        assert agent is not None
        return agent

    async def _shown(self) -> None:
        """Wait for the views: what this owes must not slow the next one down."""
        shard = self._node.shards[invoicing.sales.code]
        await shard.folded.reached(shard.complete.value)


def _of_product(product: _Invoicing) -> list[Contestant]:
    return [
        Contestant(name=names.RULE_BACKLOG, measure=product.backlog, most=_BACKLOG),
        Contestant(name=names.RULE_FOLLOW_UP, measure=product.follow_ups, unit="ms"),
    ]


def _of_peer(system: Peer) -> list[Contestant]:
    async def backlog(count: int) -> float:
        return await system.ask(do="backlog", count=count)

    def follow_up(name: str, *, pushed: bool) -> Contestant:
        async def measure(count: int) -> float:
            return await system.ask(do="follow_up", count=count, pushed=pushed)

        return Contestant(name=name, measure=measure, unit="ms")

    return [
        Contestant(name=names.EVENTSOURCING_BACKLOG, measure=backlog, most=_BACKLOG),
        *(
            follow_up(name, pushed=pushed)
            for name, pushed in zip(names.EVENTSOURCING_FOLLOW_UPS, (False, True), strict=True)
        ),
    ]
