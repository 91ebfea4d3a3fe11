"""The role that queries run as: it reads view tables, and can do nothing else, whatever would get through to it.

It could loosen by SET what is set for its sessions, the deadline and that they are read-only: rights do not hang on
those, and no SET gets through (see the acceptance tests of attacks). What keeps it from writing is that it has no right
to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from peaceriver.embedded import Server
from peaceriver.postgres import DATABASE, READER, RUNNER, Database, DatabaseError, Transaction, connect
from peaceriver.shard import view_tables

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def server(server: Server) -> Server:
    runner = await connect(server.connection(RUNNER, DATABASE))
    await runner.execute("select open_shard(100, false)")
    await runner.close()
    return server


@pytest.fixture(scope="module")
async def view(server: Server) -> str:
    runner = await connect(server.connection(RUNNER, DATABASE))
    table = await view_tables.create(runner, "Thing", ())
    await runner.close()
    return table.relation


@pytest.fixture
async def reader(server: Server) -> AsyncIterator[Transaction]:
    """The role by itself, without what its sessions are otherwise set to."""
    connection = await connect(server.connection(RUNNER, DATABASE))
    await connection.execute(f"set role {READER}")
    yield connection
    await connection.close()


async def test_it_reads_views(reader: Transaction, view: str) -> None:
    assert await reader.fetchval(f"select count(*) from {view}") == 0


async def test_it_reads_no_other_table(reader: Transaction, server: Server, view: str) -> None:
    admin = await connect(server.connection("postgres", DATABASE))
    tables = await admin.fetch(
        "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = relnamespace"
        " where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and nspname not in ('pg_catalog', 'information_schema')"
        " and nspname not like 'pg_toast%'"
    )
    await admin.close()
    # Besides views: how far they are folded, and what is kept of them.
    names = {each["name"] for each in tables} - {view, "view_mark", "kept_catalog"}
    assert {"journal", "journal_100", "actor", "pending", "shard_state", "identity", "mark", "exception"} <= names
    for name in names:
        with pytest.raises(DatabaseError, match="permission denied"):
            await reader.fetch(f"select * from {name}")


@pytest.mark.parametrize(
    "statement",
    [
        "insert into {view} select * from {view}",
        "update {view} set actor_status = 'x'",
        "delete from {view}",
        "truncate {view}",
        "drop table {view}",
        "alter table {view} add column evil integer",
        "begin; lock table {view} in exclusive mode",
        "create table evil (a integer)",
        "create table public.evil (a integer)",
        "create table view.evil (a integer)",
        "create schema evil",
        "create function view.evil() returns int language sql as 'select 1'",
        "create role evil",
        "alter role peaceriver_reader superuser",
        "insert into journal select * from journal",
        "select open_shard(101, false)",
        "select pg_read_file('/etc/passwd')",
        "select pg_ls_dir('/')",
        "copy {view} to '/tmp/evil'",
        "copy {view} to program 'id'",
        "create extension dblink",
        "select nextval('view.number')",
        "alter system set fsync = off",
        "set session_replication_role = replica",
        "set zero_damaged_pages = on",
        "select pg_reload_conf()",
        "checkpoint",
        "create publication evil for all tables",
        "comment on table {view} is 'evil'",
        "select lo_import('/etc/passwd')",
    ],
)
async def test_it_writes_and_changes_nothing(reader: Transaction, view: str, statement: str) -> None:
    with pytest.raises(DatabaseError, match=r"denied|must be|owner of"):
        await reader.execute(statement.format(view=view))


async def test_a_query_is_read_only_and_cannot_become_anything_else(server: Server) -> None:
    opened = await Database.open(server.connection(RUNNER, DATABASE))
    try:
        for statement in ("create temporary table evil (a integer)", "set transaction read write"):
            with pytest.raises(DatabaseError, match=r"read-only|read-write"):
                await _run(opened, statement)
        async with opened.querying(5) as tx:
            assert await tx.fetchval("show transaction_read_only") == "on"
            assert await tx.fetchval("show search_path") == "pg_catalog"
            assert await tx.fetchval("show statement_timeout") == "5s"
    finally:
        await opened.close()


async def _run(database: Database, statement: str) -> None:
    async with database.querying(5) as tx:
        assert await tx.fetchval("select current_user") == READER
        await tx.fetchval("select 1")
        await tx.execute(statement)
