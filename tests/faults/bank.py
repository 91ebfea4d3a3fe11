"""What the tormented cluster serves: accounts, and branches whose rule turns an order to pay into a debit and a credit.

Fresh departments come with every schedule; these stay as long as the cluster does.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from peaceriver import Actor, Department, Envelope, Event, Message, rule

#: What each account begins with.
START = Decimal(1_000_000)


class Account(Actor):
    balance: Decimal


class Withdraw(Message[Account], action="modify"):
    amount: Decimal

    def fold(self, account: Account) -> Account:
        return account.replace(balance=account.balance - self.amount)


class Deposit(Message[Account], action="modify"):
    amount: Decimal

    def fold(self, account: Account) -> Account:
        return account.replace(balance=account.balance + self.amount)


class Transfer(Actor):
    """An order to pay."""

    to: int
    amount: Decimal


branches = [Department(code, f"Branch {code}", receives=[Account, Transfer]) for code in (100, 101, 102)]
BRANCHES = tuple(each.code for each in branches)
_by_code = {each.code: each for each in branches}


def pay(event: Event) -> Iterator[Envelope]:
    """Both messages and the rule's mark are recorded as one group."""
    order = event.document
    yield _by_code[event.shard].send(Withdraw(amount=order.amount), to="Account/main")
    yield _by_code[order.to].send(Deposit(amount=order.amount), to="Account/main")


rules = [rule(on=Transfer.created, at=each, name=f"pay_{each.code}")(pay) for each in branches]
