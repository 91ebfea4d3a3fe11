"""Answers to polls that get lost on the way are told again, and late polls say nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import pytest
from asyncpg.exceptions import DataCorruptedError

from peaceriver.limits import CATCH_UP_SHARE, CHUNK_BYTES_MAX, POLL_BYTES_MAX, PULL_RECORDS_MAX
from peaceriver.node.followers import Followers
from peaceriver.node.wire import Identity, Poll
from peaceriver.protocol.messages import Answer, Diverged, Fetch, Place, Rows
from peaceriver.shard.ahead import ReadAhead
from peaceriver.shard.keeper import Keeper

CODE = 100
#: How long a follower is busy with a chunk, and how long it has to rest then.
TAKES_S = 0.4
REST_S = TAKES_S * (1 - CATCH_UP_SHARE) / CATCH_UP_SHARE
IDENTITY = Identity("n2", UUID(int=1), 1, UUID(int=2))


class Leader:
    """A department whose journal has a record that the follower lacks."""

    def __init__(self, row: bytes = b"row") -> None:
        self.replica = SimpleNamespace(leads=7)
        self.shard = SimpleNamespace(complete=SimpleNamespace(value=1))
        self.end = Place(7, 2)
        self.row = row
        self.fails = False
        self.acknowledged: list[int] = []

    def heard_follower(self, node: str) -> None:
        """It is alive."""

    async def fetched(self, node: str, fetch: Fetch) -> Answer | None:
        self.acknowledged.append(fetch.number)
        return Diverged(epoch=7, after=fetch.after, at=self.end) if fetch.after > self.end else None

    async def following(self, after: Place, ahead: ReadAhead) -> tuple[Answer, list[bytes]]:
        if self.fails:
            raise DataCorruptedError("invalid page in block 7")
        return Rows(epoch=7, after=after, end=self.end, complete=1), [self.row]


def poll(number: int, *, seen: int, whole: bool = False, asks: bool = False) -> Poll:
    fetches = {CODE: Fetch(number=number, promised=7, after=Place(7, 1))} if asks else {}
    return Poll(IDENTITY, number, seen, whole, fetches, [], 0.0)


def followers(leader: Leader | None = None) -> Followers:
    return Followers({CODE: cast(Keeper, leader or Leader())})


async def test_what_an_answer_told_that_got_lost_is_told_again() -> None:
    told = followers()
    first, rows = await told.poll(poll(1, seen=0, whole=True, asks=True))
    assert (first.leads, [code for code, _, _ in first.answers], rows) == ({CODE: 7}, [CODE], [b"row"])
    # The follower gave up waiting, asks on, and does not ask for the department anew: it counts on an answer.
    again, rows = await told.poll(poll(2, seen=0))
    assert (again.leads, [code for code, _, _ in again.answers], rows) == ({CODE: 7}, [CODE], [b"row"])


async def test_what_has_arrived_is_not_told_twice() -> None:
    told = followers()
    await told.poll(poll(1, seen=0, whole=True, asks=True))
    polled, rows = await told.poll(poll(2, seen=1))
    assert (polled.leads, polled.answers, rows) == (None, [], [])


async def test_a_late_poll_says_nothing_also_where_it_is_whole() -> None:
    told = followers()
    await told.poll(poll(2, seen=0, whole=True, asks=True))
    late, rows = await told.poll(poll(1, seen=0, whole=True))
    assert (late.again, late.answers, rows) == (False, [], [])
    again, _ = await told.poll(poll(3, seen=0))
    assert [code for code, _, _ in again.answers] == [CODE], "what the younger one asked for is remembered"


async def test_a_poll_that_builds_on_one_that_did_not_come_is_asked_for_everything() -> None:
    told = followers()
    await told.poll(poll(1, seen=0, whole=True))
    # The second one asked for the department, and was given up on its way.
    third, _ = await told.poll(poll(3, seen=1))
    assert third.again
    fourth, _ = await told.poll(poll(4, seen=1))
    assert fourth.again, "the answer to the third one was given up as well"
    second, _ = await told.poll(poll(2, seen=1, asks=True))
    assert (second.again, second.answers) == (False, []), "it comes too late"
    whole, _ = await told.poll(poll(5, seen=3, whole=True, asks=True))
    assert [code for code, _, _ in whole.answers] == [CODE]


async def test_what_is_told_again_is_as_the_journal_is_by_then() -> None:
    leader = Leader()
    told = followers(leader)
    await told.poll(poll(1, seen=0, whole=True, asks=True))
    # Another one led meanwhile: the place that was asked for is in this journal no longer.
    leader.end = Place(6, 5)
    again, rows = await told.poll(poll(2, seen=0))
    assert [answer for _, answer, _ in again.answers] == [Diverged(epoch=7, after=Place(7, 1), at=Place(6, 5))]
    assert rows == []


def many(leaders: dict[int, Leader]) -> tuple[Followers, Poll]:
    """Followers of several departments, and a poll that asks for all of them."""
    fetches = {code: Fetch(number=1, promised=7, after=Place(7, 1)) for code in leaders}
    return Followers(cast("dict[int, Keeper]", leaders)), Poll(IDENTITY, 1, 0, True, fetches, [], 0.0)


async def test_an_answer_is_no_larger_than_it_may_be_and_acknowledges_everything() -> None:
    leaders = {code: Leader(bytes(POLL_BYTES_MAX // 2)) for code in range(100, 106)}
    told, asks = many(leaders)
    polled, rows = await told.poll(asks)
    assert [len(rows), sum(map(len, rows))] == [2, POLL_BYTES_MAX]
    assert all(each.acknowledged for each in leaders.values())
    # What was taken in is asked for again at once, and does not come before those that wait.
    first = [code for code, _, _ in polled.answers]
    again = {code: Fetch(number=2, promised=7, after=Place(7, 1)) for code in first}
    polled, _ = await told.poll(Poll(IDENTITY, 2, 1, False, again, [], 0.0))
    assert not {code for code, _, _ in polled.answers} & set(first)


async def test_a_department_whose_rows_cannot_be_read_keeps_no_other_waiting() -> None:
    leaders = {100: Leader(), 101: Leader()}
    leaders[100].fails = True
    told, asks = many(leaders)
    polled, rows = await told.poll(asks)
    assert ([code for code, _, _ in polled.answers], rows) == ([101], [b"row"])
    leaders[100].fails = False
    told.stirred(100)  # as it is some time later
    polled, rows = await told.poll(Poll(IDENTITY, 2, 1, False, {}, [], 0.0))
    assert ([code for code, _, _ in polled.answers], rows) == ([100], [b"row"])


async def test_what_a_poll_that_failed_was_to_tell_a_younger_one_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    leader = Leader()
    told = followers(leader)
    may_fail = asyncio.Event()

    async def failing(node: str, fetch: Fetch) -> Answer | None:
        await may_fail.wait()
        raise ConnectionResetError("the server went away")

    with monkeypatch.context() as patch:
        patch.setattr(leader, "fetched", failing)
        first = asyncio.create_task(told.poll(poll(1, seen=0, whole=True, asks=True)))
        await asyncio.sleep(0)
    # It was given up on its way, and is still under way here.
    second, _ = await told.poll(poll(2, seen=0))
    assert (second.leads, second.answers) == ({CODE: 7}, [])
    third = asyncio.create_task(told.poll(Poll(IDENTITY, 3, 2, False, {}, [], 5.0)))
    await asyncio.sleep(0)
    may_fail.set()
    with pytest.raises(ConnectionResetError):
        await first
    polled, rows = await asyncio.wait_for(third, 1)
    assert ([code for code, _, _ in polled.answers], rows) == ([CODE], [b"row"])


async def chunk_by_chunk(leader: Leader, *, meanwhile: bool) -> list[float]:
    """How long each of three chunks was waited for that were each taken in for TAKES_S, with or without other news."""
    told, waited, loop = followers(leader), [], asyncio.get_running_loop()
    for number in range(1, 4):
        began = loop.time()
        fetch = {CODE: Fetch(number=number, promised=7, after=Place(7, 1))}
        polling = asyncio.create_task(
            told.poll(Poll(IDENTITY, number, number - 1, number == 1, fetch, [], 1.0)), name="poll"
        )
        await asyncio.sleep(0.01)
        assert number in leader.acknowledged, "also of one that is to rest"
        polled, _ = await polling
        assert [code for code, _, _ in polled.answers] == [CODE]
        waited.append(loop.time() - began)
        await asyncio.sleep(TAKES_S)
        if meanwhile:
            told.stirred(110)
    return waited


def far_ahead() -> Leader:
    """A leader of whose journal the follower lacks much, though all of it is complete."""
    leader = Leader()
    leader.shard.complete.value = 10 * PULL_RECORDS_MAX
    return leader


async def test_a_follower_that_lacks_much_rests_while_others_append() -> None:
    first, *others = await chunk_by_chunk(far_ahead(), meanwhile=True)
    assert first < REST_S <= min(others)


async def test_a_follower_that_lacks_much_gets_it_at_once_where_nobody_appends() -> None:
    assert max(await chunk_by_chunk(far_ahead(), meanwhile=False)) < REST_S


async def test_a_follower_that_keeps_up_never_rests_however_much_is_appended() -> None:
    assert max(await chunk_by_chunk(Leader(bytes(CHUNK_BYTES_MAX)), meanwhile=True)) < REST_S


async def test_a_follower_that_the_majority_needs_never_rests() -> None:
    leader = far_ahead()
    leader.shard.complete.value = 2  # nothing of what it lacks is complete before it has it
    assert max(await chunk_by_chunk(leader, meanwhile=True)) < REST_S
