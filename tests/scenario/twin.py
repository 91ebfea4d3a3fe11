"""The dumb twin of queries: random ones, each as SQL and as plain Python over lists of rows.

Nothing of it knows how a view is kept or how a statement is made: rows are folded from the records of journals one
after the other, and a query is loops over them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cmp_to_key
from typing import Any, TypeAlias

from hypothesis import strategies as st

from peaceriver.record import Record

Row: TypeAlias = dict[str, Any]
#: Columns of a model, and what kind each is.
ORDER = {"customer": "text", "total": "numeric", "paid": "boolean", "day": "date"}
CUSTOMER = {"region": "text", "credit": "numeric"}
MODELS = {"Order": ORDER, "Customer": CUSTOMER}
VALUES: Mapping[str, list[Any]] = {
    "text": ["C-1", "C-2", "C-3", "", "a", "B", "é", "a%b"],
    "numeric": [Decimal(each) for each in ("0", "1", "-1", "10", "2.50", "2.5", "99999999999999999999.01")],
    "boolean": [True, False],
    "date": [date(2024, 1, 31), date(2024, 2, 29), date(1999, 12, 31)],
}


def folded(records: Iterable[Record], actor_type: str) -> list[Row]:
    """The rows of a model after some records of one department."""
    rows: dict[str, Row] = {}
    documents: dict[str, Row] = {}
    for each in records:
        if each.kind != "received" or each.actor_type != actor_type or each.actor_id is None:
            continue
        key = each.actor_id
        if each.action == "create":
            documents[key] = _read(each.body)
        elif each.action == "modify":
            patched = documents[key] | _read(each.body)
            documents[key] = {name: value for name, value in patched.items() if value is not None}
        rows[key] = {
            "actor_id": key,
            "actor_shard": each.shard,
            "actor_version": rows[key]["actor_version"] + 1 if key in rows else 1,
            "actor_status": "cancelled" if each.action == "cancel" else "active",
            **{name: _typed(kind, documents[key].get(name)) for name, kind in MODELS[actor_type].items()},
        }
    return list(rows.values())


def _read(body: str | None) -> Row:
    found: Row = json.loads(body or "{}", parse_float=Decimal, parse_int=Decimal)
    return found


def _typed(kind: str, value: Any) -> Any:
    return date.fromisoformat(value) if kind == "date" and value is not None else value


# --- conditions: text, and what they are of a row: True, False or None


@dataclass
class Condition:
    sql: str
    of: Callable[[Row, Mapping[str, list[Row]]], bool | None]


@dataclass
class Variables:
    """The host variables of one query."""

    given: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def put(self, value: Any, kind: str) -> str:
        name = f"v{len(self.given)}"
        self.given[name], self.kinds[name] = value, kind
        return f":{name}"


def _compared(operator: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if isinstance(left, str):
        left, right = left.encode(), right.encode()
    return {
        "=": left == right, "<>": left != right, "<": left < right, "<=": left <= right, ">": left > right,
        ">=": left >= right,
    }[operator]  # fmt: skip


def _any(found: Iterable[bool | None]) -> bool | None:
    told = list(found)
    return True if True in told else None if None in told else False


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


@st.composite
def conditions(
    draw: st.DrawFn, alias: str, columns: Mapping[str, str], variables: Variables, depth: int = 2
) -> Condition:
    """A condition on a row of a model under an alias."""
    kind = draw(
        st.sampled_from(["compare", "compare", "null", "in", "between", "like", "sub", "exists", "and", "or", "not"])
    )
    if kind in ("and", "or", "not") and depth > 0:
        one = draw(conditions(alias, columns, variables, depth - 1))
        if kind == "not":
            return Condition(f"not ({one.sql})", lambda row, all_: _not(one.of(row, all_)))
        two = draw(conditions(alias, columns, variables, depth - 1))
        if kind == "or":
            return Condition(
                f"({one.sql} or {two.sql})", lambda row, all_: _any([one.of(row, all_), two.of(row, all_)])
            )
        return Condition(
            f"({one.sql} and {two.sql})",
            lambda row, all_: _not(_any([_not(one.of(row, all_)), _not(two.of(row, all_))])),
        )
    name = draw(st.sampled_from(sorted(columns)))
    column, of = f"{alias}.{name}", columns[name]
    value = draw(st.sampled_from(VALUES[of]))
    negated = draw(st.booleans())
    word, turn = ("not ", _not) if negated else ("", lambda value: value)
    if kind == "null":
        sql = f"{column} is {word}null"
        return Condition(sql, lambda row, _: turn(row[name] is None))
    if kind == "in":
        values = draw(st.lists(st.sampled_from(VALUES[of]), min_size=1, max_size=3))
        listed = ", ".join(variables.put(each, of) for each in values)
        return Condition(
            f"{column} {word}in ({listed})",
            lambda row, _: turn(_any(_compared("=", row[name], each) for each in values)),
        )
    if kind == "between" and of != "boolean":
        other = draw(st.sampled_from(VALUES[of]))
        sql = f"{column} {word}between {variables.put(value, of)} and {variables.put(other, of)}"
        return Condition(
            sql,
            lambda row, _: turn(
                _not(_any([_not(_compared(">=", row[name], value)), _not(_compared("<=", row[name], other))]))
            ),
        )
    if kind == "like" and of == "text":
        start = draw(st.sampled_from(["C", "a", ""]))
        sql = f"{column} {word}like {variables.put(start + '%', 'text')}"
        return Condition(sql, lambda row, _: turn(None if row[name] is None else row[name].startswith(start)))
    if kind == "sub" and "customer" in columns:
        region = draw(st.sampled_from(VALUES["text"]))
        sql = f'{alias}.customer {word}in (select k.actor_id from "Customer" as k where k.region = '
        sql += f"{variables.put(region, 'text')})"
        return Condition(
            sql,
            lambda row, all_: turn(
                _any(_compared("=", row["customer"], k["actor_id"]) for k in all_["Customer"] if k["region"] == region)
            ),
        )
    if kind == "exists":
        mine, theirs = ("customer", "actor_id") if "customer" in columns else ("actor_id", "customer")
        other_model = "Customer" if "customer" in columns else "Order"
        sql = f"""{word}exists (select 1 from "{other_model}" as k where k.{theirs} = {alias}.{mine})"""
        return Condition(
            sql, lambda row, all_: turn(any(_compared("=", k[theirs], row[mine]) for k in all_[other_model]))
        )
    operator = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]))
    sql = f"{column} {operator} {variables.put(value, of)}"
    return Condition(sql, lambda row, _: _compared(operator, row[name], value))


# --- orders


def compare(left: Any, right: Any, *, descending: bool = False) -> int:
    """As PostgreSQL orders: nulls are larger than everything, text by its bytes."""
    if isinstance(left, str) and isinstance(right, str):
        left, right = left.encode(), right.encode()
    nulls = (left is None) - (right is None)
    sign = nulls if left is None or right is None else (left > right) - (left < right)
    return -sign if descending else sign


def ordered(rows: Iterable[Row], keys: list[tuple[str, bool]]) -> list[Row]:
    def by(one: Row, two: Row) -> int:
        for name, descending in keys:
            if sign := compare(one[name], two[name], descending=descending):
                return sign
        return 0

    return sorted(rows, key=cmp_to_key(by))


# --- aggregates


def aggregate(function: str, values: list[Any]) -> Any:
    there = [each for each in values if each is not None]
    match function:
        case "count":
            return len(there)
        case "count distinct":
            return len(set(there))
        case "sum":
            return sum(there, Decimal(0)) if there else None
        case "avg":
            if not there:
                return None
            return (sum(there, Decimal(0)) / len(there)).quantize(Decimal("0.01"), ROUND_HALF_UP)
    last = function == "max"
    return ordered([{"v": each} for each in there], [("v", last)])[0]["v"] if there else None


def aggregated(function: str, column: str) -> str:
    """An aggregate as SQL."""
    if function == "count distinct":
        return f"count(distinct {column})"
    return f"round(avg({column}), 2)" if function == "avg" else f"{function}({column})"
