"""A read after a receipt waits for a replica that does not have its record yet."""

from __future__ import annotations

from peaceriver.message import Envelope
from peaceriver.node.cutoffs import Freshness
from peaceriver.stamp import Stamp
from tests.scenario.world import World


async def test_a_replica_that_ends_before_the_receipt_waits_until_it_is_complete_there(world: World) -> None:
    code = await world.department()
    receipt = await world.receipt(Envelope(to=code, actor_type="Item", actor_id="1", action="create"))
    beyond = Stamp(receipt.stamp.time + 1, code)
    cutoff = await world.node.cutoffs.resolve([code], Freshness(after=(beyond,)))
    # Only a later record can tell that nothing is missing up to there.
    assert cutoff.places[code].time >= beyond.time
    assert [each.kind for each in await world.records(code)] == ["epoch", "received", "tick"]


async def test_a_receipt_that_is_here_costs_no_record(world: World) -> None:
    code = await world.department()
    receipt = await world.receipt(Envelope(to=code, actor_type="Item", actor_id="1", action="create"))
    cutoff = await world.node.cutoffs.resolve([code], Freshness(after=(receipt.stamp,)))
    assert cutoff.places[code].position == receipt.position
    assert [each.kind for each in await world.records(code)] == ["epoch", "received"]
