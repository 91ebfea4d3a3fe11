"""What answers one of several equal values answers the same one wherever rows lie, and no text means today."""

from __future__ import annotations

from itertools import permutations

import pytest
from sqlglot import exp

from peaceriver.errors import Invalid
from peaceriver.postgres import Database, DatabaseError
from peaceriver.query.guard import checked
from peaceriver.query.names import output_name
from peaceriver.query.statement import stated
from tests.sql.test_round_trip import lines

#: The products are 3.0, 3.00 and 3 in some order, and twice 4.
ROWS = ("(2, 1.5, 'a')", "(1.50, 2.0, 'b')", "(3, 1, 'c')", "(2.00, 2, 'd')", "(4, 1, 'e')")
SOURCE = "(values {}) as v(x, y, name)"
STATEMENTS = (
    "select x * y as k, count(*) from {} group by x * y",
    "select x * y, count(*) from {} group by 1",
    "select x * y as k, count(*) from {} group by k order by k desc",
    "select v.x * v.y, count(*) from {} group by (x * y) having x * y > 1 order by x * y",
    "select (x * y)::text, count(*) from {} group by x * y",
    "select x * y, y + 1, count(*) from {} group by rollup (x * y, y + 1)",
    "select x * y, count(*) from {} group by grouping sets ((x * y), ())",
    "select distinct x * y from {}",
    "select distinct x * y as k from {} order by k",
    "select min(x * y), max(x * y), max(x * y)::text from {}",
    "select max(x * y) over (), name from {}",
    "select mode() within group (order by x * y) from {}",
    "select percentile_disc(0.5) within group (order by x * y) from {}",
    "select array_agg(distinct x * y) from {}",
    "select array_agg(distinct x * y order by x * y desc) from {}",
    "select sum(distinct x * y) from {}",
    "select string_agg(distinct (x * y)::int::text, ',') from {}",
    "select x * y from {} union select y * x from {}",
    "select x * y from {} intersect select y * x from {}",
    "select x * y from {} except select y from {} where y > 3",
    "select distinct * from (select x * y from {}) as s",
    "select k, count(*) from (select x * y as k from {}) as s group by k",
    "with s as (select x * y as k, name from {}) select k, min(name) from s group by k",
    "with s as (select x * y as k from {}) select * from s union select * from s",
    "select k::text from (select distinct x * y as k from {}) as s",
    "select l.k, count(*) from {} cross join lateral (select v.x * v.y as k) as l group by l.k",
    "select u.k, count(*) from {} cross join unnest(array[x * y]) as u(k) group by u.k",
    "select u.k::text, count(*) from {} cross join unnest(array[x * y]) as u(k) group by u.k order by u.k",
    "select distinct make_interval(hours => (x * y * 24)::int) - case when x > 2 then interval '1 day'"
    " else interval '24 hours' end from {}",
    "select distinct to_jsonb(x * y) from {}",
    "select jsonb_build_object('k', jsonb_build_array(x * y)), count(*) from {} group by 1",
    "select distinct (case when x > 2 then '-0' else '0' end)::float8 from {}",
    "select distinct (select max(v.x * v.y)::text from {} where w.n > 0) from (values (1)) as w(n)",
    "select u.p * 0 as p, u.p::text, count(*) from {} cross join unnest(array[x * y]) as u(p) group by p",
    'select "x" * y, count(*) from {} group by x * "y"',
    "select s.*, x * y, count(*) from {} cross join (select 1 as a, 2 as b) as s group by 1, 2, 3",
    "select u.*, count(*) from {} cross join unnest(array[x * y]) as u(k) group by k",
    "select u.*, count(*) from {} cross join unnest(array[x * y]) with ordinality as u group by 1, 2",
    "select 3.00 union select x * y from {}",
    "select percentile_cont(0) within group (order by case when x > 2 then interval '24:00' else interval '1 day' end)"
    " from {}",
)
VALUES = (
    """
    1.50; 1::smallint; 1; 1::bigint; 0.5::real; 0.5::float8; 'a'; 'a'::varchar; 'a '::char(3); interval '36 hours'
    '2026-01-01'::date; '12:00'::time; '12:00+01'::timetz; '2026-01-01'::timestamp; '2026-01-01'::timestamptz; true
    null; array['a']; array[1.5]; array['1 day'::interval]; '{"a": [1.50]}'::jsonb; '1'::json; row(1, 2)
    array[1]; array[1::bigint]; array[1::smallint]; array[0.5::real]; array['12:00'::time]; array['2026-01-01'::date]
    array['a'::varchar]; array['a '::char(3)]; array[true]; array['12:00+01'::timetz]; array['2026-01-01'::timestamp]
    array['2026-01-01'::timestamptz]; array['[1.0]'::jsonb]
    array['00000000-0000-0000-0000-000000000001'::uuid]
    '00000000-0000-0000-0000-000000000001'::uuid
""".strip()
    .replace("\n", ";")
    .split(";")
)
pytestmark = pytest.mark.anyio


