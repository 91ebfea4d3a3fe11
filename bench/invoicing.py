"""The application whose rule is measured: every order that is placed makes an invoice, validated and folded."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from bench.orders import Order
from peaceriver import Actor, Department, Envelope, Event, rule


class Invoice(Actor):
    """What follows from an order."""

    order: str
    amount: Decimal


sales = Department(100, "Sales", receives=[Order, Invoice])


@rule(on=Order.created, at=sales)
def invoice(event: Event) -> Iterator[Envelope]:
    """One invoice for each order."""
    yield sales.create(Invoice(order=event.id, amount=event.document.total), id=event.id)
