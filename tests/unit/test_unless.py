"""Waiting for an answer that something else may make needless: whichever comes second is not left under way."""

from __future__ import annotations

import asyncio

import pytest

from peaceriver.node.unless import unless


class Slow:
    """Takes until it is cancelled; and then a moment, at whose end it may fail."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.fails = fails
        self.begun = asyncio.Event()
        self.ended = False

    async def __call__(self) -> str:
        try:
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True
            if self.fails is not None:
                raise self.fails
        return "slow"


async def quick(fails: Exception | None = None) -> str:
    await asyncio.sleep(0)
    if fails is not None:
        raise fails
    return "quick"


async def test_an_answer_that_comes_first_is_given_and_the_other_is_broken_off() -> None:
    slow = Slow()
    assert await unless(slow(), quick()) == "quick"
    assert slow.ended


async def test_where_the_other_happens_first_there_is_no_answer_and_asking_is_broken_off() -> None:
    slow = Slow()
    assert await unless(quick(), slow()) is None
    assert slow.ended


async def test_an_answer_that_is_there_counts_though_the_other_has_happened_too() -> None:
    assert await unless(quick(), quick()) == "quick"


async def test_what_asking_raises_is_raised() -> None:
    slow = Slow()
    with pytest.raises(ValueError, match="asking"):
        await unless(slow(), quick(ValueError("asking")))
    assert slow.ended


async def test_what_the_other_raises_is_raised_where_no_answer_is_there() -> None:
    slow = Slow()
    with pytest.raises(ValueError, match="happening"):
        await unless(quick(ValueError("happening")), slow())
    assert slow.ended
    assert await unless(quick(ValueError("happening")), quick()) == "quick"


async def test_what_is_raised_on_the_way_out_is_dropped() -> None:
    assert await unless(Slow(ValueError("late"))(), quick()) == "quick"
    assert await unless(quick(), Slow(ValueError("late"))()) is None


async def test_whoever_is_cancelled_leaves_neither_under_way() -> None:
    asking, happening = Slow(ValueError("late")), Slow()
    waiting = asyncio.create_task(unless(happening(), asking()))
    await asking.begun.wait()
    await happening.begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asking.ended
    assert happening.ended
