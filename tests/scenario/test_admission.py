"""What a department lets into its journal, and what it refuses: message by message, on a real database."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from peaceriver.errors import Busy, Conflict, Invalid, NotFound, Refused, VersionConflict
from peaceriver.limits import QUEUE_MESSAGES_MAX
from peaceriver.shard.proposal import Proposal, Receipt
from tests.scenario.words import cancel, create, modify
from tests.scenario.world import ME, Restart, World


async def test_positions_are_dense_and_stamps_rise_whoever_sends(world: World) -> None:
    code = await world.department()
    await asyncio.gather(*(world.send(*(create(code) for _ in range(20))) for _ in range(20)))
    records = await world.records(code)
    assert [each.position for each in records] == list(range(1, 402))
    assert all(one.stamp < other.stamp for one, other in pairwise(records))


async def test_a_message_sent_again_gets_its_old_receipt(world: World) -> None:
    code = await world.department()
    message = create(code, "Order/1", '{"total": 1.0}', id=uuid4())
    first = await world.receipt(message)
    again = await world.receipt(create(code, "Order/1", '{"total":1}', id=message.id))
    assert again.duplicate
    assert (again.position, again.stamp, again.version) == (first.position, first.stamp, first.version)
    assert len(await world.of_kind(code, "received")) == 1


async def test_the_same_id_twice_at_the_same_moment_is_recorded_once(world: World) -> None:
    code = await world.department()
    message = create(code, "Order/1", '{"a":1}', id=uuid4())
    receipts = await asyncio.gather(*(world.receipt(message) for _ in range(32)))
    assert len({each.position for each in receipts}) == 1
    assert sum(not each.duplicate for each in receipts) == 1


async def test_an_id_used_for_something_else_is_a_conflict(world: World) -> None:
    code = await world.department()
    message_id = uuid4()
    await world.receipt(create(code, "Order/1", '{"a":1}', id=message_id))
    for other in (
        create(code, "Order/1", '{"a":2}', id=message_id),
        create(code, "Order/2", '{"a":1}', id=message_id),
        create(code, "Order/1", '{"a":1}', id=message_id, correlation="c"),
        modify(code, "Order/1", '{"a":1}', id=message_id),
    ):
        outcome = (await world.send(other))[0]
        assert isinstance(outcome, Conflict)
        assert outcome.message_id == str(message_id)
    assert len(await world.of_kind(code, "received")) == 1


async def test_an_id_is_remembered_after_a_restart(own_world: Restart) -> None:
    world = await own_world()
    code = await world.department()
    message = create(code, "Order/1", '{"a":1}', id=uuid4())
    first = await world.receipt(message)
    world = await own_world()
    again = await world.receipt(message)
    assert again.duplicate
    assert again.position == first.position


async def test_one_bad_message_spoils_no_neighbour(world: World) -> None:
    code = await world.department()
    outcomes = await world.send(
        create(code, "Order/1", '{"n":1}'),
        create(code, "Order/1", '{"n":2}'),
        modify(code, "Order/missing"),
        modify(code, "Order/1", '{"m":3}', if_version=7),
        create(999_999),
        modify(code, "Order/1", '{"m":4}', if_version=1),
    )
    kinds = [type(each) for each in outcomes]
    assert kinds == [Receipt, Conflict, Conflict, VersionConflict, NotFound, Receipt]
    records = await world.of_kind(code, "received")
    assert [each.body for each in records] == ['{"n":1}', '{"m":4}']
    assert [each.actor_version for each in records] == [1, 2]


async def test_a_cancelled_actor_takes_nothing_more(world: World) -> None:
    code = await world.department()
    await world.receipt(create(code, "Order/1"))
    await world.receipt(cancel(code, "Order/1", '"changed my mind"'))
    for message in (modify(code, "Order/1"), cancel(code, "Order/1"), create(code, "Order/1")):
        assert isinstance((await world.send(message))[0], Conflict)


async def test_an_atomic_batch_is_recorded_whole_or_not_at_all(world: World) -> None:
    code = await world.department()
    batch = [create(code, "Order/1"), create(code, "Order/2"), modify(code, "No/1")]
    with pytest.raises(Conflict) as refused:
        await world.node.sending.send_atomic(batch, ME)
    assert refused.value.errors[0].pointer == "/2"
    assert await world.of_kind(code, "received") == []

    outcomes = await world.node.sending.send_atomic([create(code, "Order/1"), create(code, "Order/2")], ME)
    assert all(isinstance(each, Receipt) for each in outcomes)
    records = await world.of_kind(code, "received")
    assert len({each.group_end for each in records}) == 1
    assert records[-1].group_end == records[-1].position


async def test_an_atomic_batch_over_two_departments_is_refused(world: World) -> None:
    one, other = await world.department(), await world.department()
    with pytest.raises(Invalid, match="one department"):
        await world.node.sending.send_atomic([create(one), create(other)], ME)


async def test_a_debit_here_and_a_credit_sent_elsewhere_are_one_group(world: World) -> None:
    here, there = await world.department(), await world.department()
    await world.receipt(create(here, "Account/a", '{"balance":10}'))
    outcomes = await world.node.sending.send_atomic(
        [
            modify(here, "Account/a", '{"balance":0}', sender=here),
            create(there, "Credit/a", '{"amount":10}', sender=here),
        ],
        ME,
    )
    assert [type(each) for each in outcomes] == [Receipt, Receipt]
    records = await world.records(here)
    assert [(each.kind, each.group_end) for each in records[-2:]] == [("received", 4), ("sent", 4)]
    assert isinstance(outcomes[1], Receipt)
    await world.delivered(outcomes[1], there)


async def test_a_create_without_an_id_gets_one_from_its_message(world: World) -> None:
    code = await world.department()
    message = create(code, "Order", id=UUID(int=77))
    receipt = await world.receipt(message)
    assert receipt.actor == f"Order/{UUID(int=77)}"
    assert (await world.receipt(message)).duplicate


async def test_a_department_that_receives_some_types_refuses_others(world: World) -> None:
    code = await world.department(receives=["Order"])
    outcomes = await world.send(create(code, "Order/1"), create(code, "Invoice/1"))
    assert isinstance(outcomes[0], Receipt)
    assert isinstance(outcomes[1], Invalid)
    assert outcomes[1].errors[0].pointer == "/actor"


async def test_a_full_queue_answers_at_once_and_loses_nothing(world: World) -> None:
    code = await world.department()
    shard = world.node.shards[code]
    prepared = world.node.sending._prepared([create(code)] * 100, ME, {})
    wishes = [each for each in prepared if not isinstance(each, Refused)]
    tasks = [asyncio.create_task(shard.append(Proposal(wishes=(wish,)))) for wish in wishes]
    await asyncio.sleep(0)
    shard._appender._queued += QUEUE_MESSAGES_MAX
    outcome = (await world.send(create(code)))[0]
    shard._appender._queued -= QUEUE_MESSAGES_MAX
    assert isinstance(outcome, Busy)
    assert outcome.retry_after_s is not None
    assert outcome.message_id is not None
    await asyncio.gather(*tasks)
    assert len(await world.of_kind(code, "received")) == 100


async def test_a_clock_that_jumps_back_an_hour_breaks_no_order(world: World) -> None:
    code = await world.department()
    appender = world.node.shards[code]._appender
    before = await world.receipt(create(code))
    usual = appender._clock
    appender._clock = lambda: usual() - 3600 * 16_000_000
    try:
        after = await world.receipt(create(code))
    finally:
        appender._clock = usual
    assert after.stamp.time == before.stamp.time + 1
