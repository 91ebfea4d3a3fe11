"""The example's books: those that balance, and what is said of those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from peaceriver.order_to_cash.books import Books, Goods, Money, ends, faults, goods, money
from peaceriver.order_to_cash.models import Account, Claim, Invoice, Order, Shipment, Stock

PRICE = Decimal(300)


def order(customer: str, quantity: int, state: Any) -> Order:
    return Order(customer=customer, article="desk", quantity=quantity, price=PRICE, terms="30 days", state=state)


def shipment(quantity: int, state: Any) -> Shipment:
    return Shipment(article="desk", customer="Ada", quantity=quantity, total=quantity * PRICE, days=30, state=state)


def invoice(quantity: int, state: Any, **figures: Decimal) -> Invoice:
    return Invoice(customer="Ada", total=quantity * PRICE, days=30, state=state, **figures)


WAITING = Claim(order="SO-6", customer="Ida", quantity=9, total=9 * PRICE, days=30)
ORDERS = {
    "SO-1": order("Ada", 2, "paid"),
    "SO-2": order("Ada", 3, "invoiced"),
    "SO-3": order("Ada", 4, "rejected"),
    "SO-4": order("Ida", 5, "cancelled"),
    "SO-5": order("Ida", 1, "cancelled"),
    "SO-6": order("Ida", 9, "back-ordered"),
    "SO-7": order("Ida", 1, "invoiced"),
}
STOCK = Stock(initial=10, on_hand=5, replenished=1, waiting=[WAITING], issued=6)
SHIPMENTS = {
    "SO-1": shipment(2, "shipped"),
    "SO-2": shipment(3, "shipped"),
    "SO-4": shipment(5, "returned"),
    "SO-5": shipment(1, "called off"),
    "SO-7": shipment(1, "shipped"),
}
INVOICES = {
    "SO-1": invoice(2, "paid", paid=2 * PRICE),
    "SO-2": invoice(3, "open"),
    "SO-4": invoice(5, "credited", paid=5 * PRICE, credited=5 * PRICE, refunded=5 * PRICE),
    "SO-7": invoice(1, "open"),
}
ACCOUNTS = {
    "Ada": Account(credit_limit=Decimal(5000), held={"SO-2": 3 * PRICE}),
    "Ida": Account(credit_limit=Decimal(5000), held={"SO-6": 9 * PRICE}),
}


def books(
    orders: Mapping[str, Order] = ORDERS,
    shipments: Mapping[str, Shipment] = SHIPMENTS,
    invoices: Mapping[str, Invoice] = INVOICES,
    accounts: Mapping[str, Account] = ACCOUNTS,
    stock: Stock = STOCK,
) -> Books:
    return Books(orders=orders, accounts=accounts, stocks={"desk": stock}, shipments=shipments, invoices=invoices)


def without(held: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {each: value for each, value in held.items() if each != key}


def test_books_that_balance_have_no_fault() -> None:
    assert faults(books()) == []
    assert goods(books()) == [Goods(article="desk", initial=10, replenished=1, on_hand=5, reserved=0, shipped=6)]
    assert money(books()) == Money(
        invoiced=11 * PRICE, credited=5 * PRICE, paid=7 * PRICE, refunded=5 * PRICE, outstanding=4 * PRICE
    )
    assert ends(books()) == {"paid": 1, "invoiced": 2, "rejected": 1, "cancelled": 2, "back-ordered": 1}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (books(stock=STOCK.replace(on_hand=4)), "desk: 11 pieces came, and 10 are on hand, reserved or shipped"),
        (books(stock=STOCK.replace(on_hand=-1, initial=4)), "desk: nothing can be there less than not at all"),
        (
            books(stock=STOCK.replace(issued=7)),
            "desk: the Warehouse has issued 7, and Shipping has shipped 6",
        ),
        (
            books(stock=STOCK.replace(reserved={"SO-7": WAITING}, initial=19)),
            "SO-7 is invoiced and has goods reserved",
        ),
        (books(stock=STOCK.replace(waiting=[])), "SO-6 is back-ordered and does not wait for goods"),
        (
            books(stock=STOCK.replace(waiting=[WAITING, WAITING])),
            "SO-6 waits for goods 2 times",
        ),
        (
            books(invoices=INVOICES | {"SO-2": invoice(3, "open", paid=PRICE)}),
            "1800 is invoiced and not credited, and 2100 is paid or outstanding",
        ),
        (
            books(invoices=INVOICES | {"SO-2": invoice(2, "open")}),
            "Sales has invoiced orders of 1200, and Billing says 900",
        ),
        (
            books(orders=ORDERS | {"SO-1": order("Ada", 1, "paid")}),
            "Sales has paid orders of 300, and Billing says 600",
        ),
        (books(orders=ORDERS | {"SO-3": order("Ada", 4, "cancelling")}), "SO-3 is still cancelling"),
        (books(invoices=without(INVOICES, "SO-7")), "SO-7 is invoiced, with shipment shipped and invoice None"),
        (
            books(shipments=SHIPMENTS | {"SO-3": shipment(4, "planned")}),
            "SO-3 is rejected, with shipment planned and invoice None",
        ),
        (books(shipments=SHIPMENTS | {"SO-9": shipment(1, "planned")}), "there is a shipment SO-9 without an order"),
        (
            books(accounts=ACCOUNTS | {"Ada": Account(credit_limit=PRICE)}),
            "Ada uses credit of 0, and has orders of 900 that do",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_does_not_add_up_is_said(bad: Books, said: str) -> None:
    assert said in faults(bad)
