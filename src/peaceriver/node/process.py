"""One node as a process: its database, its departments, its door; started in this order, stopped in the reverse."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import structlog

from peaceriver.application import load
from peaceriver.embedded import Server
from peaceriver.embedded.lifetime import Lifetime, Running
from peaceriver.embedded.place import write_durably
from peaceriver.embedded.processes import look
from peaceriver.embedded.sockets import PORT, SOCKET_PATH_BYTES_MAX
from peaceriver.errors import StartFailed
from peaceriver.node.configuration import NodeConfiguration
from peaceriver.node.launch import node_on_dsn, node_on_server, publish
from peaceriver.node.node import Node

log = structlog.get_logger()

#: The exit code of a node whose database is gone for good: worth another start (EX_TEMPFAIL of sysexits.h).
DATABASE_LOST = 75
#: How long to wait after each attempt to start a dead server again; after the last one the node gives up.
SERVER_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
#: A server that ran so long has not died of its start.
SERVER_STEADY_S = 30.0
#: How long each part may take to stop in order.
STOP_TIMEOUT_S = 10.0
#: In the node's directory while it runs: which process it is.
NODE_FILE = "node.json"
#: Objects that may pile up before the collector looks for cycles among them. Python's own 700 are less than one batch.
GARBAGE_MAX = 10_000
#: How long a started node waits for what it lacks before it says that it takes messages. It does take them without
#: that, and the others answer readers; most often, and in a cluster that begins, it is a matter of a moment.
COPY_WAIT_S = 5.0
_SOCKETS_LINK = "sockets"


class Serving(Protocol):
    """A node's open door."""

    @property
    def url(self) -> str: ...
    async def stop(self) -> None: ...


#: Opens a node's door at a host and a port.
Serve = Callable[[Node, str, int], Awaitable[Serving]]


class NodeFile(msgspec.Struct, frozen=True, kw_only=True):
    """Which process serves a directory. A process id alone proves nothing; with ``began`` it is who it is."""

    name: str
    url: str
    pid: int
    began: str | None


async def run_node(configuration: NodeConfiguration, serve: Serve, *, ready: Callable[[str], None]) -> int:
    """Run a node until SIGTERM or SIGINT, and stop it in order; a second signal ends the process at once.

    Calls ``ready`` with its URL once every department takes messages. A PostgreSQL server of its own that dies is
    started again under the running node. Answers the exit code: 0, or DATABASE_LOST. Raises StartFailed.
    """
    _stop_on_signals()
    try:
        async with AsyncExitStack() as stack:
            server, serving = await _start(configuration, serve, stack)
            if configuration.data is not None:
                stack.callback(_introduce(configuration, serving.url))
            _spare_the_collector()
            ready(serving.url)
            await (server.lost() if server is not None else asyncio.Event().wait())
            return DATABASE_LOST
    except asyncio.CancelledError:
        return 0


async def _start(
    configuration: NodeConfiguration, serve: Serve, stack: AsyncExitStack
) -> tuple[KeptServer | None, Serving]:
    """Bring the parts up in order; ``stack`` takes them down again."""
    application = load(configuration.app)
    server = None
    if configuration.data is not None:
        server = await KeptServer.start(Path(configuration.data))
        stack.push_async_callback(server.stop)
        node = await node_on_server(configuration.name, server.server, application, configuration.company)
    else:
        assert configuration.dsn is not None, "a configuration has one of the two"
        node = await node_on_dsn(configuration.name, configuration.dsn, application, configuration.company)
    stack.push_async_callback(_in_time, "node", node.stop)
    serving = await serve(node, configuration.listen.host, configuration.listen.port)
    stack.push_async_callback(_in_time, "door", serving.stop)
    node.overview.url = serving.url
    # Others come in by the door, and without them perhaps nobody leads.
    await publish(node, application, serving.url)
    await node.led()
    with suppress(TimeoutError):
        async with asyncio.timeout(COPY_WAIT_S):
            await node.shards.whole()
    return server, serving


def _spare_the_collector() -> None:
    """What a started node holds is there to stay, and what a message takes is gone soon and without cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_MAX)


async def _in_time(part: str, stop: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await stop()
    except TimeoutError:
        # Nothing acknowledged is lost by that: it is as if the node had been killed.
        log.warning("stopped out of order", part=part, waited_s=STOP_TIMEOUT_S)


def _stop_on_signals() -> None:
    """Let the first signal cancel the current task, and the second one end the process."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    def first() -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
            signal.signal(each, _end_at_once)
        task.cancel()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, first)


def _end_at_once(number: int, _frame: object) -> None:
    os._exit(128 + number)


def _introduce(configuration: NodeConfiguration, url: str) -> Callable[[], None]:
    """Write who we are beside the data; answers how to take that back."""
    assert configuration.data is not None
    process = look(os.getpid())
    began = None if process is None else process.began
    file = NodeFile(name=configuration.name, url=url, pid=os.getpid(), began=began)
    path = Path(configuration.data) / NODE_FILE
    write_durably(path, msgspec.json.encode(file))
    return lambda: path.unlink(missing_ok=True)


class KeptServer:
    """A PostgreSQL server of ours that is started again when it dies, under the address that it had."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.server = server
        self._directory = directory
        self._keeping = asyncio.create_task(self._keep(), name="postgres")

    @classmethod
    async def start(cls, directory: Path) -> Self:
        """Raises StartFailed."""
        return cls(directory, await LinkedServer.start(directory))

    async def lost(self) -> None:
        """Return when the server is down and could not be started again."""
        await asyncio.shield(self._keeping)

    async def stop(self) -> None:
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        await self.server.stop()
        (self._directory / _SOCKETS_LINK).unlink(missing_ok=True)

    async def _keep(self) -> None:
        loop, attempt, started = asyncio.get_running_loop(), 0, asyncio.get_running_loop().time()
        while True:
            code = await self.server.exited()
            if loop.time() - started > SERVER_STEADY_S:
                attempt = 0
            if attempt == len(SERVER_PAUSES_S):
                return
            log.warning("postgres ended", code=code, directory=str(self._directory), attempt=attempt)
            await asyncio.sleep(SERVER_PAUSES_S[attempt])
            attempt, started = attempt + 1, loop.time()
            try:
                self.server = await LinkedServer.start(self._directory)
            except StartFailed as error:
                # It has ended, so the next round tries again.
                log.error("postgres does not start", reason=str(error))


class LinkedServer(Server):
    """A server with an address that outlives it: a link in its directory leads to the folder of its socket."""

    def __init__(self, directory: Path, lifetime: Lifetime, running: Running) -> None:
        super().__init__(directory, lifetime, running)
        link = directory / _SOCKETS_LINK
        new = link.with_name(f"{_SOCKETS_LINK}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(running.sockets)
        new.replace(link)
        self._address = _short(directory)

    def connection(self, role: str, database: str = "postgres") -> dict[str, Any]:
        return super().connection(role, database) | {"host": self._address}


@functools.cache
def _short(directory: Path) -> str:
    """The link to the sockets of ``directory``, by a path that is short enough for one."""
    link = str(directory / _SOCKETS_LINK)
    if len(os.fsencode(f"{link}/.s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES_MAX:
        return link
    if sys.platform != "linux":
        raise StartFailed(f"the path of {directory} is too long for a socket; name a shorter one")
    # Open as long as this process: whoever connects finds the directory as our own descriptor.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{descriptor}/{_SOCKETS_LINK}"
