"""A node on a real PostgreSQL server, served over real HTTP from a thread of the test's process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import uvloop

from peaceriver.api.serving import serve
from peaceriver.embedded import Server
from peaceriver.node.launch import node_on_server
from tests.acceptance.door import Door, Served


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A node that all tests of a worker share; each makes departments of its own."""
    up: Future[Served] = Future()
    directory = tmp_path_factory.mktemp("served") / "postgres"
    thread = threading.Thread(target=_run, args=(directory, up), name="served")
    thread.start()
    try:
        node = up.result(timeout=100)
        yield node
        node.loop.call_soon_threadsafe(node.over.set)
    finally:
        thread.join()


def _run(directory: Path, up: Future[Served]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(directory, up))
        except BaseException as error:
            if up.done():
                raise
            up.set_exception(error)


async def _serve(directory: Path, up: Future[Served]) -> None:
    server = await Server.start(directory)
    try:
        node = await node_on_server("n1", server)
        try:
            serving = await serve(node)
            over = asyncio.Event()
            up.set_result(Served(node, server, serving.url, asyncio.get_running_loop(), over))
            await over.wait()
            await serving.stop()
        finally:
            await node.stop()
    finally:
        await server.stop()


@pytest.fixture(scope="session")
def door(served: Served) -> Iterator[Door]:
    """A client of the served node."""
    with Door(served) as opened:
        yield opened
