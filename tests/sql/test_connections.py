"""A node's connections: bounded, handed on, and never handed on when they are not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peaceriver import postgres
from peaceriver.embedded import Server
from peaceriver.postgres import WORK_CONNECTIONS_MAX, Database, Transaction, connect


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    started = await Server.start(tmp_path / "postgres")
    try:
        yield started
    finally:
        await started.stop()


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    opened = await Database.open(server.connection("postgres"))
    try:
        yield opened
    finally:
        await opened.close()


async def backend(tx: Transaction) -> int:
    pid: int = await tx.fetchval("select pg_backend_pid()")
    return pid


async def test_a_connection_is_handed_on(database: Database) -> None:
    pids = set()
    for _ in range(3):
        async with database.connection() as tx:
            pids.add(await backend(tx))
        async with database.transaction() as tx:
            pids.add(await backend(tx))
    assert len(pids) == 1


async def test_however_many_want_one_there_are_so_many_and_each_gets_its_turn(database: Database) -> None:
    pids, together = set(), asyncio.Barrier(WORK_CONNECTIONS_MAX)

    async def use(number: int) -> None:
        async with database.connection() as tx:
            if number < WORK_CONNECTIONS_MAX:
                await together.wait()
            pids.add(await backend(tx))

    async with asyncio.timeout(20):
        await asyncio.gather(*(use(number) for number in range(10 * WORK_CONNECTIONS_MAX)))
    assert len(pids) == WORK_CONNECTIONS_MAX


async def test_those_that_nobody_needs_are_given_up_but_for_one(
    server: Server, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CONNECTION_IDLE_S", 0.05)
    pids, together = set(), asyncio.Barrier(5)

    async def use() -> None:
        async with database.connection() as tx:
            pids.add(await backend(tx))
            await together.wait()

    await asyncio.gather(*(use() for _ in range(5)))
    admin = await connect(server.connection("postgres"))
    async with asyncio.timeout(20):
        while True:
            left = await admin.fetch("select pid from pg_stat_activity where pid = any($1)", list(pids))
            if len(left) == 1:
                break
            await asyncio.sleep(0.05)
    await admin.close()
    async with database.connection() as tx:
        assert [await backend(tx)] == [each["pid"] for each in left]
    # Whoever needs more again has more again.
    await asyncio.gather(*(use() for _ in range(5)))


async def test_one_that_was_lost_while_nobody_used_it_is_replaced(server: Server, database: Database) -> None:
    async with database.connection() as tx:
        lost = await backend(tx)
    admin = await connect(server.connection("postgres"))
    assert await admin.fetchval("select pg_terminate_backend($1, 5000)", lost)
    await admin.close()
    async with asyncio.timeout(20):
        # Its end shows when the socket says so, which may be after the next turn of the loop.
        await asyncio.sleep(0.1)
        async with database.connection() as tx:
            assert await backend(tx) != lost


async def test_one_whose_user_was_cancelled_in_the_middle_serves_the_next(database: Database) -> None:
    async def hang() -> None:
        async with database.connection() as tx:
            await tx.fetchval("select pg_sleep(60)")

    hanging = [asyncio.create_task(hang()) for _ in range(WORK_CONNECTIONS_MAX)]
    await asyncio.sleep(0.2)
    for each in hanging:
        each.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    async with asyncio.timeout(20), database.transaction() as tx:
        assert await tx.fetchval("select 7") == 7


async def test_a_failed_transaction_leaves_nothing_behind_for_the_next_user(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as tx:
            await tx.execute("create table left_behind ()")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await fail()
    async with database.connection() as tx:
        assert await tx.fetchval("select to_regclass('left_behind')") is None
