"""What the parser would take for something else than PostgreSQL does is read as PostgreSQL reads it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from peaceriver.errors import Invalid
from peaceriver.query.dialect import written
from peaceriver.query.guard import checked
from peaceriver.query.values import bound


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select json_array_length(d -> 'lines') from a", 'JSON_ARRAY_LENGTH("d" -> \'lines\')'),
        ("select coalesce(d -> 'x', d -> 'y') from a", "COALESCE(\"d\" -> 'x', \"d\" -> 'y')"),
        ("select x > all(:many) from a", '"x" > ALL(:many)'),
        ("select x > all (array[1, 2]) from a", '"x" > ALL(ARRAY[1, 2])'),
        ("select x = some(:many) from a", '"x" = SOME(:many)'),
        ("select x > all (select y from b) from a", '"x" > ALL (SELECT "y" FROM "b")'),
        ("select make_interval(days => 2) from a", "MAKE_INTERVAL(days => 2)"),
        ("select x::timestamp with time zone from a", 'CAST("x" AS TIMESTAMPTZ)'),
        ("select x::time(3) with time zone from a", 'CAST("x" AS TIMETZ(3))'),
        ("select jsonb_path_exists(d, '$.a'::jsonpath) from a", 'CAST(\'$.a\' AS "jsonpath")'),
    ],
)  # fmt: skip
def test_it_is_written_as_it_was_read(sql: str, expected: str) -> None:
    assert expected in written(checked(sql).tree)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("select '1'::\"char\" from a", "the type"),
        ("select '1'::regclass from a", "REGCLASS is"),
        ("select age(x) from a", "up to today"),
        ("select f(x -> x + 1) from a", "the function f is"),
    ],
)
def test_what_only_looks_like_it_is_refused(sql: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        checked(sql)


@pytest.mark.parametrize(
    ("sql", "why", "column"),
    [
        ("select 1 union", "it is not complete, something is missing at this place", 14),
        ("select 1 +", "it is not complete, something is missing at this place", 10),
        ("select case when", "it is not complete, something is missing at this place", 16),
        ("select 1 from", "Expected table name", 13),
        ("select * from > 'a\n'", "Expected table name", 15),
    ],
)
def test_what_cannot_be_read_is_said_without_names_of_the_parsers_own(sql: str, why: str, column: int) -> None:
    with pytest.raises(Invalid) as caught:
        checked(sql)
    assert str(caught.value) == f"the query is refused: it cannot be read as SQL: {why}. Line 1, Col: {column}"


@pytest.mark.parametrize("kind", ["numeric", "float8"])
def test_a_float_is_a_number(kind: str) -> None:
    assert bound("x", 0.5, kind) == Decimal("0.5")
    with pytest.raises(Invalid, match="out of range"):
        bound("x", float("inf"), kind)
