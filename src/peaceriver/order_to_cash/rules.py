"""Who does what when in order to cash.

Whatever a department tells another one about the same thing is told by one rule: messages of one rule arrive in the
order in which it saw their causes, while two rules go each at its own pace.
"""

from __future__ import annotations

from collections.abc import Iterator

from peaceriver import Envelope, Event, rule
from peaceriver.order_to_cash.models import (
    SMALL_TOTAL_MAX,
    Account,
    Approve,
    AskCredit,
    CallOff,
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
    Recall,
    Reject,
    Release,
    Reserve,
    Shipment,
    Stock,
    TakeBack,
    billing,
    credit,
    sales,
    shipping,
    warehouse,
)

# --- Sales


@rule(on=Order.created, at=sales)
def ask_credit(event: Event) -> Envelope:
    """No order goes on without Credit."""
    order: Order = event.document
    message = AskCredit(order=event.id, total=order.total, terms=order.terms)
    return credit.send(message, to=f"Account/{order.customer}")


@rule(on=Order.modified, at=sales)
def proceed(event: Event) -> Iterator[Envelope]:
    """What is next for an order, by what became of it."""
    order: Order = event.document
    stock, account = f"Stock/{order.article}", f"Account/{order.customer}"
    match event.before.state, order.state:
        case "placed", "approved":
            claim = Claim(
                order=event.id,
                customer=order.customer,
                quantity=order.quantity,
                total=order.total,
                days=order.days,
            )
            yield warehouse.send(Reserve(claim=claim), to=stock)
        case "approved" | "back-ordered" | "invoiced" | "paid", "cancelling":
            yield warehouse.send(Release(order=event.id), to=stock)
        case before, "paid" | "cancelled" if before != order.state:
            yield credit.send(FreeCredit(order=event.id), to=account)


# --- Credit


@rule(on=AskCredit, at=credit)
def decide(event: Event) -> Envelope:
    """Small orders at once, others if the customer's credit is enough for them."""
    asked: AskCredit = event.message
    account: Account = event.document
    order = f"Order/{asked.order}"
    if asked.total > SMALL_TOTAL_MAX and asked.order not in account.held:
        return sales.send(Reject(), to=order)
    return sales.send(Approve(days=_days_of(asked.terms)), to=order)


def _days_of(terms: str) -> int:
    """In how many days it is to be paid; whoever writes it otherwise needs somebody who reads it."""
    number, _, unit = terms.partition(" ")
    if unit != "days":
        raise ValueError(f"{terms!r} are no terms of payment: write them as in '30 days'")
    return int(number)


# --- Warehouse


@rule(on=Stock.modified, at=warehouse)
def serve(event: Event) -> Iterator[Envelope]:
    """Have shipped what has just been reserved, and answer who asked."""
    before: Stock = event.before
    stock: Stock = event.document
    message = event.message
    wanted = [*before.waiting, message.claim] if isinstance(message, Reserve) else before.waiting
    for claim in wanted:
        if claim.order in stock.reserved:
            yield _shipment(event.id, claim)
    match message:
        case Reserve() if message.claim.order not in stock.reserved:
            yield sales.send(Postpone(), to=f"Order/{message.claim.order}")
        case Release() if message.order in before.reserved or any(message.order == each.order for each in wanted):
            yield sales.send(ConfirmCancel(), to=f"Order/{message.order}")
        case Release():
            yield shipping.send(Recall(), to=f"Shipment/{message.order}")
        case Issue():
            found = HandOver() if message.order in before.reserved else CallOff()
            yield shipping.send(found, to=f"Shipment/{message.order}")


def _shipment(article: str, claim: Claim) -> Envelope:
    """The goods may have come because of somebody else; from here on it is about this order again."""
    shipment = Shipment(
        article=article,
        customer=claim.customer,
        quantity=claim.quantity,
        total=claim.total,
        days=claim.days,
    )
    return shipping.create(shipment, id=claim.order, correlation=claim.order)


# --- Shipping


@rule(on=Shipment.created, at=shipping)
def fetch(event: Event) -> Envelope:
    """Ask the Warehouse for the goods: it may have to give them to somebody else by now."""
    return warehouse.send(Issue(order=event.id), to=f"Stock/{event.document.article}")


@rule(on=Shipment.modified, at=shipping)
def deliver(event: Event) -> Iterator[Envelope]:
    """What has left the house is billed; what comes back is credited and goes back on the shelf."""
    shipment: Shipment = event.document
    match shipment.state:
        case "shipped":
            invoice = Invoice(customer=shipment.customer, total=shipment.total, days=shipment.days)
            yield billing.create(invoice, id=event.id)
        case "returned":
            yield billing.send(CreditNote(), to=f"Invoice/{event.id}")
            yield warehouse.send(TakeBack(quantity=shipment.quantity), to=f"Stock/{shipment.article}")


# --- Billing


@rule(on=Invoice.created, at=billing)
def invoiced(event: Event) -> Envelope:
    """Sales wants to know how far its orders are."""
    return sales.send(MarkInvoiced(), to=f"Order/{event.id}")


@rule(on=Invoice.modified, at=billing)
def settle(event: Event) -> Envelope:
    """An order ends when its invoice does: paid, or credited."""
    news = MarkPaid() if isinstance(event.message, Pay) else ConfirmCancel()
    return sales.send(news, to=f"Order/{event.id}")
