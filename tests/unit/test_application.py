"""Applications: what is found in a module, and what is said of one that defines a thing twice."""

from __future__ import annotations

from types import ModuleType

import pytest

from peaceriver import Actor, Department, Event, rule
from peaceriver.application import load
from peaceriver.errors import StartFailed


class Order(Actor):
    total: int


def nothing(event: Event) -> None:
    return None


def module(**names: object) -> ModuleType:
    made = ModuleType("shop")
    vars(made).update(names)
    return made


def test_departments_and_rules_are_found_by_name_and_in_lists() -> None:
    sales, branches = Department(100, "Sales"), [Department(code, f"Branch {code}") for code in (120, 110)]
    rules = tuple(rule(on=Order.created, at=each, name=f"look_{each.code}")(nothing) for each in branches)
    found = load(module(sales=sales, home=sales, branches=branches, rules=rules, Order=Order, order=["something else"]))
    assert found.departments == (sales, branches[1], branches[0])
    assert list(found.rules) == ["look_120", "look_110"]
    assert found.models == {"Order": Order}


def test_two_departments_of_one_code_are_a_mistake() -> None:
    with pytest.raises(StartFailed, match="shop has two departments 100; give one of them another code"):
        load(module(sales=Department(100, "Sales"), others=[Department(100, "Credit")]))


def test_two_rules_of_one_name_are_a_mistake() -> None:
    rules = [rule(on=Order.created, at=Department(code, "D"), name="look")(nothing) for code in (100, 110)]
    with pytest.raises(StartFailed, match="shop has two rules called look"):
        load(module(rules=rules))
