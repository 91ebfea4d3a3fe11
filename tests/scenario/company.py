"""Three nodes that know each other, each on a server of its own; a node may go and come back, or be cut off."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from peaceriver.api.serving import Serving, serve
from peaceriver.application import Application
from peaceriver.embedded import Server
from peaceriver.node.launch import NONE, node_on_server
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing
from peaceriver.node.replication import Company
from peaceriver.node.sending import Sender
from peaceriver.record import Record, from_row
from peaceriver.shard import journal

NAMES = ("n1", "n2", "n3")
LEASE_S = 0.9
#: Where nobody listens.
_NOWHERE = "http://127.0.0.1:9"
_codes = itertools.count(100)
ME = Sender(principal="tester", timeout_s=20)


class Three:
    """A cluster of three nodes under test."""

    def __init__(self, directory: Path, application: Application = NONE) -> None:
        self._directory = directory
        self._application = application
        self._servers: dict[str, Server] = {}
        self._serving: dict[str, Serving] = {}
        self.nodes: dict[str, Node] = {}

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    async def start(self) -> None:
        await asyncio.gather(*(self.up(each) for each in NAMES))
        await asyncio.gather(*(node.led() for node in self.nodes.values()))

    async def up(self, name: str) -> Node:
        """Start a node, on the records that it has."""
        if name not in self._servers:
            self._servers[name] = await Server.start(self._directory / name)
        company = Company(founders=NAMES, urls=self._urls(), lease_s=LEASE_S)
        node = await node_on_server(name, self._servers[name], self._application, company)
        self._serving[name] = await serve(node)
        self.nodes[name] = node
        for other in self.nodes.values():
            other.replication.place(name, self.url(name))
            node.replication.place(other.name, self.url(other.name))
        return node

    async def down(self, name: str) -> None:
        """Stop a node; its records stay."""
        await self.nodes.pop(name).stop()
        await self._serving.pop(name).stop()

    async def stop(self) -> None:
        await asyncio.gather(*(self.down(each) for each in list(self.nodes)))
        await asyncio.gather(*(each.stop() for each in self._servers.values()))

    def url(self, name: str) -> str:
        return self._serving[name].url

    def _urls(self) -> dict[str, str]:
        return {name: each.url for name, each in self._serving.items()}

    def cut(self, name: str) -> None:
        """Nothing gets from a node to the others any more, nor back."""
        for other in self.nodes.values():
            if other.name != name:
                other.replication.peers.place(name, _NOWHERE)
                self.nodes[name].replication.peers.place(other.name, _NOWHERE)

    def heal(self) -> None:
        for node in self.nodes.values():
            for name in self.nodes:
                node.replication.peers.place(name, self.url(name))

    async def department(self) -> int:
        """A new department, which no other test uses, on all nodes."""
        code = next(_codes)
        node = next(iter(self.nodes.values()))
        await Publishing(node).department(code, {"name": f"Department {code}"}, ME)
        await eventually(lambda: all(self._counts(each, code) for each in self.nodes.values()))
        return code

    def _counts(self, node: Node, code: int) -> bool:
        """Whether a node has a replica whose word counts: one that is only copying yet keeps nobody going."""
        return code in node.shards and not node.replication.keepers[code].replica.recovering

    async def leader(self, code: int) -> str:
        """Who leads a department, as all that run and are not cut off agree."""
        found: list[str] = []

        def one() -> bool:
            found[:] = [name for name, node in self.nodes.items() if node.shards[code].serving]
            return len(found) == 1 and all(each.shards[code].leader == found[0] for each in self.nodes.values())

        await eventually(one)
        return found[0]

    async def followers(self, code: int) -> list[str]:
        leader = await self.leader(code)
        return [each for each in self.nodes if each != leader]

    async def records(self, name: str, code: int) -> list[Record]:
        """A department's whole journal on a node, also what is not complete."""
        async with self.nodes[name].database.reading() as tx:
            rows = await journal.following(tx, code, after=0, until=2**62, records=10_000)
        return [from_row(row) for row in rows]

    @asynccontextmanager
    async def door(self, name: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client of one node."""
        async with httpx.AsyncClient(base_url=self.url(name), timeout=30, trust_env=False) as client:
            yield client


async def eventually(holds: Callable[[], bool | Awaitable[bool]], timeout_s: float = 20.0) -> None:
    """Wait until something holds, looking now and then."""
    async with asyncio.timeout(timeout_s):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.03)


@asynccontextmanager
async def three(directory: Path, application: Application = NONE) -> AsyncIterator[Three]:
    """Three nodes that run as long as the block."""
    cluster = Three(directory, application)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
