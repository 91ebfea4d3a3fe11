"""What an earlier leader had recorded comes to the door again: admitted where its actor is what it was, or answered."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import pytest

from peaceriver.message import Envelope
from peaceriver.record import Record
from peaceriver.shard.exceptions import exception_id
from peaceriver.shard.offering import groups
from peaceriver.shard.proposal import ANYTHING, Outcome, Proposal, Receipt, Wish
from tests.scenario.words import cancel, create, modify, wish
from tests.scenario.world import ME, World


async def offer(world: World, code: int, *group: Wish) -> list[Outcome]:
    return await world.node.shards[code].append(Proposal(wishes=group, offered="stranded"))


async def exceptions(world: World, code: int) -> list[Record]:
    return await world.of_kind(code, "exception")


async def test_an_actor_that_is_as_it_was_takes_the_message_under_a_new_stamp(world: World) -> None:
    code = await world.department()
    first = await world.receipt(create(code, "Order/1", '{"a":1}'))
    (again,) = await offer(world, code, wish(modify(code, "Order/1", '{"b":2}', if_version=1), first.id))
    assert isinstance(again, Receipt)
    assert (again.version, again.duplicate) == (2, False)
    assert again.stamp > first.stamp
    assert await exceptions(world, code) == []


@pytest.mark.parametrize("overtaking", [modify, cancel])
async def test_an_actor_that_was_overtaken_has_an_exception_and_so_have_its_later_ones(
    world: World, overtaking: Callable[..., Envelope]
) -> None:
    code = await world.department()
    first = await world.receipt(create(code, "Order/1", '{"a":1}'))
    await world.send(overtaking(code, "Order/1"))
    ids = [uuid4(), uuid4()]
    await offer(world, code, wish(modify(code, "Order/1", '{"b":2}', id=ids[0]), first.id))
    await offer(world, code, wish(modify(code, "Order/1", '{"b":3}', id=ids[1]), ids[0]))
    found = await exceptions(world, code)
    assert [each.message_id for each in found] == [exception_id(each, code) for each in ids]
    assert "recorded by an earlier leader" in found[0].body
    assert "it was based on message" in found[0].body
    assert f"is without message {ids[0]}" in found[1].body
    assert len(await world.of_kind(code, "received")) == 2


async def test_of_three_for_one_actor_the_third_falls_with_the_second(world: World) -> None:
    code = await world.department()
    ids = [uuid4() for _ in range(3)]
    await offer(world, code, wish(create(code, "Order/1", id=ids[0]), None))
    await world.receipt(modify(code, "Order/1", '{"by":"others"}'))
    await offer(world, code, wish(modify(code, "Order/1", '{"n":2}', id=ids[1]), ids[0]))
    await offer(world, code, wish(modify(code, "Order/1", '{"n":3}', id=ids[2]), ids[1]))
    assert [each.message_id for each in await exceptions(world, code)] == [exception_id(each, code) for each in ids[1:]]
    assert [each.message_id in ids for each in await world.of_kind(code, "received")] == [True, False]


async def test_all_for_one_actor_go_through_where_nobody_was_faster(world: World) -> None:
    code = await world.department()
    ids = [uuid4() for _ in range(3)]
    shard = world.node.shards[code]
    chain = [
        wish(create(code, "Order/1", id=ids[0]), None),
        wish(modify(code, "Order/1", '{"n":2}', id=ids[1]), ids[0]),
        wish(cancel(code, "Order/1", id=ids[2]), ids[1]),
    ]
    # All at once: those before are decided in the same batch, or in the one that is being committed.
    waiting = shard.propose([Proposal(wishes=(each,), offered="stranded") for each in chain])
    assert all(isinstance(each, list) for each in await waiting.answered())
    assert [each.message_id for each in await world.of_kind(code, "received")] == ids


async def test_of_a_group_nothing_is_done_where_one_actor_was_overtaken(world: World) -> None:
    code = await world.department()
    first, second = [await world.receipt(create(code, f"Account/{n}", '{"n":0}')) for n in (1, 2)]
    await world.receipt(modify(code, "Account/2", '{"n":1}'))
    ids = [uuid4(), uuid4()]
    group = (
        wish(modify(code, "Account/1", '{"n":5}', id=ids[0]), first.id),
        wish(modify(code, "Account/2", '{"n":-5}', id=ids[1]), second.id),
    )
    for _ in range(2):
        # Whoever offers them may not have heard what became of them, and says it again.
        answers = await offer(world, code, *group)
        assert [each.id for each in answers if isinstance(each, Receipt)] == [exception_id(each, code) for each in ids]
    found = await exceptions(world, code)
    assert [each.message_id for each in found] == [exception_id(each, code) for each in ids]
    assert all("of which none is recorded either" in each.body for each in found)
    assert len({each.group_end for each in found}) == 1
    assert len(await world.of_kind(code, "received")) == 3


async def test_a_message_that_was_sent_again_meanwhile_is_a_duplicate(world: World) -> None:
    code = await world.department()
    first = await world.receipt(create(code, "Order/1"))
    sent = modify(code, "Order/1", '{"n":1}', id=uuid4())
    receipt = await world.receipt(sent)
    await world.receipt(modify(code, "Order/1", '{"n":2}'))
    (again,) = await offer(world, code, wish(sent, first.id))
    assert isinstance(again, Receipt)
    assert (again.duplicate, again.position) == (True, receipt.position)
    assert await exceptions(world, code) == []


async def test_an_id_that_says_something_else_by_now_is_no_duplicate(world: World) -> None:
    code = await world.department()
    first = await world.receipt(create(code, "Order/1"))
    taken = await world.receipt(modify(code, "Order/1", '{"n":1}', id=uuid4()))
    for _ in range(2):
        await offer(world, code, wish(modify(code, "Order/1", '{"n":2}', id=taken.id), first.id))
    (found,) = await exceptions(world, code)
    assert "was recorded before with other content" in found.body


async def test_a_message_to_be_sent_on_is_based_on_nothing_here(world: World) -> None:
    here, there = await world.department(), await world.department()
    (receipt,) = await offer(world, here, wish(create(there, "Order/1", sender=here), ANYTHING))
    assert isinstance(receipt, Receipt)
    await world.delivered(receipt, there)
    assert len(await world.of_kind(there, "received")) == 1


async def test_what_was_refused_when_it_was_offered_can_be_retried(world: World) -> None:
    code = await world.department()
    first = await world.receipt(create(code, "Order/1"))
    await world.receipt(modify(code, "Order/1", '{"n":1}'))
    message = modify(code, "Order/1", '{"m":2}', id=uuid4())
    (refused,) = await offer(world, code, wish(message, first.id))
    assert isinstance(refused, Receipt)
    standing = await world.node.exceptions.resolve(refused.id, "retry", ME)
    assert standing.state.state == "retried"
    (again,) = await offer(world, code, wish(message, first.id))
    assert isinstance(again, Receipt)
    assert again.duplicate


def row(record: Record, based_on: UUID | None, body: str) -> dict[str, object]:
    """What the door keeps of a record."""
    return {
        "epoch": record.epoch,
        "position": record.position,
        "group_end": record.group_end,
        "based_on": based_on,
        "body": body,
    }


def shuffled(rows: Sequence[dict[str, object]], seed: int) -> list[dict[str, object]]:
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    return mixed


@pytest.mark.parametrize("seed", range(3))
def test_groups_come_in_the_order_of_their_old_records(seed: int) -> None:
    body = (
        '{"shard":100,"position":%d,"group_end":%d,"epoch":%d,"stamp":7,"kind":"received","message_id":"%s",'
        '"actor_type":"A","actor_id":"1","action":"modify","message_type":"A.modify","actor_version":2,'
        '"model_version":null,"sender_shard":null,"receiver_shard":100,"source_position":null,"cause_time":null,'
        '"cause_shard":null,"root":"%s","correlation":null,"rule":null,"rule_version":null,"principal":null,'
        '"trace":null,"valid_at":null,"due":null,"if_version":null,"hops":0,"body":"{}"}'
    )
    rows = []
    for epoch, position, group_end in ((1, 5, 5), (1, 6, 7), (1, 7, 7), (3, 6, 6), (3, 7, 8), (3, 8, 8)):
        record = Record(100, position, group_end, epoch, 7, "received")
        rows.append(row(record, None, body % (position, group_end, epoch, UUID(int=len(rows)), UUID(int=9))))
    found = groups(shuffled(rows, seed))
    assert [[each.id.int for each in group.wishes] for group in found] == [[0], [1, 2], [3], [4, 5]]
    assert all(group.offered for group in found)
