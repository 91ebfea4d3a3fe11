"""The source of HTTP load: keep-alive connections in a lean client, which costs far less than what it measures.

A connection sends its next request when the last one has been answered. Usage: HOST PORT.
"""

from __future__ import annotations

import asyncio
import statistics
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
    """One connection that works off requests until there are none, and notes how long each answer took, in seconds."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None], latencies: list[float]) -> None:
        self._requests = requests
        self._done = done
        self._latencies = latencies
        self._sent_at = 0.0
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.go_on()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(_HEAD_END)
        if head < 0:
            return
        end = head + len(_HEAD_END) + _length(self._received[:head])
        if len(self._received) < end:
            return
        answer = bytes(self._received)
        self._received.clear()
        if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")) or b'"error"' in answer:
            self.refused(answer)
            return
        self.accepted()
        self.go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(RuntimeError(f"the server has closed a connection: {error}"))

    def accepted(self) -> None:
        """An answer is as it should be."""
        self._latencies.append(time.perf_counter() - self._sent_at)

    def refused(self, answer: bytes) -> None:
        """An answer is not: what is refused costs less than what is recorded, and must not be measured."""
        self._fail(RuntimeError(f"an answer is not what it should be: {answer[:500]!r}"))

    def go_on(self) -> None:
        """Send the next request, if there is one."""
        assert self._transport is not None
        request = next(self._requests, None)
        if request is not None:
            self._sent_at = time.perf_counter()
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


async def work_off(
    requests: Sequence[bytes], connections: int, host: str, port: int, latencies: list[float] | None = None
) -> float:
    """Send all requests over so many connections; answers the seconds from the first one to the last answer."""
    loop = asyncio.get_running_loop()
    remaining = iter(requests)
    done = [loop.create_future() for _ in range(connections)]
    noted = [] if latencies is None else latencies
    began = time.perf_counter()
    opened = await asyncio.gather(
        *(loop.create_connection(_made(remaining, each, noted), host, port) for each in done),
    )
    await asyncio.gather(*done)
    took = time.perf_counter() - began
    for transport, _ in opened:
        transport.close()
    return took


def _made(requests: Iterator[bytes], done: asyncio.Future[None], latencies: list[float]) -> Callable[[], Connection]:
    return lambda: Connection(requests, done, latencies)


def percentile(latencies: Sequence[float], percent: int) -> float:
    """What so many percent of the answers took at most, in ms."""
    return statistics.quantiles(latencies, n=100, method="inclusive")[percent - 1] * 1000


def posts(host: str, first: int, count: int, array: int, concern: str) -> list[bytes]:
    """Requests that send messages, one each, or arrays."""
    bodies = [msgspec.json.encode(message(number).public()) for number in range(first, first + count)]
    if array > 1:
        bodies = [b"[" + b",".join(bodies[each : each + array]) + b"]" for each in range(0, count, array)]
    head = (
        f"POST /messages?timeout=60s&concern={concern} HTTP/1.1\r\nhost: {host}\r\n"
        "content-type: application/json\r\ncontent-length: "
    )
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
    latencies: list[float] = []

    def send(first: int, count: int, array: int, connections: int, concern: str = "quorum") -> float:
        """Messages per second."""
        latencies.clear()
        requests = posts(host, first, count, array, concern)
        took = uvloop.run(work_off(requests, connections, host, port, latencies))
        wait(first + count)
        return count / took

    def wait(taken: int) -> float:
        """Seconds until the views show the first messages."""
        return uvloop.run(work_off([caught_up(host, taken)], 1, host, port))

    def read(prefix: str, count: int, connections: int) -> float:
        """Reads per second."""
        return count / uvloop.run(work_off(gets(host, prefix, count), connections, host, port))

    def latency(percent: int) -> float:
        """What so many percent of the requests that sent messages last took at most, in ms."""
        return percentile(latencies, percent)

    serve({"send": send, "wait": wait, "read": read, "latency": latency})


if __name__ == "__main__":
    main()
