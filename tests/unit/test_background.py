"""Work in the background: what fails is logged, by what it failed at, and what is stopped has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from asyncpg.exceptions import DiskFullError
from structlog.testing import capture_logs

from peaceriver.node.background import Background


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


async def fails(error: Exception) -> None:
    raise error


async def test_what_comes_of_it_is_there_for_who_wants_to_know(logged: list[MutableMapping[str, Any]]) -> None:
    background = Background()

    async def answer() -> int:
        return 42

    task = background.begin(answer(), name="think")
    assert task.get_name() == "think"
    assert await task == 42
    assert logged == []


@pytest.mark.parametrize("error", [ConnectionResetError("the server went away"), DiskFullError("no space left")])
async def test_a_database_that_is_away_or_refuses_is_a_warning(
    error: Exception, logged: list[MutableMapping[str, Any]]
) -> None:
    task = Background().begin(fails(error), name="tell 100")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    (entry,) = logged
    assert (entry["log_level"], entry["work"], entry["reason"]) == ("warning", "tell 100", str(error))


async def test_whatever_else_fails_is_an_error_and_says_where(logged: list[MutableMapping[str, Any]]) -> None:
    error = ValueError("nobody expected that")
    task = Background().begin(fails(error), name="tell 100")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    (entry,) = logged
    assert (entry["log_level"], entry["work"], entry["exc_info"]) == ("error", "tell 100", error)


async def test_what_is_stopped_has_ended_and_is_no_failure(logged: list[MutableMapping[str, Any]]) -> None:
    background, begun, ended = Background(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    background.begin(work(), name="work")
    never_began = background.begin(fails(ValueError("it never began")), name="nothing")
    never_began.cancel()
    await begun.wait()
    await background.stop()
    assert ended.is_set()
    assert never_began.cancelled()
    assert logged == []
    await background.stop()


async def test_what_begins_after_all_is_stopped_ends_at_once(logged: list[MutableMapping[str, Any]]) -> None:
    background = Background()
    await background.stop()
    late = background.begin(fails(ValueError("it never began")), name="late")
    await asyncio.wait({late})
    assert late.cancelled()
    assert logged == []
