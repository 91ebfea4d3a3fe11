"""One directed link of a cluster: a TCP proxy that a node's requests to another one go through, and its bad weather.

A request from i to j travels through the proxy (i, j), and so does its answer. What i sends to j is therefore the
requests of link (i, j) and the answers of link (j, i); ``cluster.Cluster`` puts the two together.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

_CHUNK_BYTES = 256 * 1024


class Way:
    """One direction of a link. Closed, no byte passes and connections stay: what was on its way arrives late."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.delay_s = 0.0
        #: How much has come through, ever.
        self.bytes = 0

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        """Wait as long as a byte that leaves now is on its way."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await self._open.wait()


class Link:
    """A proxy on a port of its own in front of ``to_port``. ``requests`` and ``answers`` are its two ways."""

    def __init__(self, to_port: int) -> None:
        self.requests = Way()
        self.answers = Way()
        self.port = 0
        self._to_port = to_port
        self._refuses = False
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Reset what there is, and every new connection."""
        self._refuses = True
        self.reset()

    def reset(self) -> None:
        """Reset every connection; what is on its way is lost."""
        for one, other in list(self._connections.items()):
            for each in (one, other):
                each.transport.abort()

    def heal(self) -> None:
        """Good weather again, both ways."""
        self._refuses = False
        for way in (self.requests, self.answers):
            way.delay_s = 0.0
            way.open()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.refuse()
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connected(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            there, to = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        self._connections[writer] = to
        pumps = [
            asyncio.create_task(_pump(reader, to, self.requests)),
            asyncio.create_task(_pump(there, writer, self.answers)),
        ]
        try:
            # Whoever closes one way is done with the connection: nodes close no half of one.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            del self._connections[writer]
            for each in (writer, to):
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(_CHUNK_BYTES):
            await way.passed()
            way.bytes += len(data)
            writer.write(data)
            await writer.drain()
        # The end of a connection is on its way like everything else.
        await way.passed()
