"""A source of HTTP load that bears with refusals, kills a process, and tells how long nothing was acknowledged then."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import cycle

import uvloop

from bench.children import serve
from bench.load import ACTORS
from bench.peers.http_load import Connection, posts

#: How long the load lasts before the kill.
_BEFORE_S = 1.0
#: A client that was refused sends its next message after so long.
_PAUSE_S = 0.02
_TIMEOUT_S = 60.0
_REQUESTS = 2_000


class Enduring(Connection):
    """A connection that goes on after a refusal, and tells of an acknowledgement of what was sent after a time."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        super().__init__(requests, done, [])
        #: Only what is sent after this counts: an earlier message may have been recorded by the one that is dead.
        self.after = float("inf")

    def accepted(self) -> None:
        if self._sent_at > self.after and not self._done.done():
            self._done.set_result(None)

    def refused(self, answer: bytes) -> None:
        asyncio.get_running_loop().call_later(_PAUSE_S, self.go_on)


async def outage(pid: int, host: str, ports: Sequence[int], connections: int) -> float:
    """Seconds from a kill to the first acknowledgement of a message that was sent after it."""
    loop = asyncio.get_running_loop()
    requests = cycle(posts(host, ACTORS, _REQUESTS, 1, "quorum"))
    done: asyncio.Future[None] = loop.create_future()
    clients = [Enduring(requests, done) for _ in range(connections)]
    opened = [
        await loop.create_connection(lambda client=each: client, host, ports[number % len(ports)])
        for number, each in enumerate(clients)
    ]
    await asyncio.sleep(_BEFORE_S)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.perf_counter()
    for client in clients:
        client.after = killed_at
    async with asyncio.timeout(_TIMEOUT_S):
        await done
    took = time.perf_counter() - killed_at
    for transport, _ in opened:
        transport.abort()
    return took


def main() -> None:
    def kill(pid: int, host: str, ports: Sequence[int], connections: int) -> float:
        return uvloop.run(outage(pid, host, ports, connections))

    serve({"kill": kill})


if __name__ == "__main__":
    main()
