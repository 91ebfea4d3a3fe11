"""What a statement gets so that every node answers it alike: nothing where its order is whole, else tie-breakers."""

from __future__ import annotations

import pytest

from peaceriver.errors import Invalid
from peaceriver.query.dialect import written
from peaceriver.query.guard import checked
from peaceriver.query.repeatable import made_repeatable

_O = '"o"."actor_shard", "o"."actor_id"'


def repeatable(sql: str) -> str:
    return written(made_repeatable(checked(sql).tree.copy())[0])


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        # rows of models: by department and id
        ('select total from "Order" o', f'SELECT "total" FROM "Order" AS "o" ORDER BY {_O}'),
        (
            'select total from "Order" o order by total desc limit 3',
            f'SELECT "total" FROM "Order" AS "o" ORDER BY "total" DESC, {_O} LIMIT 3',
        ),
        (
            'select 1 from "Order" o join "Order" p using (total)',
            f'SELECT 1 FROM "Order" AS "o" JOIN "Order" AS "p" USING ("total")'
            f' ORDER BY {_O}, "p"."actor_shard", "p"."actor_id"',
        ),
        # of anything else: as text
        (
            "select n from generate_series(1, 3) g(n)",
            'SELECT "n" FROM GENERATE_SERIES(1, 3) AS "g"("n") ORDER BY CAST(ROW("g".*) AS TEXT) COLLATE "C"',
        ),
        # one row, or whatever has no order that matters: nothing
        ('select count(*) from "Order" o', 'SELECT COUNT(*) FROM "Order" AS "o"'),
        ('select 1', "SELECT 1"),
        # groups: by what they are grouped by, and then by all of the row
        (
            'select state, count(*) from "Order" o group by state',
            'SELECT "state", COUNT(*) FROM "Order" AS "o" GROUP BY "state"'
            ' ORDER BY 1, CAST(ROW("state", COUNT(*)) AS TEXT) COLLATE "C"',
        ),
        # distinct rows, by their columns
        (
            'select distinct state, total from "Order" o order by total',
            'SELECT DISTINCT "state", "total" FROM "Order" AS "o" ORDER BY "total", 1, 2',
        ),
        (
            'select distinct on (state) state, total from "Order" o order by state',
            f'SELECT DISTINCT ON ("state") "state", "total" FROM "Order" AS "o" ORDER BY "state", {_O}',
        ),
        (
            'select distinct on (state) state, total from "Order" o',
            f'SELECT DISTINCT ON ("state") "state", "total" FROM "Order" AS "o" ORDER BY "state", {_O}',
        ),
        # sets
        (
            'select state from "Order" union select state from "Item" limit 2',
            'SELECT * FROM (SELECT "state" FROM "Order" UNION SELECT "state" FROM "Item") AS "around"'
            ' ORDER BY CAST(ROW("around".*) AS TEXT) COLLATE "C" LIMIT 2',
        ),
        # whatever is cut within, but not where only its existence is asked for
        (
            'select (select total from "Order" o limit 1), exists (select 1 from "Order" limit 1)',
            f'SELECT (SELECT "total" FROM "Order" AS "o" ORDER BY {_O} LIMIT 1),'
            ' EXISTS(SELECT 1 FROM "Order" LIMIT 1)',
        ),
        # aggregates that put values in a row
        (
            'select array_agg(total), sum(total), string_agg(state, \',\' order by total) from "Order" o',
            f'SELECT ARRAY_AGG("total" ORDER BY {_O}), SUM("total"), STRING_AGG("state", \',\' ORDER BY "total", {_O})'
            ' FROM "Order" AS "o"',
        ),
        (
            'select array_agg(distinct total) from "Order" o',
            'SELECT ARRAY_AGG(DISTINCT "total") FROM "Order" AS "o"',
        ),
        # windows: where it matters which of equal rows comes first, and only there
        (
            'select row_number() over (order by total), rank() over (order by total) from "Order" o',
            f'SELECT ROW_NUMBER() OVER (ORDER BY "total", {_O}), RANK() OVER (ORDER BY "total") FROM "Order" AS "o"'
            f" ORDER BY {_O}",
        ),
        (
            'select lag(total) over w, sum(total) over w from "Order" o'
            " window w as (partition by state order by total)",
            f'SELECT LAG("total") OVER (PARTITION BY "state" ORDER BY "total", {_O}), SUM("total") OVER "w"'
            ' FROM "Order" AS "o" WINDOW "w" AS (PARTITION BY "state" ORDER BY "total")'
            f" ORDER BY {_O}",
        ),
        (
            'select array_agg(total) over (partition by state) from "Order" o',
            f'SELECT ARRAY_AGG("total") OVER (PARTITION BY "state" ORDER BY {_O}'
            ' ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM "Order" AS "o"'
            f" ORDER BY {_O}",
        ),
    ],
)  # fmt: skip
def test_what_is_open_is_settled(sql: str, expected: str) -> None:
    assert repeatable(sql) == expected


def test_ties_are_all_taken_and_put_in_order_afterwards() -> None:
    tree, hidden = made_repeatable(
        checked('select state as s from "Order" o order by total desc, s fetch first 2 rows with ties').tree.copy()
    )
    assert hidden == 2
    assert written(tree) == (
        'SELECT * FROM (SELECT "state" AS "s", "total" AS "around 1", "state" AS "around 2" FROM "Order" AS "o"'
        ' ORDER BY "total" DESC, "s" FETCH FIRST 2 ROWS WITH TIES) AS "around"'
        ' ORDER BY "around 1" DESC, "around 2", CAST(ROW("around".*) AS TEXT) COLLATE "C"'
    )


@pytest.mark.parametrize(
    "sql",
    [
        'select last_value(total) over (order by state) from "Order"',
        'select nth_value(total, 2) over (order by state) from "Order"',
        'select array_agg(total) over (order by state) from "Order"',
        'select last_value(total) over (order by state range between 1 preceding and current row) from "Order"',
    ],
)
def test_what_cannot_be_settled_is_refused_with_what_to_do(sql: str) -> None:
    with pytest.raises(Invalid, match="say ROWS BETWEEN"):
        repeatable(sql)


def test_what_was_checked_stays_as_it_is() -> None:
    query = checked('select row_number() over () from "Order" limit 1')
    before = written(query.tree)
    made_repeatable(query.tree.copy())
    assert written(query.tree) == before
