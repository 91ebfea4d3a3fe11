"""Random queries of several shapes, each as SQL and as what the dumb twin makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.scenario.twin import CUSTOMER, ORDER, Condition, Row, Variables, aggregate, aggregated, conditions, ordered

SYSTEM = ("actor_id", "actor_shard", "actor_version", "actor_status")
ALL = (*SYSTEM, *ORDER)
TIES = [("actor_shard", False), ("actor_id", False)]


@dataclass(repr=False)
class Query:
    sql: str
    variables: Variables
    #: The rows of the answer, from the rows of the models.
    of: Callable[[Mapping[str, list[Row]]], list[tuple[Any, ...]]]
    #: Whether the rows come in just this order.
    is_ordered: bool = True

    def __repr__(self) -> str:
        return f"{self.sql} with {self.variables.given}"


def _keep(rows: list[Row], condition: Condition, models: Mapping[str, list[Row]]) -> list[Row]:
    return [each for each in rows if condition.of(each, models) is True]


def _keys(draw: st.DrawFn, columns: tuple[str, ...]) -> tuple[str, list[tuple[str, bool]]]:
    keys = draw(st.lists(st.tuples(st.sampled_from(columns), st.booleans()), max_size=2))
    words = [f"o.{name}{' desc' if descending else ''}" for name, descending in keys]
    return (" order by " + ", ".join(words) if words else ""), keys


def _cut(draw: st.DrawFn, variables: Variables) -> tuple[str, slice]:
    if not draw(st.booleans()):
        return "", slice(None)
    limit, offset = draw(st.integers(0, 6)), draw(st.integers(0, 3))
    return (
        f" limit {variables.put(limit, 'integer')} offset {variables.put(offset, 'integer')}",
        slice(offset, offset + limit),
    )


@st.composite
def plain(draw: st.DrawFn) -> Query:
    variables = Variables()
    condition = draw(conditions("o", ORDER, variables))
    columns = draw(st.lists(st.sampled_from(ALL), min_size=1, max_size=3))
    order, keys = _keys(draw, ALL)
    cut, part = _cut(draw, variables)
    sql = f"""select {", ".join(f"o.{each}" for each in columns)} from "Order" as o where {condition.sql}{order}{cut}"""

    def of(models: Mapping[str, list[Row]]) -> list[tuple[Any, ...]]:
        rows = ordered(_keep(models["Order"], condition, models), [*keys, *TIES])[part]
        return [tuple(row[each] for each in columns) for row in rows]

    return Query(sql, variables, of)


@st.composite
def grouped(draw: st.DrawFn) -> Query:
    variables = Variables()
    condition = draw(conditions("o", ORDER, variables))
    by = draw(st.lists(st.sampled_from(("customer", "paid", "day", "actor_status")), max_size=2, unique=True))
    functions = draw(
        st.lists(
            st.one_of(
                st.tuples(st.sampled_from(("count", "count distinct", "sum", "avg", "min", "max")), st.just("total")),
                st.tuples(st.sampled_from(("count", "min", "max")), st.sampled_from(("customer", "day"))),
            ),
            min_size=1,
            max_size=3,
        )
    )
    items = [f"o.{each}" for each in by] + [aggregated(function, f"o.{name}") for function, name in functions]
    least = draw(st.integers(0, 3))
    sql = f"""select {", ".join(items)}, count(*) from "Order" as o where {condition.sql}"""
    sql += f" group by {', '.join(f'o.{each}' for each in by)}" if by else ""
    sql += f" having count(*) >= {variables.put(least, 'integer')}"

    def of(models: Mapping[str, list[Row]]) -> list[tuple[Any, ...]]:
        groups: dict[tuple[Any, ...], list[Row]] = {} if by else {(): []}
        for row in _keep(models["Order"], condition, models):
            groups.setdefault(tuple(row[each] for each in by), []).append(row)
        return [
            (*key, *(aggregate(function, [row[name] for row in rows]) for function, name in functions), len(rows))
            for key, rows in groups.items()
            if len(rows) >= least
        ]

    return Query(sql, variables, of, is_ordered=False)


@st.composite
def joined(draw: st.DrawFn) -> Query:
    variables = Variables()
    condition = draw(conditions("o", ORDER, variables))
    on = draw(conditions("c", CUSTOMER, variables, 0))
    kind = draw(st.sampled_from(("join", "left join")))
    order, keys = _keys(draw, ALL)
    cut, part = _cut(draw, variables)
    sql = f"""select o.actor_id, o.total, c.actor_id, c.region from "Order" as o {kind} "Customer" as c"""
    sql += f" on o.customer = c.actor_id and ({on.sql}) where {condition.sql}{order}{cut}"
    nothing = dict.fromkeys((*SYSTEM, *CUSTOMER))

    def of(models: Mapping[str, list[Row]]) -> list[tuple[Any, ...]]:
        pairs: list[Row] = []
        for left in _keep(models["Order"], condition, models):
            fitting = [
                each
                for each in models["Customer"]
                if left["customer"] == each["actor_id"] and on.of(each, models) is True
            ]
            if kind == "left join" and not fitting:
                fitting = [nothing]
            pairs += [left | {f"c.{name}": value for name, value in each.items()} for each in fitting]
        rows = ordered(pairs, [*keys, *TIES, ("c.actor_shard", False), ("c.actor_id", False)])[part]
        return [(row["actor_id"], row["total"], row["c.actor_id"], row["c.region"]) for row in rows]

    return Query(sql, variables, of)


@st.composite
def combined(draw: st.DrawFn) -> Query:
    variables = Variables()
    one, two = draw(conditions("o", ORDER, variables, 1)), draw(conditions("c", CUSTOMER, variables, 1))
    word = draw(st.sampled_from(("union", "union all", "intersect", "except")))
    sql = f"""select o.customer, o.total from "Order" as o where {one.sql} {word} """
    sql += f"""select distinct c.actor_id, c.credit from "Customer" as c where {two.sql}"""

    def of(models: Mapping[str, list[Row]]) -> list[tuple[Any, ...]]:
        left = [(row["customer"], row["total"]) for row in _keep(models["Order"], one, models)]
        right = {(row["actor_id"], row["credit"]) for row in _keep(models["Customer"], two, models)}
        match word:
            case "union all":
                return left + list(right)
            case "union":
                return list(set(left) | right)
            case "intersect":
                return list(set(left) & right)
        return list(set(left) - right)

    return Query(sql, variables, of, is_ordered=False)


@st.composite
def windowed(draw: st.DrawFn) -> Query:
    variables = Variables()
    condition = draw(conditions("o", ORDER, variables, 1))
    by = draw(st.sampled_from(("customer", "paid", "actor_shard")))
    key, descending = draw(st.sampled_from(("total", "day", "customer"))), draw(st.booleans())
    over = f"(partition by o.{by} order by o.{key}{' desc' if descending else ''})"
    sql = "select o.actor_id, o.actor_shard, row_number() over {0}, rank() over {0}, dense_rank() over {0},"
    sql = sql.replace("{0}", over) + f' count(*) over (partition by o.{by}) from "Order" as o where {condition.sql}'

    def of(models: Mapping[str, list[Row]]) -> list[tuple[Any, ...]]:
        kept = _keep(models["Order"], condition, models)
        found: list[Row] = []
        for value in {row[by] for row in kept}:
            rows = ordered([row for row in kept if row[by] == value], [(key, descending), *TIES])
            kinds: list[Any] = []
            for number, row in enumerate(rows, 1):
                kinds += [] if row[key] in kinds else [row[key]]
                rank = 1 + next(place for place, each in enumerate(rows) if each[key] == row[key])
                found.append(row | {"window": (number, rank, len(kinds), len(rows))})
        return [(row["actor_id"], row["actor_shard"], *row["window"]) for row in ordered(found, TIES)]

    return Query(sql, variables, of)


def queries() -> st.SearchStrategy[Query]:
    return st.one_of(plain(), grouped(), joined(), combined(), windowed())
