"""Three nodes in this process, and what only a superuser who means it can do to the database of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from peaceriver import Cluster
from peaceriver import cluster as cluster_module
from peaceriver.embedded import Server
from peaceriver.message import Envelope
from peaceriver.node.node import Node
from peaceriver.node.sending import Sender
from peaceriver.node.wire import Checked, Flawed
from peaceriver.postgres import DATABASE, connect
from peaceriver.shard.proposal import Receipt
from tests.scenario.words import create, modify

CODE = 100
ITEMS = 12
ME = Sender(principal="tester", timeout_s=30)


async def eventually(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come to be so")


async def sent(cluster: Cluster, *envelopes: Envelope) -> list[Receipt]:
    assert cluster.node is not None
    outcomes = await cluster.node.sending.send(envelopes, ME)
    for each in outcomes:
        assert isinstance(each, Receipt), each
    return [each for each in outcomes if isinstance(each, Receipt)]


async def filled(cluster: Cluster, code: int = CODE) -> int:
    """A department with some actors, level on all nodes; answers where its journal ends."""
    await cluster.department(code, f"Department {code}")
    for node in cluster.nodes:
        # The leader writes down who holds the department, soon after it was founded.
        await eventually(lambda node=node: code in node.shards)
        await eventually(lambda node=node: node.replication.keepers[code].replica.members.position > 0)
    await sent(cluster, *(create(code, f"Item/{n}", f'{{"n":{n}}}') for n in range(ITEMS)))
    last = await sent(cluster, *(modify(code, f"Item/{n}", f'{{"m":{n}}}') for n in range(ITEMS)))
    await level(cluster, code, last[-1].position)
    return last[-1].position


async def level(cluster: Cluster, code: int, position: int) -> None:
    for node in cluster.nodes:
        await eventually(lambda node=node: code in node.shards)
        async with asyncio.timeout(20):
            await node.shards[code].folded.reached(position)


def leader(cluster: Cluster, code: int = CODE) -> Node:
    return next(node for node in cluster.nodes if node.shards[code].serving)


def follower(cluster: Cluster, code: int = CODE) -> Node:
    return next(node for node in cluster.nodes if not node.shards[code].serving)


class Trio:
    """Three nodes, and their servers by name."""

    def __init__(self, cluster: Cluster, servers: dict[str, Server]) -> None:
        self.cluster = cluster
        self.servers = servers

    def at(self, name: str) -> Node:
        return next(each for each in self.cluster.nodes if each.name == name)

    async def damage(self, node: Node, *statements: str, code: int = CODE) -> None:
        """Change what nobody may: the guard of the journal is away meanwhile."""
        admin = await connect(self.servers[node.name].connection("postgres", DATABASE))
        try:
            await admin.execute(f"alter table journal_{code} disable trigger append_only")
            for statement in statements:
                assert await admin.execute(statement) != "UPDATE 0", statement
            await admin.execute(f"alter table journal_{code} enable always trigger append_only")
        finally:
            await admin.close()


@asynccontextmanager
async def three(data: Path | None = None) -> AsyncIterator[Trio]:
    """Three nodes in this process, whose servers are known."""
    servers: dict[str, Server] = {}

    class Known(Server):
        @classmethod
        async def start(cls, directory: Path, **more: Any) -> Server:
            servers[directory.parent.name] = server = await Server.start(directory, **more)
            return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_module, "Server", Known)
        async with Cluster.embedded(nodes=3, data=data) as cluster:
            yield Trio(cluster, servers)


async def journal_of(node: Node, code: int = CODE) -> list[tuple[Any, ...]]:
    async with node.database.connection() as tx:
        rows = await tx.fetch("select * from journal where shard = $1 order by position", code)
    return [tuple(row.values()) for row in rows]


async def checked(node: Node, code: int = CODE) -> list[Flawed]:
    """Verify one replica, and repair it."""
    (found,) = await node.verifying.answer([code])
    assert isinstance(found, Checked)
    return found.flaws


def told(flaws: Sequence[Flawed]) -> list[tuple[str, str, bool]]:
    return [(each.where, each.place, each.repaired) for each in flaws]
