"""An application with rules: an order asks for a check in another department, and some orders trip a rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peaceriver import Actor, Department, rule


class Order(Actor):
    total: int
    trips: bool = False


class Check(Actor):
    order: str


sales = Department(100, "Sales", receives=[Order])
credit = Department(110, "Credit", receives=[Check])


@rule(on=Order.created, at=sales)
def ask(event: Any) -> Iterator[Any]:
    """Ask for a check of each order."""
    yield credit.create(Check(order=event.id), id=event.id)


@rule(on=Order.created, at=sales, when=lambda event: event.document.trips)
def trip(event: Any) -> Iterator[Any]:
    """Fail for good."""
    raise LookupError(f"{event.id} trips")
    yield
