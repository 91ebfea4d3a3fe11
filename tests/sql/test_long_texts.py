"""A text is refused before it is made where it would be too long, however its length is said."""

from __future__ import annotations

from typing import Any

import pytest

from peaceriver.limits import TEXT_LETTERS_MAX
from peaceriver.postgres import Database, DatabaseError
from peaceriver.query.guard import checked
from peaceriver.query.statement import Relation, stated

#: What a statement's models stand for here: types of which nothing was recorded.
NOTHING = Relation(None, (("name", "text", "name"), ("parts", "numeric", "parts")))
MOST = TEXT_LETTERS_MAX
TOO_LONG = {
    f"repeat('a', {MOST + 1})": MOST + 1,
    f"REPEAT('ab', {MOST // 2 + 1})": MOST + 2,
    f"repeat(repeat('a', {MOST}), {MOST})": MOST * MOST,
    f"repeat('ü', {MOST + 1}.4)": MOST + 1,
    "repeat('ab', 2147483647)": 4294967294,
    "repeat('ab', 9223372036854775807)": 18446744073709551614,
    f"lpad('a', {MOST + 1})": MOST + 1,
    f"rpad('a', {MOST + 1}, 'bc')": MOST + 1,
    "lpad('a', 1e12, 'b')": 1000000000000,
    # Within another one, where what is around it would be short.
    f"lpad('a', length(repeat('b', {MOST * 20})) - {MOST * 20 - 5})": MOST * 20,
    f"left(lpad('a', 3 + 0 * length(rpad('b', {MOST * 20}))), 3)": MOST * 20,
    f"(select repeat('a', {MOST} + count(*)::int + 1) from \"Thing\")": MOST + 1,
    f"(select repeat('a', n) from generate_series({MOST}, {MOST + 1}) as g(n) order by n desc limit 1)": MOST + 1,
}
#: As PostgreSQL's own answer, by the same call.
LIKE_POSTGRESQL = (
    "repeat('ab', 3)", "repeat('ab', 0)", "repeat('ab', -5)", "repeat('', 2000000)", "repeat(null, 3)",
    "repeat('ab', null)", f"length(repeat('ü', {MOST}))", "repeat(repeat('ab', 2), 2)",
    "lpad('a', 3)", "lpad('a', 3, 'xy')", "lpad('abc', 2, 'x')", "lpad('a', -1, 'x')", "lpad('a', 3, '')",
    "lpad('a', 3, null)", "lpad(null, 3)", f"length(lpad('', {MOST}))", "lpad(lpad('a', 2, 'x'), 3, 'y')",
    "rpad('a', 3)", "rpad('a', 3, 'xy')", "rpad('abc', 2, 'x')", "rpad('a', null, 'x')", "rpad('a'::char(2), 4, '.')",
    "(select max(repeat(name, n)) from (values ('ab', 2), ('c', 3)) as v(name, n))",
    "(select r from repeat('ab', 2) as r)",
)  # fmt: skip
pytestmark = pytest.mark.anyio


async def answer(database: Database, sql: str, *variables: Any) -> list[dict[str, Any]]:
    query = checked(sql)
    cut = (100, 1) if query.models else ()
    statement = stated(query, dict.fromkeys(query.models, NOTHING), single=True, kinds={})
    async with database.querying(10) as tx:
        return [dict(row) for row in await tx.fetch(statement.text, *cut, 10, *variables)]


@pytest.mark.parametrize("call", TOO_LONG)
async def test_what_would_be_too_long_is_refused_with_how_long_it_would_be(database: Database, call: str) -> None:
    name = "repeat" if "repeat" in call.lower() else "rpad" if "rpad" in call else "lpad"
    with pytest.raises(DatabaseError, match=f"^{name} goes up to {MOST} letters, not to {TOO_LONG[call]}$"):
        await answer(database, f"select {call} as made")


@pytest.mark.parametrize("call", LIKE_POSTGRESQL)
async def test_all_else_is_as_postgresql_makes_it_under_the_same_name(database: Database, call: str) -> None:
    async with database.querying(10) as tx:
        own = [dict(row) for row in await tx.fetch(f"select {call}")]
    assert await answer(database, f"select {call}") == own


@pytest.mark.parametrize("number", ["2.5", "3::bigint", "3::smallint", "parts", '(select count(*) from "Thing") + 3'])
async def test_how_long_may_be_any_number_as_fields_are(database: Database, number: str) -> None:
    sql = f"select repeat('a', {number}), lpad('a', {number}), rpad('a', {number}, '.') from (values (3.0)) as v(parts)"
    assert await answer(database, sql) == [{"repeat": "aaa", "lpad": "  a", "rpad": "a.."}]


async def test_a_host_variable_may_say_how_long(database: Database) -> None:
    assert await answer(database, "select repeat('a', :often)", 3) == [{"repeat": "aaa"}]
    with pytest.raises(DatabaseError, match=f"goes up to {MOST} letters"):
        await answer(database, "select repeat('a', :often)", 250_000_000)


@pytest.mark.parametrize(
    "sql",
    [
        "with o as (select * from \"Thing\") select repeat('x', 2 + (select count(*)::int from o)) as made",
        "select repeat('x', 2 + (select count(*)::int from thing)) as made",
        "select lpad('x', (select count(*)::int from thing) + 2, 'x') as made from (values (1)) as v",
    ],
)
async def test_relations_may_be_read_to_find_how_long(database: Database, sql: str) -> None:
    query = checked(sql)
    statement = stated(query, dict.fromkeys(query.models, NOTHING), single=True, kinds={})
    assert statement.text.count("count(*)") + statement.text.count("COUNT(*)") == 1  # and are not read twice
    assert await answer(database, sql) == [{"made": "xx"}]


async def test_its_column_is_called_as_postgresql_calls_it_beside_a_cast_to_a_date(database: Database) -> None:
    sql = "select repeat('a', 2), (v.t || '')::date is null from (values ('2026-11-28')) as v(t)"
    assert list((await answer(database, sql))[0]) == ["repeat", "?column?"]
