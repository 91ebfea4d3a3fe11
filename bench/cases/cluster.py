"""Three nodes beside one, all on this machine: what an acknowledgement by a quorum costs, and what is left of the rate.

Each cluster idles while the other one is measured; what that costs is what the case `idle` measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bench import names
from bench.nodes import nodes
from bench.place import Place
from bench.rounds import Contestant, Measure
from bench.senders import Senders, senders

_PERCENTS = (50, 99)


@asynccontextmanager
async def cluster(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Single messages of 32 connections: rates, and how long the answers took."""
    async with (
        nodes(place.directory / "one", 1) as one,
        nodes(place.directory / "three", 3) as three,
        senders(one) as to_one,
        senders(three) as to_three,
    ):
        yield [
            *_contestants(names.ONE_NODE, to_one, to_one.to_leader),
            *_contestants(names.THREE_NODES, to_three, to_three.to_leader),
            *_contestants(names.THREE_NODES_LOCAL, to_three, partial(to_three.to_leader, concern="local")),
            *_contestants(names.THREE_NODES_FOLLOWER, to_three, to_three.to_follower),
        ]


def _contestants(name: str, sending: Senders, measure: Measure) -> list[Contestant]:
    """A rate, and the latencies of the very messages that gave it."""

    def latency(percent: int) -> Contestant:
        async def of_the_last(_count: int) -> float:
            return await sending.latency(percent)

        return Contestant(name=names.latency(name, percent), measure=of_the_last, unit="ms", least=1, most=1)

    return [Contestant(name=name, measure=measure), *map(latency, _PERCENTS)]
