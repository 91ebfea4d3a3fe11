"""A node on a database that was given to it by a DSN."""

from __future__ import annotations

import pytest

from peaceriver.errors import StartFailed
from peaceriver.migrating import prepare
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.keeping import rows
from peaceriver.node.launch import node_on_dsn
from peaceriver.node.publishing import Publishing
from peaceriver.node.questions import Question
from peaceriver.postgres import RUNNER, DatabaseError, connect
from peaceriver.query.cutoff import AtPositions
from peaceriver.query.named import View
from peaceriver.shard.proposal import Receipt
from tests.scenario.trio import until
from tests.scenario.words import create
from tests.scenario.world import ME


async def test_a_given_database_is_served_and_append_only_as_well(dsn: str) -> None:
    for start in range(2):
        node = await node_on_dsn("n1", dsn)
        try:
            await Publishing(node).department(100, {"name": "Sales"}, ME)
            outcome = (await node.sending.send([create(100, f"Order/{start}")], ME))[0]
            assert isinstance(outcome, Receipt)
            async with node.database.connection() as tx:
                assert await tx.fetchval("select current_user") == RUNNER
                with pytest.raises(DatabaseError, match="permission denied"):
                    await tx.execute("delete from journal")
        finally:
            await node.stop()


async def test_what_is_kept_is_what_the_query_answers_however_the_database_writes_times(dsn: str) -> None:
    admin = await connect({"dsn": dsn})
    try:
        for setting in ("timezone = 'America/New_York'", "datestyle = 'German'", "intervalstyle = 'postgres_verbose'"):
            await admin.execute(f"alter database given set {setting}")
    finally:
        await admin.close()
    text = """select to_char(placed, 'HH24') as hour, placed::date as day, placed::text as written, sum(1) as n,
        min((placed - timestamptz '2025-12-31 00:00Z')::text) as took, max(extract(hour from placed)) as last
        from "Order" group by 1, 2, 3"""
    node = await node_on_dsn("n1", dsn)
    try:
        publishing = Publishing(node)
        await publishing.department(100, {"name": "Sales"}, ME)
        placed = {"type": "string", "format": "date-time"}
        await publishing.schema("Order", {"type": "object", "properties": {"placed": placed}}, ME)
        await publishing.view(View(name="by_hour", sql=text, kept=True), "", ME)
        moments = ["2026-01-01T02:30:00Z", "2026-01-01T02:30:00Z", "2026-07-01T23:30:00+02:00"]
        for number, moment in enumerate(moments):
            (outcome,) = await node.sending.send([create(100, f"Order/{number}", f'{{"placed":"{moment}"}}')], ME)
            assert isinstance(outcome, Receipt)
        await node.shards[100].folded.reached(outcome.position)
        await until(lambda: [each.kept.name for each in node.views.kept.get("Order", ())] == ["by_hour"], "kept view")
        async with node.database.querying(20) as tx:
            table, places = await node.kept.keeping.at(tx, "by_hour", [100])
            found = await rows(tx, table, [100])
        freshness = Freshness(as_of=AtPositions({100: places[100].position}), timeout_s=20)
        answer = await node.querying.ask(Question(sql=text, freshness=freshness))
        assert sorted(found) == sorted(answer.rows)
        assert sorted(each[:3] for each in found) == [
            ("02", "2026-01-01", "2026-01-01 02:30:00+00"),
            ("21", "2026-07-01", "2026-07-01 21:30:00+00"),
        ]
    finally:
        await node.stop()


async def test_a_database_that_is_not_there_is_said(dsn: str) -> None:
    with pytest.raises(StartFailed, match="nowhere"):
        await node_on_dsn("n1", dsn.replace("/given", "/nowhere"))


@pytest.mark.parametrize(
    "locale",
    [
        "locale_provider icu icu_locale 'en'",
        "locale_provider icu icu_locale 'en' locale 'C'",
        "locale 'en_US.utf8'",
    ],
)
async def test_a_database_that_sorts_otherwise_than_other_nodes_is_refused(dsn: str, locale: str) -> None:
    await _make(dsn, "sorted", locale)
    with pytest.raises(StartFailed, match=r"'sorted' does not compare .* LOCALE_PROVIDER libc LOCALE 'C'$"):
        await node_on_dsn("n1", dsn.replace("/given", "/sorted"))
    connection = await connect({"dsn": dsn})
    try:
        assert not await connection.fetchval("select 1 from pg_roles where rolname = $1", RUNNER)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "locale",
    [
        "locale_provider libc locale 'C'",
        "locale 'POSIX'",
        "locale 'C.UTF-8'",
        "locale_provider builtin builtin_locale 'C.UTF-8'",
    ],
)
async def test_every_way_of_comparing_by_code_points_is_taken(dsn: str, locale: str) -> None:
    await _make(dsn, "sorted", locale)
    await prepare({"dsn": dsn.replace("/given", "/sorted")}, database=None)


async def test_our_own_database_compares_by_code_points_whatever_its_template_does(dsn: str) -> None:
    await _make(dsn, "other", "locale_provider icu icu_locale 'en'")
    connection = await connect({"dsn": dsn})
    try:
        await connection.execute("update pg_database set datcollversion = null where datname = 'other'")
        await connection.execute("alter database template0 rename to template_c")
        await connection.execute("alter database other rename to template0")
    finally:
        await connection.close()
    await prepare({"dsn": dsn}, database="ours")
    await prepare({"dsn": dsn.replace("/given", "/ours")}, database=None)


async def _make(dsn: str, name: str, locale: str) -> None:
    """A database with a locale; skips the test where the server does not have it."""
    connection = await connect({"dsn": dsn})
    try:
        await connection.execute(f"create database {name} template template0 encoding 'UTF8' {locale}")
    except DatabaseError as error:
        pytest.skip(f"this server has no such locale: {error}")
    finally:
        await connection.close()
