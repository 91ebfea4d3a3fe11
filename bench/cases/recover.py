"""Recovery: the node that leads is killed under load; how long until another one acknowledges a write."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench import names
from bench.children import Peer, peer
from bench.nodes import HOST, Nodes, nodes
from bench.place import Place
from bench.rounds import Contestant
from bench.senders import SINGLE_CONNECTIONS, senders
from peaceriver.limits import LEASE_S

#: Kills for each second of a round.
_KILLS = 3


@asynccontextmanager
async def recover(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Leases from a kill to the next write, with the product's own lease."""
    async with nodes(place.directory / "recover", 3) as cluster, peer("bench.peers.outage") as load:
        async with senders(cluster):
            pass  # every actor is there, and nobody sends but the load that sees the kills
        victims = _Victims(cluster, load)
        yield [
            Contestant(name=names.RECOVER, measure=victims.median, unit="leases", least=1, most=100, per_second=_KILLS),
            Contestant(name=names.RECOVER_WORST, measure=victims.worst, unit="leases", least=1, most=1),
        ]


class _Victims:
    """Nodes that led when they were killed; each is started again, and level, before the next one is."""

    def __init__(self, cluster: Nodes, load: Peer) -> None:
        self._cluster = cluster
        self._load = load
        self._leases: list[float] = []

    async def median(self, count: int) -> float:
        """Kill so often; answers the median time in leases."""
        self._leases = [await self._kill() / LEASE_S for _ in range(count)]
        return statistics.median(self._leases)

    async def worst(self, _count: int) -> float:
        """The longest of the same kills."""
        return max(self._leases)

    async def _kill(self) -> float:
        leader = await self._cluster.leader()
        # Clients know all nodes: those that the dead one served have gone to the others.
        ports = [port for name, port in self._cluster.ports.items() if name != leader]
        took_s = await self._load.ask(
            do="kill", pid=self._cluster.pid(leader), host=HOST, ports=ports, connections=SINGLE_CONNECTIONS
        )
        await self._cluster.level()
        return took_s
