"""Arrays that are equal are answered in one form wherever rows lie, as their elements are."""

from __future__ import annotations

import pytest

from peaceriver.postgres import Database
from tests.sql.test_one_form import answer

DOCUMENTS = ('{"x": 1}', '{"x": 1.0}', '{"x": 2.50}', '{"x": 2.5}', '{"x": 100}', '{"x": 100.00}')
NUMBER = "(d->>'x')::numeric"


@pytest.mark.parametrize(
    "sql",
    [
        f"select distinct array[{NUMBER}] from {{}}",
        f"select array[{NUMBER}] as a, count(*) from {{}} group by a",
        "select distinct array[(d->'x')::jsonb] from {}",
        f"select max(array[{NUMBER}]), min(array[{NUMBER}]) from {{}}",
        "select min(string_to_array(d->>'x', ',')::numeric[]) from {}",
        f"select mode() within group (order by array[{NUMBER}]) from {{}}",
        f"select percentile_disc(0.5) within group (order by array[{NUMBER}]) from {{}}",
        f"select array_agg(distinct array[{NUMBER}]) from {{}}",
        f"select jsonb_agg(distinct array[{NUMBER}]) from {{}}",
        f"select array[{NUMBER}] from {{}} union select array[3.00]",
        f"select array[{NUMBER}] from {{}} intersect select array[{NUMBER}] from {{}}",
        f"select array[{NUMBER}] from {{}} except select array[3.00]",
        f"select distinct array(select {NUMBER}) from {{}}",
        f"select distinct array_remove(array[{NUMBER}], 5) from {{}}",
        f"select distinct array[1.5 * {NUMBER}] from {{}}",
        f"select distinct greatest(array[{NUMBER}], array[1.000]) from {{}}",
        f"select distinct array[array[{NUMBER}, null], array[1.10, {NUMBER}]] from {{}}",
        "select distinct f from {}, json_to_record(json_build_object('f', json_build_array(d->'x'))) as r(f numeric[])",
        f"select distinct array[case when {NUMBER} = 1.0 and d->>'x' like '%.%' then interval '24 hours'"
        " else interval '1 day' end] from {}",
        "select distinct array[(case when d->>'x' like '%.%' then '-0' else '0' end)::float8] from {}",
        f"select a[1], scale(a[1]), md5(a::text) from (select distinct array[{NUMBER}] as a from {{}}) as s",
        f"select unnest(a) from (select array[{NUMBER}] as a, count(*) from {{}} group by 1) as s",
    ],
)
async def test_where_rows_lie_makes_no_difference(database: Database, sql: str) -> None:
    answers = set()
    for rows in (DOCUMENTS, DOCUMENTS[::-1]):
        source = "(values {}) as v(d)".format(", ".join(f"('{each}'::json)" for each in rows))
        answers.add(tuple(await answer(database, sql.replace("{}", source))))
    assert len(answers) == 1, answers


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("array[1.50, 100, 0.0, -0.10, null, 10.010]::numeric[]", "{1.5,100,0,-0.1,NULL,10.01}"),
        ("array['NaN', 'Infinity', '1e3']::numeric[]", "{NaN,Infinity,1000}"),
        ("'[2:3][0:1]={{1.0,2},{3.20,4.00}}'::numeric[]", "[2:3][0:1]={{1,2},{3.2,4}}"),
        ("'{}'::numeric[]", "{}"),
        ("'{}'::interval[]", "{}"),
        ("null::numeric[]", None),
        ("array['36:00:00']::interval[]", "{P1DT12H}"),
        ("array['[1.0]', null]::jsonb[]", "{[1],NULL}"),
    ],
)
async def test_an_array_is_equal_to_its_form(database: Database, value: str, form: str | None) -> None:
    async with database.querying(10) as tx:
        assert await tx.fetchval(f"select reading.one_form({value})::text") == form
        assert await tx.fetchval(f"select reading.one_form({value}) is not distinct from {value}")
