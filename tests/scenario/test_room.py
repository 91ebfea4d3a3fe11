"""A disk that fills up, and a type too many: refused early, and nothing half done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from peaceriver.errors import DiskFull, Invalid
from peaceriver.node.cutoffs import Freshness
from peaceriver.shard.proposal import Receipt
from tests.scenario.trio import until
from tests.scenario.words import create
from tests.scenario.world import Restart, World


async def test_below_the_floor_messages_are_refused_and_reads_go_on(own_world: Restart) -> None:
    world = await own_world()
    code = await world.department()
    receipt = await world.receipt(create(code, "Order/1"))
    world.node.room.free_bytes_min = 2**62
    outcome = (await world.send(create(code, "Order/2")))[0]
    assert isinstance(outcome, DiskFull)
    assert outcome.retry_after_s is not None
    _, found = await world.node.reading.actor(code, "Order", "1", Freshness(after=(receipt.stamp,)))
    assert found.version == 1
    world.node.room.free_bytes_min = 0
    assert isinstance((await world.send(create(code, "Order/2")))[0], Receipt)


async def test_without_room_what_comes_by_itself_waits(own_world: Restart) -> None:
    world = await own_world()
    source, target = await world.department(), await world.department()
    shard, due = world.node.shards[target], datetime.now(UTC) + timedelta(seconds=0.3)
    await world.receipt(create(target, "Order/2", due=due))
    with pytest.MonkeyPatch.context() as full:
        full.setattr(shard, "lack", lambda: "there is no room")
        sent = await world.receipt(create(target, "Order/1", sender=source))
        await asyncio.sleep(1.0)
        assert await world.of_kind(target, "received") == []
    await world.delivered(sent, target)

    async def has_both() -> bool:
        return {each.actor_id for each in await world.of_kind(target, "received")} == {"1", "2"}

    await until(has_both, "release of the timer")


async def test_types_without_a_model_have_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    code = await world.department()
    await world.receipt(create(code, "Known/1"))
    await world.node.shards[code].folded.reached(world.node.shards[code].complete.value)
    monkeypatch.setattr("peaceriver.node.sending.ACTOR_TYPES_MAX", 1)
    outcome = (await world.send(create(code, "OneTooMany/1")))[0]
    assert isinstance(outcome, Invalid)
    assert outcome.errors[0].pointer == "/actor"
    assert isinstance((await world.send(create(code, "Known/2")))[0], Receipt)
