"""The connections that queries run on: who waits in vain is told so, and none works for somebody who is gone."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import pytest

from peaceriver.embedded import Server
from peaceriver.errors import Unavailable
from peaceriver.postgres import DATABASE, QUERY_CONNECTIONS_MAX, RUNNER, Database, connect

pytestmark = pytest.mark.anyio

#: It only computes: nothing that it sends would tell it that nobody is there.
_LONG = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b"
_ASKING = f"""
import asyncio, json, sys
from peaceriver.postgres import Database

async def ask():
    async with (await Database.open(json.loads(sys.argv[1]))).querying(60) as tx:
        await tx.fetchval("{_LONG}")

asyncio.run(ask())
"""


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    opened = await Database.open(server.connection(RUNNER, DATABASE))
    try:
        yield opened
    finally:
        await opened.close()


async def _becomes(server: Server, count: int) -> None:
    """Wait, a bounded time, until so many such statements run."""
    admin = await connect(server.connection("postgres", DATABASE))
    try:
        async with asyncio.timeout(20):
            while True:
                running = "select count(*) from pg_stat_activity where state = 'active' and query = $1"
                if await admin.fetchval(running, _LONG) == count:
                    return
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def test_who_finds_no_connection_free_in_time_is_told_that_the_node_is_busy(database: Database) -> None:
    together, over = asyncio.Barrier(QUERY_CONNECTIONS_MAX + 1), asyncio.Event()

    async def hold() -> None:
        async with database.querying(30):
            await together.wait()
            await over.wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as holding:
        for _ in range(QUERY_CONNECTIONS_MAX):
            holding.create_task(hold())
        await together.wait()
        with pytest.raises(Unavailable, match="busy with other queries"):
            async with database.querying(0.1):
                pass
        over.set()


async def test_who_has_no_time_to_connect_is_not_told_that_others_are_to_blame(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with database.querying(0.000_001):
            pass


async def test_a_statement_ends_whose_user_was_cancelled(server: Server, database: Database) -> None:
    async def ask() -> None:
        async with database.querying(60) as tx:
            await tx.fetchval(_LONG)

    asking = asyncio.create_task(ask())
    await _becomes(server, 1)
    asking.cancel()
    await _becomes(server, 0)


async def test_a_statement_ends_whose_process_was_killed(server: Server) -> None:
    where = json.dumps(server.connection(RUNNER, DATABASE))
    asking = await asyncio.create_subprocess_exec(sys.executable, "-c", _ASKING, where)
    try:
        await _becomes(server, 1)
    finally:
        asking.kill()
        await asking.wait()
    await _becomes(server, 0)
