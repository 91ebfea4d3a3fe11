"""An order-to-cash event log out of a seed: what the demonstration loads where no file is at hand.

The shapes are those of a real one: most orders go straight through six departments, some are rejected, wait for goods,
need reminders or come back; work is done on weekdays between eight and six. The same seed gives the same events, on
every machine and every Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Final

from peaceriver.imports import Event, Value

CASES: Final = 300
_ZONE: Final = timezone(timedelta(hours=1))
_FIRST_DAY: Final = datetime(2026, 1, 5, 8, 0, tzinfo=_ZONE)
_OPENING_HOUR, _CLOSING_HOUR = 8, 18
_NEXT_ORDER_MINUTES: Final = 45.0

_CUSTOMERS: Final = ("Ada", "Blaise", "Carl", "Dorothy", "Emmy", "Felix", "Grace", "Henri", "Ida", "Jakob")
_CHANNELS: Final = ("Web", "Web", "Web", "Phone", "Post")
_STAFF: Final = {"Sales": 4, "Credit": 2, "Warehouse": 5, "Shipping": 3, "Billing": 2, "Support": 2}

#: After an activity: what may follow it, with its weight. None ends the case.
_PATHS: Final[dict[str, tuple[tuple[str | None, float], ...]]] = {
    "Receive order": (("Check customer", 1.0),),
    "Check customer": (("Check credit", 0.55), ("Confirm order", 0.42), ("Reject order", 0.03)),
    "Check credit": (("Approve credit", 0.9), ("Refuse credit", 0.1)),
    "Approve credit": (("Confirm order", 1.0),),
    "Refuse credit": (("Ask for prepayment", 0.6), ("Reject order", 0.4)),
    "Ask for prepayment": (("Confirm order", 0.7), ("Reject order", 0.3)),
    "Confirm order": (("Pick goods", 0.88), ("Order from supplier", 0.12)),
    "Order from supplier": (("Pick goods", 1.0),),
    "Pick goods": (("Pack goods", 0.96), ("Order from supplier", 0.04)),
    "Pack goods": (("Book carrier", 1.0),),
    "Book carrier": (("Hand to carrier", 1.0),),
    "Hand to carrier": (("Confirm delivery", 0.97), ("Trace parcel", 0.03)),
    "Trace parcel": (("Confirm delivery", 0.8), ("Pick goods", 0.2)),
    "Confirm delivery": (("Send invoice", 1.0),),
    "Send invoice": (("Receive payment", 0.76), ("Send reminder", 0.14), ("Receive complaint", 0.1)),
    "Send reminder": (("Receive payment", 0.85), ("Send reminder", 0.15)),
    "Receive complaint": (("Answer complaint", 0.5), ("Take goods back", 0.5)),
    "Answer complaint": (("Receive payment", 1.0),),
    "Take goods back": (("Refund", 1.0),),
    "Receive payment": ((None, 1.0),),
    "Refund": ((None, 1.0),),
    "Reject order": ((None, 1.0),),
}

#: Where an activity is done, and how many working hours usually pass before it.
_WORK: Final[dict[str, tuple[str, float]]] = {
    "Receive order": ("Sales", 0.0),
    "Check customer": ("Sales", 0.5),
    "Check credit": ("Credit", 2.0),
    "Approve credit": ("Credit", 1.0),
    "Refuse credit": ("Credit", 3.0),
    "Ask for prepayment": ("Sales", 4.0),
    "Confirm order": ("Sales", 1.0),
    "Reject order": ("Sales", 2.0),
    "Pick goods": ("Warehouse", 3.0),
    "Order from supplier": ("Warehouse", 4.0),
    "Pack goods": ("Warehouse", 1.0),
    "Book carrier": ("Shipping", 1.0),
    "Hand to carrier": ("Shipping", 4.0),
    "Trace parcel": ("Shipping", 20.0),
    "Confirm delivery": ("Shipping", 12.0),
    "Send invoice": ("Billing", 3.0),
    "Send reminder": ("Billing", 60.0),
    "Receive payment": ("Billing", 30.0),
    "Refund": ("Billing", 6.0),
    "Receive complaint": ("Support", 15.0),
    "Answer complaint": ("Support", 4.0),
    "Take goods back": ("Warehouse", 24.0),
}


@dataclass(slots=True, kw_only=True)
class _Chance:
    """Draws, all from ``Random.random``: the one method whose sequence Python promises to keep for a seed."""

    source: Random

    def pick(self, choices: tuple[str, ...]) -> str:
        return choices[int(self.source.random() * len(choices))]

    def weighted(self, choices: tuple[tuple[str | None, float], ...]) -> str | None:
        point = self.source.random() * sum(weight for _, weight in choices)
        for choice, weight in choices:
            point -= weight
            if point < 0:
                return choice
        return choices[-1][0]

    def around(self, mean: float) -> float:
        """Between 0.4 and 2.2 times ``mean``, more often below it."""
        return mean * (0.4 + 1.8 * self.source.random() ** 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """One case: its own draws, so that changing one path moves no other order."""

    number: int
    received: datetime
    chance: _Chance
    #: The columns that every one of its events has.
    constants: dict[str, Value]

    def steps(self) -> Iterator[tuple[datetime, str]]:
        activity: str | None = "Receive order"
        time = self.received
        while activity is not None:
            _, hours = _WORK[activity]
            time = _after_working(time, timedelta(hours=self.chance.around(hours)))
            yield time, activity
            activity = self.chance.weighted(_PATHS[activity])


def generate(*, seed: int = 7, cases: int = CASES) -> list[Event]:
    """An order-handling log of so many cases, in time order, with the columns of XES."""
    chance = _Chance(source=Random(seed))
    received = _FIRST_DAY
    rows: list[tuple[datetime, str, _Order]] = []
    for number in range(1, cases + 1):
        received = _after_working(received, timedelta(minutes=chance.around(_NEXT_ORDER_MINUTES)))
        order = _order(number, received, _Chance(source=Random(f"{seed}/{number}")))
        rows += [(time, activity, order) for time, activity in order.steps()]
    rows.sort(key=lambda row: (row[0], row[2].number))
    return [_event(line, *row) for line, row in enumerate(rows, start=1)]


def _order(number: int, received: datetime, chance: _Chance) -> _Order:
    cents = int(chance.around(90_000))
    constants: dict[str, Value] = {
        "case:concept:name": f"SO-{number:04}",
        "case:customer": chance.pick(_CUSTOMERS),
        "case:channel": chance.pick(_CHANNELS),
        "case:total": Decimal(cents).scaleb(-2),
    }
    return _Order(number=number, received=received, chance=chance, constants=constants)


def _event(line: int, time: datetime, activity: str, order: _Order) -> Event:
    department, _ = _WORK[activity]
    # Whoever has an order in a department keeps it.
    resource = f"{department} {1 + order.number % _STAFF[department]}"
    columns: dict[str, Value] = {
        "concept:name": activity,
        "org:group": department,
        "org:resource": resource,
        "time:timestamp": time.isoformat(timespec="milliseconds"),
    }
    return Event(
        case=f"SO-{order.number:04}",
        activity=activity,
        time=time,
        department=department,
        attributes=order.constants | columns,
        line=line,
    )


def _after_working(start: datetime, work: timedelta) -> datetime:
    """The moment at which so much working time has passed since ``start``, to the millisecond."""
    time = _at_work(start)
    while (left_today := time.replace(hour=_CLOSING_HOUR, minute=0, second=0, microsecond=0) - time) <= work:
        work -= left_today
        time = _at_work(time + left_today)
    time += work
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _at_work(time: datetime) -> datetime:
    """The first moment from ``time`` on at which somebody works."""
    if time.hour >= _CLOSING_HOUR:
        time = (time + timedelta(days=1)).replace(hour=_OPENING_HOUR, minute=0, second=0, microsecond=0)
    while time.weekday() >= 5:
        time = (time + timedelta(days=1)).replace(hour=_OPENING_HOUR, minute=0, second=0, microsecond=0)
    return time
