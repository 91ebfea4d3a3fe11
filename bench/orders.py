"""The application that is measured: two models, with validation, and a department for each."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from peaceriver import Actor, Department


class Order(Actor):
    """What is appended and read."""

    customer: str
    total: Decimal
    state: Literal["open", "approved", "rejected"] = "open"
    note: str


class Claim(Actor):
    """What is folded again: in a type of its own, so that its history is as long as is said."""

    customer: str
    total: Decimal
    state: Literal["open", "approved", "rejected"] = "open"
    note: str


sales = Department(100, "Sales", receives=[Order])
claims = Department(110, "Claims", receives=[Claim])
