"""What the departments of order to cash hold, and what can be said to them.

Who holds a thing decides about it: Sales how far an order is, Credit who may owe how much, the Warehouse which goods
are whose, Shipping what has left the house, Billing what is owed. News from two departments may arrive in either order,
so a fold that hears late what is no longer so leaves the document as it is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from peaceriver import Actor, Department, Message

#: Orders up to this total are approved at once, and use no credit.
SMALL_TOTAL_MAX = Decimal("500.00")

# --- Sales


class Order(Actor):
    """A customer's wish, and how far it is."""

    customer: str
    article: str
    quantity: int
    price: Decimal
    #: When the customer wants to pay, in his own words: "30 days".
    terms: str
    state: Literal["placed", "rejected", "approved", "back-ordered", "invoiced", "paid", "cancelling", "cancelled"] = (
        "placed"
    )
    #: In how many days it is to be paid, once it is approved.
    days: int = 0

    @property
    def total(self) -> Decimal:
        return self.quantity * self.price


class Approve(Message[Order], action="modify"):
    """Credit lets it through."""

    days: int

    def fold(self, order: Order) -> Order:
        if order.state == "cancelling":  # the customer was faster, and nothing has been asked of the Warehouse yet
            return order.replace(state="cancelled")
        return order.replace(state="approved", days=self.days)


class Reject(Message[Order], action="modify"):
    """Credit does not."""

    state: Literal["rejected"] = "rejected"


class Postpone(Message[Order], action="modify"):
    """The goods are not there: it waits for more."""

    def fold(self, order: Order) -> Order:
        return order.replace(state="back-ordered") if order.state == "approved" else order


class MarkInvoiced(Message[Order], action="modify"):
    """It was shipped, and the invoice is on its way."""

    def fold(self, order: Order) -> Order:
        return order.replace(state="invoiced") if order.state in ("approved", "back-ordered") else order


class MarkPaid(Message[Order], action="modify"):
    """The money is there."""

    def fold(self, order: Order) -> Order:
        return order if order.state in ("cancelling", "cancelled") else order.replace(state="paid")


class CancelOrder(Message[Order], action="modify"):
    """The customer wants it no longer: the goods are released where they are still here, else taken back."""

    def fold(self, order: Order) -> Order:
        if order.state in ("rejected", "cancelling", "cancelled"):
            raise ValueError(f"the order is {order.state}, so nothing is left to cancel")
        return order.replace(state="cancelling")


class ConfirmCancel(Message[Order], action="modify"):
    """Whatever was done for it is undone."""

    state: Literal["cancelled"] = "cancelled"


# --- Credit


class Account(Actor):
    """What a customer may owe, and which orders use how much of it."""

    credit_limit: Decimal
    held: dict[str, Decimal] = msgspec.field(default_factory=dict)

    @property
    def used(self) -> Decimal:
        return sum(self.held.values(), Decimal())


class AskCredit(Message[Account], action="modify"):
    """May this order be delivered before it is paid? If it may, it uses credit from now on."""

    order: str
    total: Decimal
    terms: str

    def fold(self, account: Account) -> Account:
        if self.total <= SMALL_TOTAL_MAX or account.used + self.total > account.credit_limit:
            return account
        return account.replace(held=account.held | {self.order: self.total})


class FreeCredit(Message[Account], action="modify"):
    """An order is paid or cancelled, and uses no credit any more."""

    order: str

    def fold(self, account: Account) -> Account:
        return account.replace(held={order: total for order, total in account.held.items() if order != self.order})


