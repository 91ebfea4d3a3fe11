"""Nodes in this process, for ``Cluster.embedded``: real ones, on servers of their own or a database by DSN."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from peaceriver.api.serving import serve
from peaceriver.application import Application
from peaceriver.embedded import Server
from peaceriver.node.gateway import Inside
from peaceriver.node.launch import node_on_dsn, node_on_server, publish
from peaceriver.node.node import Node
from peaceriver.node.replication import Company

__all__ = ["Inside", "embed"]


@asynccontextmanager
async def embed(
    application: Application, *, nodes: int, data: Path | str | None, dsn: str | None
) -> AsyncIterator[list[Node]]:
    """Nodes that serve ``application`` for the block, led and with all of it in the directory. Raises StartFailed."""
    async with AsyncExitStack() as stack:
        if nodes == 1:
            running = [await _node(stack, application, data, dsn)]
            stack.push_async_callback(running[0].stop)
        else:
            running = await _nodes(stack, application, data, nodes)
            # First of all that ends: nobody misses a node that stops with the others.
            stack.push_async_callback(_part, running)
        await asyncio.gather(*(publish(node, application, node.overview.url) for node in running))
        await asyncio.gather(*(node.led() for node in running))
        yield running


async def _node(stack: AsyncExitStack, application: Application, data: Path | str | None, dsn: str | None) -> Node:
    """A started node, and whatever it stands on, to be ended with the stack."""
    if dsn is not None:
        return await node_on_dsn("embedded", dsn, application)
    server = await Server.start(_directory(stack, data) / "postgres")
    stack.push_async_callback(server.stop)
    return await node_on_server("embedded", server, application)


async def _nodes(stack: AsyncExitStack, application: Application, data: Path | str | None, number: int) -> list[Node]:
    """Started nodes that know each other, each on a server of its own and with a door for the others."""
    directory = _directory(stack, data)
    names = tuple(f"n{each}" for each in range(1, number + 1))
    company = Company(founders=names)

    async def started(name: str) -> tuple[Node, str]:
        server = await Server.start(directory / name / "postgres")
        stack.push_async_callback(server.stop)
        node = await node_on_server(name, server, application, company)
        stack.push_async_callback(node.stop)
        serving = await serve(node)
        stack.push_async_callback(serving.stop)
        return node, serving.url

    running = await asyncio.gather(*(started(name) for name in names))
    url_of = {node.name: url for node, url in running}
    for node, _ in running:
        for other, url in running:
            node.replication.place(other.name, url)
        node.overview.url = url_of[node.name]
    return [node for node, _ in running]


def _directory(stack: AsyncExitStack, data: Path | str | None) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peaceriver-")) if data is None else data)


async def _part(running: Sequence[Node]) -> None:
    await asyncio.gather(*(node.replication.part() for node in running))
