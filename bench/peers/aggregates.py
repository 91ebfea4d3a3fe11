"""Our messages as the `eventsourcing` package's aggregates and events, and how its applications find the database."""

from __future__ import annotations

from eventsourcing.domain import Aggregate, event

from bench.load import fields

#: How many it saves at once, as the goal for bulk has it.
BATCH = 100


class Order(Aggregate):
    """One actor; its events carry the fields of our messages."""

    @event("Placed")
    def __init__(self, customer: str, total: float, state: str, note: str) -> None:
        self.customer, self.total, self.state, self.note = customer, total, state, note

    @event("Changed")
    def change(self, customer: str, total: float, state: str, note: str) -> None:
        self.customer, self.total, self.state, self.note = customer, total, state, note


def placed(number: int) -> Order:
    """A new aggregate, with its first event waiting to be saved."""
    return Order(**fields(number))


def environment(host: str, port: str, user: str, database: str, *, functions: bool) -> dict[str, str]:
    """What its applications are told. ``functions``: let them insert by functions in the database, as an option has it.

    Its pools keep their default sizes.
    """
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": host,
        "POSTGRES_PORT": port,
        "POSTGRES_USER": user,
        "POSTGRES_PASSWORD": "unused: the kernel says who we are",
        "POSTGRES_DBNAME": database,
        "POSTGRES_ENABLE_DB_FUNCTIONS": "yes" if functions else "no",
    }
