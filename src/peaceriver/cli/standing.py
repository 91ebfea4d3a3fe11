"""What the departments of order to cash hold of one order, now or as of a moment, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from peaceriver.actor import Actor, read_document
from peaceriver.client import Client
from peaceriver.department import Department
from peaceriver.errors import NotFound
from peaceriver.moments import Moment
from peaceriver.order_to_cash import (
    Account,
    Invoice,
    Order,
    Shipment,
    Stock,
    billing,
    credit,
    sales,
    shipping,
    warehouse,
)

A = TypeVar("A", bound=Actor)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What one department holds; ``version`` is None where it holds nothing yet."""

    department: str
    actor: str
    version: int | None
    text: str


async def held_by(client: Client, key: str, *, as_of: Moment | None = None) -> tuple[Held, ...]:
    """What each department holds of an order."""
    placed = read_document(Order, (await client.get(sales.code, "Order", key, version=1)).text)
    wanted: tuple[tuple[Department, type[Actor], str, Callable[[Any], str]], ...] = (
        (sales, Order, key, lambda order: str(order.state)),
        (credit, Account, placed.customer, lambda account: _of_account(account, key)),
        (warehouse, Stock, placed.article, lambda stock: _of_stock(stock, key)),
        (shipping, Shipment, key, lambda shipment: str(shipment.state)),
        (billing, Invoice, key, _of_invoice),
    )
    return tuple([await _held(client, *each, as_of) for each in wanted])


async def _held(
    client: Client, at: Department, model: type[A], key: str, words: Callable[[A], str], as_of: Moment | None
) -> Held:
    actor = f"{model.__name__}/{key}"
    try:
        read = await client.get(at.code, model.__name__, key, as_of=as_of)
    except NotFound:
        return Held(department=at.name, actor=actor, version=None, text="nothing yet")
    text = f"{actor} at version {read.version}: {words(read_document(model, read.text))}"
    return Held(department=at.name, actor=actor, version=read.version, text=text)


def _of_account(account: Account, key: str) -> str:
    used = f"{account.used:,} of {account.credit_limit:,} used"
    return f"{used}, {account.held[key]:,} by this order" if key in account.held else used


def _of_stock(stock: Stock, key: str) -> str:
    waiting = [each.order for each in stock.waiting]
    lies = f"{stock.on_hand} on hand, {len(waiting)} orders waiting"
    if key in waiting:
        return f"{lies}, this one as number {waiting.index(key) + 1}"
    if key in stock.reserved:
        return f"{lies}, {stock.reserved[key].quantity} reserved for this one"
    return lies


def _of_invoice(invoice: Invoice) -> str:
    return f"{invoice.total:,}, {invoice.state}" + (f", {invoice.refunded:,} refunded" if invoice.refunded else "")
