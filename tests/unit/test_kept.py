"""What can be kept, and what cannot and why."""

from __future__ import annotations

import msgspec
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from peaceriver.errors import Invalid
from peaceriver.query.dialect import Dialect
from peaceriver.query.kept import Aggregate, Kept, Key, Part, definition


def kept(text: str) -> Kept:
    select = sqlglot.parse_one(text, dialect=Dialect)
    assert isinstance(select, exp.Select)
    return definition("sales", select)


def test_an_aggregate_by_keys() -> None:
    found = kept(
        "select o.region as r, upper(name), count(*), sum(total * 2) as t, avg(o.total) as mean, count(total) as priced"
        " from Order as o where status <> 'x' and total > 1 group by o.region, upper(name)".replace(
            "upper(name),", "upper(name) as name,"
        )
    )
    assert found == Kept(
        name="sales",
        actor_type="Order",
        keys=(Key("r", '"region"'), Key("name", '"reading".one_form(UPPER("name"))')),
        aggregates=(
            Aggregate("count", "count", None),
            Aggregate("t", "sum", '"total" * 2'),
            Aggregate("mean", "avg", '"total"'),
            Aggregate("priced", "count", '"total"'),
        ),
        condition='"status" <> \'x\' AND "total" > 1',
        columns=("r", "name", "count", "t", "mean", "priced"),
        fields=("name", "region", "status", "total"),
        alike=True,
    )
    # What an average and a count have in common is kept once.
    assert found.arguments == ('"total" * 2', '"total"')
    assert found.parts == (
        Part("count", '"total" * 2'),
        Part("sum", '"total" * 2'),
        Part("scale", '"total" * 2'),
        Part("count", '"total"'),
        Part("sum", '"total"'),
        Part("scale", '"total"'),
    )
    assert msgspec.json.decode(msgspec.json.encode(found), type=Kept) == found


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("select count(*) from a", ()),
        ("select region, max(total) from a group by 1", (Key("region", '"region"'),)),
        ("select upper(x) as y, max(total) from a group by y", (Key("y", '"reading".one_form(UPPER("x"))'),)),
        ("select x as y, max(total) from a group by x", (Key("y", '"x"'),)),
        ("select max(total), 1 as one from a group by 2", (Key("one", "1"),)),
    ],
)
def test_groups_are_named_as_in_sql(text: str, keys: tuple[Key, ...]) -> None:
    assert kept(text).keys == keys


def test_what_a_query_gets_before_it_runs_is_kept_with_it() -> None:
    found = kept(
        "select max(x * 2) as most, min(cast(y as date)) as day, count(*) as n from a where repeat(z, 3) = 'a'"
    )
    assert found.arguments == (
        '"reading".one_form("x" * 2)',
        '"reading".one_form(CAST("reading".timeless("y") AS DATE))',
    )
    assert found.condition == '"reading".repeat("z", 3) = \'a\''
    assert found.alike
    assert not kept("select sum(x) as s from a").alike


def test_a_filter_is_part_of_the_argument() -> None:
    found = kept("select count(*) filter (where paid) as paid, sum(x) filter (where y > 1) as s from a")
    assert found.aggregates == (
        Aggregate("paid", "count", 'CASE WHEN "paid" THEN 1 END'),
        Aggregate("s", "sum", 'CASE WHEN "y" > 1 THEN "x" END'),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("select count(*) from a join b on true", "a join is not kept"),
        ("select count(*) from a, b", "a join is not kept"),
        ("select count(*) from a, lateral (select 1) as b", "is not kept"),
        ("select count(*) from (select 1) as a", "exactly one model"),
        ("select count(*) from a tablesample system (10)", "exactly one model"),
        ("select count(*)", "exactly one model"),
        ("with b as (select 1) select count(*) from a", "WITH is not kept"),
        ("select distinct count(*) from a", "DISTINCT is not kept"),
        ("select x, count(*) from a group by x having count(*) > 1", "HAVING is not kept"),
        ("select x, count(*) from a group by x order by x", "ORDER BY is not kept"),
        ("select x, count(*) from a group by x limit 1", "LIMIT is not kept"),
        ("select x, count(*) from a group by x offset 1", "OFFSET is not kept"),
        ("select count(*) from a for update", "FOR UPDATE is not kept"),
        ("select x, count(*) from a group by rollup (x)", "GROUP BY|ROLLUP"),
        ("select x, count(*) from a group by grouping sets ((x), ())", "GROUP BY|ROLLUP"),
        ("select x from a group by x", "nothing is aggregated"),
        ("select x, count(*) from a", "neither one of count, sum, avg, min, max nor in GROUP BY"),
        ("select count(*) from a group by x", "must be selected, too"),
        ("select sum(x) / 2 as y from a", "neither one of"),
        ("select stddev(x) from a", "neither one of"),
        ("select array_agg(x) from a", "neither one of"),
        ("select max(x) over () from a", "neither one of"),
        ("select min(x, y) from a", "takes one argument"),
        ("select count(distinct x) from a", "DISTINCT is in"),
        ("select sum(max(x)) from a", "no aggregate can be kept"),
        ("select count(*) from a where max(x) > 1", "no aggregate can be kept"),
        ("select count(*) from a where x in (select y from b)", "a subquery is in"),
        ("select count(*) from a where exists (select 1)", "a subquery is in"),
        ("select (select 1) as x, count(*) from a group by 1", "a subquery is in"),
        ("select count(*) from a where x = :y", "a host variable is in"),
        ("select count(*) from a where x = $1", "a host variable is in"),
        ("select *, count(*) from a group by 1", "needs a name"),
        ("select a.*, count(*) from a group by 1", "is in"),
        ("select upper(x), count(*) from a group by 1", "needs a name"),
        ("select upper(x) as x, count(*) from a group by x", "neither one of"),
        ("select x, count(*) from a group by 3", "no place in the select list"),
        ("select sum(x), sum(y) from a", "the same name"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as refused:
        kept(text)
    assert str(refused.value).startswith("sales cannot be kept: ")
    assert refused.value.errors


@given(st.lists(st.sampled_from(["count(*)", "sum(x)", "avg(x)", "min(y)", "max(y)", "region", "k"]), max_size=8))
def test_every_output_is_made_of_keys_and_parts(items: list[str]) -> None:
    keys = [each for each in items if each in ("region", "k")]
    selected = ", ".join(f"{each} as c{number}" for number, each in enumerate(items))
    by = f" group by {', '.join(dict.fromkeys(keys))}" if keys else ""
    if len(keys) == len(items):
        return
    found = kept(f"select {selected} from a{by}")
    assert found.columns == tuple(f"c{number}" for number in range(len(items)))
    assert {each.name for each in found.keys} | {each.name for each in found.aggregates} == set(found.columns)
    assert len(set(found.parts)) == len(found.parts)
