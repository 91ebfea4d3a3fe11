"""A node that kills itself between a rule's answer and the commit of what comes of it; a test starts it many times.

Usage: DSN KILL, where KILL is the step with an effect at whose commit it dies, or 0: it acts on everything and ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

from peaceriver import Actor, Cluster, Department, Envelope, Event, rule
from peaceriver.shard.agent import Agent
from peaceriver.shard.steps import Plan


class Order(Actor):
    number: int


class Parcel(Actor):
    number: int


sales = Department(100, "Sales")
shipping = Department(110, "Shipping")


@rule(on=Order.created, at=sales)
def ship(event: Event) -> Iterator[Envelope]:
    """One parcel here and one elsewhere."""
    yield sales.create(Parcel(number=event.document.number), id=event.id)
    yield shipping.create(Parcel(number=event.document.number), id=event.id)


def say(word: str) -> None:
    """Before it is too late."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


async def main(dsn: str, kill_at: int) -> None:
    append, steps = Agent._append, 0

    async def dying(self: Agent, plan: Plan, expecting: tuple[str, int, int]) -> None:
        nonlocal steps
        steps += not plan.idle
        if kill_at and steps == kill_at:
            say(f"killed {len(plan.wishes)}")
            os.kill(os.getpid(), signal.SIGKILL)
        await append(self, plan, expecting)

    Agent._append = dying  # type: ignore[method-assign]  # where it dies is the point of this program
    async with Cluster.embedded(sys.modules[__name__], dsn=dsn) as cluster:
        assert cluster.node is not None
        agent = cluster.node.agents.of("ship")
        assert agent is not None
        number = cluster.node.shards[100].tip.position
        for each in range(3):
            receipt = await cluster.send(sales.create(Order(number=number), id=f"{number}-{each}"))
            if kill_at:
                await agent.acted.reached(receipt.position)
        if kill_at:
            await asyncio.Event().wait()  # it dies first
        assert (await cluster.settled(receipt)).settled
        say("done")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
