"""Clusters as `peaceriver up` runs them: nodes that are processes, each with a PostgreSQL server of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from bench.orders import sales
from bench.place import ROLE
from peaceriver.cli.supervision import SupervisedNode, free_ports
from peaceriver.client import Client
from peaceriver.embedded.sockets import PORT
from peaceriver.errors import Refused, Unreachable
from peaceriver.node.configuration import Listen, NodeConfiguration
from peaceriver.postgres import DATABASE

HOST = "127.0.0.1"
_LOOK_PAUSE_S = 0.1
#: A node that was killed has its database recovered and its journal brought level in this time.
_LEVEL_TIMEOUT_S = 300.0
_APPLICATION = '''"""The application of a run: the load goes to the first of these departments."""

from bench.orders import Order
from peaceriver import Department

departments = [Department(code, f"Department {{code}}", receives=[Order]) for code in range({first}, {end})]
'''


class Nodes:
    """The nodes of one cluster, by name."""

    def __init__(self, directory: Path, supervised: Mapping[str, SupervisedNode], ports: Mapping[str, int]) -> None:
        self._directory = directory
        self._supervised = supervised
        self.ports = ports

    @property
    def pids(self) -> list[int]:
        """The nodes' processes now; their servers are children of them."""
        return [each.pid for each in self._supervised.values() if each.pid is not None]

    def pid(self, name: str) -> int:
        """A node's process now; after a kill there is another one."""
        pid = self._supervised[name].pid
        assert pid is not None, f"{name} was never started"
        return pid

    async def start(self, name: str) -> None:
        """Start a node that was stopped; returns when it takes messages."""
        await self._supervised[name].start()

    async def stop(self, name: str) -> None:
        """Stop a node in order, and its server with it."""
        await self._supervised[name].stop()

    def connection(self, name: str, role: str = ROLE, database: str = DATABASE) -> dict[str, Any]:
        """How to connect to a node's own server; it need not have started yet."""
        return {"host": str(self._directory / name / "sockets"), "port": PORT, "user": role, "database": database}

    async def overview(self) -> dict[str, Any]:
        """What `GET /cluster` says at the first node that answers."""
        for port in self.ports.values():
            with suppress(Unreachable, Refused):
                async with Client(f"http://{HOST}:{port}") as client:
                    return await client.cluster()
        raise RuntimeError(f"no node answers at {sorted(self.ports.values())}")

    async def leader(self) -> str:
        """The node that leads the department of the load."""
        leader = _sales(await self.overview())["leader"]
        if leader is None:
            await self.level()
            return await self.leader()
        return str(leader)

    async def follower(self) -> str:
        """A node that follows there, and leads as little else as may be."""
        overview = await self.overview()
        leads = {each["name"]: each["leads"] for each in overview["nodes"] if each["alive"]}
        return min((name for name in leads if sales.code not in leads[name]), key=lambda name: (len(leads[name]), name))

    async def folded(self, name: str) -> int:
        """How far a node's views show the department of the load."""
        replicas = _sales(await self.overview())["replicas"]
        return next(int(each["folded"]) for each in replicas if each["node"] == name)

    async def level(self, without: Collection[str] = ()) -> int:
        """Wait until all nodes but those have the whole journal, and their views show it; answers its last position.

        What is owed to one measurement must not slow the next one down.
        """
        awaited = self.ports.keys() - set(without)
        async with asyncio.timeout(_LEVEL_TIMEOUT_S):
            while True:
                found = _sales(await self.overview())
                position = found["position"]
                showing = {each["node"] for each in found["replicas"] if each.get("folded") == position}
                if found["leader"] is not None and found["complete"] == position and awaited <= showing:
                    return int(position)
                await asyncio.sleep(_LOOK_PAUSE_S)


def _sales(overview: Mapping[str, Any]) -> dict[str, Any]:
    return next(each for each in overview["shards"] if each["shard"] == sales.code)


@asynccontextmanager
async def nodes(directory: Path, number: int, *, departments: int = 1) -> AsyncIterator[Nodes]:
    """A cluster of so many nodes in a new directory, for the block; it takes messages when the block begins.

    A node that dies is started again, as `peaceriver up` does; whatever happens, none is left running.
    """
    app = _application(directory, departments)
    ports = {f"n{each}": port for each, port in enumerate(free_ports(0, number), start=1)}
    urls = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
    supervised = {
        name: SupervisedNode(
            directory,
            NodeConfiguration(
                name=name,
                listen=Listen(port=port),
                data=name,
                app=str(app),
                peers={other: url for other, url in urls.items() if other != name},
            ),
            _say,
        )
        for name, port in ports.items()
    }
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_stop, supervised)
        # Together, for none of several takes messages before a majority is up.
        async with asyncio.TaskGroup() as starting:
            for each in supervised.values():
                starting.create_task(each.start())
        yield Nodes(directory, supervised, ports)


def _application(directory: Path, departments: int) -> Path:
    directory.mkdir(mode=0o700)
    app = directory / "departments.py"
    app.write_text(_APPLICATION.format(first=sales.code, end=sales.code + departments), "utf-8")
    return app


async def _stop(supervised: Mapping[str, SupervisedNode]) -> None:
    await asyncio.gather(*(each.stop() for each in supervised.values()))


def _say(words: str) -> None:
    print(f"  {words}", file=sys.stderr, flush=True)
