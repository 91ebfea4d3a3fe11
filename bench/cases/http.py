"""HTTP: a node in a process of its own and a naive endpoint in another, under load from a third."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bench import names, orders
from bench.cases import eventsourcing
from bench.children import Peer, peer, process
from bench.load import ACTORS, Load
from bench.place import Place, url
from bench.rounds import Contestant
from peaceriver.node.configuration import Listen, NodeConfiguration, written

_HOST = "127.0.0.1"
_SINGLE_CONNECTIONS = 32
_ARRAY_CONNECTIONS = 8
_READ_CONNECTIONS = 16
_ARRAY_MESSAGES = 100
_START_TIMEOUT_S = 60.0
_START_PAUSE_S = 0.05


@asynccontextmanager
async def http(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Messages and reads over HTTP, beside the naive endpoint and beside single events without any HTTP."""
    async with (
        _node(place) as node,
        _naive(place) as naive,
        eventsourcing.store(place, "http_events") as store,
    ):
        sending = _Sending(node)
        await sending.arrays(ACTORS)
        yield [
            Contestant(name=names.HTTP_SINGLES, measure=sending.singles),
            *eventsourcing.singles(store),
            Contestant(name=names.HTTP_ARRAYS, measure=sending.arrays, least=1_000),
            Contestant(name=names.HTTP_READS, measure=partial(_read, node, f"/shards/{orders.sales.code}/Order")),
            Contestant(name=names.NAIVE_READS, measure=partial(_read, naive, "/orders")),
        ]


class _Sending:
    """Messages to the node, in the order of the load."""

    def __init__(self, node: Peer) -> None:
        self._node = node
        self._load = Load()

    async def singles(self, count: int) -> float:
        return await self._send(count, array=1, connections=_SINGLE_CONNECTIONS)

    async def arrays(self, count: int) -> float:
        return await self._send(count, array=_ARRAY_MESSAGES, connections=_ARRAY_CONNECTIONS)

    async def _send(self, count: int, *, array: int, connections: int) -> float:
        first = self._load.numbers(count).start
        return await self._node.ask(do="send", first=first, count=count, array=array, connections=connections)


async def _read(server: Peer, prefix: str, count: int) -> float:
    return await server.ask(do="read", prefix=prefix, count=count, connections=_READ_CONNECTIONS)


@asynccontextmanager
async def _node(place: Place) -> AsyncIterator[Peer]:
    """A node as it runs in production; answers the source of load that is aimed at it."""
    connection = await place.database("http")
    app = str(Path(orders.__file__))
    configuration = NodeConfiguration(listen=Listen(port=0), dsn=url(connection), app=app)
    file = place.directory / "node.toml"
    file.write_text(written(configuration), "utf-8")
    async with process("-m", "peaceriver.cli.main", "node", "--json", "--config", str(file)) as started:
        assert started.stdout is not None
        async with asyncio.timeout(_START_TIMEOUT_S):
            said = json.loads(await started.stdout.readline())
        if "url" not in said:
            raise RuntimeError(f"the node does not start: {said['detail']}")
        async with peer("bench.peers.http_load", _HOST, str(urlsplit(said["url"]).port)) as load:
            yield load


@asynccontextmanager
async def _naive(place: Place) -> AsyncIterator[Peer]:
    """The naive endpoint in one process; answers the source of load that is aimed at it."""
    connection = await place.database("naive")
    port = _free_port()
    # Without its log of every request, which our node does not write either.
    command = ("-m", "uvicorn", "bench.peers.naive_endpoint:app", "--log-level", "warning", "--no-access-log")
    environment = os.environ | {"NAIVE_DATABASE": url(connection, "postgresql+psycopg")}
    async with process(*command, "--port", str(port), environment=environment):
        await _until_open(port)
        async with peer("bench.peers.http_load", _HOST, str(port)) as load:
            yield load


async def _until_open(port: int) -> None:
    async with asyncio.timeout(_START_TIMEOUT_S):
        while True:
            with suppress(ConnectionError):
                _, writer = await asyncio.open_connection(_HOST, port)
                writer.close()
                return
            await asyncio.sleep(_START_PAUSE_S)


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port