async def answer(database: Database, sql: str) -> list[str]:
    statement = stated(checked(sql), {}, single=True, kinds={})
    async with database.querying(10) as tx:
        rows = await tx.fetch(statement.text, 1_000)
    return [repr(tuple(row.values())[: len(row) - statement.hidden]) for row in rows]


@pytest.mark.parametrize("sql", STATEMENTS)
async def test_where_rows_lie_makes_no_difference(database: Database, sql: str) -> None:
    answers = set()
    for rows in (*permutations(ROWS, 5),)[::7]:
        source = SOURCE.format(", ".join(rows))
        answers.add(tuple(await answer(database, sql.format(*[source] * sql.count("{}")))))
    assert len(answers) == 1


async def test_a_statement_that_takes_no_one_of_equals_answers_what_came(database: Database) -> None:
    source = SOURCE.format(", ".join(ROWS))
    found = await answer(database, f"select x * y, sum(x) over (order by name) from {source} order by name limit 2")
    assert found == ["(Decimal('3.0'), Decimal('2'))", "(Decimal('3.000'), Decimal('3.50'))"]


@pytest.mark.parametrize("value", VALUES)
async def test_each_type_has_one_form_which_is_equal(database: Database, value: str) -> None:
    compared = f"{value}::text" if value.endswith("::json") else value
    async with database.querying(10) as tx:
        assert await tx.fetchval(f"select reading.one_form({compared}) is not distinct from {compared}")
        assert await tx.fetchval(f"select reading.timeless({compared}) is not distinct from {compared}")


@pytest.mark.parametrize("word", ["today", "TOMORROW", "Yesterday", "now", "now 12:00", "5now"])
@pytest.mark.parametrize("kind", ["date", "timestamptz", "timestamp", "time", "timetz"])
async def test_no_text_means_the_day_of_the_query(database: Database, word: str, kind: str) -> None:
    halves = f"'{word[:2]}' || '{word[2:]}'"
    for sql in (
        f"select ({halves})::{kind}",
        f"select cast(v.t as {kind}) from (values ({halves})) as v(t)",
        f"select (j.document ->> 'day')::{kind} from (select json_build_object('day', {halves})) as j(document)",
        f"select array[{halves}]::{kind}[]",
        f"select max(v.t::{kind}) from (values ({halves})) as v(t)",
    ):
        with pytest.raises(DatabaseError, match="means another moment each day"):
            await answer(database, sql)


async def test_no_declared_field_of_json_means_it_either() -> None:
    with pytest.raises(Invalid, match="declare it as text, and cast that, as in day::date"):
        checked("select * from json_to_recordset('[]'::json) as t(name text, day date)")


async def test_texts_that_are_dates_are_dates(database: Database) -> None:
    found = await answer(database, "select (v.t || '-11-28')::date, (null::text)::date from (values ('2026')) as v(t)")
    assert found == ["('2026-11-28', None)"]


@pytest.mark.parametrize(("name", "before"), [("expressions.txt", "select "), ("statements.txt", "")])
async def test_columns_are_called_as_postgresql_calls_them(database: Database, name: str, before: str) -> None:
    for line, is_refused in lines(name):
        if is_refused:
            continue
        tree: exp.Expr = checked(before + line).tree
        while isinstance(tree, exp.SetOperation | exp.Subquery):
            tree = tree.this
        if isinstance(tree, exp.Select) and not any(each.is_star for each in tree.expressions):
            async with database.querying(10) as tx:
                prepared = await tx.prepare(before + line)
            called = [each.name for each in prepared.get_attributes()]
            assert [output_name(each) for each in tree.expressions] == called, line
