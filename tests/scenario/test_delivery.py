"""Messages between departments: recorded by the sender, pulled by the receiver, once and in order."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from peaceriver import jsontext
from peaceriver.errors import Conflict, Invalid
from peaceriver.shard.delivery import Delivery
from peaceriver.stamp import Stamp
from tests.scenario.trio import until
from tests.scenario.words import create, modify
from tests.scenario.world import Restart, World


async def test_a_sent_message_stands_in_both_journals_under_one_id(world: World) -> None:
    sales, credit = await world.department(), await world.department()
    receipt = await world.receipt(create(credit, "Check/1", '{"a":1}', sender=sales, correlation="c-1"))
    assert (receipt.shard, receipt.version) == (sales, None)
    await world.delivered(receipt, credit)
    sent, received = (await world.of_kind(sales, "sent"))[0], (await world.of_kind(credit, "received"))[0]
    assert sent.message_id == received.message_id
    assert sent.root == received.root
    assert received.stamp > sent.stamp
    assert (received.sender_shard, received.receiver_shard, received.source_position) == (sales, credit, sent.position)
    assert received.correlation == "c-1"
    assert await world.of_kind(sales, "received") == []


async def test_a_message_to_oneself_is_one_received_record(world: World) -> None:
    code = await world.department()
    receipt = await world.receipt(create(code, "Note/1", sender=code))
    assert receipt.version == 1
    assert [each.kind for each in await world.records(code)] == ["epoch", "received"]


async def test_a_sender_is_delivered_in_order_and_each_message_once(world: World) -> None:
    here, there = await world.department(), await world.department()
    await world.receipt(create(there, "Counter/1", '{"n":0}'))
    for n in range(1, 6):
        await world.send(*(modify(there, "Counter/1", f'{{"n":{n * 100 + i}}}', sender=here) for i in range(100)))
    sent = await world.of_kind(here, "sent")
    await world.node.shards[there].delivered_from(here).reached(sent[-1].position)
    received = [each for each in await world.of_kind(there, "received") if each.sender_shard == here]
    assert [each.source_position for each in received] == [each.position for each in sent]
    assert [each.body for each in received] == [each.body for each in sent]


async def test_the_mark_moves_with_what_it_counts(world: World) -> None:
    here, there = await world.department(), await world.department()
    receipt = await world.receipt(create(there, "Thing/1", sender=here))
    await world.delivered(receipt, there)
    received, mark = (await world.records(there))[-2:]
    assert (received.kind, mark.kind) == ("received", "mark")
    assert received.group_end == mark.group_end == mark.position
    assert mark.source_position == receipt.position
    assert jsontext.read(mark.body.encode())["reader"] == "delivery"


async def test_a_refused_delivery_becomes_an_exception_and_holds_up_nobody(world: World) -> None:
    here, there = await world.department(), await world.department()
    refused = await world.receipt(modify(there, "Missing/1", '{"a":0.10}', sender=here, correlation="case-7"))
    await world.delivered(await world.receipt(create(there, "Thing/2", sender=here)), there)
    exception = (await world.of_kind(there, "exception"))[0]
    body = jsontext.read(exception.body.encode())
    assert body["problem"]["status"] == 409
    assert body["message"]["actor"] == "Missing/1"
    assert '"a":0.10' in exception.body
    assert exception.correlation == "case-7"
    assert [each.actor for each in await world.of_kind(there, "received")] == ["Thing/2"]
    assert exception in [
        each.opening for each in await world.node.exceptions.listed(state="open", limit=1000, offset=0)
    ]
    seen = await world.node.receipts.of(refused.id)
    assert (seen.state, seen.position) == ("refused", exception.position)


async def test_what_was_sent_before_a_stop_arrives_after_the_start(own_world: Restart) -> None:
    world = await own_world()
    here, there = await world.department(), await world.department()
    # The receiver's pull is stopped, so that the message is still on its way when the node goes down.
    await (await world.role(there)).delivery.stop()
    receipt = await world.receipt(create(there, "Thing/1", sender=here))
    assert await world.of_kind(there, "received") == []
    world = await own_world()
    await world.delivered(receipt, there)
    assert len(await world.of_kind(there, "received")) == 1
    world = await own_world()
    await asyncio.sleep(0.2)
    assert len(await world.of_kind(there, "received")) == 1


async def test_effects_never_overtake_causes(world: World) -> None:
    here, there = await world.department(), await world.department()
    delivery = (await world.role(there)).delivery
    await delivery.stop()
    cause = await world.receipt(create(there, "Thing/1", '{"n":1}', sender=here))
    effect = asyncio.create_task(world.receipt(modify(there, "Thing/1", '{"n":2}', cause=cause.stamp)))
    await asyncio.sleep(0.1)
    assert not effect.done()
    delivery._stopped = False
    delivery.wake(here)
    receipt = await effect
    assert receipt.version == 2
    records = await world.of_kind(there, "received")
    assert [each.body for each in records] == ['{"n":1}', '{"n":2}']
    assert records[0].root == records[1].root
    assert records[1].stamp > cause.stamp.time


async def test_a_cause_that_nobody_recorded_is_refused(world: World) -> None:
    code = await world.department()
    for stamp in (Stamp(12345, code), Stamp(2**62, code), Stamp(5, 987654)):
        outcome = (await world.send(create(code, id=uuid4(), cause=stamp)))[0]
        assert isinstance(outcome, Invalid)
        assert outcome.errors[0].pointer == "/cause"
    assert await world.of_kind(code, "received") == []


async def test_a_cause_that_does_not_come_is_a_conflict_after_a_bounded_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peaceriver.node.sending.CAUSE_WAIT_S", 0.2)
    here, there = await world.department(), await world.department()
    await (await world.role(there)).delivery.stop()
    cause = await world.receipt(create(there, "Thing/1", sender=here))
    outcome = (await world.send(modify(there, "Thing/1", cause=cause.stamp)))[0]
    assert isinstance(outcome, Conflict)
    assert outcome.errors[0].pointer == "/cause"


async def test_a_delivery_waits_for_a_cause_that_comes_another_way(world: World) -> None:
    first, second, there = [await world.department() for _ in range(3)]
    delivery = (await world.role(there)).delivery
    # Nothing of the first is taken in for now, whoever wakes it.
    delivery._pulling[first] = held = asyncio.create_task(asyncio.Event().wait())
    cause = await world.receipt(create(there, "Thing/1", '{"n":1}', sender=first))
    effect = await world.receipt(modify(there, "Thing/1", '{"n":2}', sender=second, cause=cause.stamp))
    await asyncio.sleep(0.1)
    assert await world.of_kind(there, "received") == []
    held.cancel()
    del delivery._pulling[first]
    delivery.wake(first)
    await world.delivered(effect, there)
    assert [each.body for each in await world.of_kind(there, "received")] == ['{"n":1}', '{"n":2}']


async def test_two_senders_that_use_one_id_are_both_answered(world: World) -> None:
    first, second, there = [await world.department() for _ in range(3)]
    message_id = uuid4()
    for sender in (first, second):
        receipt = await world.receipt(modify(there, "Missing/1", sender=sender, id=message_id))
        await world.delivered(receipt, there)
    exceptions = await world.of_kind(there, "exception")
    assert [each.sender_shard for each in exceptions] == [first, second]
    # One that is taken, then, is a message like any other; the same id with other content is not.
    taken = await world.receipt(create(there, "Found/1", sender=first, id=uuid4()))
    await world.delivered(taken, there)
    clash = await world.receipt(create(there, "Found/2", sender=second, id=taken.id))
    await world.delivered(clash, there)
    assert len(await world.of_kind(there, "received")) == 1
    assert len(await world.of_kind(there, "exception")) == 3


async def test_what_had_arrived_and_was_taken_back_has_not_arrived(world: World) -> None:
    here, there = await world.department(), await world.department()
    receipt = await world.receipt(create(there, "Check/1", sender=here))
    await world.delivered(receipt, there)
    shard = world.node.shards[there]
    # As a leader that was cut off has it, which took in more than its successor.
    shard.delivered_from(here).advance(receipt.position + 50)
    waiting = asyncio.create_task(shard.delivered_from(here).reached(receipt.position + 60))
    await asyncio.sleep(0)
    async with world.node.database.connection() as tx:
        await shard.load_marks(tx)
    assert shard.delivered_from(here).value == receipt.position
    await asyncio.wait_for(waiting, 1)


async def test_a_department_whose_work_could_not_be_taken_up_is_taken_up_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [ConnectionResetError("the server went away")]
    catch_up = Delivery.catch_up

    async def failing_once(self: Delivery) -> None:
        if failures:
            raise failures.pop()
        await catch_up(self)

    monkeypatch.setattr(Delivery, "catch_up", failing_once)
    taken_up: list[int] = []
    monkeypatch.setattr(world.node.agents, "take_up", lambda shard: taken_up.append(shard.code))
    code = await world.department()
    await until(lambda: code in taken_up, "department that is taken up")
    assert not failures
