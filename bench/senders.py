"""The load on a cluster: a source for each of its nodes, and one row of messages that goes to whichever is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from bench.children import Peer, peer
from bench.load import ACTORS, Load
from bench.nodes import HOST, Nodes

SINGLE_CONNECTIONS = 32
_ARRAY_CONNECTIONS = 8
_ARRAY_MESSAGES = 100
#: Requests that are made ready at a time.
_AT_A_TIME = 50_000


class Senders:
    """Sends to the nodes of a cluster. What they owe their views is waited for outside of what is timed."""

    def __init__(self, nodes: Nodes, peers: Mapping[str, Peer]) -> None:
        self._nodes = nodes
        self._peers = peers
        self._load = Load()
        #: Whom the last messages were sent to.
        self._last = next(iter(peers.values()))

    async def to_leader(self, count: int, *, concern: str = "quorum") -> float:
        """Single messages per second of 32 connections to the node that leads."""
        figure = await self.singles(await self._nodes.leader(), count, concern=concern)
        await self._nodes.level()
        return figure

    async def to_follower(self, count: int) -> float:
        """Single messages per second of 32 connections to a node that passes them on."""
        figure = await self.singles(await self._nodes.follower(), count)
        await self._nodes.level()
        return figure

    async def singles(self, node: str, count: int, *, concern: str = "quorum") -> float:
        """Single messages per second to a node; returns when its own views show them."""
        self._last = self._peers[node]
        return await self._send(node, count, array=1, connections=SINGLE_CONNECTIONS, concern=concern)

    async def arrays(self, count: int) -> None:
        """Many messages to the node that leads, in arrays; returns when its own views show them."""
        leader = await self._nodes.leader()
        for first in range(0, count, _AT_A_TIME):
            part = min(_AT_A_TIME, count - first)
            await self._send(leader, part, array=_ARRAY_MESSAGES, connections=_ARRAY_CONNECTIONS)

    async def shown(self, node: str) -> None:
        """Wait until a node's own views show all that was sent; they hurry where somebody waits."""
        await self._peers[node].ask(do="wait", taken=self._load.taken)

    async def latency(self, percent: int) -> float:
        """What so many percent of the single messages that were sent last took at most, in ms."""
        return await self._last.ask(do="latency", percent=percent)

    async def _send(self, node: str, count: int, *, array: int, connections: int, concern: str = "quorum") -> float:
        first = self._load.numbers(count).start
        return await self._peers[node].ask(
            do="send", first=first, count=count, array=array, connections=connections, concern=concern
        )


@asynccontextmanager
async def senders(nodes: Nodes) -> AsyncIterator[Senders]:
    """Sources of load for the block; every actor of the load has been created, and all nodes are level."""
    async with AsyncExitStack() as stack:
        peers = {
            name: await stack.enter_async_context(peer("bench.peers.http_load", HOST, str(port)))
            for name, port in nodes.ports.items()
        }
        sending = Senders(nodes, peers)
        await sending.arrays(ACTORS)
        await nodes.level()
        yield sending
