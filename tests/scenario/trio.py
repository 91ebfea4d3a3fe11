"""Three nodes under test in one process, each with a server and a door: any may stop, be cut off, or lose its disk."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from peaceriver.api.serving import Serving, serve
from peaceriver.application import Application
from peaceriver.embedded import Server
from peaceriver.message import Envelope
from peaceriver.node.launch import NONE, node_on_server, publish
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing
from peaceriver.node.replication import Company
from peaceriver.node.sending import Sender
from peaceriver.node.standings import Standing
from peaceriver.record import Record, from_row
from peaceriver.shard import journal
from peaceriver.shard.proposal import Outcome, Receipt

#: Short, so that tests of fail-over are.
LEASE_S = 0.9
ME = Sender(principal="tester", timeout_s=30)
NAMES = ("n1", "n2", "n3")
#: Where nobody listens.
_NOWHERE = "http://127.0.0.1:9"


class Trio:
    """The nodes of a cluster by name; those that are stopped are not among them."""

    def __init__(self, folder: Path, application: Application = NONE, lease_s: float = LEASE_S) -> None:
        self.folder = folder
        self.nodes: dict[str, Node] = {}
        self.servers: dict[str, Server] = {}
        self.urls: dict[str, str] = {}
        self._application = application
        self._lease_s = lease_s
        self._doors: dict[str, Serving] = {}
        self._cut: set[str] = set()
        self._codes = itertools.count(100)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def any(self) -> Node:
        """A node that runs and hears others."""
        return next(node for name, node in self.nodes.items() if name not in self._cut)

    # What becomes of nodes

    async def start(self, *names: str) -> None:
        """Start nodes, together, on what they have; all of the three that do not run, where none is named."""
        wanted = names or [each for each in NAMES if each not in self.nodes]
        await asyncio.gather(*(self._start(each) for each in wanted))
        self._cut -= set(wanted)
        self._introduce()

    async def _start(self, name: str) -> None:
        self.servers[name] = await Server.start(self.data(name))
        # Where the others are, it is told after that: then a test can say otherwise.
        company = Company(founders=NAMES, lease_s=self._lease_s)
        node = await node_on_server(name, self.servers[name], self._application, company)
        self._doors[name] = await serve(node)
        self.urls[name] = node.overview.url = self._doors[name].url
        self.nodes[name] = node

    async def stop(self, *names: str) -> None:
        """Stop nodes and their servers in order, together; all that run, where none is named."""
        going = names or tuple(self.nodes)
        if len(going) == len(self.nodes):
            # Nobody is waited for who stops as well.
            await asyncio.gather(*(node.replication.part() for node in self.nodes.values()))
        await asyncio.gather(*(self._stop(each) for each in going))

    async def _stop(self, name: str) -> None:
        node = self.nodes.pop(name)
        await self._doors.pop(name).stop()
        await node.stop()
        await self.servers.pop(name).stop()

    async def cut(self, *names: str) -> None:
        """Nothing gets from these nodes to any other any more, nor back; they run on."""
        self._cut |= set(names)
        self._introduce()
        cut = [
            puller
            for node in self.nodes.values()
            for other, puller in node.replication.pullers.items()
            if other in self.nodes and {node.name, other} & self._cut
        ]
        for each in cut:
            each._turned.set()  # what it had asked before is not answered any more
        await until(lambda: all(each.trouble() for each in cut), "silence")

    def heal(self) -> None:
        """All that run hear each other."""
        self._cut.clear()
        self._introduce()

    def _introduce(self) -> None:
        for node in self.nodes.values():
            for other, url in self.urls.items():
                is_cut = {node.name, other} & self._cut
                node.replication.place(other, _NOWHERE if is_cut else url)

    async def whole(self) -> None:
        """All three run, hear each other and are led, whatever was done to them."""
        await self.start()
        self.heal()
        await asyncio.gather(*(node.led() for node in self.nodes.values()))

    def data(self, name: str) -> Path:
        """Where a node's server has its directory."""
        return self.folder / name

    def wipe(self, name: str) -> None:
        """The disk of a stopped node is lost."""
        shutil.rmtree(self.data(name))

    async def close(self) -> None:
        """Nothing runs any more, however far a start has come."""
        await self.stop()
        await asyncio.gather(*(each.stop() for each in self.servers.values()))

    # Departments

    async def department(self) -> int:
        """A new department, which no other test uses, led by somebody, as every node knows."""
        code = next(self._codes)
        await Publishing(self.any).department(code, {"name": f"Department {code}"}, ME)

        def all_count() -> bool:
            keepers = [node.replication.keepers for node in self.nodes.values()]
            return all(code in each and not each[code].replica.recovering for each in keepers)

        # A node that was late when the cluster was founded counts a moment later: until then the other two are needed.
        await until(all_count, f"replicas of {code} that count")
        await self.leader(code)
        return code

    async def leader(self, code: int) -> str:
        """The node that leads a department, as soon as all that run and are not cut off agree on it."""

        def leader() -> str | None:
            nodes = {name: node for name, node in self.nodes.items() if name not in self._cut}
            told = {node.shards[code].leader if code in node.shards else None for node in nodes.values()}
            (only, *others) = told
            return only if not others and only in nodes and nodes[only].shards[code].serving else None

        name: str = await until(leader, f"leader of {code}")
        return name

    async def followers(self, code: int) -> list[str]:
        """The nodes that run and do not lead a department."""
        leader = await self.leader(code)
        return [each for each in self.nodes if each != leader]

    async def level(self, code: int) -> int:
        """Wait until all nodes that run have the same journal, complete and folded; answers how long it is."""

        def same() -> int | None:
            shards = [node.shards[code] for node in self.nodes.values() if code in node.shards]
            places = {(each.tip.position, each.tip.chain, each.complete.value, each.folded.value) for each in shards}
            if len(shards) < len(self.nodes) or len(places) != 1:
                return None
            position, _, complete, folded = places.pop()
            return position if position == complete == folded else None

        length: int = await until(same, f"replicas of {code} that are level")
        return length

    async def enter(self) -> None:
        """The nodes enter themselves, and their application, into the directory."""
        await asyncio.gather(*(publish(node, self._application, node.overview.url) for node in self.nodes.values()))

    # What users do

    async def send(self, *envelopes: Envelope, by: str | None = None, sender: Sender = ME) -> list[Outcome]:
        node = self.any if by is None else self.nodes[by]
        return await node.sending.send(envelopes, sender)

    async def receipt(self, envelope: Envelope, *, by: str | None = None, sender: Sender = ME) -> Receipt:
        (outcome,) = await self.send(envelope, by=by, sender=sender)
        assert isinstance(outcome, Receipt), outcome
        return outcome

    async def receipts(self, *envelopes: Envelope) -> list[Receipt]:
        outcomes = await self.send(*envelopes)
        receipts = [each for each in outcomes if isinstance(each, Receipt)]
        assert len(receipts) == len(outcomes), outcomes
        return receipts

    async def records(self, name: str, code: int) -> list[Record]:
        """A department's whole journal on a node, also what is not complete."""
        async with self.nodes[name].database.reading() as tx:
            rows = await journal.following(tx, code, after=0, until=2**62, records=10_000)
        return [from_row(row) for row in rows]

    async def opened(self, name: str, code: int) -> list[Standing]:
        """What could not be done in a department and still is to be resolved, as a node has it."""
        found = await self.nodes[name].exceptions.listed(state="open", limit=1000, offset=0)
        return [each for each in found if each.opening.shard == code]

    @asynccontextmanager
    async def door(self, name: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client of one node."""
        async with httpx.AsyncClient(base_url=self.urls[name], timeout=30, trust_env=False) as client:
            yield client


async def until(found: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """What is found, once there is something (nothing, False and an empty answer are none); looked for now and then.

    Where the answer has to be awaited, it is.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = found()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"within {timeout_s} s there was no {what}")


@asynccontextmanager
async def trio(folder: Path, application: Application = NONE, lease_s: float = LEASE_S) -> AsyncIterator[Trio]:
    """Three nodes for the block; nothing of them is left running afterwards."""
    made = Trio(folder, application, lease_s)
    try:
        await made.whole()
        yield made
    finally:
        await made.close()
