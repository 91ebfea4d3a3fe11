"""Departments with rules and nothing to do: they sleep."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from types import ModuleType

from peaceriver import Actor, Cluster, Department, Event, rule
from peaceriver.limits import MARK_PAUSE_S


class Order(Actor):
    total: int


def look(event: Event) -> None:
    """A rule that nothing comes of."""


async def used() -> float:
    """Which part of a core this process needs while nobody asks it for anything."""
    busy_s, began = time.process_time(), time.monotonic()
    await asyncio.sleep(0.5)
    return (time.process_time() - busy_s) / (time.monotonic() - began)


async def test_a_hundred_idle_departments_cost_next_to_nothing_and_wake_for_a_record() -> None:
    departments = [Department(code, f"Department {code}") for code in range(100, 200)]
    application = ModuleType("company")
    vars(application).update(Order=Order, departments=departments)
    application.rules = [rule(on=Order.created, at=each, name=f"look_{each.code}")(look) for each in departments]
    async with Cluster.embedded(application) as cluster:
        await cluster.send(departments[0].create(Order(total=1), id="a"))
        assert cluster.node is not None
        for shard in cluster.node.shards.values():
            await shard.folded.reached(shard.complete.value)
        # What follows a start and a record, the rule's mark among it, is not what an idle department costs.
        await asyncio.sleep(MARK_PAUSE_S + 0.5)
        ends = {code: shard.tip.position for code, shard in cluster.node.shards.items()}
        # The median: what else this process has to do now and then, garbage to collect above all, is not theirs.
        assert median([await used() for _ in range(5)]) < 0.02
        assert ends == {code: shard.tip.position for code, shard in cluster.node.shards.items()}
        receipt = await cluster.send(departments[99].create(Order(total=1), id="b"))
        assert (await cluster.settled(receipt)).settled
        agent = cluster.node.agents.of("look_199")
        assert agent is not None
        assert agent.acted.value >= receipt.position
