"""Rows that functions in SELECT make come in one order wherever the rows lie that they are made of."""

from __future__ import annotations

import pytest

from peaceriver.errors import Invalid
from peaceriver.postgres import Database
from peaceriver.query.guard import checked
from peaceriver.query.statement import stated
from tests.sql.test_one_form import answer

GROUPS = 80
#: Each row comes twice; of a group there is a number, a text, an array and JSON.
ROWS = (
    tuple(
        f"({number % 7}.50, 't{number}', '{{\"k{number}\": {number % 5}, \"l\": [{number}]}}')"
        for number in range(GROUPS)
    )
    * 2
)
SOURCE = "(select n, t, array[n, length(t)] as a, cast(d as jsonb) as j, d from (values {}) as v(n, t, d)) as s"
STATEMENTS = (
    # over groups of what has only a hash, or is mostly found by one
    "select unnest(array[j]) from {} group by j",
    "select unnest(array[t]) from {} group by array[t], t",
    "select unnest(array[n]) from {} group by array[n], n",
    "select jsonb_array_elements(jsonb_build_array(j)) from {} group by j",
    "select jsonb_object_keys(j) from {} group by j",
    "select jsonb_each(j) from {} group by j",
    "select json_array_elements(json_build_array(j)) from {} group by j",
    "select (j -> 'l'), jsonb_array_elements(j -> 'l') from {} group by j",
    "select n, unnest(array[t]) from {} group by n, t",
    "select n, unnest(array_agg(d::json)) from {} group by n, t",
    # a function's rows are what is grouped by
    "select unnest(array[j, j -> 'l']), count(*) from {} group by 1",
    "select unnest(array[t, 'x']) as u, count(*) from {} group by u",
    "select jsonb_object_keys(j) as u from {} group by u having count(*) > 1",
    # two of them, and one within the other
    "select unnest(array[j]), jsonb_object_keys(j) from {} group by j",
    "select unnest(array[n]), generate_series(1, 3) from {} group by n, t",
    "select generate_series(1, unnest(array[length(t)])), unnest(array[j]) from {} group by j, t",
    "select generate_series(1, 2), json_array_elements(json_build_array(j)) from {}",
    # with all else that SELECT has
    "select unnest(array[j]) as u, count(*) from {} group by j order by count(*)",
    "select unnest(array[j]) from {} group by j limit 9",
    "select unnest(array[j]) from {} group by j order by j -> 'l' -> 1 limit 9 offset 9",
    "select distinct unnest(array[j]) from {} group by j",
    "select distinct unnest(array[j, j -> 'l']), n from {}",
    "select distinct unnest(array[n, 2.5]) from {} order by 1 limit 5",
    "select distinct on (n) n, unnest(array[t]) from {}",
    "select unnest(array[j]) from {} group by j union select unnest(array[j -> 'l']) from {}",
    "select unnest(array[j]) from {} group by j union all select unnest(array[j -> 'l']) from {} limit 90",
    "select unnest(array[n]) from {} group by j, n order by n fetch first 3 rows with ties",
    "select array(select unnest(array[j]) from {} group by j)",
    "select array_agg(u.k) from (select unnest(array[j]) as k from {} group by j) as u",
    "select (select unnest(array[j]) from {} group by j limit 1)",
    # with windows over the groups, which they are not in
    "select unnest(array[j]), row_number() over () from {} group by j",
    "select row_number() over (order by n), unnest(array[t, j ->> 'l']) from {} group by t, rollup (n, (j))",
    "select lag(t) over () from {} group by t, j",
    "select array_agg(j) over (), n as x from {} group by j, x limit 1",
    "select j -> 'l' as l, row_number() over () from {} group by 1",
    "select *, row_number() over () from (select n, j from {}) as u group by u.n, j",
    "select * from (select j from {}) as u group by j",
    # without groups
    "select unnest(array[j]) from {}",
    "select unnest(array[n, 1.5, 1.500, n * 1.00]) from {} limit 50",
    "select unnest(array[n, 1.5, 1.500]) from {} order by n",
    "select unnest(array_agg(n)), count(*) from {}",
)  # fmt: skip
pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("sql", STATEMENTS)
async def test_where_rows_lie_makes_no_difference(database: Database, sql: str) -> None:
    answers = set()
    for rows in (ROWS, ROWS[::-1], (*ROWS[GROUPS // 3 :], *ROWS[: GROUPS // 3])):
        answers.add(tuple(await answer(database, sql.replace("{}", SOURCE.format(", ".join(rows))))))
    assert len(answers) == 1


@pytest.mark.parametrize("group", ["1", "u", "unnest(array[j])"])
def test_a_window_over_groups_of_what_is_made_is_refused(group: str) -> None:
    with pytest.raises(Invalid, match="let it make the rows in FROM"):
        stated(
            checked(f"select unnest(array[j]) as u, row_number() over () from (select 1 as j) as s group by {group}"),
            {},
            single=True,
            kinds={},
        )


async def test_rows_made_of_groups_are_in_order(database: Database) -> None:
    source = SOURCE.format(", ".join(ROWS))
    found = await answer(database, f"select unnest(array[t]) from {source} group by array[t], t")
    assert found == sorted(found)
    assert len(found) == GROUPS


async def test_equal_numbers_made_of_one_row_are_in_one_order(database: Database) -> None:
    for values in ("1.0, 1.00, 1", "1, 1.00, 1.0"):
        found = await answer(database, f"select unnest(array[{values}])")
        assert found == ["(Decimal('1'),)", "(Decimal('1.0'),)", "(Decimal('1.00'),)"]
