"""What the query language writes is what PostgreSQL and sqlglot read: many shapes of statements, and any literal."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ARRAY, Text, literal
from sqlglot import expressions as exp

from peaceriver import jsontext, select
from peaceriver.embedded import Server
from peaceriver.errors import Invalid
from peaceriver.postgres import Transaction, connect
from peaceriver.query.select import compiled, declared
from tests.queries import statements

SYSTEM = (
    'actor_id text collate "C", actor_shard integer, actor_version integer, actor_status text, actor_stamp text,'
    " document json"
)
TABLES = f"""
create table "Order" ({SYSTEM}, customer text collate "C", total numeric, parts numeric, weight numeric, urgent boolean,
    at timestamptz, day date, state text, colour text, key text, "the kind: 100%" text, "group" text, mro numeric,
    metadata text);
create table "Customer" ({SYSTEM}, name text collate "C", region text, "limit" numeric);
create table "Employee" ({SYSTEM}, name text, chief text collate "C");
create table "Invoice" ({SYSTEM}, total numeric, due date, paid text, "bill no" text);
insert into "Order"
  select 'SO-' || n, 100, 1, 'active', n || '@100', doc::json, customer, total, n * 3, total / 10, n = 1,
    ('2026-11-22T1' || n || ':00:00Z')::timestamptz, case when n > 1 then '2026-11-22'::date end, 'open', 'red',
    '00000000-0000-0000-0000-000000000005', 'it''s: 100% \\ so::called', 'g', n, 'm'
  from (values (1, 'Ada', 10, '{{"delivery":{{"city":"Ulm"}},"lines":[{{"sku":"a","price":2}}],"document":"own"}}'),
    (2, 'Eve', 2.5, '{{"lines":[]}}'), (3, 'Ada', 1, '{{"delivery":{{"city":"Ulm"}}}}'), (4, 'it''s', 1, '{{}}'))
  as made (n, customer, total, doc);
insert into "Customer" values
  ('c', 100, 1, 'active', '1@100', '{{}}', 'Ada', 'north', 5),
  ('d', 100, 1, 'active', '2@100', '{{}}', 'Bob', 'north', 5);
insert into "Employee" values
  ('a', 100, 1, 'active', '1@100', '{{}}', 'A', null), ('b', 100, 1, 'active', '2@100', '{{}}', 'B', 'a');
insert into "Invoice" values ('i', 100, 1, 'active', '1@100', '{{}}', 2, '2026-11-22', 'yes', '7');
"""
SHAPES = {name: (statement, given) for name, statement, given in statements()}
#: Their text depends on how long the list is, so no named view can be made of them.
LISTS = ("in variables", "in no variables")
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|::|:(\w+)")


@pytest.fixture(scope="module")
async def tx(module_folder: Path, anyio_backend: Any) -> AsyncIterator[Transaction]:
    server = await Server.start(module_folder / "postgres")
    connection = await connect(server.connection("postgres"))
    try:
        await connection.execute(TABLES)
        yield connection
    finally:
        await connection.close()
        await server.stop()


def numbered(sql: str, variables: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The text with ``$1`` for the first of its variables, and their values."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    return _TOKEN.sub(number, sql), [_sent(variables[name]) for name in names]


def written_anew(sql: str, variables: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The same by way of sqlglot's tree, as a node does it."""
    names: list[str] = []

    def number(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Placeholder):
            return node
        if node.name not in names:
            names.append(node.name)
        return exp.Parameter(this=exp.Literal.number(names.index(node.name) + 1))

    tree = sqlglot.parse_one(sql, dialect="postgres").transform(number)
    return tree.sql(dialect="postgres"), [_sent(variables[name]) for name in names]


def _sent(value: Any) -> Any:
    return jsontext.write(value) if isinstance(value, dict) else value


async def asked(tx: Transaction, sql: str, values: list[Any]) -> list[str]:
    return sorted(repr(tuple(row.values())) for row in await tx.fetch(sql, *values))


@pytest.mark.parametrize("name", SHAPES)
async def test_a_shape_is_read_by_postgresql_and_by_sqlglot(tx: Transaction, name: str) -> None:
    statement, given = SHAPES[name]
    question = compiled(statement, given)
    sql, values = numbered(question.sql, question.variables)
    rows = await tx.fetch(sql, *values)
    assert all(len(row) == len(question.readers) for row in rows)
    expected = sorted(repr(tuple(row.values())) for row in rows)
    assert await asked(tx, *written_anew(question.sql, question.variables)) == expected
    if name in LISTS:
        with pytest.raises(Invalid, match="is a list"):
            declared(statement)
        return
    text, names = declared(statement)
    assert set(names) == set(given)
    sent = {each: question.variables[each] for each in names}
    assert await asked(tx, *numbered(text, sent)) == expected
    assert await asked(tx, *written_anew(text, sent)) == expected


def test_there_are_many_shapes() -> None:
    assert len(SHAPES) >= 50


texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
decimals = st.decimals(allow_nan=False, allow_infinity=False).filter(lambda it: abs(it.adjusted()) < 308)
offsets = st.integers(-15 * 60, 15 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=offsets)
anything = st.one_of(
    texts, decimals, moments, st.dates(), st.uuids(), st.booleans(), st.integers(-(2**62), 2**62),
    st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)), st.lists(texts, min_size=1),
    st.just("'; drop table \"Order\" -- \\' :x $1 %s %(x)s {} ? __[POSTCOMPILE_x]"),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(values=st.lists(anything, min_size=1, max_size=4))
async def test_a_literal_is_the_value_it_was(tx: Transaction, values: list[Any]) -> None:
    statement = select(*(literal(each) if not isinstance(each, list) else _array(each) for each in values))
    text, names = declared(statement)
    assert names == ()
    for sql in (text, written_anew(text, {})[0]):
        row = tuple((await tx.fetch(sql))[0].values())
        assert row == tuple(values)
        for read, value in zip(row, values, strict=True):
            assert isinstance(read, type(value))


def _array(items: list[str]) -> Any:
    return literal(items, ARRAY(Text))
