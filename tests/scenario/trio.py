"""Three nodes under test in one process, each with a server and a door of its own, that can be stopped one by one."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from peaceriver.api.serving import Serving, serve
from peaceriver.application import load
from peaceriver.embedded import Server
from peaceriver.message import Envelope
from peaceriver.node.launch import node_on_server, publish
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing
from peaceriver.node.replication import Company
from peaceriver.node.sending import Sender
from peaceriver.shard.proposal import Outcome, Receipt

#: Short, so that tests of fail-over are.
LEASE_S = 0.6
ME = Sender(principal="tester", timeout_s=20)
NAMES = ("n1", "n2", "n3")


class Trio:
    """The nodes of a cluster by name; those that are stopped are not among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: dict[str, Node] = {}
        self.servers: dict[str, Server] = {}
        self.urls: dict[str, str] = {}
        self._doors: dict[str, Serving] = {}

    def data(self, name: str) -> Path:
        return self.folder / name

    async def start(self, *names: str, founders: tuple[str, ...] = NAMES, **settings: Any) -> None:
        """Start nodes, together; they know those that run."""
        await asyncio.gather(*(self._start(name, founders, settings) for name in names or NAMES))
        for node in self.nodes.values():
            for other, url in self.urls.items():
                node.replication.place(other, url)

    async def _start(self, name: str, founders: tuple[str, ...], settings: Mapping[str, Any]) -> None:
        self.servers[name] = await Server.start(self.data(name))
        company = Company(founders=founders, urls=dict(self.urls), lease_s=LEASE_S)
        node = await node_on_server(name, self.servers[name], load(None), company, **settings)
        self._doors[name] = await serve(node)
        self.urls[name] = node.overview.url = self._doors[name].url
        self.nodes[name] = node

    async def stop(self, name: str) -> None:
        """Stop a node in order."""
        node = self.nodes.pop(name)
        await self._doors.pop(name).stop()
        await node.stop()
        await self.servers.pop(name).stop()

    async def cut(self, name: str) -> None:
        """A node's door is shut and it asks nobody any more: it is alone, and runs."""
        await self._doors.pop(name).stop()
        node = self.nodes[name]
        for puller in node.replication.pullers.values():
            await puller.stop()
        node.replication.pullers.clear()
        for other in self.urls:
            node.replication.peers.part_with(other)

    def wipe(self, name: str) -> None:
        """The disk of a stopped node is lost."""
        shutil.rmtree(self.data(name))

    @property
    def any(self) -> Node:
        return next(iter(self.nodes.values()))

    async def department(self, code: int) -> int:
        """A new department, led by somebody, as every node knows."""
        await Publishing(self.any).department(code, {"name": f"Department {code}"}, ME)
        await self.led(code)

        def all_count() -> bool:
            keepers = [node.replication.keepers for node in self.nodes.values()]
            return all(code in each and not each[code].replica.recovering for each in keepers)

        # A node that was late when the cluster was founded counts a moment later: until then the other two are needed.
        await until(all_count, f"replicas of {code} that count")
        return code

    async def led(self, code: int) -> str:
        """The node that leads a department, as soon as all that run agree on it."""

        def leader() -> str | None:
            told = {node.shards[code].leader if code in node.shards else None for node in self.nodes.values()}
            (only, *others) = told
            return only if not others and only in self.nodes else None

        return await until(leader, f"a leader of {code}")

    async def enter(self) -> None:
        """The nodes enter themselves into the directory."""
        for node in list(self.nodes.values()):
            await publish(node, load(None), node.overview.url)

    async def send(self, envelope: Envelope, *, by: str | None = None, sender: Sender = ME) -> Outcome:
        node = self.any if by is None else self.nodes[by]
        return (await node.sending.send([envelope], sender))[0]

    async def receipt(self, envelope: Envelope, *, by: str | None = None, sender: Sender = ME) -> Receipt:
        outcome = await self.send(envelope, by=by, sender=sender)
        assert isinstance(outcome, Receipt), outcome
        return outcome

    async def level(self, code: int) -> int:
        """Wait until all nodes that run have the same journal, complete and folded; answers how long it is."""

        def same() -> int | None:
            shards = [node.shards[code] for node in self.nodes.values() if code in node.shards]
            places = {(each.tip.position, each.tip.chain, each.complete.value, each.folded.value) for each in shards}
            if len(shards) < len(self.nodes) or len(places) != 1:
                return None
            position, _, complete, folded = places.pop()
            return position if position == complete == folded else None

        return await until(same, f"replicas of {code} that are level")


async def until(found: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """What is found, once something is."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = found()
        if value is not None and value is not False:
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"within {timeout_s} s there were no {what}")


@asynccontextmanager
async def trio(folder: Path) -> AsyncIterator[Trio]:
    """Three nodes for the block; nothing of them is left afterwards."""
    made = Trio(folder)
    try:
        await made.start()
        yield made
    finally:
        for name in list(made.nodes):
            if name in made._doors:
                await made._doors.pop(name).stop()
        for node in made.nodes.values():
            await node.stop()
        for server in made.servers.values():
            await server.stop()
