"""The books of order to cash: what all departments hold at one cutoff, and whether it adds up. Pure.

Every check compares what one department says with what another one says, so that nothing was lost between them and
nothing came twice: goods between Warehouse and Shipping, money between Sales and Billing, credit between Sales and
Credit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from peaceriver.order_to_cash.models import SMALL_TOTAL_MAX, Account, Invoice, Order, Shipment, Stock

#: What an order may be in the end, with what its shipment and its invoice are then; None: there is none.
ENDS: Mapping[str, frozenset[tuple[str | None, str | None]]] = {
    "rejected": frozenset({(None, None)}),
    "back-ordered": frozenset({(None, None)}),
    "invoiced": frozenset({("shipped", "open")}),
    "paid": frozenset({("shipped", "paid")}),
    "cancelled": frozenset({(None, None), ("called off", None), ("returned", "credited")}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the departments hold at one cutoff, each by its id."""

    orders: Mapping[str, Order]
    accounts: Mapping[str, Account]
    stocks: Mapping[str, Stock]
    shipments: Mapping[str, Shipment]
    invoices: Mapping[str, Invoice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goods:
    """One article in pieces: initial + replenished = on hand + reserved + shipped."""

    article: str
    initial: int
    replenished: int
    on_hand: int
    reserved: int
    shipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """invoiced - credited = paid - refunded + outstanding."""

    invoiced: Decimal
    credited: Decimal
    paid: Decimal
    refunded: Decimal
    outstanding: Decimal


def ends(books: Books) -> Counter[str]:
    """How many orders are in which state."""
    return Counter(each.state for each in books.orders.values())


def goods(books: Books) -> list[Goods]:
    """Every article: what is shipped is told by Shipping, the rest by the Warehouse."""
    return [
        Goods(
            article=article,
            initial=stock.initial,
            replenished=stock.replenished,
            on_hand=stock.on_hand,
            reserved=sum(claim.quantity for claim in stock.reserved.values()),
            shipped=sum(
                each.quantity for each in books.shipments.values() if (each.article, each.state) == (article, "shipped")
            ),
        )
        for article, stock in sorted(books.stocks.items())
    ]


def money(books: Books) -> Money:
    """All invoices."""
    invoices = books.invoices.values()
    return Money(
        invoiced=_sum(each.total for each in invoices),
        credited=_sum(each.credited for each in invoices),
        paid=_sum(each.paid for each in invoices),
        refunded=_sum(each.refunded for each in invoices),
        outstanding=_sum(each.total for each in invoices if each.state == "open"),
    )


def faults(books: Books) -> list[str]:
    """What does not add up, one sentence each; nothing where the books balance."""
    checks: tuple[Callable[[Books], Iterator[str]], ...] = (_of_goods, _of_money, _of_orders, _of_credit)
    return [fault for check in checks for fault in check(books)]


def _of_goods(books: Books) -> Iterator[str]:
    for each in goods(books):
        came, there = each.initial + each.replenished, each.on_hand + each.reserved + each.shipped
        if came != there:
            yield f"{each.article}: {came} pieces came, and {there} are on hand, reserved or shipped"
        issued = books.stocks[each.article].issued
        if issued != each.shipped:
            yield f"{each.article}: the Warehouse has issued {issued}, and Shipping has shipped {each.shipped}"
        if min(each.on_hand, each.reserved, each.shipped) < 0:
            yield f"{each.article}: nothing can be there less than not at all"


def _of_money(books: Books) -> Iterator[str]:
    told = money(books)
    owed, had = told.invoiced - told.credited, told.paid - told.refunded + told.outstanding
    if owed != had:
        yield f"{owed} is invoiced and not credited, and {had} is paid or outstanding"
    for state, amount in (("paid", told.paid - told.refunded), ("invoiced", told.outstanding)):
        total = _sum(each.total for each in books.orders.values() if each.state == state)
        if total != amount:
            yield f"Sales has {state} orders of {total}, and Billing says {amount}"


def _of_orders(books: Books) -> Iterator[str]:
    waiting = Counter(claim.order for stock in books.stocks.values() for claim in stock.waiting)
    reserved = {order for stock in books.stocks.values() for order in stock.reserved}
    for key, order in books.orders.items():
        shipment, invoice = books.shipments.get(key), books.invoices.get(key)
        held = (None if shipment is None else shipment.state, None if invoice is None else invoice.state)
        if order.state not in ENDS:
            yield f"{key} is still {order.state}"
        elif held not in ENDS[order.state]:
            yield f"{key} is {order.state}, with shipment {held[0]} and invoice {held[1]}"
        if (key in waiting) != (order.state == "back-ordered"):
            yield f"{key} is {order.state} and {'waits' if key in waiting else 'does not wait'} for goods"
        if waiting[key] > 1:
            yield f"{key} waits for goods {waiting[key]} times"
        if key in reserved:
            yield f"{key} is {order.state} and has goods reserved"
    for kind, keys in (("shipment", books.shipments.keys()), ("invoice", books.invoices.keys())):
        yield from (f"there is a {kind} {key} without an order" for key in sorted(keys - books.orders.keys()))


def _of_credit(books: Books) -> Iterator[str]:
    """Credit is used by what is approved, not small, and neither paid nor cancelled."""
    for customer, account in sorted(books.accounts.items()):
        using = _sum(
            each.total
            for each in books.orders.values()
            if each.customer == customer and each.state in ("invoiced", "back-ordered") and each.total > SMALL_TOTAL_MAX
        )
        if account.used != using:
            yield f"{customer} uses credit of {account.used}, and has orders of {using} that do"


def _sum(amounts: Iterator[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))
