"""Messages wait at a node while their department has no leader, and are recorded once, in the order they came there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest

from peaceriver.errors import Busy, Conflict, Invalid, LedElsewhere, NotFound
from peaceriver.message import Envelope
from peaceriver.node import pending
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.identity import wall_clock
from peaceriver.node.node import Node
from peaceriver.node.sending import Sender
from peaceriver.shard.proposal import Receipt, Sent, Spooled
from peaceriver.stamp import Stamp
from tests.scenario.trio import ME, NAMES, Trio, trio, until
from tests.scenario.words import create, modify

SPOOL = msgspec.structs.replace(ME, spool=True, trace="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
SOON = Sender(timeout_s=0.3)


@pytest.fixture(scope="module")
async def shared(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with trio(module_folder) as made:
        yield made


@pytest.fixture
async def cluster(shared: Trio) -> Trio:
    """The nodes that all tests share, as they were before the last one stopped some."""
    await shared.whole()
    return shared


async def spool(node: Node, *messages: Envelope, sender: Sender = SPOOL) -> list[Sent]:
    return await node.spooling.send(messages, sender)


async def alone(cluster: Trio, code: int) -> Node:
    """The one node that is left, a follower of the department; it has noticed that nobody leads."""
    stays = (await cluster.followers(code))[0]
    await cluster.stop(*(each for each in cluster.nodes if each != stays))
    node = cluster[stays]
    await until(lambda: node.shards[code].leader is None, "notice that nobody leads")
    return node


async def recorded(cluster: Trio, name: str, code: int) -> list[tuple[UUID | None, str]]:
    """The messages of a department in their order."""
    return [(each.message_id, each.body) for each in await cluster.records(name, code) if each.kind == "received"]


def emptied(node: Node, code: int) -> bool:
    return not node.pending.spooled_for(code)


async def test_two_nodes_gone_and_back(cluster: Trio) -> None:
    code = await cluster.department()
    await cluster.receipt(create(code, "Order/1", '{"n":0}'))
    await cluster.level(code)
    node = await alone(cluster, code)

    # Without spool: nothing is taken. Reads of what is here go on.
    refused = (await node.spooling.send([modify(code, "Order/1")], SOON))[0]
    assert isinstance(refused, LedElsewhere)
    assert refused.retry_after_s
    assert refused.message_id
    read = (await node.reading.actor(code, "Order", "1", Freshness()))[1]
    assert read.version == 1

    ids = [uuid4() for _ in range(6)]
    outcomes: list[Sent] = []
    for n, each in enumerate(ids[:3], start=1):
        outcomes += await spool(node, modify(code, "Order/1", f'{{"n":{n},"exact":1.10}}', id=each))
    outcomes += await spool(
        node, *(modify(code, "Order/1", f'{{"n":{4 + n}}}', id=each) for n, each in enumerate(ids[3:]))
    )
    assert [each.id for each in outcomes if isinstance(each, Spooled)] == ids
    seen = await node.receipts.of(ids[0])
    assert (seen.state, seen.complete, seen.position) == ("spooled", False, None)

    # What nobody could ever take is refused at the door, and what waits is not said anew with other words.
    bad = await spool(node, modify(999_999, "Order/1"), modify(code, "not a type/1"))
    assert [type(each) for each in bad] == [NotFound, Invalid]
    again = await spool(node, modify(code, "Order/1", '{"n":1,"exact":1.10}', id=ids[0]))
    other = await spool(node, modify(code, "Order/1", '{"n":77}', id=ids[0]))
    assert isinstance(again[0], Spooled)
    assert isinstance(other[0], Conflict)

    # The process ends and starts again: what was spooled is still there.
    name = node.name
    await cluster.stop(name)
    await cluster.start(name)
    node = cluster[name]
    assert node.pending.spooled_for(code) == 6
    await cluster.start(next(each for each in NAMES if each != name))
    await until(lambda: emptied(node, code), "end of what was spooled", timeout_s=40)
    leader = await cluster.leader(code)
    found = await recorded(cluster, leader, code)
    assert [each for each, _ in found[1:]] == ids
    assert found[1][1] == '{"n":1,"exact":1.10}'
    whole = next(each for each in await cluster.records(leader, code) if each.message_id == ids[0])
    assert (whole.principal, whole.trace) == ("tester", SPOOL.trace)
    seen = await node.receipts.of(ids[0])
    assert (seen.state, seen.complete) == ("recorded", True)
    # A later one of the same id is a repetition, and nothing is spooled any more.
    (late,) = await spool(node, modify(code, "Order/1", '{"n":1,"exact":1.10}', id=ids[0]))
    assert isinstance(late, Receipt)
    assert late.duplicate


async def test_what_is_refused_later_becomes_an_exception_and_a_batch_stays_whole(cluster: Trio) -> None:
    code = await cluster.department()
    await cluster.send(create(code, "Order/1"), create(code, "Order/2"))
    await cluster.level(code)
    node = await alone(cluster, code)
    stale = uuid4()
    await spool(node, modify(code, "Order/1", '{"n":1}', id=stale, if_version=7))
    causeless = uuid4()
    await spool(node, modify(code, "Order/1", '{"n":1}', id=causeless, cause=Stamp(wall_clock(), code)))
    good = [uuid4(), uuid4()]
    bad = [uuid4(), uuid4()]
    first = await node.spooling.send_atomic(
        [modify(code, "Order/1", '{"n":2}', id=good[0]), modify(code, "Order/2", '{"n":2}', id=good[1])], SPOOL
    )
    await node.spooling.send_atomic(
        [modify(code, "Order/1", '{"n":3}', id=bad[0]), modify(code, "Missing/1", '{"n":3}', id=bad[1])], SPOOL
    )
    assert [type(each) for each in first] == [Spooled, Spooled]
    # The same batch again is kept once.
    await node.spooling.send_atomic(
        [modify(code, "Order/1", '{"n":2}', id=good[0]), modify(code, "Order/2", '{"n":2}', id=good[1])], SPOOL
    )
    await cluster.start(next(each for each in NAMES if each != node.name))
    await until(lambda: emptied(node, code), "end of what was spooled", timeout_s=40)
    leader = await cluster.leader(code)
    assert [each for each, _ in (await recorded(cluster, leader, code))[2:]] == good
    units = {each.group_end for each in await cluster.records(leader, code) if each.message_id in good}
    assert len(units) == 1
    opened = await cluster.opened(leader, code)
    assert sorted(each.problem["id"] for each in opened) == sorted(map(str, [stale, causeless, *bad]))
    assert all("was kept while department" in each.problem["detail"] for each in opened)
    details = {each.problem["id"]: each.problem["detail"] for each in opened}
    assert "is not the stamp of any record" in details[str(causeless)]
    assert (await node.receipts.of(stale)).state == "refused"
    settled = await node.consequences.settled(stale, 5.0)
    assert (settled.settled, len(settled.exceptions)) == (False, 1)


async def test_a_node_spools_so_much_and_no_more(cluster: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    code = await cluster.department()
    node = await alone(cluster, code)
    monkeypatch.setattr(pending, "SPOOLED_MESSAGES_MAX", 2)
    outcomes = [(await spool(node, create(code)))[0] for _ in range(3)]
    assert [type(each) for each in outcomes] == [Spooled, Spooled, Busy]
    assert isinstance(outcomes[2], Busy)
    assert outcomes[2].retry_after_s
    monkeypatch.setattr(pending, "SPOOLED_MESSAGES_MAX", 100)
    monkeypatch.setattr(pending, "SPOOLED_BYTES_MAX", 10)
    (full,) = await spool(node, create(code, body='{"long":"enough"}'))
    assert isinstance(full, Busy)
    assert "bytes" in full.detail
