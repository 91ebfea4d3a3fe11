"""Some days of trade out of a seed: what customers, suppliers and the bank send.

The same seed gives the same messages under the same ids, on every machine and every Python; so whatever happened to a
message, sending it again is safe. How every order ends follows from the seed as well, however fast which department is:
what customers cancel while their orders are under way is small, so that no other order's credit hangs on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Final, TypeVar
from uuid import UUID

from peaceriver import Envelope
from peaceriver.message import derived_id
from peaceriver.order_to_cash.models import (
    SMALL_TOTAL_MAX,
    Account,
    Approve,
    CancelOrder,
    Invoice,
    Order,
    Pay,
    Replenish,
    Stock,
    billing,
    credit,
    sales,
    warehouse,
)

DAYS: Final = 3
ORDERS_PER_DAY: Final = 80
#: So many orders come at a time; what is cancelled of them at once is cancelled with the next ones.
GROUP_ORDERS: Final = 20

#: What a customer may owe.
CUSTOMERS: Final = {
    "Ada": "6000", "Blaise": "3000", "Carl": "2000", "Dorothy": "8000", "Emmy": "2500", "Felix": "1500",
    "Grace": "5000", "Henri": "3500", "Ida": "1000", "Jakob": "4000",
}  # fmt: skip
#: An article's price, what is there on the first day, and what the supplier brings every evening.
ARTICLES: Final = {
    "armchair": ("249.00", 20, 40),
    "bookcase": ("129.50", 25, 30),
    "clock": ("39.90", 40, 30),
    "desk": ("312.75", 10, 22),
    "lamp": ("84.20", 15, 25),
}
_TERMS: Final = ("14 days", "30 days", "30 days", "60 days")
#: What nobody can make a number of days of.
POISON: Final = "when my ship comes in"
#: In how many days it is to be paid all the same, says whoever is asked.
POISON_DAYS: Final = 30
_CANCELLED_AT_ONCE, _CANCELLED_LATER, _PAYS = 0.08, 0.06, 0.88

_IDS = UUID("6a0f7c1e-3f52-5b8a-9d40-6f72646572ff")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What comes in on one day."""

    #: Orders, and cancellations of orders that came just before.
    groups: tuple[tuple[Envelope, ...], ...]
    #: Cancellations of orders of the day before, by when these are as far as they get.
    cancellations: tuple[Envelope, ...]
    #: What the suppliers bring in the evening.
    replenishments: tuple[Envelope, ...]

    @property
    def orders(self) -> list[Envelope]:
        return [each for group in self.groups for each in group if each.action == "create"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A seed's trade."""

    seed: int
    #: The customers' accounts, and what is in stock.
    opening: tuple[Envelope, ...]
    days: tuple[Day, ...]
    #: Orders that are paid as soon as somebody sends an invoice for them.
    payers: frozenset[str]
    #: The order that a rule fails at; later ones of its customer wait behind it.
    poison: str

    def payment(self, order: str, invoice: Invoice) -> Envelope:
        """The bank's message that an invoice is paid."""
        to = f"Invoice/{order}"
        return billing.send(Pay(amount=invoice.total), to, message_id=_id(self.seed, "pay", order), correlation=order)

    def approval(self) -> Envelope:
        """What somebody answers to the exception: the poisoned order is approved by hand."""
        message_id = _id(self.seed, "approve", self.poison)
        return sales.send(Approve(days=POISON_DAYS), f"Order/{self.poison}", message_id=message_id)


@dataclass(frozen=True, slots=True)
class _Chance:
    """Draws, all from ``Random.random``: the one method whose sequence Python promises to keep for a seed."""

    source: Random

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.source.random() * len(choices))]

    def happens(self, share: float) -> bool:
        return self.source.random() < share