# --- Warehouse


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Goods that an order wants, and what the departments down the line need to know of it."""

    order: str
    customer: str
    quantity: int
    total: Decimal
    days: int


class Stock(Actor):
    """One article: what came, what lies here and is free, and for whom the rest is."""

    initial: int
    on_hand: int
    replenished: int = 0
    #: By order.
    reserved: dict[str, Claim] = msgspec.field(default_factory=dict)
    #: First come, first served: whoever wants less than the first one does not pass him.
    waiting: list[Claim] = msgspec.field(default_factory=list)
    #: Handed to Shipping, less what was taken back.
    issued: int = 0

    def served(self) -> Stock:
        """The stock when those who wait have got what there is for them."""
        on_hand, reserved, waiting = self.on_hand, dict(self.reserved), list(self.waiting)
        while waiting and waiting[0].quantity <= on_hand:
            claim = waiting.pop(0)
            on_hand -= claim.quantity
            reserved[claim.order] = claim
        return self.replace(on_hand=on_hand, reserved=reserved, waiting=waiting)


class Reserve(Message[Stock], action="modify"):
    """Keep goods for an order, or let it wait for them."""

    claim: Claim

    def fold(self, stock: Stock) -> Stock:
        return stock.replace(waiting=[*stock.waiting, self.claim]).served()


class Replenish(Message[Stock], action="modify"):
    """The supplier has delivered."""

    quantity: int

    def fold(self, stock: Stock) -> Stock:
        return stock.replace(
            on_hand=stock.on_hand + self.quantity, replenished=stock.replenished + self.quantity
        ).served()


class Release(Message[Stock], action="modify"):
    """An order is cancelled: its goods are for others, if they are still here."""

    order: str

    def fold(self, stock: Stock) -> Stock:
        freed = stock.reserved[self.order].quantity if self.order in stock.reserved else 0
        return stock.replace(
            on_hand=stock.on_hand + freed,
            reserved={order: claim for order, claim in stock.reserved.items() if order != self.order},
            waiting=[claim for claim in stock.waiting if claim.order != self.order],
        ).served()


class Issue(Message[Stock], action="modify"):
    """Shipping fetches an order's goods: from here on they cannot be released, only taken back."""

    order: str

    def fold(self, stock: Stock) -> Stock:
        if self.order not in stock.reserved:  # released meanwhile
            return stock
        return stock.replace(
            reserved={order: claim for order, claim in stock.reserved.items() if order != self.order},
            issued=stock.issued + stock.reserved[self.order].quantity,
        )


class TakeBack(Message[Stock], action="modify"):
    """Goods of a cancelled order are back."""

    quantity: int

    def fold(self, stock: Stock) -> Stock:
        return stock.replace(on_hand=stock.on_hand + self.quantity, issued=stock.issued - self.quantity).served()


# --- Shipping


class Shipment(Actor):
    """An order's goods on their way; its id is the order's."""

    article: str
    customer: str
    quantity: int
    total: Decimal
    days: int
    state: Literal["planned", "shipped", "called off", "returned"] = "planned"


class HandOver(Message[Shipment], action="modify"):
    """Here are the goods."""

    state: Literal["shipped"] = "shipped"


class CallOff(Message[Shipment], action="modify"):
    """The order was cancelled before its goods were fetched."""

    state: Literal["called off"] = "called off"


class Recall(Message[Shipment], action="modify"):
    """The order was cancelled after that: the goods come back."""

    state: Literal["returned"] = "returned"


# --- Billing


class Invoice(Actor):
    """What a customer owes for an order; its id is the order's."""

    customer: str
    total: Decimal
    days: int
    state: Literal["open", "paid", "credited"] = "open"
    paid: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)


class Pay(Message[Invoice], action="modify"):
    """The customer pays all of it."""

    amount: Decimal

    def fold(self, invoice: Invoice) -> Invoice:
        if invoice.state != "open":
            raise ValueError(f"the invoice is {invoice.state}, so nothing is owed")
        if self.amount != invoice.total:
            raise ValueError(f"{invoice.total} is owed, and not {self.amount}")
        return invoice.replace(state="paid", paid=self.amount)


class CreditNote(Message[Invoice], action="modify"):
    """The goods are on their way back: nothing is owed, and what was paid is paid back."""

    def fold(self, invoice: Invoice) -> Invoice:
        return invoice.replace(state="credited", credited=invoice.total, refunded=invoice.paid)


sales = Department(100, "Sales", receives=[Order])
credit = Department(110, "Credit", receives=[Account])
warehouse = Department(120, "Warehouse", receives=[Stock])
shipping = Department(130, "Shipping", receives=[Shipment])
billing = Department(140, "Billing", receives=[Invoice])
