"""A node in a thread of the test's process, with or without an application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import uvloop

from peaceriver.api.serving import serve
from peaceriver.application import Application
from peaceriver.embedded import Server
from peaceriver.node.launch import NONE, node_on_server, publish
from tests.acceptance.door import Served


@contextmanager
def serving(directory: Path, application: Application = NONE) -> Iterator[Served]:
    """A served node on a server of its own; it ends with the block."""
    up: Future[Served] = Future()
    thread = threading.Thread(target=_run, args=(directory, application, up), name="served")
    thread.start()
    try:
        node = up.result(timeout=100)
        try:
            yield node
        finally:
            node.loop.call_soon_threadsafe(node.over.set)
    finally:
        thread.join()


def _run(directory: Path, application: Application, up: Future[Served]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(directory, application, up))
        except BaseException as error:
            if up.done():
                raise
            up.set_exception(error)


async def _serve(directory: Path, application: Application, up: Future[Served]) -> None:
    server = await Server.start(directory)
    try:
        node = await node_on_server("n1", server, application)
        try:
            await publish(node, application)
            serving = await serve(node)
            over = asyncio.Event()
            up.set_result(Served(node, server, serving.url, asyncio.get_running_loop(), over))
            await over.wait()
            await serving.stop()
        finally:
            await node.stop()
    finally:
        await server.stop()
