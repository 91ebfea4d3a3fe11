"""Whole nodes on real PostgreSQL servers, in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peaceriver.embedded import Server
from peaceriver.node.launch import node_on_server
from peaceriver.node.node import Node
from tests.scenario.world import Restart, World


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory, anyio_backend: object) -> AsyncIterator[World]:
    """A node that all scenarios of a worker share; each makes departments of its own."""
    server = await Server.start(tmp_path_factory.mktemp("world") / "postgres")
    try:
        node = await node_on_server("n1", server)
        try:
            yield World(node, server)
        finally:
            await node.stop()
    finally:
        await server.stop()


@pytest.fixture
async def own_world(tmp_path: Path) -> AsyncIterator[Restart]:
    """Start a node of one's own; called again, it stops the node and starts another on the same records."""
    server = await Server.start(tmp_path / "postgres")
    running: list[Node] = []

    async def restart() -> World:
        while running:
            await running.pop().stop()
        running.append(await node_on_server("n1", server))
        return World(running[-1], server)

    try:
        yield restart
    finally:
        for node in running:
            await node.stop()
        await server.stop()
