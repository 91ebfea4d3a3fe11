"""The source of HTTP load: keep-alive connections in a lean client, which costs far less than what it measures.

A connection sends its next request when the last one has been answered. Usage: HOST PORT.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import msgspec
import uvloop

from bench.children import serve
from bench.load import actor_id, message
from bench.orders import sales

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Connection(asyncio.Protocol):
    """One connection that works off requests until there are none."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._done = done
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(_HEAD_END)
        if head < 0:
            return
        end = head + len(_HEAD_END) + _length(self._received[:head])
        if len(self._received) < end:
            return
        if not self._received.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")) or b'"error"' in self._received:
            self._fail(RuntimeError(f"an answer is not what it should be: {bytes(self._received[:500])!r}"))
            return
        self._received.clear()
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(RuntimeError(f"the server has closed a connection: {error}"))

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
        elif not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


def _length(head: bytearray) -> int:
    at = head.lower().find(_LENGTH)
    if at < 0:
        raise RuntimeError(f"an answer without a length: {bytes(head)!r}")
    return int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])


async def work_off(requests: Sequence[bytes], connections: int, host: str, port: int) -> float:
    """Send all requests over so many connections; answers the seconds from the first one to the last answer."""
    loop = asyncio.get_running_loop()
    remaining = iter(requests)
    done = [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    opened = await asyncio.gather(
        *(loop.create_connection(_made(remaining, each), host, port) for each in done),
    )
    await asyncio.gather(*done)
    took = time.perf_counter() - began
    for transport, _ in opened:
        transport.close()
    return took


def _made(requests: Iterator[bytes], done: asyncio.Future[None]) -> Callable[[], Connection]:
    return lambda: Connection(requests, done)


def posts(host: str, first: int, count: int, array: int) -> list[bytes]:
    """Requests that send messages, one each, or arrays."""
    bodies = [msgspec.json.encode(message(number).public()) for number in range(first, first + count)]
    if array > 1:
        bodies = [b"[" + b",".join(bodies[each : each + array]) + b"]" for each in range(0, count, array)]
    head = f"POST /messages?timeout=60s HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: "
    return [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]


def caught_up(host: str, taken: int) -> bytes:
    """A request that is answered when the views show the first ``taken`` messages: nothing is owed to what follows."""
    path = f"/shards/{sales.code}/Order/{actor_id(0)}?after={sales.code}:{taken}&timeout=60s"
    return f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()


def gets(host: str, prefix: str, count: int) -> list[bytes]:
    """Requests that read one actor each."""
    return [
        f"GET {prefix}/{actor_id(number * 7919)} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode() for number in range(count)
    ]


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])

    def send(first: int, count: int, array: int, connections: int) -> float:
        """Messages per second."""
        took = uvloop.run(work_off(posts(host, first, count, array), connections, host, port))
        uvloop.run(work_off([caught_up(host, first + count)], 1, host, port))
        return count / took

    def read(prefix: str, count: int, connections: int) -> float:
        """Reads per second."""
        return count / uvloop.run(work_off(gets(host, prefix, count), connections, host, port))

    serve({"send": send, "read": read})


if __name__ == "__main__":
    main()
