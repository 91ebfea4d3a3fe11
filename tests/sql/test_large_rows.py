"""A row that is made of values over and over is refused before a node has it in memory."""

from __future__ import annotations

import pytest

from peaceriver.limits import LARGE_PART_ROWS_MAX, LARGE_ROW_BYTES_MAX, QUERY_PART_ROWS_MAX
from peaceriver.node.parts import parts
from peaceriver.postgres import Database, DatabaseError
from peaceriver.query.guard import checked
from peaceriver.query.statement import stated
from tests.sql.test_one_form import answer

#: 30,000,000 letters.
REPLACED = "replace(repeat('x', 3000), 'x', repeat('y', 10000))"


@pytest.mark.parametrize(
    "value",
    [
        REPLACED,
        "regexp_replace(repeat('x', 3000), 'x', repeat('y', 10000), 'g')",
        "concat((select string_agg(repeat('y', 10000), '') from generate_series(1, 3000)), 'z')",
        "(select array_agg(repeat('y', 10000)) from generate_series(1, 3000))",
        "(select json_agg(repeat('y', 10000)) from generate_series(1, 3000))",
        "(with a as (select repeat('y', 10000) as t), b as (select t || t || t || t || t || t || t || t as t from a),"
        " c as (select t || t || t || t || t || t || t || t as t from b)"
        " select t || t || t || t || t || t || t || t || t || t || t || t || t || t || t || t || t || t || t || t || t"
        " || t || t || t || t || t || t || t || t || t || t || t || t from c)",
    ],
)
async def test_a_row_that_is_too_large_is_refused_before_it_is_sent(database: Database, value: str) -> None:
    said = rf"a row of the answer has \d+ bytes, and {LARGE_ROW_BYTES_MAX} is the most: answer less in each row"
    for sql in (
        f"select {value}",
        f"select 'first' as t union all select {value}::text order by t",
        f"select n, {value} from generate_series(1, 3) as g(n) order by n desc",
    ):
        with pytest.raises(DatabaseError, match=said):
            await answer(database, sql)


async def test_one_that_is_large_is_answered_with_its_columns_in_order(database: Database) -> None:
    sql = (
        f"select 1 as a, left({REPLACED}, 16000000) as b, 2 as a, n from generate_series(1, 3) as g(n) order by n desc"
    )
    statement = stated(checked(sql), {}, single=True, kinds={})
    assert statement.is_large
    async with database.querying(30) as tx:
        rows = await tx.fetch(statement.text, 2)
    assert list(rows[0].keys())[:4] == ["a", "b", "a", "n"]
    assert [(row[0], len(row[1]), row[2], row[3]) for row in rows] == [(1, 16_000_000, 2, 3), (1, 16_000_000, 2, 2)]


@pytest.mark.parametrize(
    ("sql", "is_large"),
    [
        ("select upper(a) as b, sum(n) as s from (values ('a', 1)) as v(a, n) group by a", False),
        (
            "select a from (values ('a')) as v(a) where a in (select string_agg(t, '') from (values ('b')) as w(t))",
            True,
        ),
        ("select array['a']", True),
        ("select 'a' || 'b'", True),
    ],
)
def test_only_what_puts_values_together_is_bounded(sql: str, is_large: bool) -> None:
    statement = stated(checked(sql), {}, single=True, kinds={})
    assert statement.is_large is is_large
    assert ("reading.fits" in statement.text) is is_large


async def test_few_are_read_at_a_time(database: Database) -> None:
    statement = stated(checked("select n || '' from generate_series(1, 2000) as g(n)"), {}, single=True, kinds={})
    for rows_max in (LARGE_PART_ROWS_MAX, QUERY_PART_ROWS_MAX):
        async with database.querying(30) as tx:
            sizes = [len(part) async for part in parts(tx, statement.text, [2_000], 1, rows_max=rows_max)]
        assert sum(sizes) == 2_000
        assert max(sizes) == rows_max