def generate(*, seed: int = 7, days: int = DAYS, orders_per_day: int = ORDERS_PER_DAY) -> Load:
    """The trade of so many days; on the last one at least two orders of the same customer come behind the poison.

    Raises ``ValueError`` where there are too few orders for that.
    """
    chance = _Chance(Random(seed))
    drawn = [[_order(chance) for _ in range(orders_per_day)] for _ in range(days)]
    numbered = [
        {f"SO-{day * orders_per_day + number:04}": order for number, order in enumerate(orders, start=1)}
        for day, orders in enumerate(drawn)
    ]
    poison = _poison(numbered[-1])
    numbered[-1][poison] = numbered[-1][poison].replace(terms=POISON)
    made: list[Day] = []
    for day, orders in enumerate(numbered):
        small = [key for key, each in orders.items() if each.total <= SMALL_TOTAL_MAX and key != poison]
        at_once = {key for key in small if chance.happens(_CANCELLED_AT_ONCE)}
        before = numbered[day - 1] if day else {}
        later = [key for key in before if chance.happens(_CANCELLED_LATER)]
        made.append(
            Day(
                groups=tuple(_groups(seed, orders, at_once)),
                cancellations=tuple(_cancellation(seed, "later", key) for key in later),
                replenishments=tuple(_replenishments(seed, day)),
            )
        )
    keys = [key for orders in numbered for key in orders]
    payers = frozenset(key for key in keys if chance.happens(_PAYS))
    return Load(seed=seed, opening=tuple(_opening(seed)), days=tuple(made), payers=payers, poison=poison)


def _order(chance: _Chance) -> Order:
    article = chance.pick(list(ARTICLES))
    return Order(
        customer=chance.pick(list(CUSTOMERS)),
        article=article,
        quantity=1 + int(chance.source.random() ** 2 * 6),
        price=Decimal(ARTICLES[article][0]),
        terms=chance.pick(_TERMS),
    )


def _poison(orders: dict[str, Order]) -> str:
    """A small order, so that Credit lets it through, of a customer who orders at least twice more."""
    listed = list(orders.items())
    for place, (key, order) in enumerate(listed):
        behind = sum(each.customer == order.customer for _, each in listed[place + 1 :])
        if order.total <= SMALL_TOTAL_MAX and behind >= 2:
            return key
    raise ValueError("nobody orders often enough on the last day: make it more orders a day")


def _groups(seed: int, orders: dict[str, Order], at_once: set[str]) -> list[tuple[Envelope, ...]]:
    keys = list(orders)
    groups: list[tuple[Envelope, ...]] = []
    before: list[str] = []
    for start in range(0, len(keys) + GROUP_ORDERS, GROUP_ORDERS):
        now = keys[start : start + GROUP_ORDERS]
        cancelled = [_cancellation(seed, "at once", key) for key in before if key in at_once]
        groups.append((*(_placed(seed, key, orders[key]) for key in now), *cancelled))
        before = now
    return [each for each in groups if each]


def _placed(seed: int, key: str, order: Order) -> Envelope:
    return sales.create(order, id=key, message_id=_id(seed, "order", key), correlation=key)


def _cancellation(seed: int, when: str, key: str) -> Envelope:
    return sales.send(CancelOrder(), f"Order/{key}", message_id=_id(seed, f"cancel {when}", key), correlation=key)


def _replenishments(seed: int, day: int) -> list[Envelope]:
    return [
        warehouse.send(
            Replenish(quantity=quantity), f"Stock/{article}", message_id=_id(seed, "replenish", f"{day}/{article}")
        )
        for article, (_, _, quantity) in ARTICLES.items()
    ]


def _opening(seed: int) -> list[Envelope]:
    accounts = [
        credit.create(Account(credit_limit=Decimal(limit)), id=customer, message_id=_id(seed, "account", customer))
        for customer, limit in CUSTOMERS.items()
    ]
    stocks = [
        warehouse.create(Stock(initial=there, on_hand=there), id=article, message_id=_id(seed, "stock", article))
        for article, (_, there, _) in ARTICLES.items()
    ]
    return [*accounts, *stocks]


def _id(seed: int, *parts: str) -> UUID:
    return derived_id(_IDS, str(seed), *parts)
