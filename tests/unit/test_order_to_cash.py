"""The example's folds and rules: who decides what, in whatever order the news arrives."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import permutations
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver import Actor, Envelope, Event, Message
from peaceriver.actor import write_document
from peaceriver.event import Trigger
from peaceriver.order_to_cash import decide, deliver, proceed, serve, settle
from peaceriver.order_to_cash.models import (
    SMALL_TOTAL_MAX,
    Account,
    Approve,
    AskCredit,
    CancelOrder,
    Claim,
    ConfirmCancel,
    CreditNote,
    FreeCredit,
    HandOver,
    Invoice,
    Issue,
    MarkInvoiced,
    MarkPaid,
    Order,
    Pay,
    Postpone,
    Release,
    Replenish,
    Reserve,
    Shipment,
    Stock,
    TakeBack,
)
from peaceriver.verdict import decide as verdict_of

MODELS: dict[str, type[Actor]] = {each.__name__: each for each in (Account, Invoice, Order, Shipment, Stock)}
LARGE = SMALL_TOTAL_MAX + 1


def order(state: str = "placed") -> Order:
    placed = Order(customer="Ada", article="desk", quantity=2, price=Decimal("312.75"), terms="30 days")
    return msgspec.convert(msgspec.to_builtins(placed, builtin_types=(Decimal,)) | {"state": state}, Order)


def claim(key: str, quantity: int = 1) -> Claim:
    return Claim(order=key, customer="Ada", quantity=quantity, total=quantity * LARGE, days=30)


def event(message: Message[Order] | Message[Stock] | Message[Account] | Message[Invoice], before: Actor) -> Event:
    """A message has been folded into a document."""
    after = message.fold(before)  # type: ignore[union-attr]  # every message that is tried here has a fold
    return Event(trigger(type(message).__name__, write_document(message), before, after), MODELS)


def trigger(message_type: str, body: str, before: Actor, after: Actor) -> Trigger:
    return Trigger(
        shard=100,
        position=1,
        stamp=1,
        message_id=UUID(int=1),
        actor_type=type(after).__name__,
        actor_id="SO-1",
        action="modify",
        message_type=message_type,
        version=2,
        sender=100,
        correlation="SO-1",
        principal=None,
        trace=None,
        cause_time=None,
        cause_shard=None,
        root=UUID(int=1),
        valid_at=None,
        hops=0,
        body=body,
        before=write_document(before),
        document=write_document(after),
    )


def told(messages: object) -> list[tuple[int, str, str]]:
    """Where messages go: department, actor, type."""
    if isinstance(messages, Envelope):
        messages = [messages]
    assert isinstance(messages, Iterable)
    listed: list[Envelope] = list(messages)
    return [(each.to, f"{each.actor_type}/{each.actor_id}", each.message_type) for each in listed]


# --- Sales


NEWS = (MarkInvoiced(), MarkPaid(), Postpone(), CancelOrder())


@pytest.mark.parametrize(
    "news", list(permutations(NEWS)), ids=lambda news: "-".join(type(each).__name__ for each in news)
)
def test_whatever_arrives_first_a_cancelled_order_stays_so(news: tuple[Postpone, ...]) -> None:
    now = order("approved")
    for each in news:
        now = each.fold(now)
    assert now.state == "cancelling"


@pytest.mark.parametrize(
    "news", list(permutations(NEWS[:3])), ids=lambda news: "-".join(type(each).__name__ for each in news)
)
def test_late_news_take_no_order_back(news: tuple[Postpone, ...]) -> None:
    now = order("approved")
    for each in news:
        now = each.fold(now)
    assert now.state == "paid"


def test_an_order_that_is_cancelled_before_it_is_approved_asks_for_no_goods() -> None:
    assert list(proceed(event(CancelOrder(), order("placed")))) == []
    assert told(proceed(event(Approve(days=30), order("cancelling")))) == [(110, "Account/Ada", "FreeCredit")]
    assert told(proceed(event(Approve(days=30), order("placed")))) == [(120, "Stock/desk", "Reserve")]


@pytest.mark.parametrize("state", ["approved", "back-ordered", "invoiced", "paid"])
def test_a_cancelled_order_releases_its_goods_wherever_they_are(state: str) -> None:
    assert told(proceed(event(CancelOrder(), order(state)))) == [(120, "Stock/desk", "Release")]


@pytest.mark.parametrize("state", ["rejected", "cancelling", "cancelled"])
def test_what_has_ended_cannot_be_cancelled(state: str) -> None:
    with pytest.raises(ValueError, match=f"the order is {state}"):
        CancelOrder().fold(order(state))


def test_a_paid_order_frees_its_credit_once() -> None:
    assert told(proceed(event(MarkPaid(), order("invoiced")))) == [(110, "Account/Ada", "FreeCredit")]
    assert list(proceed(event(MarkInvoiced(), order("paid")))) == []


# --- Credit


def asked(key: str, total: Decimal, terms: str = "30 days") -> AskCredit:
    return AskCredit(order=key, total=total, terms=terms)


def test_credit_is_used_up_order_by_order() -> None:
    account = Account(credit_limit=2 * LARGE)
    for key, answer in (("SO-1", "Approve"), ("SO-2", "Approve"), ("SO-3", "Reject")):
        happened = event(asked(key, LARGE), account)
        assert told(decide(happened)) == [(100, f"Order/{key}", answer)]
        account = happened.document
    account = FreeCredit(order="SO-1").fold(account)
    assert told(decide(event(asked("SO-4", LARGE), account))) == [(100, "Order/SO-4", "Approve")]


def test_a_small_order_uses_no_credit() -> None:
    happened = event(asked("SO-1", SMALL_TOTAL_MAX), Account(credit_limit=Decimal(0)))
    assert told(decide(happened)) == [(100, "Order/SO-1", "Approve")]
    assert happened.document.used == 0


def test_terms_that_nobody_understands_are_a_failure_and_no_answer() -> None:
    body = write_document(asked("SO-1", SMALL_TOTAL_MAX, "when my ship comes in"))
    account = Account(credit_limit=LARGE)
    verdict = verdict_of(decide, 1, trigger("AskCredit", body, account, account), MODELS)
    assert verdict.failure is not None
    assert "'when my ship comes in' are no terms of payment" in verdict.failure.detail


# --- Warehouse


def test_goods_go_to_who_came_first_and_nobody_passes_him() -> None:
    stock = Stock(initial=2, on_hand=2)
    for key, quantity in (("SO-1", 2), ("SO-2", 3), ("SO-3", 1)):
        stock = Reserve(claim=claim(key, quantity)).fold(stock)
    assert (list(stock.reserved), [each.order for each in stock.waiting]) == (["SO-1"], ["SO-2", "SO-3"])
    happened = event(Replenish(quantity=4), stock)
    assert told(serve(happened)) == [
        (130, "Shipment/SO-2", "Shipment.create"),
        (130, "Shipment/SO-3", "Shipment.create"),
    ]
    assert (happened.document.on_hand, happened.document.waiting) == (0, [])


def test_a_shipment_is_about_its_own_order_whoever_made_room_for_it() -> None:
    stock = Reserve(claim=claim("SO-2", 2)).fold(Stock(initial=1, on_hand=1))
    made = list(serve(event(Replenish(quantity=1), stock)))
    assert [each.correlation for each in made] == ["SO-2"]


def test_who_gets_nothing_is_told_to_wait() -> None:
    stock = Stock(initial=0, on_hand=0)
    assert told(serve(event(Reserve(claim=claim("SO-1")), stock))) == [(100, "Order/SO-1", "Postpone")]
    assert told(serve(event(Reserve(claim=claim("SO-1")), Stock(initial=1, on_hand=1)))) == [
        (130, "Shipment/SO-1", "Shipment.create")
    ]


def test_a_cancelled_order_that_waits_lets_those_behind_it_pass() -> None:
    stock = Reserve(claim=claim("SO-2", 1)).fold(Reserve(claim=claim("SO-1", 5)).fold(Stock(initial=1, on_hand=1)))
    assert told(serve(event(Release(order="SO-1"), stock))) == [
        (130, "Shipment/SO-2", "Shipment.create"),
        (100, "Order/SO-1", "ConfirmCancel"),
    ]


def test_the_warehouse_decides_whether_a_cancellation_or_shipping_came_first() -> None:
    reserved = Reserve(claim=claim("SO-1")).fold(Stock(initial=1, on_hand=1))
    released, issued = event(Release(order="SO-1"), reserved), event(Issue(order="SO-1"), reserved)
    assert told(serve(released)) == [(100, "Order/SO-1", "ConfirmCancel")]
    assert told(serve(event(Issue(order="SO-1"), released.document))) == [(130, "Shipment/SO-1", "CallOff")]
    assert told(serve(issued)) == [(130, "Shipment/SO-1", "HandOver")]
    assert told(serve(event(Release(order="SO-1"), issued.document))) == [(130, "Shipment/SO-1", "Recall")]


KEYS = st.sampled_from(["SO-1", "SO-2", "SO-3", "SO-4"])
ASKED = st.one_of(
    st.builds(Reserve, claim=st.builds(claim, KEYS, st.integers(1, 5))),
    st.builds(Replenish, quantity=st.integers(1, 5)),
    st.builds(Release, order=KEYS),
    st.builds(Issue, order=KEYS),
)


@given(there=st.integers(0, 10), messages=st.lists(ASKED, max_size=30))
def test_no_piece_is_lost_or_made_whatever_is_asked(there: int, messages: list[Reserve]) -> None:
    stock = Stock(initial=there, on_hand=there)
    known: set[str] = set()
    for each in messages:
        if isinstance(each, Reserve):
            if each.claim.order in known:
                continue
            known.add(each.claim.order)
        before, stock = stock, each.fold(stock)
        if isinstance(each, Issue) and each.order in before.reserved:
            stock = TakeBack(quantity=before.reserved[each.order].quantity).fold(stock) if there % 2 else stock
        reserved = sum(each.quantity for each in stock.reserved.values())
        assert stock.initial + stock.replenished == stock.on_hand + reserved + stock.issued
        assert stock.on_hand >= 0
        assert stock.issued >= 0
        assert not stock.waiting or stock.waiting[0].quantity > stock.on_hand


# --- Shipping and Billing


def shipment(state: str) -> Shipment:
    return msgspec.convert(
        {"article": "desk", "customer": "Ada", "quantity": 2, "total": LARGE, "days": 30, "state": state}, Shipment
    )


@pytest.mark.parametrize(
    ("state", "sent"),
    [
        ("shipped", [(140, "Invoice/SO-1", "Invoice.create")]),
        ("called off", []),
        ("returned", [(140, "Invoice/SO-1", "CreditNote"), (120, "Stock/desk", "TakeBack")]),
    ],
)
def test_what_leaves_is_billed_and_what_returns_is_credited(state: str, sent: list[tuple[int, str, str]]) -> None:
    happened = Event(trigger("HandOver", write_document(HandOver()), shipment("planned"), shipment(state)), MODELS)
    assert told(deliver(happened)) == sent


def test_an_invoice_is_paid_once_and_whole() -> None:
    owed = Invoice(customer="Ada", total=LARGE, days=30)
    with pytest.raises(ValueError, match=r"501\.00 is owed, and not 1"):
        Pay(amount=Decimal(1)).fold(owed)
    paid = event(Pay(amount=LARGE), owed)
    assert told(settle(paid)) == [(100, "Order/SO-1", "MarkPaid")]
    with pytest.raises(ValueError, match="the invoice is paid"):
        Pay(amount=LARGE).fold(paid.document)


@pytest.mark.parametrize(("paid", "refunded"), [(False, Decimal(0)), (True, LARGE)])
def test_a_credit_note_refunds_what_was_paid(paid: bool, refunded: Decimal) -> None:
    owed = Invoice(customer="Ada", total=LARGE, days=30)
    credited = event(CreditNote(), Pay(amount=LARGE).fold(owed) if paid else owed)
    assert (credited.document.state, credited.document.credited, credited.document.refunded) == (
        "credited",
        LARGE,
        refunded,
    )
    assert told(settle(credited)) == [(100, "Order/SO-1", ConfirmCancel.__name__)]
