"""Asking another node: one that says nothing is given up in time, and one that is slow is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from peaceriver.node.peers import ANSWER_TIMEOUT_S, Away, NotReached, Peers
from peaceriver.node.wire import Identity

ME = Identity("n1", UUID(int=1), 1, UUID(int=2))
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
    peers = Peers(ME, {"n2": f"http://127.0.0.1:{port}"})
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


#: Where nobody listens.
_NOWHERE, _NOWHERE_ELSE = "http://127.0.0.1:1", "http://127.0.0.1:2"


async def missed(peers: Peers, *, times: int = 1) -> None:
    """So many at once cannot reach n2."""
    found = await asyncio.gather(*(peers.post("n2", "/", b"") for _ in range(times)), return_exceptions=True)
    assert all(isinstance(each, NotReached) for each in found), found


async def test_where_the_directory_says_counts_and_after_a_miss_where_this_node_was_told_and_so_on_in_turn() -> None:
    peers = Peers(ME, {"n2": _NOWHERE + "/"})
    try:
        assert peers.url("n2") == _NOWHERE
        peers.place("n2", _NOWHERE_ELSE + "/")
        assert peers.url("n2") == _NOWHERE_ELSE
        # Several that miss it at once go to the other place together, and not back again.
        await missed(peers, times=2)
        assert peers.url("n2") == _NOWHERE
        await missed(peers, times=2)
        assert peers.url("n2") == _NOWHERE_ELSE
    finally:
        await peers.close()


async def test_a_node_that_is_said_to_be_in_one_place_is_looked_for_there_however_often_it_is_missed() -> None:
    peers = Peers(ME, {"n2": _NOWHERE})
    try:
        await missed(peers)
        assert peers.url("n2") == _NOWHERE
        peers.place("n2", _NOWHERE)
        await missed(peers)
        assert peers.url("n2") == _NOWHERE
        # Somewhere else it is looked for at once.
        peers.place("n2", _NOWHERE_ELSE)
        assert peers.url("n2") == _NOWHERE_ELSE
    finally:
        await peers.close()


def test_only_others_are_peers_and_those_who_have_left_are_none() -> None:
    peers = Peers(ME, {"n1": _NOWHERE, "n2": _NOWHERE})
    peers.place("n1", _NOWHERE)
    peers.place("n3", _NOWHERE_ELSE)
    assert peers.names == ["n2", "n3"]
    for each in ("n2", "n3", "n4"):
        peers.part_with(each)
        assert peers.url(each) is None
    assert peers.names == []
