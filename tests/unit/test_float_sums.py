"""Sums of floating-point numbers are rounded at each step: they get an order, and exact ones are left alone."""

from __future__ import annotations

import pytest

from peaceriver.errors import Invalid
from peaceriver.query.dialect import written
from peaceriver.query.guard import checked
from peaceriver.query.repeatable import made_repeatable

KEYS = 'ORDER BY "x"."actor_shard", "x"."actor_id"'


def repeatable(sql: str) -> str:
    return written(made_repeatable(checked(sql).tree.copy())[0])


@pytest.mark.parametrize(
    "sql",
    [
        "select corr(a, b) from x",
        "select sum(a::float) from x",
        "select avg(sqrt(a)) from x",
        "select stddev(a::real) filter (where b) from x",
        "select sum(2 ^ a) from x",
        "select sum(a * f) from x, (select 1::double precision as f) as y",
        "with y as (select 1::float8 as f) select sum(a * f) from x, y",
        "select sum(a::float) over (partition by b) from x",
        "select (select sum(x.a * y.f) from x) from (select a::float as f from z) as y",
    ],
)
def test_a_sum_of_floats_has_an_order(sql: str) -> None:
    assert KEYS in repeatable(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select sum(a), avg(a), corr(a, b) from x",
        "select sum(distinct a::float) from x",
        "select count(a::float), max(a::float) from x",
        "with y as (select sum(a) over (order by b) as s, cume_dist() over (order by a) from x) select s from y",
    ],
)
def test_what_is_exact_is_left_alone(sql: str) -> None:
    assert f'SUM("a" {KEYS}' not in repeatable(sql)
    assert f'AVG("a" {KEYS}' not in repeatable(sql)
    assert f"DOUBLE PRECISION) {KEYS}" not in repeatable(sql)


def test_a_running_sum_of_floats_is_over_rows() -> None:
    with pytest.raises(Invalid, match="say ROWS BETWEEN"):
        repeatable("select sum(a::float) over (order by b) from x")
    assert KEYS.removeprefix("ORDER BY ") in repeatable(
        "select sum(a::float) over (order by b rows unbounded preceding) from x"
    )
