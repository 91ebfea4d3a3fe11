"""Rules: one follow-up for each order, of a backlog and one at a time.

The product's own contestants stand first, under the names that the goals look for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench import names
from bench.children import Peer, peer
from bench.place import Place
from bench.rounds import Contestant

_BACKLOG = 3_000


@asynccontextmanager
async def rules(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """The process application of the `eventsourcing` package."""
    connection = await place.database("rules_events")
    arguments = [str(connection[key]) for key in ("host", "port", "user", "database")]
    async with peer("bench.peers.eventsourcing_system", *arguments) as system:
        yield _contestants(system)


def _contestants(system: Peer) -> list[Contestant]:
    async def backlog(count: int) -> float:
        return await system.ask(do="backlog", count=count)

    def follow_up(name: str, *, pushed: bool) -> Contestant:
        async def measure(count: int) -> float:
            return await system.ask(do="follow_up", count=count, pushed=pushed)

        return Contestant(name=name, measure=measure, unit="ms")

    return [
        Contestant(name=names.EVENTSOURCING_BACKLOG, measure=backlog, most=_BACKLOG),
        *(
            follow_up(name, pushed=pushed)
            for name, pushed in zip(names.EVENTSOURCING_FOLLOW_UPS, (False, True), strict=True)
        ),
    ]
