"""Order to cash, the example: five departments that take an order from the customer's wish to the money.

    peaceriver up peaceriver.order_to_cash

``models`` says what the departments hold and what can be said to them, ``rules`` who does what when. A document's fold
decides, for it sees one message after the other and nothing in between; a rule tells the others what was decided.
"""

from peaceriver.order_to_cash.models import (
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
from peaceriver.order_to_cash.rules import ask_credit, decide, deliver, fetch, invoiced, proceed, serve, settle

__all__ = [
    "Account",
    "Invoice",
    "Order",
    "Shipment",
    "Stock",
    "ask_credit",
    "billing",
    "credit",
    "decide",
    "deliver",
    "fetch",
    "invoiced",
    "proceed",
    "sales",
    "serve",
    "settle",
    "shipping",
    "warehouse",
]
