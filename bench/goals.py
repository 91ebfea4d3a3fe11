"""Goals: what the product promises about its speed, mostly as a ratio of two medians of one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench import names
from bench.rounds import Figures, best
from peaceriver.limits import LEASE_S

#: Contestants by case and name.
Measured = Mapping[str, Mapping[str, Figures]]


#: Writes go on this soon after a node was killed.
RECOVER_S_MAX = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The median of ``ours`` divided by the best median of ``base`` is at least, or at most, ``bound``."""

    says: str
    case: str
    ours: str
    #: Empty where the median itself is held against the bound, in its own unit: what something idle costs has no peer.
    base: tuple[str, ...] = ()
    bound: float
    sense: Literal["at least", "at most"] = "at least"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A goal, the ratio or figure that was measured, and whether it holds; None where a side was not measured."""

    goal: Goal
    value: float | None
    holds: bool | None


GOALS = (
    Goal(
        says="bulk append to eventsourcing in batches of 100",
        case="bulk",
        ours=names.ARRAYS,
        base=names.EVENTSOURCING_BATCHES,
        bound=2.5,
    ),
    Goal(
        says="bulk append to raw COPY into the same indexes",
        case="bulk",
        ours=names.ARRAYS,
        base=(names.RAW_COPY,),
        bound=0.25,
    ),
    Goal(
        says="32 concurrent single messages to eventsourcing's best single-event rate",
        case="singles",
        ours=names.singles(32),
        base=names.EVENTSOURCING_SINGLES,
        bound=10,
    ),
    Goal(
        says="HTTP single messages to eventsourcing's best single-event rate in its own process",
        case="http",
        ours=names.HTTP_SINGLES,
        base=names.EVENTSOURCING_SINGLES,
        bound=4,
    ),
    Goal(
        says="HTTP read of one actor to a naive FastAPI and SQLAlchemy endpoint",
        case="http",
        ours=names.HTTP_READS,
        base=(names.NAIVE_READS,),
        bound=5,
    ),
    Goal(
        says="as-of reads to latest reads (twice the time is half the rate)",
        case="reads",
        ours=names.READ_AS_OF,
        base=(names.READ_LATEST,),
        bound=0.5,
    ),
    Goal(
        says="as-of select() of one actor to the latest (twice the time is half the rate)",
        case="queries",
        ours=names.POINT_AS_OF,
        base=(names.POINT_LATEST,),
        bound=0.5,
    ),
    Goal(
        says="as-of select() of the top 10 to the latest (twice the time is half the rate)",
        case="queries",
        ours=names.TOP_AS_OF,
        base=(names.TOP_LATEST,),
        bound=0.5,
    ),
    Goal(
        says="reads of a kept aggregate to computing it over 500,000 actors",
        case="kept",
        ours=names.KEPT_READ,
        base=(names.COMPUTED_READ,),
        bound=20,
    ),
    Goal(
        says="% of the time of an append that the upkeep of a kept aggregate takes",
        case="kept",
        ours=names.KEPT_UPKEEP,
        bound=20,
        sense="at most",
    ),
    Goal(
        says="re-fold of a view to eventsourcing's rebuild of its aggregates",
        case="refold",
        ours=names.REFOLD,
        base=(names.EVENTSOURCING_REBUILD,),
        bound=1.5,
    ),
    Goal(
        says="backlog of a rule to eventsourcing's process application",
        case="rules",
        ours=names.RULE_BACKLOG,
        base=(names.EVENTSOURCING_BACKLOG,),
        bound=10,
    ),
    Goal(
        says="trigger to follow-up, p50, to eventsourcing's process application",
        case="rules",
        ours=names.RULE_FOLLOW_UP,
        base=names.EVENTSOURCING_FOLLOW_UPS,
        bound=1,
        sense="at most",
    ),
    Goal(
        says="pull with chain check to raw COPY between two servers",
        case="pull",
        ours=names.PULL,
        base=(names.RAW_PULL,),
        bound=0.5,
    ),
    Goal(
        says="quorum acknowledgement of three nodes, p50, to the acknowledgement of one node",
        case="cluster",
        ours=names.latency(names.THREE_NODES, 50),
        base=(names.latency(names.ONE_NODE, 50),),
        bound=3,
        sense="at most",
    ),
    Goal(
        says="quorum acknowledgement of three nodes, p50, to their local commit",
        case="cluster",
        ours=names.latency(names.THREE_NODES, 50),
        base=(names.latency(names.THREE_NODES_LOCAL, 50),),
        bound=3,
        sense="at most",
    ),
    Goal(
        says="single messages of three nodes on one machine to those of one node",
        case="cluster",
        ours=names.THREE_NODES,
        base=(names.ONE_NODE,),
        bound=0.35,
    ),
    Goal(
        says="catch-up of a follower with chain check to raw COPY between the two servers",
        case="catchup",
        ours=names.CATCH_UP,
        base=(names.RAW_CATCH_UP,),
        bound=0.5,
    ),
    Goal(
        says="appends while a follower catches up to appends when all are level",
        case="catchup",
        ours=names.APPENDS_CATCH_UP,
        base=(names.APPENDS_LEVEL,),
        bound=0.6,
    ),
    Goal(
        says="leases from a kill of the leader to the next write, at worst (5 s)",
        case="recover",
        ours=names.RECOVER_WORST,
        bound=RECOVER_S_MAX / LEASE_S,
        sense="at most",
    ),
    Goal(
        says="% of a core that three idle nodes with 100 departments need",
        case="idle",
        ours=names.idle(100, "CPU"),
        bound=3,
        sense="at most",
    ),
    Goal(
        says="MB that three idle nodes with 100 departments need",
        case="idle",
        ours=names.idle(100, "memory"),
        bound=600,
        sense="at most",
    ),
    Goal(
        says="append to a long journal to append to a short one",
        case="growth",
        ours=names.LONG_JOURNAL,
        base=(names.SHORT_JOURNAL,),
        bound=0.85,
    ),
)


def judged(goal: Goal, measured: Measured) -> Verdict:
    """Hold a goal against what was measured."""
    figures = measured.get(goal.case, {})
    base = [figures[name] for name in goal.base if name in figures]
    if goal.ours not in figures or (goal.base and not base):
        return Verdict(goal=goal, value=None, holds=None)
    median = figures[goal.ours].median
    value = median / best(base) if goal.base else median
    holds = value >= goal.bound if goal.sense == "at least" else value <= goal.bound
    return Verdict(goal=goal, value=value, holds=holds)
