"""A cluster of real node processes, with a proxy for each directed link, and everything that can be done to it."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from peaceriver.node import overview
from peaceriver.node.overview import NodeStanding, ReplicaStanding
from peaceriver.node.wire import framed, unframed
from tests.faults.links import Link
from tests.faults.member import Member, reap

LEASE_S = 0.6
_UP_S = 90.0
_LOOK_S = 0.05
_STANDING_S = 1.0
_SEES_S = 10.0
#: States of a replica that counts: it forgets nothing, and hears from a leader.
COUNTING = frozenset(("leader", "follower", "learner"))
_PR_SET_CHILD_SUBREAPER = 36


class Cluster:
    """The nodes by name, and the links by the names of the one that asks and the one that is asked."""

    def __init__(self, directory: Path, members: Iterable[Member], *, lease_s: float) -> None:
        self.directory = directory
        self.lease_s = lease_s
        self.members = {each.name: each for each in members}
        self.links: dict[tuple[str, str], Link] = {}
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    @property
    def names(self) -> list[str]:
        return list(self.members)

    async def start(self) -> None:
        """Start every node, and wait until every department is led."""
        for one, other in itertools.permutations(self.names, 2):
            link = self.links[one, other] = Link(self.members[other].port)
            await link.start()
        for name, member in self.members.items():
            member.configure({other: self.links[name, other].url for other in self.names if other != name})
            await member.start()
        await self.led()

    # --- weather

    def block(self, one: str, other: str) -> None:
        """Nothing that ``one`` sends reaches ``other``: it is on its way until the weather clears."""
        self.links[one, other].requests.close()
        self.links[other, one].answers.close()

    def isolate(self, name: str) -> None:
        """A partition: nothing to or from a node passes."""
        for other in self.names:
            if other != name:
                self.block(name, other)
                self.block(other, name)

    def split(self, names: Iterable[str]) -> None:
        """A partition between some nodes and the others; on either side everybody is heard."""
        side = set(names)
        for one, other in self.links:
            if (one in side) != (other in side):
                self.block(one, other)

    def refuse(self, name: str) -> None:
        """A partition that says so: every connection to or from a node is reset."""
        for pair, link in self.links.items():
            if name in pair:
                link.refuse()

    def delay(self, name: str, delay_s: float) -> None:
        """Whatever a node says or hears takes so much longer."""
        for pair, link in self.links.items():
            if name in pair:
                link.requests.delay_s = link.answers.delay_s = delay_s

    def clear_weather(self) -> None:
        for link in self.links.values():
            link.heal()

    async def heal(self) -> None:
        """Everything is well again: links, frozen processes, clocks, disks; and every node runs."""
        self.clear_weather()
        for member in self.members.values():
            member.go_on()
            member.clock.set(0.0)
            if member.disk is not None:
                member.disk.free()
            await member.start()
        reap()

    # --- how it is

    async def get(self, name: str, path: str, *, timeout_s: float = 2.0, **query: str) -> Any:
        """What a node answers to a read; raises aiohttp.ClientError, TimeoutError."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self.http.get(self.members[name].url + path, params=query, timeout=timeout) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def standing(self, name: str) -> dict[int, ReplicaStanding] | None:
        """How a node's own replicas stand, as it tells the other nodes; None where it does not say."""
        url, timeout = self.members[name].url + overview.PATH, aiohttp.ClientTimeout(total=_STANDING_S)
        try:
            async with self.http.post(url, data=framed(None), timeout=timeout) as answer:
                answer.raise_for_status()
                return unframed(await answer.read(), NodeStanding)[0].shards
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def all_count(self, code: int = 0, *, timeout_s: float = _UP_S) -> None:
        """Wait until every node's replica of a department leads, follows or learns, and recovers no more."""
        async with asyncio.timeout(timeout_s):
            while True:
                said = await asyncio.gather(*(self.standing(name) for name in self.names))
                states = [each[code].state for each in said if each is not None and code in each]
                if len(states) == len(self.names) and "leader" in states and COUNTING.issuperset(states):
                    return
                await asyncio.sleep(_LOOK_S)

    async def sees(self, name: str) -> set[str]:
        """The nodes that a node reaches now, as it says itself: it asks them before it answers."""
        page = await self.get(name, "/cluster", timeout_s=_SEES_S)
        return {each["name"] for each in page["nodes"] if each["alive"]}

    async def leader(self, code: int) -> str | None:
        """Who says that it leads a department, in the highest epoch."""
        said = await asyncio.gather(*(self.standing(name) for name in self.names))
        leading = [
            (standing[code].epoch, name)
            for name, standing in zip(self.names, said, strict=True)
            if standing is not None and code in standing and standing[code].state == "leader"
        ]
        return max(leading)[1] if leading else None

    async def led(self, *, timeout_s: float = _UP_S, codes: Iterable[int] = (), everywhere: bool = False) -> float:
        """Wait until every node answers and each department is led by somebody; how long that took.

        ``everywhere``: and every node has each, so that it takes messages for it.
        """
        began = time.monotonic()
        wanted = {0, *codes}
        async with asyncio.timeout(timeout_s):
            while True:
                said = await asyncio.gather(*(self.standing(name) for name in self.names))
                standings = [each for each in said if each is not None]
                if len(standings) == len(self.names):
                    codes_known = wanted.union(*standings)
                    led = {code for each in standings for code, shard in each.items() if shard.state == "leader"}
                    there = codes_known.intersection(*standings) if everywhere else codes_known
                    if led >= codes_known == there:
                        return time.monotonic() - began
                await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Nothing of it is left running."""
        self.clear_weather()
        await asyncio.gather(*(each.close() for each in self.members.values()))
        for link in self.links.values():
            await link.stop()
        await self.http.close()
        reap()


def adopt() -> None:
    """Let servers whose nodes were killed become children of this process, so that nobody has to wait for init."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


@asynccontextmanager
async def running(
    directory: Path,
    *,
    nodes: int = 3,
    lease_s: float = LEASE_S,
    app: str | None = "tests.faults.bank",
    mutant: str = "",
    own_disks: bool = False,
) -> AsyncIterator[Cluster]:
    """A running cluster for the block; whatever happens, nothing of it is left."""
    adopt()
    names = tuple(f"n{number}" for number in range(1, nodes + 1))
    members = [Member(name, directory, lease_s=lease_s, app=app, founders=names, own_disk=own_disks) for name in names]
    for each in members:
        each.mutant = mutant or None
    cluster = Cluster(directory, members, lease_s=lease_s)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.close()
