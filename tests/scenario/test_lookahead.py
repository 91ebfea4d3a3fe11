"""What was sent wakes its receiver once it is complete, however its sender's replica came to where it stands."""

from __future__ import annotations

import msgspec
import pytest

from peaceriver.message import Envelope
from peaceriver.node.identity import wall_clock
from peaceriver.protocol.members import Members
from peaceriver.shard import replicas
from peaceriver.shard.shard import Shard
from tests.scenario.world import World


@pytest.mark.parametrize("way", ["taken up", "moved"])
async def test_a_tail_that_becomes_complete_later_wakes_who_it_was_sent_to(world: World, way: str) -> None:
    here, there = await world.department(), await world.department()
    receipt = await world.receipt(Envelope(to=there, sender=here, actor_type="Parcel", actor_id="1", action="create"))
    led = world.node.shards[here]
    async with world.node.database.connection() as tx:
        standing = await replicas.reread(tx, here, Members(("n1",)))
    # As on a follower that has copied the record and does not know yet that it is complete.
    stored = msgspec.structs.replace(standing.stored, complete=receipt.position - 1)
    shard = Shard(world.node.database, here, led.rules, led.models, wall_clock)
    await shard.take_up(standing._replace(stored=stored))
    if way == "moved":
        await shard.moved(standing.tip)
    woken: list[int] = []
    shard.sent = lambda source, receivers: woken.extend(receivers)
    shard.completed(receipt.position - 1)
    assert woken == []
    shard.completed(receipt.position)
    assert woken == [there]
    assert shard.complete_stamp == receipt.stamp.time
