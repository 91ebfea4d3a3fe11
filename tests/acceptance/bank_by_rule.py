"""A bank whose transfers are made by rules: an order to pay becomes a debit here and a credit elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from peaceriver import Actor, Department, Envelope, Event, rule
from tests.acceptance.bank import Account, Deposit, Withdraw


class Transfer(Actor):
    """An order to pay."""

    to: int
    amount: Decimal


branches = [Department(code, f"Branch {code}", receives=[Account, Transfer]) for code in range(100, 110)]
_by_code = {each.code: each for each in branches}


def pay(event: Event) -> Iterator[Envelope]:
    """Both messages and the rule's mark are recorded as one group."""
    order = event.document
    yield _by_code[event.shard].send(Withdraw(amount=order.amount), to="Account/main")
    yield _by_code[order.to].send(Deposit(amount=order.amount), to="Account/main")


rules = [rule(on=Transfer.created, at=each, name=f"pay_{each.code}")(pay) for each in branches]
