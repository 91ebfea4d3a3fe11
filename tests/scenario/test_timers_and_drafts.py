"""Messages that are not due yet, and messages that are not yet messages."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from peaceriver.errors import Invalid, NotFound
from peaceriver.record import Record
from tests.scenario.words import cancel, create, modify
from tests.scenario.world import ME, Restart, World


def soon(seconds: float = 0.3) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def recorded(world: World, code: int, kind: str, count: int) -> list[Record]:
    """So many records of a kind, once they are there."""
    complete = world.node.shards[code].complete
    async with asyncio.timeout(30):
        while True:
            seen = complete.value
            found = await world.of_kind(code, kind)
            if len(found) >= count:
                return found
            await complete.passed(seen)


async def released(world: World, code: int, kind: str = "received") -> Record:
    return (await recorded(world, code, kind, 1))[0]


async def test_a_timer_is_recorded_at_once_and_admitted_when_it_is_due(world: World) -> None:
    code = await world.department()
    receipt = await world.receipt(create(code, "Reminder/1", '{"a":1}', due=soon(), id=uuid4()))
    assert await world.of_kind(code, "received") == []
    record = await released(world, code)
    assert record.cause == receipt.stamp
    assert record.message_id != receipt.id
    assert record.due is None
    assert record.root == receipt.id


async def test_a_timer_survives_a_restart_and_fires_once(own_world: Restart) -> None:
    world = await own_world()
    code = await world.department()
    await world.receipt(create(code, "Reminder/1", due=soon(0.5)))
    world = await own_world()
    await released(world, code)
    world = await own_world()
    await asyncio.sleep(0.3)
    assert len(await world.of_kind(code, "received")) == 1


async def test_timers_that_came_due_during_a_pause_are_released_in_their_order(own_world: Restart) -> None:
    world = await own_world()
    code = await world.department()
    await (await world.role(code)).timers.stop()
    await world.receipt(create(code, "Order/1"))
    await world.receipt(cancel(code, "Order/1", due=soon(0.2)))
    await world.receipt(modify(code, "Order/1", '{"n":1}', due=soon(-1)))
    await asyncio.sleep(0.3)
    world = await own_world()
    found = await recorded(world, code, "received", 3)
    assert [each.action for each in found] == ["create", "modify", "cancel"]
    assert await world.of_kind(code, "exception") == []


async def test_a_timer_that_cannot_be_admitted_ends_as_an_exception(world: World) -> None:
    code = await world.department()
    await world.receipt(modify(code, "Nobody/1", due=soon(0.05)))
    assert (await released(world, code, "exception")).actor == "Nobody/1"


async def test_a_timer_for_another_department_is_sent_when_it_is_due(world: World) -> None:
    here, there = await world.department(), await world.department()
    await world.receipt(create(there, "Reminder/1", sender=here, due=soon(0.1)))
    record = await released(world, there)
    assert record.sender_shard == here
    assert [each.kind for each in await world.records(here)] == ["epoch", "timer", "sent"]


async def test_a_draft_is_edited_freely_and_becomes_a_message(world: World) -> None:
    code = await world.department()
    drafts, draft_id = world.node.drafts, uuid4()
    await drafts.put(draft_id, b'{"to": "somewhere"}')
    with pytest.raises(Invalid):
        await drafts.send(draft_id, ME)
    assert (await drafts.get(draft_id))["id"] == str(draft_id)
    await drafts.put(draft_id, f'{{"to":{code},"actor":"Order/1","action":"create","body":{{"a":1}}}}'.encode())
    receipt = await drafts.send(draft_id, ME)
    assert receipt.id == draft_id
    with pytest.raises(NotFound):
        await drafts.get(draft_id)
    assert [each.body for each in await world.of_kind(code, "received")] == ['{"a":1}']


async def test_a_draft_can_be_thrown_away(world: World) -> None:
    drafts, draft_id = world.node.drafts, uuid4()
    await drafts.put(draft_id, b"{}")
    assert str(draft_id) in {each["id"] for each in await drafts.all(limit=1000, offset=0)}
    await drafts.delete(draft_id)
    with pytest.raises(NotFound):
        await drafts.delete(draft_id)
