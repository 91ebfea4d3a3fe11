"""What a type checker must infer about models, messages and departments, and what it must refuse.

Checked by mypy, never run. An expected error is an ignored one: ``warn_unused_ignores`` fails where it does not come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, assert_type

import msgspec

from peaceriver.department import Department
from peaceriver.event import Event, ExceptionAt
from peaceriver.message import Envelope
from peaceriver.model import Actor, EventSelector, Message, Model, model_of, read_document
from peaceriver.rule import Refuse, Rule, exceptions, rule
from peaceriver.stamp import Stamp


class Line(msgspec.Struct, frozen=True):
    sku: str
    price: Decimal


class Order(Actor):
    customer: str
    total: Decimal
    state: Literal["open", "approved"] = "open"
    at: datetime | None = None
    lines: list[Line] = msgspec.field(default_factory=list)


class Invoice(Actor, closed=True):
    order: str


class Approve(Message[Order], action="modify"):
    state: Literal["approved"] = "approved"


class AddLine(Message[Order], action="modify"):
    price: Decimal

    def fold(self, order: Order) -> Order:
        assert_type(order.total, Decimal)
        return order.replace(total=order.total + self.price)


order = Order(customer="Ada", total=Decimal("2500"), lines=[Line("a", Decimal(1))])
assert_type(order, Order)
assert_type(order.customer, str)
assert_type(order.state, Literal["open", "approved"])
assert_type(order.at, datetime | None)
assert_type(order.lines, list[Line])
assert_type(order.replace(customer="Eve"), Order)
assert_type(Order.created, EventSelector)
assert_type(Invoice(order="SO-1"), Invoice)
assert_type(Approve().state, Literal["approved"])
assert_type(read_document(Order, "{}"), Order)
assert_type(model_of(Order), Model)

sales = Department(100, "Sales", receives=[Order, "Claim"])
assert_type(sales.code, int)
assert_type(sales.name, str)
assert_type(sales.receives, Sequence[type[Actor] | str] | None)
assert_type(sales.create(order, id="SO-1"), Envelope)
assert_type(sales.modify("Order/SO-1", {"customer": "Ada L."}, if_version=1), Envelope)
assert_type(sales.cancel("Order/SO-1", reason="late"), Envelope)
assert_type(sales.send(AddLine(price=Decimal(1)), to="Order/SO-1", sender=sales), Envelope)

Order("Ada", Decimal("2500"))  # type: ignore[call-arg]  # keywords only
Order(customer="Ada")  # type: ignore[call-arg]  # total is required
Order(customer="Ada", total="2500")  # type: ignore[arg-type]  # no text for a number
Order(customer="Ada", total=Decimal(1), state="lost")  # type: ignore[arg-type]  # not among the literals
AddLine()  # type: ignore[call-arg]  # price is required
order.customer = "Eve"  # type: ignore[misc]  # frozen for ever
Department("100", "Sales")  # type: ignore[arg-type]  # a code is a number
sales.create({"customer": "Ada"})  # type: ignore[arg-type]  # an actor, no dict
sales.send(order, to="Order/SO-1")  # type: ignore[arg-type]  # an actor is no message
sales.send(Approve())  # type: ignore[call-arg]  # nobody to send it to


@rule(on=Order.created, at=sales, when=lambda event: event.version == 1)
def follow(event: Event) -> Iterator[Envelope]:
    assert_type(event.id, str)
    assert_type(event.stamp, Stamp)
    assert_type(event.now, datetime)
    assert_type(event.sender, int | None)
    assert_type(event.exception, ExceptionAt | None)
    yield event.reply(Approve(), to="Order/SO-1")
    yield event.reply({"state": "approved"}, to="Order/SO-1")


assert_type(follow, Rule)
assert_type(rule(on=Approve, at=110, name="again")(follow), Rule)
assert_type(rule(on=exceptions(Order), at=sales, start="start")(follow), Rule)
assert_type(rule(on="Claim.create", at=sales, kind="validation")(lambda event: Refuse("no", "/body/total")), Rule)

rule(on=Order.created)  # type: ignore[call-arg]  # at a department
rule(on=Order.created, at=sales, kind="view")  # type: ignore[arg-type]  # follow-up or validation
rule(on=Order(customer="Ada", total=Decimal(1)), at=sales)  # type: ignore[arg-type]  # an order is no event
rule(on=Order.created, at=sales)(lambda event: 1)  # type: ignore[arg-type,return-value]  # messages, not numbers


class Wrong(Message[int], action="modify"):  # type: ignore[type-var]  # int is no actor class
    pass
