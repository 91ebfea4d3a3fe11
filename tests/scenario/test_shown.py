"""A leader that is cut off: what it records is not complete and is taken back, and nobody was shown any of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from peaceriver import application
from peaceriver.errors import Behind, NotFound, OutcomeUnknown
from peaceriver.message import Envelope
from peaceriver.node.gateway import Inside
from peaceriver.record import Record
from peaceriver.shard.proposal import Receipt
from tests.scenario import noting
from tests.scenario.noting import Order, sales
from tests.scenario.trio import ME, Trio, trio, until

#: Long, so that a leader that is cut off goes on for a while.
LEASE_S = 4.0
SOON = msgspec.structs.replace(ME, timeout_s=0.3)


@pytest.fixture(scope="module")
async def shared(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with trio(module_folder, application.load(noting), lease_s=LEASE_S) as made:
        await made.enter()
        await until(lambda: not any(node.agents.waiting for node in made.nodes.values()), "rule that acts")
        yield made


@pytest.fixture
async def cluster(shared: Trio) -> Trio:
    await shared.whole()
    await shared.level(sales.code)
    return shared


async def alone(cluster: Trio, old: str, order: Order, name: str, records: int) -> Receipt:
    """Cut the leader off, and send it an order; its rule has acted on that, there, once so many records are added."""
    before = cluster[old].shards[sales.code].tip.position
    await cluster.cut(old)
    (receipt,) = await Inside(cluster[old]).send([sales.create(order, id=name)], concern="local")
    assert isinstance(receipt, Receipt), receipt
    assert not receipt.complete
    shard = cluster[old].shards[sales.code]
    await until(lambda: shard.tip.position >= before + records, "what the rule made")
    assert shard.complete.value <= before
    return receipt


async def others_go_on(cluster: Trio, old: str) -> None:
    """Another node leads, and records something else at the same positions; then all hear each other again."""
    new = await cluster.leader(sales.code)
    assert new != old
    orders = [
        sales.create(Order(total=n), id=f"{new}-{cluster[new].shards[sales.code].tip.position}-{n}") for n in (1, 2)
    ]
    for each in orders:
        await cluster.receipt(each, by=new)
    cluster.heal()


async def test_nothing_is_settled_that_is_taken_back(cluster: Trio) -> None:
    old = await cluster.leader(sales.code)
    # An order, a note and the rule's mark.
    receipt = await alone(cluster, old, Order(total=1), "A-1", 3)
    told = await Inside(cluster[old]).settled(receipt.id, timeout_s=0.3)
    assert cluster[old].shards[sales.code].serving, "it was asked while it led"
    assert (told.settled, told.records, told.positions) == (False, 0, {})
    asked = asyncio.create_task(Inside(cluster[old]).settled(receipt.id, timeout_s=30))
    await others_go_on(cluster, old)
    # What was taken back is offered again, and is settled where it is then.
    told = await asked
    assert (told.settled, told.records) == (True, 2)
    assert told.positions[sales.code] > receipt.position + 1
    for name in cluster.nodes:
        assert (await Inside(cluster[name]).settled(receipt.id, timeout_s=10)).positions == told.positions


async def test_nothing_is_explained_that_is_taken_back(cluster: Trio) -> None:
    old = await cluster.leader(sales.code)
    await cluster.receipt(sales.create(Order(total=1), id="B-0"), by=old)
    receipt = await alone(cluster, old, Order(total=1), "B-1", 3)
    with pytest.raises(Behind, match="is not complete yet"):
        await Inside(cluster[old]).explain(receipt.stamp)
    await others_go_on(cluster, old)
    await until(lambda: cluster[old].shards[sales.code].complete.value > receipt.position + 2, "return of the leader")
    with pytest.raises(NotFound, match="no record has the stamp"):
        await Inside(cluster[old]).explain(receipt.stamp)


async def test_settled_waits_until_what_rules_made_is_complete(cluster: Trio) -> None:
    old = await cluster.leader(sales.code)
    node, shard = cluster[old], cluster[old].shards[sales.code]
    # The order is complete before its rule acts.
    await node.agents.leave(shard)
    order = await cluster.receipt(sales.create(Order(total=1), id="E-1"), by=old)
    assert order.complete
    await cluster.cut(old)
    await node.agents.level()
    # A note and the rule's mark.
    await until(lambda: shard.tip.position >= order.position + 2, "note of the order")
    told = await Inside(cluster[old]).settled(order.id, timeout_s=0.2)
    assert (told.settled, told.records) == (False, 1)
    asked = asyncio.create_task(Inside(cluster[old]).settled(order.id, timeout_s=30))
    assert shard.serving, "it was asked while it led"
    cluster.heal()
    told = await asked
    assert (told.settled, told.records) == (True, 2)
    for name in cluster.nodes:
        assert (await Inside(cluster[name]).settled(order.id, timeout_s=10)).positions == told.positions


async def test_consequences_that_are_not_complete_are_not_counted(cluster: Trio) -> None:
    """An order is complete, and so is its exception; what becomes of that is not."""
    old = await cluster.leader(sales.code)
    order, exception = await tripped(cluster, old, "C-1")
    await cluster.cut(old)
    with pytest.raises(OutcomeUnknown):
        await cluster[old].exceptions.resolve(exception, "skip", SOON)
    told = await Inside(cluster[old]).settled(order.id, timeout_s=0.3)
    explained = await Inside(cluster[old]).explain(order.stamp)
    assert cluster[old].shards[sales.code].serving, "it was asked while it led"
    assert (told.settled, told.records, [each["id"] for each in told.exceptions]) == (False, 2, [str(exception)])
    assert [each["kind"] for each in explained.records] == ["received", "exception"]
    await others_go_on(cluster, old)
    await cluster.leader(sales.code)
    answered = await Inside(cluster[old]).resolve(exception, "answer", note_of("C-1"))
    assert answered["state"] == "answered"
    # Who has not copied the answer yet takes the exception for open, and has nothing to wait for.
    await cluster.level(sales.code)
    for name in cluster.nodes:
        told = await Inside(cluster[name]).settled(order.id, timeout_s=10)
        assert (told.settled, told.records) == (True, 4)


async def tripped(cluster: Trio, name: str, order: str) -> tuple[Receipt, UUID]:
    """An order that a rule cannot act on, and the exception, known to all."""
    receipt = await cluster.receipt(sales.create(Order(total=1, trips=True), id=order), by=name)
    told = await Inside(cluster[name]).settled(receipt.id, timeout_s=10)
    await cluster.level(sales.code)
    return receipt, UUID(told.exceptions[0]["id"])


def note_of(order: str) -> Envelope:
    return sales.create(noting.Note(order=order), id=order)


async def test_an_exception_is_shown_as_far_as_it_is_complete(cluster: Trio) -> None:
    old = await cluster.leader(sales.code)
    _, skipped = await tripped(cluster, old, "D-1")
    _, retried = await tripped(cluster, old, "D-2")
    inside = Inside(cluster[old])
    before = {state: await inside.exceptions(state) for state in ("open", "skipped", "all")}
    assert {str(skipped), str(retried)} <= {each["id"] for each in before["open"]}
    receipt = await alone(cluster, old, Order(total=1, trips=True), "D-3", 2)
    for _ in "12":
        # Said again, it is no more complete than it was.
        with pytest.raises(OutcomeUnknown):
            await cluster[old].exceptions.resolve(skipped, "skip", SOON)
    with pytest.raises(OutcomeUnknown):
        await cluster[old].exceptions.resolve(retried, "retry", SOON)
    (opened,) = [each for each in await appended(cluster, old) if each.cause == receipt.stamp]
    assert {state: await inside.exceptions(state) for state in before} == before
    assert opened.message_id is not None
    with pytest.raises(NotFound):
        await cluster[old].exceptions.at(opened.message_id)
    shown = await cluster[old].exceptions.at(skipped)
    assert (shown.state.state, shown.state.attempt) == ("open", 1)
    assert cluster[old].shards[sales.code].serving, "it was asked while it led"
    await others_go_on(cluster, old)
    await cluster.level(sales.code)
    assert (await cluster[old].exceptions.at(skipped)).state.state == "open"
    for each in (skipped, retried):
        await Inside(cluster[await cluster.leader(sales.code)]).resolve(each, "skip")


async def appended(cluster: Trio, name: str) -> list[Record]:
    return [each for each in await cluster.records(name, sales.code) if each.kind == "exception"]
