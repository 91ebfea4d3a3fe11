"""Every operation of the reference answers the same through ``select()``, through ``/query`` and as plain SQL.

All three look at one moment in the middle of a history; plain SQL runs on tables that hold a copy of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peaceriver import Cluster, jsontext
from peaceriver.application import load
from peaceriver.embedding import Inside
from peaceriver.postgres import connect
from peaceriver.query import allowed
from peaceriver.query.guard import checked
from peaceriver.query.select import compiled, declared
from tests.acceptance import trade
from tests.acceptance.door import Door, Served, pointers, problem
from tests.acceptance.operations import (
    REFERENCE,
    Example,
    Operation,
    as_numbers,
    copy,
    examples,
    numbered,
    operations,
    program,
    rows_said,
)
from tests.acceptance.serving import serving

OPERATIONS = operations()
EXAMPLES = examples()


class Trade(msgspec.Struct):
    """A served node with the trade, and the moment that is looked at."""

    served: Served
    door: Door
    #: What the reference's program defines.
    names: Mapping[str, Any]
    as_of: str
    #: The version of PostgreSQL.
    major: int

    def selected(self, operation: Operation, cluster: Cluster) -> list[Any]:
        """The rows of the statement in Python."""
        statement, variables = operation.statement(self.names)
        rows = self.served.run(cluster.query(statement, variables, as_of=self.as_of))
        return rows_said(rows, in_order=operation.is_ordered)

    def declared(self, operation: Operation, cluster: Cluster) -> list[Any]:
        """The rows of the same as the text of a named view, in which values are literals."""
        statement, variables = operation.statement(self.names)
        text, _ = declared(statement)
        return rows_said(
            self.served.run(cluster.query(text, variables, as_of=self.as_of)), in_order=operation.is_ordered
        )

    def asked(self, sql: str, variables: Mapping[str, Any], *, in_order: bool) -> list[Any]:
        """The rows of ``POST /query``."""
        answer = self.door.http.post(
            "/query", content=jsontext.write({"sql": sql, "variables": dict(variables), "as_of": self.as_of})
        )
        assert answer.status_code == 200, answer.text
        told = jsontext.read(answer.content)
        assert ",".join(f"{code}:{at}" for code, at in told["cutoff"]["positions"].items()) == self.as_of
        # JSON in an answer is read with it.
        kinds = [kind if kind not in ("json", "jsonb") else "" for kind in told["types"]]
        return rows_said(told["rows"], kinds, in_order=in_order)

    def plain(self, sql: str, variables: Mapping[str, Any], *, in_order: bool) -> list[Any]:
        """The rows of PostgreSQL itself, of the copy."""
        text, values = numbered(sql, variables)
        return self.served.run(self._plain(text, values, in_order))

    async def _plain(self, text: str, values: list[Any], in_order: bool) -> list[Any]:
        connection = await connect(self.served.server.connection("postgres"))
        try:
            await connection.execute("set search_path = copy; set timezone = 'UTC'; set intervalstyle = 'iso_8601'")
            await connection.set_type_codec(
                "interval", schema="pg_catalog", encoder=str, decoder=str, format="text"
            )  # a host variable's too: the driver knows fewer of them than PostgreSQL
            prepared = await connection.prepare(text)
            kinds = [each.type.name for each in prepared.get_attributes()]
            return rows_said([row.values() for row in await prepared.fetch(*values)], kinds, in_order=in_order)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def sales(module_folder: Path) -> Iterator[Trade]:
    path = module_folder / "trade_models.py"
    path.write_text(program())
    application = load(path)
    with serving(module_folder / "postgres", application) as served, Door(served) as door:
        assert door.http.put("/directory/models/Invoice", json=trade.INVOICE).status_code == 201
        positions = _sent(door, list(trade.until_then()))
        _sent(door, list(trade.from_then_on()))
        records = [each for code in positions for each in _records(door, code) if each["position"] <= positions[code]]
        served.run(_copied(served, records))
        as_of = ",".join(f"{code}:{position}" for code, position in sorted(positions.items()))
        major = served.run(_major(served))
        yield Trade(served, door, vars(sys.modules["trade_models"]), as_of, major)


def _sent(door: Door, messages: list[trade.Message]) -> dict[int, int]:
    """Send them; answers the last position of each department."""
    answer = door.send(jsontext.write(messages))
    assert answer.status_code == 200, answer.text
    receipts = answer.json()
    assert all("stamp" in each for each in receipts), receipts
    return {each["shard"]: each["position"] for each in receipts}


def _records(door: Door, code: int) -> list[dict[str, Any]]:
    answer = door.http.get(f"/shards/{code}/journal", params={"limit": "1000"})
    return list(jsontext.read(answer.content)["records"])


async def _copied(served: Served, records: list[dict[str, Any]]) -> None:
    connection = await connect(served.server.connection("postgres"))
    try:
        await connection.execute("create schema copy")
        await copy(connection, records)
    finally:
        await connection.close()


async def _major(served: Served) -> int:
    connection = await connect(served.server.connection("postgres"))
    try:
        return int(await connection.fetchval("select current_setting('server_version_num')::int / 10000"))
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def embedded(sales: Trade) -> Cluster:
    return Cluster(Inside(sales.served.node), sales.served.node)


@pytest.fixture(scope="module")
def connected(sales: Trade) -> Iterator[Cluster]:
    entered = Cluster.connect(sales.served.url)
    yield sales.served.run(entered.__aenter__())
    sales.served.run(entered.__aexit__(None, None, None))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_an_operation_answers_the_same_three_ways(
    sales: Trade, embedded: Cluster, connected: Cluster, operation: Operation
) -> None:
    _, variables = operation.statement(sales.names)
    in_order = operation.is_ordered
    expected = sales.plain(operation.sql, variables, in_order=in_order)
    assert expected, "an operation that finds nothing shows nothing"
    assert sales.asked(operation.sql, variables, in_order=in_order) == expected
    for rows in (
        sales.selected(operation, embedded),
        sales.selected(operation, connected),
        sales.declared(operation, connected),
    ):
        assert as_numbers(rows, in_order=in_order) == as_numbers(expected, in_order=in_order)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.name)
def test_an_operator_or_a_function_answers_as_postgresql_does(sales: Trade, example: Example) -> None:
    if sales.major < example.since:
        # What PostgreSQL does not have is refused in its words.
        told = problem(sales.door.http.post("/query", json={"sql": example.sql}), 422, "invalid")
        assert pointers(told) == {"/sql"}
        return
    assert sales.asked(example.sql, {}, in_order=False) == sales.plain(example.sql, {}, in_order=False)


def test_there_are_many_operations_and_each_has_its_own_name() -> None:
    assert len(OPERATIONS) >= 100
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)


def test_every_function_type_and_kind_of_syntax_is_in_what_is_run(sales: Trade) -> None:
    texts = [each.sql for each in (*OPERATIONS, *EXAMPLES)]
    texts += [compiled(*each.statement(sales.names)).sql for each in OPERATIONS]
    nodes = [node for text in texts for node in checked(text).tree.walk()]
    # EXTRACT is no function to the parser.
    assert allowed.FUNCTIONS - {allowed.function_name(each) for each in nodes} == {"extract"}
    assert allowed.SYNTAX - {type(each).__name__ for each in nodes} == set()


def test_the_page_names_every_function_and_every_type() -> None:
    page = (REFERENCE / "query-language.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+)`", page))
    assert allowed.FUNCTIONS - {"all", "some"} - named == set()
    assert allowed.TYPES - named == set()


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select upper('äa'), lower('ÄA'), 'Zoë' ilike 'ZOË', 'Ada' ilike 'aDA'", [["äA", "Äa", False, True]]),
        ("select x from unnest(array['a', 'B', 'ä', 'z']) as t(x) order by x", [["B"], ["a"], ["z"], ["ä"]]),
        ("select parts / 8 from \"Order\" where actor_id = 'SO-02'", [["0.125"]]),
        ("select '2026-06-01T12:00+02:00'::timestamptz::text", [["2026-06-01 10:00:00+00"]]),
        ("select interval '1 day 6 hours', (interval '90 minutes')::text", [["P1DT6H", "PT1H30M"]]),
        ("select actor_id from customer order by 1 limit 1", [["C-1"]]),
    ],
)  # fmt: skip
def test_what_the_page_says_of_texts_and_numbers_is_so(sales: Trade, sql: str, rows: list[Any]) -> None:
    assert sales.asked(sql, {}, in_order=True) == rows


def test_what_the_page_says_is_refused_is_refused(sales: Trade) -> None:
    page = (REFERENCE / "query-language.md").read_text("utf-8")
    table = page.partition("| Refused | Instead |")[2].partition("\n\n")[0]
    parts = re.findall(r"`([^`]+)`", "\n".join(row.split(" | ")[0] for row in table.splitlines()))
    assert len(parts) >= 8
    for part in parts:
        sql = f"select {part}" if "COLLATE" not in part else f"select 'a' {part}"
        told = problem(
            sales.door.http.post("/query", json={"sql": f"{sql} from (select 1 as x, 2 as y) as t"}), 422, "invalid"
        )
        assert "the query is refused" in told["detail"], part
