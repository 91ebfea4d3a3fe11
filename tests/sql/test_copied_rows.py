"""Rows as bytes are what PostgreSQL's COPY writes, and come from one database into another with their chains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peaceriver.embedded import Server
from peaceriver.errors import Damaged
from peaceriver.limits import PULL_RECORDS_MAX
from peaceriver.migrating import migrate, prepare
from peaceriver.postgres import (
    DATABASE,
    OWNER,
    RUNNER,
    DatabaseError,
    Statement,
    Transaction,
    UniqueViolation,
    connect,
    copy_in,
    copy_rows_in,
    quoted,
    statements,
)
from peaceriver.record import COLUMNS, Record, chained, from_row
from peaceriver.shard.journal import insert_rows, rows_after, sql
from peaceriver.shard.rows import HEADER, TRAILER, follow, place_of, row_of
from tests.records import START, any_record, history, rows_of

#: A second database, as a follower has it.
ELSEWHERE = "elsewhere"
#: As many bytes as there can be.
PLENTY = 2**40
PLAIN = Record(100, 1, 1, 1, 16, "received", actor_type="Order", actor_id="SO-1", body='{"total":0.10}')


@pytest.fixture(scope="module")
async def server(module_folder: Path, anyio_backend: Any) -> AsyncIterator[Server]:
    server = await Server.start(module_folder / "postgres")
    try:
        for database in (DATABASE, ELSEWHERE):
            await prepare(server.connection("postgres"), database=database)
            admin = await connect(server.connection("postgres"))
            await admin.execute(f"alter database {quoted(database)} owner to {OWNER}")
            await admin.close()
            await migrate(server.connection(OWNER, database))
        yield server
    finally:
        await server.stop()


async def opened(server: Server, database: str) -> Transaction:
    """A connection of the running role, with a shard open."""
    runner = await connect(server.connection(RUNNER, database))
    await sql.open.run(runner, shard=100, recovering=False)
    return runner


@pytest.fixture
async def here(server: Server) -> AsyncIterator[Transaction]:
    runner = await opened(server, DATABASE)
    yield runner
    await runner.close()


@pytest.fixture
async def there(server: Server) -> AsyncIterator[Transaction]:
    runner = await opened(server, ELSEWHERE)
    yield runner
    await runner.close()


@asynccontextmanager
async def undone(tx: Any) -> AsyncIterator[None]:
    """What happens in the block never happened."""
    block = tx.transaction()
    await block.start()
    try:
        yield
    finally:
        await block.rollback()


async def recorded(tx: Transaction, records: Sequence[Record]) -> None:
    """Add records as the driver writes them, with the chain over them."""
    chain, rows = START.chain, []
    for record in records:
        chain = chained(chain, record)
        rows.append((*msgspec.structs.astuple(record), chain))
    await copy_in(tx, "journal", (*COLUMNS, "chain"), rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(records=st.lists(any_record, min_size=1, max_size=6, unique_by=lambda record: record.message_id or object()))
async def test_a_record_is_hashed_as_the_server_copies_its_row(here: Transaction, records: list[Record]) -> None:
    """The driver writes the values, the server copies them out: both agree with us, whatever the values are."""
    async with undone(here):
        made = history(records)
        await recorded(here, made)
        rows = await rows_after(here, 100, 0, PLENTY, PLENTY)
        assert rows == rows_of(made)
        read = await sql.following.rows(here, shard=100, after=0, until=PLENTY, records=PULL_RECORDS_MAX)
        assert rows_of([from_row(row) for row in read]) == rows


async def test_the_columns_of_a_row_are_those_of_the_table(here: Transaction) -> None:
    rows = await here.fetch(
        "select attname from pg_attribute where attrelid = 'journal'::regclass and attnum > 0 order by attnum"
    )
    assert [row["attname"] for row in rows] == [*COLUMNS, "chain"]


async def test_rows_come_into_another_database_with_their_chains(here: Transaction, there: Transaction) -> None:
    """By the running role, which may add rows and do nothing else to them."""
    bodies = ["{}", '{"note":"ä\u4e2d\U0001f600"}', '{"n":' + "1" * 1_000_000 + "}"]
    made = history([msgspec.structs.replace(PLAIN, body=body) for body in bodies] * 5)
    async with undone(here), undone(there):
        await recorded(here, made)
        rows = await rows_after(here, 100, 0, PLENTY, PLENTY)
        await insert_rows(there, 100, START, rows)
        assert await rows_after(there, 100, 0, PLENTY, PLENTY) == rows
        read = await sql.following.rows(there, shard=100, after=0, until=PLENTY, records=PULL_RECORDS_MAX)
        assert [from_row(row) for row in read] == made
        assert [row["chain"] for row in read] == [row[-32:] for row in rows]
        async with undone(there):
            with pytest.raises(UniqueViolation):
                await insert_rows(there, 100, START, rows[:1])
        for change in ("update journal set body = '{}'", "delete from journal"):
            async with undone(there):
                with pytest.raises(DatabaseError, match="permission denied"):
                    await there.execute(change)


async def test_rows_are_checked_as_they_are_written_and_none_is_kept_where_one_does_not_fit(
    here: Transaction, there: Transaction
) -> None:
    async with undone(here):
        await recorded(here, history([PLAIN] * 2_000))
        rows = await rows_after(here, 100, 0, PLENTY, PLENTY)
    altered = [*rows[:1_800], rows[1_800][:-1] + bytes([rows[1_800][-1] ^ 1]), *rows[1_801:]]
    with pytest.raises(Damaged, match=r"position 1801 .* altered"):
        async with there.transaction():
            await insert_rows(there, 100, START, altered)
    assert await rows_after(there, 100, 0, PLENTY, PLENTY) == []


async def test_no_rows_are_no_change(there: Transaction) -> None:
    await insert_rows(there, 100, START, [])
    assert await rows_after(there, 100, 0, PLENTY, PLENTY) == []


@pytest.mark.parametrize(
    ("bytes_max", "until", "end"),
    [
        (PLENTY, PLENTY, 10),
        (PLENTY, 10, 10),
        (PLENTY, 9, 9),
        (PLENTY, 6, 5),  # the third group is not whole by then
        (PLENTY, 5, 5),
        (PLENTY, 4, 1),
        (PLENTY, 0, 0),
        (2_000, PLENTY, 5),
        (1_500, PLENTY, 1),
        (1, PLENTY, 1),  # the first group, whatever its size
    ],
)
async def test_rows_are_whole_groups_within_the_limit(here: Transaction, bytes_max: int, until: int, end: int) -> None:
    async with undone(here):
        await recorded(here, history([PLAIN] * 10, sizes=(1, 4, 2)))
        rows = await rows_after(here, 100, 0, until, bytes_max)
        assert [place_of(row).position for row in rows] == list(range(1, end + 1))


async def test_a_group_is_whole_however_large_it_is(here: Transaction) -> None:
    """There is nothing where it is not, and what comes before it is not held up by it."""
    large = PULL_RECORDS_MAX * 2
    async with undone(here):
        await recorded(here, history([PLAIN] * (large + 2), sizes=(1, large)))
        assert len(await rows_after(here, 100, 0, PLENTY, 1)) == 1
        assert len(await rows_after(here, 100, 0, PLENTY, PLENTY)) == 1
        assert len(await rows_after(here, 100, 1, PLENTY, 1)) == large
        assert await rows_after(here, 100, 1, large, PLENTY) == []
        assert len(await rows_after(here, 100, large + 1, PLENTY, PLENTY)) == 1


async def test_a_chain_of_another_length_fits_nowhere(here: Transaction) -> None:
    async with undone(here):
        await copy_in(here, "journal", (*COLUMNS, "chain"), [(*msgspec.structs.astuple(PLAIN), b"short")])
        rows = await rows_after(here, 100, 0, PLENTY, PLENTY)
        with pytest.raises(Damaged, match=r"position 1 .* altered"):
            follow(rows, 100, START)


@pytest.mark.parametrize(
    "copied",
    [
        [b"garbage"],
        [HEADER, row_of(PLAIN, bytes(32))[:-40], TRAILER],
        [HEADER, row_of(PLAIN, bytes(32)).replace(b"\x00\x00\x00\x0e", b"\x00\x00\x00\x0d"), TRAILER],
    ],
)
async def test_the_server_takes_no_broken_rows(there: Transaction, copied: list[bytes]) -> None:
    async with undone(there):
        with pytest.raises(DatabaseError):
            await copy_rows_in(there, "journal", copied)


async def test_values_are_quoted_where_copy_cannot_bind_them(here: Transaction) -> None:
    """The driver puts them into the text of the statement."""
    hostile = "o'clock $1 \\' ; drop table journal -- "
    pieces: list[bytes] = []

    async def take(piece: bytes) -> None:
        pieces.append(piece)

    statement = Statement("said", "select :said::text")
    await statement.copy_out(here, take, said=hostile)
    assert hostile.encode() in b"".join(pieces)


async def test_an_answer_that_is_not_wanted_leaves_the_connection_usable(here: Transaction) -> None:
    async def refuse(piece: bytes) -> None:
        raise Damaged("enough")

    with pytest.raises(Damaged, match="enough"):
        await Statement("many", "select generate_series(1, 100000)").copy_out(here, refuse)
    assert await here.fetchval("select 1") == 1


async def test_a_copy_that_takes_too_long_is_given_up(here: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "COMMAND_TIMEOUT_S", 0.1)

    async def take(piece: bytes) -> None:
        pass

    with pytest.raises(TimeoutError):
        await Statement("slow", "select pg_sleep(60)").copy_out(here, take)
    assert await here.fetchval("select 1") == 1
