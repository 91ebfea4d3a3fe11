"""What a follower will ask for next is read while it takes in what it got, once, and only while it still holds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from peaceriver.limits import CHUNK_BYTES_MAX
from peaceriver.protocol.messages import Place
from peaceriver.shard.ahead import ReadAhead
from peaceriver.shard.shard import Shard


class Journal:
    """A department's journal of large rows, one of which fills a chunk."""

    def __init__(self, records: int) -> None:
        self.code = 100
        self.tip = SimpleNamespace(position=records)
        self.voids = 0
        self.read: list[int] = []
        self.fails = False

    async def rows_after(self, after: Place, bytes_max: int) -> tuple[list[bytes], Place]:
        self.read.append(after.position)
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionResetError
        if after.position == self.tip.position:
            return [], after
        return [bytes([after.position]) * bytes_max], Place(1, after.position + 1)


async def ask(ahead: ReadAhead, journal: Journal, after: int) -> bytes:
    taken, end = await ahead.rows_after(cast(Shard, journal), Place(1, after))
    assert end == Place(1, after + len(taken))
    for _ in range(3):
        await asyncio.sleep(0)
    return b"".join(each[:1] for each in taken)


async def test_the_next_chunk_is_read_before_it_is_asked_for_and_none_beyond_the_end() -> None:
    ahead, journal = ReadAhead(), Journal(3)
    assert await ask(ahead, journal, 0) == b"\x00"
    assert journal.read == [0, 1]
    assert await ask(ahead, journal, 1) == b"\x01"
    assert journal.read == [0, 1, 2], "what was read ahead is not read again"
    assert await ask(ahead, journal, 2) == b"\x02"
    assert await ask(ahead, journal, 3) == b""
    assert journal.read == [0, 1, 2, 3]


async def test_what_was_read_of_a_journal_that_changed_is_read_again() -> None:
    ahead, journal = ReadAhead(), Journal(5)
    await ask(ahead, journal, 0)
    journal.voids += 1
    await ask(ahead, journal, 1)
    assert journal.read == [0, 1, 1, 2]


async def test_another_place_or_another_department_is_read_anew() -> None:
    ahead, one, other = ReadAhead(), Journal(5), Journal(5)
    await ask(ahead, one, 0)
    await ask(ahead, one, 3)
    assert one.read == [0, 1, 3, 4]
    await ask(ahead, other, 4)
    assert other.read == [4]


async def test_what_could_not_be_read_ahead_fails_for_whoever_asks_and_is_read_the_next_time() -> None:
    ahead, journal = ReadAhead(), Journal(5)
    taken, _ = await ahead.rows_after(cast(Shard, journal), Place(1, 0))
    assert sum(map(len, taken)) == CHUNK_BYTES_MAX
    journal.fails = True
    with pytest.raises(ConnectionResetError):
        await ask(ahead, journal, 1)
    journal.fails = False
    assert await ask(ahead, journal, 1) == b"\x01"


async def test_nothing_is_read_on_where_it_is_closed() -> None:
    ahead, journal = ReadAhead(), Journal(5)
    await ahead.rows_after(cast(Shard, journal), Place(1, 0))
    ahead.close()
    await asyncio.sleep(0)
    assert journal.read == [0]
