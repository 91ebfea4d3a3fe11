"""Serving a node's API over HTTP/1.1, in the event loop of the node."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import uvicorn

from peaceriver.api.application import Application, application
from peaceriver.api.connection import Connection
from peaceriver.errors import StartFailed
from peaceriver.node.node import Node

KEEP_ALIVE_S = 60
#: How long answers under way may take once the server stops; streams and those who wait end at once.
STOP_TIMEOUT_S = 5
_DATE_S = 1.0


class Serving:
    """A node that is being served. ``url`` is where."""

    def __init__(self, url: str, app: Application, server: _Server, running: asyncio.Task[None]) -> None:
        self.url = url
        self._app = app
        self._server = server
        self._running = running

    async def stop(self) -> None:
        """Take no more requests, end streams, let answers under way finish; may be called again."""
        self._app.context.stopping.set()
        self._server.end()
        await asyncio.shield(self._running)
        self._app.context.merging.leave()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take no more requests, and return from ``serve`` once those under way are answered."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Renew the date of answers each second. Whether to end is said, and not looked for ten times as often."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_DATE_S):
                    await self._ending.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the node."""
        yield


async def serve(node: Node, host: str = "127.0.0.1", port: int = 0) -> Serving:
    """Serve a started node on a loopback address; port 0 is any free one. Raises StartFailed."""
    listening = _bound(_loopback(host), port)
    url = f"http://{_written(listening)}"
    app = application(node, url=url)
    server = _Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
    )
    running = asyncio.create_task(server.serve(sockets=[listening]), name=f"serve {url}")
    up = asyncio.create_task(server.up.wait())
    await asyncio.wait((running, up), return_when=asyncio.FIRST_COMPLETED)
    up.cancel()
    if running.done():
        listening.close()
        raise StartFailed(f"the API cannot be served at {url}") from running.exception()
    return Serving(url, app, server, running)


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise StartFailed(
        f"a node listens on loopback addresses only, until authentication can be configured; {host!r} is none: "
        "use 127.0.0.1"
    )


def _bound(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(socket.SOMAXCONN)
    except (OSError, OverflowError) as error:
        listening.close()
        raise StartFailed(f"port {port} of {host} cannot be listened on: {error}; choose another") from error
    listening.setblocking(False)
    return listening


def _written(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
