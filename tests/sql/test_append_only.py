"""The database keeps the promise: what is recorded can be added to and read, and nothing else."""

from __future__ import annotations

import pytest

from peaceriver.embedded import Server
from peaceriver.errors import StartFailed
from peaceriver.migrating import migrate, migrations
from peaceriver.postgres import (
    DATABASE,
    OWNER,
    RUNNER,
    DatabaseError,
    Transaction,
    UniqueViolation,
    connect,
)
from peaceriver.shard.journal import sql

RECORD = (
    "insert into journal (shard, position, group_end, epoch, stamp, kind, message_id, hops, body, chain)"
    " values (100, $1, $1, 1, $1, 'received', gen_random_uuid(), 0, '{}', '\\x00')"
)


@pytest.fixture(scope="module")
async def server(server: Server) -> Server:
    runner = await connect(server.connection(RUNNER, DATABASE))
    await runner.execute("select open_shard(100, false)")
    await runner.execute(RECORD, 1)
    await runner.close()
    return server


async def as_role(server: Server, role: str) -> Transaction:
    return await connect(server.connection(role, DATABASE))


CHANGES = [
    "update journal set body = 'x'",
    "delete from journal",
    "truncate journal",
    "update journal_100 set body = 'x'",
    "delete from journal_100",
    "truncate journal_100",
    "drop table journal_100",
    "alter table journal disable trigger append_only",
    "alter table journal detach partition journal_100",
    "drop trigger append_only on journal",
    "create table journal_7 (like journal)",
    "update migration set name = 'x'",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_the_running_role_cannot_change_what_is_recorded(server: Server, change: str) -> None:
    runner = await as_role(server, RUNNER)
    try:
        with pytest.raises(DatabaseError, match=r"permission denied|must be owner|append-only"):
            await runner.execute(change)
        assert await runner.fetchval("select body from journal where shard = 100 and position = 1") == "{}"
    finally:
        await runner.close()


@pytest.mark.parametrize("change", CHANGES[:6])
@pytest.mark.parametrize("role", [OWNER, "postgres"])
async def test_the_owner_and_a_superuser_are_stopped_from_changing_it_by_mistake(
    server: Server, role: str, change: str
) -> None:
    connection = await as_role(server, role)
    try:
        with pytest.raises(DatabaseError, match="append-only"):
            await connection.execute(change)
        if role == "postgres":
            await connection.execute("set session_replication_role = replica")
            with pytest.raises(DatabaseError, match="append-only"):
                await connection.execute(change)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", [OWNER, "postgres"])
@pytest.mark.parametrize("opened", ["", "0 100 1 9", "{xid} 101 1 9", "{xid} 100 2 9"])
async def test_no_door_is_open_but_to_the_rows_and_in_the_transaction_that_opened_it(
    server: Server, role: str, opened: str
) -> None:
    connection = await as_role(server, role)
    try:
        xid = await connection.fetchval("select pg_current_xact_id()::text")
        await connection.execute("select set_config('peaceriver.opened', $1, false)", opened.format(xid=xid))
        with pytest.raises(DatabaseError, match="append-only"):
            await connection.execute("delete from journal")
    finally:
        await connection.close()


async def test_the_door_that_takes_back_is_closed_to_others_and_behind_itself(server: Server) -> None:
    admin = await as_role(server, "postgres")
    try:
        await admin.execute("create role somebody")
        await admin.execute("select open_shard(300, false)")
        await admin.execute(RECORD.replace("(100,", "(300,"), 1)
        await admin.execute("update shard_state set last_position = 1 where shard = 300")
        take_back = "select * from strand_tail(300, $1, 1, 1, decode(repeat('00', 32), 'hex'))"
        await admin.execute("set role somebody")
        with pytest.raises(DatabaseError, match="permission denied"):
            await admin.fetch(take_back, 0)
        await admin.execute("reset role")
        runner = await as_role(server, RUNNER)
        async with runner.transaction():
            assert [tuple(row.values()) for row in await runner.fetch(take_back, 0)] == [(1, 1)]
        await runner.close()
        async with admin.transaction():
            await admin.execute(RECORD.replace("(100,", "(300,"), 1)
            await admin.execute("update shard_state set last_position = 1 where shard = 300")
            assert await admin.fetchval(f"select removed from ({take_back}) as door", 0) == 1
            await admin.execute(RECORD.replace("(100,", "(300,"), 1)
            with pytest.raises(DatabaseError, match="append-only"):
                await admin.execute("delete from journal where shard = 300")
    finally:
        await admin.execute("drop role somebody")
        await admin.close()


async def test_a_database_belongs_to_one_node(server: Server) -> None:
    runner = await as_role(server, RUNNER)
    try:
        await runner.execute("insert into identity (node, founders) values ('a', '{a}')")
        with pytest.raises(UniqueViolation):
            await runner.execute("insert into identity (node, founders) values ('b', '{b}')")
        with pytest.raises(DatabaseError, match="permission denied"):
            await runner.execute("delete from identity")
        assert await runner.fetchval("update identity set boots = boots + 1 returning boots") == 1
    finally:
        await runner.close()


async def test_the_running_role_cannot_become_another(server: Server) -> None:
    runner = await as_role(server, RUNNER)
    try:
        for role in (OWNER, "postgres"):
            with pytest.raises(DatabaseError, match="permission denied"):
                await runner.execute(f"set role {role}")
    finally:
        await runner.close()


async def test_a_message_id_is_recorded_once_per_shard(server: Server) -> None:
    runner = await as_role(server, RUNNER)
    try:
        again = RECORD.replace(
            "gen_random_uuid()", "(select message_id from journal where shard = 100 and position = 1)"
        )
        with pytest.raises(UniqueViolation):
            await runner.execute(again, 2)
        with pytest.raises(UniqueViolation):
            await runner.execute(RECORD, 1)
    finally:
        await runner.close()


@pytest.mark.parametrize("time", [0, 1, 2, 3, 9, 10, 11, 500, 998, 999, 1000, 5000])
async def test_a_position_is_found_by_its_stamp(server: Server, time: int) -> None:
    runner = await as_role(server, RUNNER)
    try:
        await runner.execute("select open_shard(200, false)")
        await runner.execute(
            "insert into journal (shard, position, group_end, epoch, stamp, kind, hops, body, chain)"
            " select 200, n, n, 1, n * 2, 'tick', 0, '{}', '\\x00' from generate_series(1, 499) as n"
            " on conflict do nothing"
        )
        await runner.execute("update shard_state set last_position = 499 where shard = 200")
        expected = min(time // 2, 499)
        rows = await sql.places_at.rows(runner, shards=[200, 201], time=time)
        assert [(row["shard"], row["position"], row["stamp"]) for row in rows] == (
            [(200, expected, expected * 2)] if expected else []
        )
        one = await sql.place_at.row(runner, shard=200, time=time)
        assert (None if one is None else one["position"]) == (expected or None)
    finally:
        await runner.close()


async def test_migrations_run_once_and_refuse_a_database_of_another_version(server: Server) -> None:
    assert await migrate(server.connection(OWNER, DATABASE)) == []
    owner = await as_role(server, OWNER)
    try:
        assert [row["name"] for row in await owner.fetch("select name from migration order by name")] == [
            name for name, _ in migrations()
        ]
        await owner.execute("update migration set sha256 = '\\x00' where name = $1", migrations()[0][0])
        with pytest.raises(StartFailed, match="another version"):
            await migrate(server.connection(OWNER, DATABASE))
    finally:
        import hashlib

        digest = hashlib.sha256(migrations()[0][1].encode()).digest()
        await owner.execute("update migration set sha256 = $1 where name = $2", digest, migrations()[0][0])
        await owner.close()
