"""The door that repairs: a peer's rows take the place of damaged ones where they fit both ends, and no others do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peaceriver.embedded import Server
from peaceriver.postgres import DATABASE, RUNNER, DatabaseError, Transaction, connect
from peaceriver.record import CHAIN_START, Record, chained
from peaceriver.shard.rows import place_of
from tests.records import any_record, history, rows_of

PLAIN = Record(100, 1, 1, 1, 16, "received", actor_type="Order", actor_id="SO-1", body='{"total":0.10}')
SOUND = history([msgspec.structs.replace(PLAIN, body=f'{{"n":{n}}}') for n in range(9)], sizes=[1, 3, 2])
REPAIR = "select repair_rows(100, $1::journal[])"


@pytest.fixture
async def runner(server: Server) -> AsyncIterator[Transaction]:
    connection = await connect(server.connection(RUNNER, DATABASE))
    yield connection
    await connection.close()


@pytest.fixture
async def damaged(server: Server) -> AsyncIterator[Transaction]:
    """A superuser at a journal that is sound at first; what becomes of it is undone."""
    connection: Any = await connect(server.connection("postgres", DATABASE))
    block = connection.transaction()
    await block.start()
    rows = values(SOUND)
    await connection.execute("select open_shard(100, false)")
    await connection.execute("insert into journal select * from unnest($1::journal[])", rows)
    await connection.execute(
        "update shard_state set last_position = $1, last_chain = $2 where shard = 100", len(rows), rows[-1][-1]
    )
    await connection.execute("alter table journal_100 disable trigger append_only")
    yield connection
    await block.rollback()
    await connection.close()


def values(records: Sequence[Record], chain: bytes = CHAIN_START) -> list[tuple[Any, ...]]:
    """Records as rows of the journal, with the chain over them."""
    rows = []
    for record in records:
        chain = chained(chain, record)
        rows.append((*msgspec.structs.astuple(record), chain))
    return rows


async def repaired(tx: Transaction, rows: Sequence[tuple[Any, ...]]) -> int:
    await tx.execute("alter table journal_100 enable always trigger append_only")
    return int(await tx.fetchval(REPAIR, list(rows)))


async def stored(tx: Transaction) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in await tx.fetch("select * from journal where shard = 100 order by position")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(record=any_record, previous=st.binary(min_size=32, max_size=32))
async def test_the_database_computes_the_chain_that_we_do(runner: Transaction, record: Record, previous: bytes) -> None:
    (row,) = values([record], previous)
    found = await runner.fetchval("select chain_after($1, r) from unnest($2::journal[]) as r", previous, [row])
    assert found == row[-1]
    assert place_of(rows_of([record])[0]).position == record.position


@pytest.mark.parametrize(
    "damage",
    [
        "update journal set body = '{}' where position = 4",
        "update journal set chain = sha256(chain) where position = 4",
        "update journal set stamp = 1000 where position = 4",
        "delete from journal where position = 4",
        "delete from journal where position between 3 and 6",
        "update journal set body = '{}', chain = sha256(chain) where position in (3, 5)",
    ],
)
@pytest.mark.parametrize(("first", "last"), [(3, 6), (1, 6), (3, 9), (1, 9)])
async def test_what_is_damaged_is_replaced_and_nothing_else(
    damaged: Transaction, damage: str, first: int, last: int
) -> None:
    await damaged.execute(damage)
    rows = values(SOUND)
    lost = len(set(rows) - set(await stored(damaged)))
    assert lost
    assert await repaired(damaged, rows[first - 1 : last]) == lost
    assert await stored(damaged) == rows
    assert await repaired(damaged, rows[first - 1 : last]) == 0


async def test_two_rows_that_changed_places_are_put_right(damaged: Transaction) -> None:
    for statement in (
        "update journal set stamp = -1 where position = 4",
        "update journal set stamp = 64 where position = 5",
        "update journal set stamp = 80 where position = 4",
    ):
        await damaged.execute(statement)
    assert await repaired(damaged, values(SOUND)[3:5]) == 2
    assert await stored(damaged) == values(SOUND)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "are not all in the journal"),
        (values(SOUND)[8:] + values(SOUND)[8:], "are not all in the journal"),
        (values(SOUND)[3:4] + values(SOUND)[5:6], "the row for position 5 .* does not follow"),
        ([(*values(SOUND)[3][:28], '{"n":77}', values(SOUND)[3][-1])], "the row for position 4 .* does not follow"),
        (values([msgspec.structs.replace(SOUND[3], body="{}")], values(SOUND)[2][-1]), "do not lead to what follows"),
        (values([msgspec.structs.replace(SOUND[8], body="{}")], values(SOUND)[7][-1]), "do not lead to what follows"),
        (values([msgspec.structs.replace(SOUND[3], shard=101)], values(SOUND)[2][-1]), "does not follow"),
        (values(SOUND[3:4]), "the row for position 4 .* does not follow"),
    ],
)
async def test_rows_that_do_not_fit_both_ends_are_refused(damaged: Any, given: list[Any], why: str) -> None:
    before = await stored(damaged)
    savepoint = damaged.transaction()
    await savepoint.start()
    with pytest.raises(DatabaseError, match=why):
        await damaged.fetchval(REPAIR, given)
    await savepoint.rollback()
    assert await stored(damaged) == before


async def test_a_range_is_not_repaired_beside_damage(damaged: Any) -> None:
    await damaged.execute("update journal set body = '{}' where position in (4, 5)")
    await damaged.execute("delete from journal where position = 7")
    for first, last in ((3, 4), (8, 9), (6, 6)):
        savepoint = damaged.transaction()
        await savepoint.start()
        with pytest.raises(DatabaseError, match=r"does not follow|do not lead"):
            await damaged.fetchval(REPAIR, values(SOUND)[first - 1 : last])
        await savepoint.rollback()
    assert await repaired(damaged, values(SOUND)[3:7]) == 3


async def test_the_running_role_repairs_and_others_do_not(server: Server, runner: Transaction) -> None:
    with pytest.raises(DatabaseError, match="are not all in the journal"):
        await runner.fetchval(REPAIR, values(SOUND)[:1])
    admin = await connect(server.connection("postgres", DATABASE))
    await admin.execute("create role somebody")
    await admin.execute("set role somebody")
    with pytest.raises(DatabaseError, match="permission denied"):
        await admin.fetchval(REPAIR, values(SOUND)[:1])
    await admin.close()


async def test_what_can_be_read_does_not_go(damaged: Any) -> None:
    before = await stored(damaged)
    await damaged.execute("alter table journal_100 enable always trigger append_only")
    for statement in ("select drop_unreadable(100, 1, 9)", "select write_anew(100)"):
        await damaged.execute(statement)
        assert await stored(damaged) == before


@pytest.mark.parametrize("statement", ["select drop_unreadable(100, 1, 9)", "select write_anew(100)"])
async def test_whoever_comes_through_the_door_takes_no_page_for_empty_afterwards(damaged: Any, statement: str) -> None:
    await damaged.execute("alter table journal_100 enable always trigger append_only")
    settings = ("zero_damaged_pages", "enable_indexscan", "lock_timeout", "peaceriver.opened")
    before = [await damaged.fetchval("select current_setting($1, true)", each) or "" for each in settings]
    await damaged.execute(statement)
    assert [await damaged.fetchval("select current_setting($1, true)", each) or "" for each in settings] == before


@pytest.mark.parametrize("statement", ["select drop_unreadable(100, 1, 9)", "select write_anew(100)"])
async def test_a_journal_that_is_led_here_is_left_as_it_is(damaged: Any, statement: str) -> None:
    await damaged.execute("update shard_state set promised = 1, leads = 1 where shard = 100")
    with pytest.raises(DatabaseError, match="shard 100 is led here: nothing of its journal goes"):
        await damaged.execute(statement)


@pytest.mark.parametrize(("first", "last"), [("null", "null"), ("1", "null"), ("9", "1")])
async def test_only_a_range_goes(damaged: Any, first: str, last: str) -> None:
    with pytest.raises(DatabaseError, match="are no range"):
        await damaged.execute(f"select drop_unreadable(100, {first}, {last})")


async def test_the_running_role_cannot_take_pages_for_empty_by_itself(runner: Transaction) -> None:
    with pytest.raises(DatabaseError, match="permission denied to set parameter"):
        await runner.execute("set zero_damaged_pages = on")
