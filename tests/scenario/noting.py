"""An application whose rules act within one department: each order gets a note, and some trip a rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peaceriver import Actor, Department, rule
from peaceriver.errors import RuleFailed


class Order(Actor):
    total: int
    trips: bool = False


class Note(Actor):
    order: str


sales = Department(100, "Sales", receives=[Order, Note])


@rule(on=Order.created, at=sales)
def note(event: Any) -> Iterator[Any]:
    """Make a note of each order; fail for good at those that trip."""
    if event.document.trips:
        raise RuleFailed(f"{event.id} trips", lasting=True)
    yield sales.create(Note(order=event.id), id=event.id)
