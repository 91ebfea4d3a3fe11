"""A cluster as users run it: `peaceriver up` in a process of its own, and the violence that tests do to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_START_S = 60


class Up:
    """One `peaceriver up`, and the processes below it."""

    def __init__(self, data: Path, process: Process, url: str) -> None:
        self.data = data
        self.process = process
        self.url = url

    @property
    def node_pid(self) -> int:
        """The node's process now; after a kill there is another one."""
        pid: int = json.loads((self.data / "n1" / "node.json").read_text())["pid"]
        return pid

    @property
    def server_pid(self) -> int:
        """The PostgreSQL server's process now."""
        return int(next(self.data.rglob("postmaster.pid")).read_text().splitlines()[0])

    def kill_node(self) -> None:
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self.node_pid, signal.SIGKILL)

    def kill_server(self) -> None:
        """The postmaster alone: its children notice and end, as after a crash."""
        with suppress(ProcessLookupError, StopIteration, FileNotFoundError):
            os.kill(self.server_pid, signal.SIGKILL)

    async def kill_everything(self) -> None:
        """Nobody is left to stop anything in order."""
        victims = [self.process.pid, self.node_pid, self.server_pid]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        await self.process.wait()


async def start(data: Path, app: Path | str | None = None, *, port: int = 0, nodes: int = 1) -> Up:
    """Start a cluster in ``data``, on free ports or from the given one on, and wait until it takes messages."""
    command = [sys.executable, "-m", "peaceriver.cli.main", "up", "--json", "--nodes", str(nodes)]
    command += ["--port", str(port), "--data", str(data)]
    process = await asyncio.create_subprocess_exec(
        *command, *([] if app is None else [str(app)]), stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdout is not None
    async with asyncio.timeout(_START_S):
        word = await process.stdout.readline()
    return Up(data, process, json.loads(word)["url"])


@asynccontextmanager
async def running(data: Path, app: Path | str | None = None, *, nodes: int = 1) -> AsyncIterator[Up]:
    """A cluster for the block; whatever happens, nothing is left running."""
    up = await start(data, app, nodes=nodes)
    try:
        yield up
    finally:
        await up.stop()
