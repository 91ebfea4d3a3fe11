"""A bank of departments that send each other money; served by the tests' clusters."""

from __future__ import annotations

from decimal import Decimal

from peaceriver import Actor, Department, Message


class Account(Actor):
    balance: Decimal


class Withdraw(Message[Account], action="modify"):
    amount: Decimal

    def fold(self, account: Account) -> Account:
        if account.balance < self.amount:
            raise ValueError(f"{account.balance} is less than {self.amount}")
        return account.replace(balance=account.balance - self.amount)


class Deposit(Message[Account], action="modify"):
    amount: Decimal

    def fold(self, account: Account) -> Account:
        return account.replace(balance=account.balance + self.amount)


branches = [Department(code, f"Branch {code}", receives=[Account]) for code in range(100, 110)]
