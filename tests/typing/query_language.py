"""What a type checker must infer about queries, and what it must refuse; checked as ``language.py`` is."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, assert_type

import msgspec
from sqlalchemy.sql.elements import BinaryExpression, ColumnElement, Label
from sqlalchemy.sql.selectable import Select

from peaceriver import Actor, aliased, bindparam, col, func, relation, select
from peaceriver.columns import Json, Relation
from peaceriver.query.select import Question, compiled, declared


class Line(msgspec.Struct, frozen=True):
    sku: str


class Order(Actor):
    customer: str
    total: Decimal
    parts: int = 0
    urgent: bool = False
    at: datetime | None = None
    state: Literal["open", "approved"] = "open"
    lines: list[Line] = msgspec.field(default_factory=list)


class Customer(Actor):
    name: str


# A field of the class is typed as that of an instance; col() says that it is a column.
assert_type(Order.customer, str)
assert_type(col(Order.customer), ColumnElement[str])
assert_type(col(Order.total), ColumnElement[Decimal])
assert_type(col(Order.at), ColumnElement[datetime | None])
assert_type(col(Order.actor_id), ColumnElement[str])
assert_type(col(Order.total).label("x"), Label[Decimal])
assert_type(Order.actor_id, ColumnElement[str])
assert_type(Order.actor_shard, ColumnElement[int])
assert_type(Order.actor_version, ColumnElement[int])
assert_type(Order.actor_status, ColumnElement[str])
assert_type(Order.actor_stamp, ColumnElement[str])
assert_type(Order.document, Json)
assert_type(Order.document["delivery", "city"].astext, ColumnElement[str])
assert_type(col(Order.customer).like("A%"), BinaryExpression[bool])

assert_type(select(Order.customer), Select[str])
assert_type(select(Order.at), Select[datetime | None])
assert_type(select(Order.customer, func.sum(Order.total)), Select[str, Decimal])
assert_type(select(Order.actor_id, col(Order.total), func.count()), Select[str, Decimal, int])
assert_type(select(col(Order.total).label("x"), Order.document["a"].astext), Select[Decimal, str])
assert_type(
    select(Order.customer, Order.total, Order.parts, Order.urgent, Order.at, Order.lines),
    Select[str, Decimal, int, bool, datetime | None, list[Line]],
)
assert_type(
    select(Order.customer, Order.total, Order.parts, Order.urgent, Order.at, Order.lines, Order.customer, Order.parts),
    Select[str, Decimal, int, bool, datetime | None, list[Line], str, int],
)
assert_type(select(Order), Select[*tuple[Any, ...]])
assert_type(select(Order, Customer.name), Select[*tuple[Any, ...]])
assert_type(select(relation("Invoice")), Select[*tuple[Any, ...]])

o = aliased(Order, "o")
assert_type(o, type[Order])
assert_type(aliased(relation("Invoice")), Relation)
assert_type(relation("Invoice", total=Decimal).total, ColumnElement[Any])
assert_type(relation("Invoice")["bill no"], ColumnElement[Any])
assert_type(relation("Invoice").document["a"].astext, ColumnElement[str])

sums = (
    select(o.customer, func.sum(o.total))
    .select_from(o)
    .join(Customer, col(Customer.name) == o.customer)
    .where(col(o.total) > 5, o.actor_status == "active", col(o.customer).in_(["Ada"]))
    .group_by(col(o.customer), o.state)
    .having(func.sum(o.total) > bindparam("least"))
    .order_by(col(o.total).desc(), o.actor_id)
    .limit(bindparam("top"))
)
assert_type(sums, Select[str, Decimal])
assert_type(compiled(sums, {"top": 10}), Question)
assert_type(declared(sums), tuple[str, tuple[str, ...]])

select(Order.nothing)  # type: ignore[attr-defined]  # no such field
col(Order.nothing)  # type: ignore[attr-defined]  # no such field
select(o.nothing)  # type: ignore[attr-defined]  # nor of an alias
select(Order(customer="Ada", total=Decimal(1)).actor_id)  # type: ignore[attr-defined]  # only of the class
select(Order.customer).where(Order.total > 5)  # type: ignore[arg-type]  # a number, without col()
aliased("Order")  # type: ignore[call-overload]  # a model, no name
