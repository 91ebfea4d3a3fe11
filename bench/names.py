"""What the contestants are called, in tables, results and goals."""

from __future__ import annotations

RAW_COPY = "raw COPY, same indexes"
RAW_INSERT = "raw INSERT, 1 client"

ARRAYS = "product, arrays of 10,000"
SMALL_ARRAYS = "product, arrays of 100"
ARRAYS_FOLDED = "product, arrays of 10,000 until the views show them"
HTTP_SINGLES = "product over HTTP, 32 connections"
HTTP_ARRAYS = "product over HTTP, arrays of 100"
HTTP_READS = "product over HTTP, reads of one actor"
NAIVE_READS = "FastAPI and SQLAlchemy, reads of one row"
READ_LATEST = "product, latest reads"
READ_AS_OF = "product, as-of reads"
REFOLD = "product, re-fold of a view"
RULE_BACKLOG = "product, backlog of a rule"
RULE_FOLLOW_UP = "product, trigger to follow-up"
SHORT_JOURNAL = "product, short journal"
LONG_JOURNAL = "product, long journal"
RAW_PULL = "raw COPY, one server to another"
PULL = "product, pull with chain check"

EVENTSOURCING_BATCHES = ("eventsourcing, batches of 100", "eventsourcing functions, batches of 100")
EVENTSOURCING_SINGLES = (
    "eventsourcing, 1 thread",
    "eventsourcing, 32 threads",
    "eventsourcing functions, 1 thread",
    "eventsourcing functions, 32 threads",
)
EVENTSOURCING_REBUILD = "eventsourcing, rebuild of aggregates"
EVENTSOURCING_BACKLOG = "eventsourcing, backlog of a process application"
EVENTSOURCING_FOLLOW_UPS = (
    "eventsourcing, trigger to follow-up, pulled",
    "eventsourcing, trigger to follow-up, pushed",
)


def singles(clients: int) -> str:
    """Single messages of so many clients at once."""
    return f"product, single messages, {clients} client{'' if clients == 1 else 's'}"
