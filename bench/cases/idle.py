"""What three nodes need that have nothing to do, with few departments and with many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench import names
from bench.needs import cpu_s, family, memory_mb
from bench.nodes import Nodes, nodes
from bench.place import Place
from bench.rounds import Contestant
from peaceriver.limits import VERIFY_LOOK_S
from peaceriver.postgres import CONNECTION_IDLE_S

_FEW, _MANY = 10, 100
#: Seconds that are watched for each second of a round: what little is done is done in bursts.
_WATCHED = 20
#: What follows a start is not what an idle node needs: its connections are given up some time, and what it recorded is
#: verified at the first look.
_SETTLE_S = max(CONNECTION_IDLE_S, VERIFY_LOOK_S) + 20.0


@asynccontextmanager
async def idle(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """CPU time and memory of all processes of a cluster, its PostgreSQL servers among them."""
    async with (
        nodes(place.directory / "few", 3, departments=_FEW) as few,
        nodes(place.directory / "many", 3, departments=_MANY) as many,
    ):
        for each in (few, many):
            await each.level()
        await asyncio.sleep(_SETTLE_S)
        yield [*_contestants(few, _FEW), *_contestants(many, _MANY)]


def _contestants(cluster: Nodes, departments: int) -> list[Contestant]:
    async def cpu(seconds: int) -> float:
        """Percent of one core."""
        began, before = time.perf_counter(), cpu_s(family(cluster.pids))
        await asyncio.sleep(seconds)
        return (cpu_s(family(cluster.pids)) - before) / (time.perf_counter() - began) * 100

    async def memory(_count: int) -> float:
        return memory_mb(family(cluster.pids))

    return [
        Contestant(name=names.idle(departments, "CPU"), measure=cpu, unit="%", least=2, most=600, per_second=_WATCHED),
        Contestant(name=names.idle(departments, "memory"), measure=memory, unit="MB", least=1, most=1),
    ]
