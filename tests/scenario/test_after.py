"""A read after a receipt shows its record, or says that there is none."""

from __future__ import annotations

import pytest

from peaceriver.errors import Conflict
from peaceriver.message import Envelope
from peaceriver.node.cutoffs import Freshness
from peaceriver.stamp import Stamp
from tests.scenario.world import World


async def test_a_stamp_that_no_record_has_is_not_passed_in_silence(world: World) -> None:
    code = await world.department()
    receipt = await world.receipt(Envelope(to=code, actor_type="Item", actor_id="1", action="create"))
    for void in (receipt.stamp.time - 1, receipt.stamp.time + 1):
        with pytest.raises(Conflict, match="no record has that stamp"):
            await world.node.cutoffs.resolve([code], Freshness(after=(Stamp(void, code),)))
    # A later record proves it, once for all that were before it.
    assert [each.kind for each in await world.records(code)] == ["epoch", "received", "tick"]


async def test_a_receipt_that_is_here_costs_no_record(world: World) -> None:
    code = await world.department()
    receipt = await world.receipt(Envelope(to=code, actor_type="Item", actor_id="1", action="create"))
    cutoff = await world.node.cutoffs.resolve([code], Freshness(after=(receipt.stamp,)))
    assert cutoff.places[code].position == receipt.position
    assert [each.kind for each in await world.records(code)] == ["epoch", "received"]
