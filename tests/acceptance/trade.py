"""A small trade in two departments, whose history goes on after the moment at which it is looked at.

Its models are those that the reference of SQL operations shows; what the models do not declare is in it as well, and so
are nulls, ties, cancelled actors, and one id that both departments use.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, TypeAlias

NORTH, SOUTH = 100, 110
Message: TypeAlias = dict[str, Any]

#: What is known of an invoice is a JSON Schema.
INVOICE = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "amount": {"type": "number"}, "paid": {"type": "boolean"}},
    "required": ["order", "amount"],
}
_CUSTOMERS = (
    (NORTH, "C-1", "Ada", "north", "1000"),
    (NORTH, "C-2", "Bob", "north", "250.50"),
    (NORTH, "C-3", "Cleo", None, None),
    (NORTH, "C-4", "Dan", "west", "0"),
    (SOUTH, "C-5", "Eve", "south", "1000"),
    (SOUTH, "C-6", "Zoë", "south", None),
    (SOUTH, "C-7", "ann_b", None, "75"),
)
_EMPLOYEES = (
    (NORTH, "E-1", "Ines", "board", "9000", None),
    (NORTH, "E-2", "Jon", "sales", "5000", "E-1"),
    (NORTH, "E-3", "Kim", "sales", "4000", "E-2"),
    (NORTH, "E-4", "Leo", "sales", "4000", "E-2"),
    (NORTH, "E-5", "Mia", "store", "4500", "E-1"),
    (SOUTH, "E-6", "Ned", "store", "3000", "E-5"),
    (SOUTH, "E-7", "Oda", "store", "3200", "E-6"),
    (SOUTH, "E-8", "Pia", "audit", "6000", None),
)
#: id, customer, total, state, parts, weight, urgent, placed (day of November and hour), due, tags, city
_ORDERS = (
    (NORTH, "SO-01", "C-1", "120.50", "open", 2, "1.5", True, "02T08", "2026-11-20", ["new", "gift"], "Ulm"),
    (NORTH, "SO-02", "C-1", "80", "approved", 1, "0.25", False, "02T17", "2026-11-30", ["new"], "Ulm"),
    (NORTH, "SO-03", "C-2", "80", "open", 1, None, False, "03T09", None, [], "Kiel"),
    (NORTH, "SO-04", "C-2", "999.99", "approved", 12, "30", True, "05T12", "2026-12-01", ["bulk"], None),
    (NORTH, "SO-05", "C-3", "15.25", "rejected", 3, "0.1", False, "05T12", "2026-11-20", ["gift"], "Bonn"),
    (NORTH, "SO-06", "C-1", "200", "open", 4, "2.5", False, "06T23", None, ["bulk", "new"], "Ulm"),
    (NORTH, "SO-07", "C-9", "42", "open", 1, None, False, None, "2027-01-15", [], None),
    (NORTH, "SO-08", "C-3", "15.25", "approved", 3, "0.1", True, "09T00", "2026-11-21", ["gift", "gift"], "Kiel"),
    (SOUTH, "SO-11", "C-5", "300", "approved", 6, "12", False, "02T08", "2026-11-22", ["bulk"], "Linz"),
    (SOUTH, "SO-12", "C-5", "-20.00", "open", 0, None, False, "04T10", None, ["return"], None),
    (SOUTH, "SO-13", "C-6", "75.75", "open", 5, "4", True, "04T10", "2026-12-24", ["new"], "Graz"),
    (SOUTH, "SO-14", "C-6", "310", "rejected", 7, "12", False, "10T07", "2026-11-22", [], "Linz"),
    (SOUTH, "SO-15", "C-1", "64", "approved", 8, "0.5", False, "11T07", "2026-11-29", ["new"], "Ulm"),
    (SOUTH, "SO-16", "C-5", "12345678901234567890.123456789", "open", 2, "7", False, None, None, ["bulk"], "Graz"),
)  # fmt: skip
_INVOICES = (
    (NORTH, "I-1", "SO-01", "120.50", True),
    (NORTH, "I-2", "SO-02", "80", False),
    (NORTH, "I-3", "SO-04", "500", None),
    (NORTH, "I-4", "SO-04", "499.99", False),
    (SOUTH, "I-1", "SO-11", "300", True),
    (SOUTH, "I-2", "SO-15", "60", False),
    (SOUTH, "I-9", "SO-99", "1", None),
)


def until_then() -> Iterator[Message]:
    """What is sent before the moment: it makes everything, and changes some of it."""
    for shard, key, name, region, limit in _CUSTOMERS:
        yield _create(shard, f"Customer/{key}", name=name, region=region, limit=_number(limit))
    for shard, key, name, team, salary, chief in _EMPLOYEES:
        yield _create(shard, f"Employee/{key}", name=name, team=team, salary=_number(salary), manager=chief)
    for number, each in enumerate(_ORDERS):
        yield _create(each[0], f"Order/{each[1]}", **_order(number, *each[2:]))
    for shard, key, order, amount, paid in _INVOICES:
        remarks = ["by post", {"by": "Pia"}] if paid else []
        members = {"order": order, "amount": _number(amount), "remarks": remarks}
        yield _create(shard, f"Invoice/{key}", **members, **({} if paid is None else {"paid": paid}))
    yield _modify(NORTH, "Order/SO-03", {"parts": 2, "delivery": {"express": True}})
    yield _modify(SOUTH, "Order/SO-13", {"delivery": {"city": "Linz"}, "weight": Decimal("4.5")})
    yield _modify(NORTH, "Customer/C-4", {"limit": 10})
    yield {"to": NORTH, "actor": "Order/SO-07", "action": "cancel", "body": {"reason": "nobody knows C-9"}}
    yield {"to": SOUTH, "actor": "Order/SO-14", "action": "cancel", "body": {}}


def from_then_on() -> Iterator[Message]:
    """What is sent afterwards: every actor is another one then, some are gone, and there are more."""
    for shard, key, *_ in _CUSTOMERS:
        yield _modify(shard, f"Customer/{key}", {"name": f"late {key}", "region": "late", "limit": 1})
    for shard, key, *_ in _EMPLOYEES:
        yield _modify(shard, f"Employee/{key}", {"team": "late", "salary": 1, "manager": None})
    for (
        shard,
        key,
        *_,
    ) in _ORDERS:
        if key not in ("SO-07", "SO-14"):
            late = {"total": 1, "parts": 99, "state": "open", "urgent": True, "due": "2030-01-01", "delivery": None}
            yield _modify(shard, f"Order/{key}", {**late, "customer": "C-1", "tags": ["late"], "weight": 1})
    for shard, key, *_ in _INVOICES:
        yield {"to": shard, "actor": f"Invoice/{key}", "action": "cancel", "body": {}}
    for shard in (NORTH, SOUTH):
        yield _create(shard, "Order/SO-90", **_order(1, *_ORDERS[0][2:]))
        yield _create(shard, "Employee/E-90", name="Late", team="sales", salary=1, manager="E-1")
        yield _create(shard, "Customer/C-9", name="Late", region="north", limit=None)


def _order(
    number: int, customer: str, total: str, state: str, parts: int, weight: str | None, urgent: bool,
    placed: str | None, due: str | None, tags: list[str], city: str | None,
) -> dict[str, Any]:  # fmt: skip
    lines = [{"sku": f"S{line}", "price": Decimal(line) / 2} for line in range(1, number % 4 + 1)]
    return {
        "customer": customer,
        "total": Decimal(total),
        "state": state,
        "parts": parts,
        "weight": _number(weight),
        "urgent": urgent,
        "placed": None if placed is None else f"2026-11-{placed}:30:00.25Z",
        "due": due,
        "key": None if number % 3 == 0 else f"00000000-0000-4000-8000-{number:012}",
        "tags": tags,
        "lines": lines,
    } | ({} if city is None else {"delivery": {"city": city, "floor": number}})


def _create(shard: int, actor: str, **document: Any) -> Message:
    return {"to": shard, "actor": actor, "action": "create", "body": document}


def _modify(shard: int, actor: str, patch: dict[str, Any]) -> Message:
    return {"to": shard, "actor": actor, "action": "modify", "body": patch}


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
