"""The load: one endless row of equal messages, the same for every contestant.

Messages are numbered. The first ones create an actor each, the others modify these actors in turn. Every body has the
same fields and the same length.
"""

from __future__ import annotations

import json
from typing import Any

from bench.orders import Order, sales
from peaceriver import Envelope

ACTORS = 10_000
BODY_BYTES = 345
_STATES = ("open", "approved", "rejected")


def fields(number: int) -> dict[str, Any]:
    """What message ``number`` says; a JSON object of BODY_BYTES bytes, with total as a number of two decimals."""
    short = {
        "customer": f"Customer {number % ACTORS:05}",
        "total": 1000 + number % 9_000 + 0.25,
        "state": _STATES[number % len(_STATES)],
        "note": "",
    }
    return short | {"note": "n" * (BODY_BYTES - len(written(short)))}


def written(members: dict[str, Any]) -> str:
    """A body as JSON text."""
    return json.dumps(members, separators=(",", ":"))


def actor_id(number: int) -> str:
    """The actor that message ``number`` is for."""
    return f"SO-{number % ACTORS:06}"


def message(number: int) -> Envelope:
    """Message ``number``, to the sales department."""
    return Envelope(
        to=sales.code,
        actor_type=Order.__name__,
        actor_id=actor_id(number),
        action="create" if number < ACTORS else "modify",
        body=written(fields(number)),
    )


class Load:
    """Hands the messages out in their order."""

    def __init__(self) -> None:
        #: How many have been handed out.
        self.taken = 0

    def numbers(self, count: int) -> range:
        """The next ``count`` numbers."""
        first, self.taken = self.taken, self.taken + count
        return range(first, self.taken)

    def messages(self, count: int) -> list[Envelope]:
        """The next ``count`` messages."""
        return [message(number) for number in self.numbers(count)]
