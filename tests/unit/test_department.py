"""Departments make messages: what is said in Python is what stands in the envelope."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest

from peaceriver import message
from peaceriver.department import Department
from peaceriver.errors import Invalid
from peaceriver.message import Envelope
from peaceriver.model import Actor, Message
from peaceriver.stamp import Stamp


class Order(Actor):
    customer: str
    total: Decimal
    state: Literal["open", "approved"] = "open"


class Claim(Actor):
    text: str = ""


class Approve(Message[Order], action="modify"):
    state: Literal["approved"] = "approved"


class Place(Message[Order], action="create"):
    customer: str
    total: Decimal


class Withdraw(Message[Order], action="cancel"):
    reason: str


SALES = Department(100, "Sales", receives=[Order, "Claim"])
CREDIT = Department(110, "Credit")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CAUSE = Stamp(time=77, shard=110)


def test_a_create_carries_the_actor_as_its_body() -> None:
    assert SALES.create(Order(customer="Ada", total=Decimal("2500.10")), id="SO-1") == Envelope(
        to=100,
        actor_type="Order",
        actor_id="SO-1",
        action="create",
        body='{"customer":"Ada","total":2500.10,"state":"open"}',
    )
    assert SALES.create(Claim()).actor_id is None


def test_a_modify_carries_a_merge_patch() -> None:
    assert SALES.modify("Order/SO-1", {"customer": "Ada L.", "note": None}, if_version=1) == Envelope(
        to=100,
        actor_type="Order",
        actor_id="SO-1",
        action="modify",
        body='{"customer":"Ada L.","note":null}',
        if_version=1,
    )


def test_a_cancel_carries_its_reason() -> None:
    assert SALES.cancel("Order/SO-1", reason="late").body == '{"reason":"late"}'
    assert SALES.cancel("Order/a/b") == Envelope(to=100, actor_type="Order", actor_id="a/b", action="cancel")


def test_a_named_message_carries_its_name_its_action_and_its_defaults() -> None:
    assert SALES.send(Approve(), to="Order/SO-1") == Envelope(
        to=100, actor_type="Order", actor_id="SO-1", action="modify", type="Approve", body='{"state":"approved"}'
    )
    placed = SALES.send(Place(customer="Ada", total=Decimal(1)), to="Order")
    assert (placed.action, placed.actor_id) == ("create", None)
    assert SALES.send(Withdraw(reason="late"), to="Order/SO-1").action == "cancel"


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: SALES.create(Claim(), id="1", **options),
        lambda **options: SALES.modify("Claim/1", {}, **options),
        lambda **options: SALES.cancel("Claim/1", **options),
        lambda **options: SALES.send(Approve(), "Order/1", **options),
    ],
    ids=["create", "modify", "cancel", "send"],
)
def test_every_message_takes_the_same_options(make: Callable[..., Envelope]) -> None:
    made = make(message_id=UUID(int=7), sender=CREDIT, valid_at=NOON, due=NOON, correlation="case 1", cause=str(CAUSE))
    assert (made.id, made.sender, made.valid_at, made.due) == (UUID(int=7), 110, NOON, NOON)
    assert (made.correlation, made.cause) == ("case 1", CAUSE)
    assert make(sender=110, cause=CAUSE) == make(sender=CREDIT, cause=str(CAUSE))
    assert list(message.offences(made)) == []


@pytest.mark.parametrize("code", [-1, 1, 7, 99, 2**31])
def test_codes_that_are_kept_free_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"^{code} cannot be"):
        Department(code, "Nobody")
    with pytest.raises(ValueError, match=f"^{code} cannot be"):
        SALES.cancel("Order/1", sender=code)
    assert (Department(0, "Directory").code, Department(2**31 - 1, "Last").code) == (0, 2**31 - 1)


def test_a_department_is_a_value() -> None:
    assert Department(100, "Sales", receives=(Order, "Claim")) == SALES
    assert hash(SALES) == hash(Department(100, "Sales", receives=[Order, "Claim"]))
    assert SALES.actor_types == ("Order", "Claim")
    assert CREDIT.actor_types is None
    assert Department(100, "Closed", receives=[]).actor_types == ()
    with pytest.raises(AttributeError):
        SALES.code = 1  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Department(100, ""), "needs a name"),
        (lambda: Department(100, "Sales", receives=["no type"]), "not an actor type"),
        (lambda: SALES.modify("Order", {}), "as in Order/SO-1"),
        (lambda: SALES.cancel("Order/"), "as in Order/SO-1"),
        (lambda: SALES.cancel("/1"), "not an actor type"),
        (lambda: SALES.send(Approve(), to="Order"), "as in Order/SO-1"),
        (lambda: SALES.send(Approve(), to="Claim/1"), "Approve is a message to Order and not to Claim/1"),
    ],
    ids=["no name", "no type", "type alone", "empty id", "empty type", "send to a type", "another type"],
)
def test_what_cannot_be_meant_is_refused_at_once(make: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


def test_what_json_cannot_say_and_what_is_no_stamp_is_refused() -> None:
    with pytest.raises(Invalid):
        SALES.create(Order(customer="Ada", total=Decimal("NaN")))
    with pytest.raises(Invalid, match="stamp"):
        SALES.cancel("Order/1", cause="yesterday")
