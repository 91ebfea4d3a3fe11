"""Every operation of the reference answers the same through ``select()``, through ``/query`` and as plain SQL.

All three look at one moment in the middle of a history; plain SQL runs on tables that hold a copy of it.
"""

from __future__ import annotations

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
from tests.acceptance.door import Door, Served
from tests.acceptance.operations import (
    Operation,
    as_numbers,
    copy,
    expressions,
    numbered,
    operations,
    program,
    rows_said,
)
from tests.acceptance.serving import serving

OPERATIONS = operations()
EXPRESSIONS = expressions()


class Trade(msgspec.Struct):
    """A served node with the trade, and the moment that is looked at."""

    served: Served
    door: Door
    #: What the reference's program defines.
    names: Mapping[str, Any]
    as_of: str

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
        yield Trade(served, door, vars(sys.modules["trade_models"]), as_of)


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


@pytest.mark.parametrize("sql", EXPRESSIONS)
def test_a_function_answers_as_postgresql_does(sales: Trade, sql: str) -> None:
    assert sales.asked(sql, {}, in_order=False) == sales.plain(sql, {}, in_order=False)
