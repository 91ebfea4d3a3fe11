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
POINT_LATEST = "product, select() of one actor, latest"
POINT_AS_OF = "product, select() of one actor, as of"
TOP_LATEST = "product, select() of the top 10, latest"
TOP_AS_OF = "product, select() of the top 10, as of"
GUARD_KNOWN = "product, guard of a known statement"
GUARD_NEW = "product, guard of a new statement"
REFOLD = "product, re-fold of a view"
KEPT_READ = "product, reads of a kept aggregate"
COMPUTED_READ = "product, the same aggregate computed"
KEPT_UPKEEP = "upkeep of a kept aggregate, share of append"
RULE_BACKLOG = "product, backlog of a rule"
RULE_FOLLOW_UP = "product, trigger to follow-up"
SHORT_JOURNAL = "product, short journal"
LONG_JOURNAL = "product, long journal"
RAW_PULL = "raw COPY, one server to another"
PULL = "product, pull with chain check"
ONE_NODE = "one node"
THREE_NODES = "three nodes"
THREE_NODES_LOCAL = "three nodes, local commit"
THREE_NODES_FOLLOWER = "three nodes, sent to a follower"
RAW_CATCH_UP = "raw COPY, leader's server to follower's"
CATCH_UP = "follower, until its journal is level"
CATCH_UP_FOLDED = "follower, its views from then on"
APPENDS_LEVEL = "leader, single messages, all level"
APPENDS_CATCH_UP = "leader, single messages, while a follower catches up"
RECOVER = "from a kill to the next write, median"
RECOVER_WORST = "from a kill to the next write, worst"

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


def idle(departments: int, what: str) -> str:
    """What three nodes need that have nothing to do."""
    return f"three idle nodes, {departments} departments, {what}"


def latency(contestant: str, percent: int) -> str:
    """How long so many percent of a contestant's answers took at most."""
    return f"{contestant}, p{percent}"


def singles(clients: int) -> str:
    """Single messages of so many clients at once."""
    return f"product, single messages, {clients} client{'' if clients == 1 else 's'}"
