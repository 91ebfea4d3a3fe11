"""Asking another node: one that says nothing is given up in time, and one that is slow is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from peaceriver.node.peers import ANSWER_TIMEOUT_S, Away, Peers
from peaceriver.node.wire import Identity

_SILENCE_S = 0.3
_BODY = b"one two three"


@asynccontextmanager
async def asking(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Peers]:
    """Somebody who may ask n2, which answers like this."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    peers = Peers(Identity("n1", UUID(int=1), 1, UUID(int=2)), {"n2": f"http://127.0.0.1:{port}"})
    try:
        yield peers
    finally:
        await peers.close()
        server.close()


async def test_a_node_that_says_nothing_is_given_up_long_before_its_time_is_up() -> None:
    done = asyncio.Event()

    async def nothing(_writer: asyncio.StreamWriter) -> None:
        await done.wait()

    async with asking(nothing) as peers:
        began = time.monotonic()
        with pytest.raises(Away):
            await peers.post("n2", "/", b"", silence_s=_SILENCE_S)
        assert time.monotonic() - began < ANSWER_TIMEOUT_S / 2
        assert "n2" not in peers.heard_at
        done.set()


async def test_an_answer_may_take_longer_as_a_whole_than_its_silences() -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_BODY))
        for part in _BODY.split(b" "):
            await asyncio.sleep(_SILENCE_S / 2)
            writer.write(part if part.endswith(b"three") else part + b" ")
            await writer.drain()

    async with asking(slowly) as peers:
        assert await peers.post("n2", "/", b"", silence_s=_SILENCE_S) == _BODY
