"""The demonstration's log: the same for everybody, and shaped like work that people do."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver import jsontext
from peaceriver.demo_log import CASES, generate
from peaceriver.imports import Columns, Event, plan_import

DEPARTMENTS = {"Sales", "Credit", "Warehouse", "Shipping", "Billing", "Support"}


@pytest.fixture(scope="module")
def log() -> list[Event]:
    return generate()


def digest(events: list[Event]) -> str:
    return sha256("\n".join(jsontext.write(event.attributes) for event in events).encode()).hexdigest()[:16]


def test_the_usual_log_is_the_same_on_every_machine(log: list[Event]) -> None:
    assert digest(log) == "c3e06ff4e5690f7e"


def test_another_seed_gives_another_log(log: list[Event]) -> None:
    assert digest(generate(seed=8)) != digest(log)


def test_a_longer_log_begins_with_the_same_orders(log: list[Event]) -> None:
    first = {event.case for event in log}
    assert [event.attributes for event in generate(cases=CASES + 50) if event.case in first] == [
        event.attributes for event in log
    ]


def test_every_department_takes_part_and_most_of_the_work_is_handed_over(log: list[Event]) -> None:
    plan = plan_import(log, {}, default_department="demo")
    assert set(plan.departments) == DEPARTMENTS
    assert plan.cases == CASES
    assert plan.hand_overs > 3 * plan.cases
    assert plan.actors > 4 * plan.cases
    assert min(Counter(event.department for event in log).values()) >= 10


def test_some_orders_are_rejected_wait_for_goods_need_a_reminder_or_come_back(log: list[Event]) -> None:
    seen = Counter(event.activity for event in log)
    for rare in ("Reject order", "Order from supplier", "Send reminder", "Take goods back", "Trace parcel"):
        assert 0 < seen[rare] < CASES / 4, rare
    assert seen["Receive order"] == CASES


def test_an_event_says_in_its_columns_what_it_says_in_its_fields(log: list[Event]) -> None:
    columns = Columns()
    for event in log:
        assert event.attributes[columns.case] == event.case
        assert event.attributes[columns.activity] == event.activity
        assert event.attributes[columns.department] == event.department
        assert event.attributes[columns.time] == event.time.isoformat(timespec="milliseconds")
        assert isinstance(event.attributes["case:total"], Decimal)


@given(seed=st.integers(0, 2**32), cases=st.integers(0, 40))
def test_whatever_the_seed_people_work_in_order_and_in_working_hours(seed: int, cases: int) -> None:
    log = generate(seed=seed, cases=cases)
    assert len({event.case for event in log}) == cases
    assert [event.line for event in log] == list(range(1, len(log) + 1))
    assert all(one.time <= other.time for one, other in pairwise(log))
    for event in log:
        assert event.time.utcoffset() == timedelta(hours=1)
        assert event.time.weekday() < 5
        assert 8 <= event.time.hour < 18
    for case in {event.case for event in log}:
        path = [event for event in log if event.case == case]
        assert path[0].activity == "Receive order"
        assert path[-1].activity in {"Receive payment", "Refund", "Reject order"}
        assert all(one.time < other.time for one, other in pairwise(path))
