"""A leader is cut off with a tail that only it has: what came of each message is heard, and none is lost or doubled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from peaceriver.errors import Conflict, OutcomeUnknown
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.standings import Standing
from peaceriver.shard.journal import pending_sql
from peaceriver.shard.proposal import Receipt
from tests.scenario.trio import ME, Trio, trio, until
from tests.scenario.words import create, modify

LOCAL = msgspec.structs.replace(ME, concern="local", timeout_s=5.0)


@pytest.fixture(scope="module")
async def shared(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with trio(module_folder) as made:
        yield made


@pytest.fixture
async def cluster(shared: Trio) -> Trio:
    """The nodes that all tests share, as they were before the last one stopped some."""
    await shared.whole()
    return shared


async def pending(cluster: Trio, name: str, code: int) -> int:
    async with cluster[name].database.connection() as tx:
        return len(await pending_sql.stranded.rows(tx, shard=code, messages=1000, bytes=10**9))


async def test_a_tail_that_was_taken_back_is_offered_to_the_next_leader(cluster: Trio) -> None:
    code = await cluster.department()
    old = await cluster.leader(code)
    for n in range(1, 5):
        await cluster.receipt(create(code, f"Order/{n}"), by=old)
    await cluster.cut(old)
    node = cluster[old]
    ids = [uuid4() for _ in range(6)]
    alone = await cluster.send(
        *(modify(code, f"Order/{n + 1}", '{"by":"old"}', id=ids[n]) for n in (0, 1)), by=old, sender=LOCAL
    )
    assert [each.complete for each in alone if isinstance(each, Receipt)] == [False, False]
    group = await node.sending.send_atomic(
        [modify(code, "Order/3", '{"by":"old"}', id=ids[2]), modify(code, "Order/4", '{"by":"old"}', id=ids[3])], LOCAL
    )
    later = await cluster.send(modify(code, "Order/3", '{"by":"old again"}', id=ids[4]), by=old, sender=LOCAL)
    (asked,) = await cluster.send(modify(code, "Order/1", "{}", id=ids[5]), by=old, sender=ME_SOON)
    assert isinstance(asked, OutcomeUnknown)
    void = [each.stamp for each in (*alone, *group, *later) if isinstance(each, Receipt)]
    assert len(void) == 5
    seen = await node.receipts.of(ids[0])
    assert (seen.state, seen.complete) == ("recorded", False)

    # Elsewhere another one leads, and somebody else is faster with Order/2 and Order/4.
    others = [each for each in cluster.nodes if each != old]
    await cluster.leader(code)
    faster = await cluster.send(*(modify(code, f"Order/{n}", '{"by":"new"}') for n in (2, 4)), by=others[0])
    assert all(isinstance(each, Receipt) and each.complete for each in faster)

    cluster.heal()
    new = await cluster.leader(code)
    await until(lambda: node.shards[code].complete.value > 8, "return of the old leader")

    async def heard() -> bool:
        seen = [await cluster[others[0]].receipts.of(each) for each in ids]
        return all(each.complete for each in seen) and not await pending(cluster, old, code)

    await until(heard, "word of every message")
    states = [(await cluster[each].receipts.of(ids[n])).state for n in range(6) for each in cluster.nodes]
    assert states == [
        each for each in ("recorded", "refused", "refused", "refused", "refused", "recorded") for _ in "123"
    ]
    assert new in others
    received = [each for each in await cluster.records(new, code) if each.kind == "received"]
    assert [each.message_id for each in received if each.message_id in ids] == [ids[0], ids[5]]
    assert min(each.stamp for each in received if each.message_id in ids) > max(each.time for each in void)
    left: list[Standing] = []

    async def all_opened() -> bool:
        # A follower folds what comes of a record a moment after it has the record.
        left[:] = await cluster.opened(old, code)
        return len(left) >= 4

    await until(all_opened, "exception of each that was overtaken")
    assert len(left) == 4
    assert all("was recorded by an earlier leader" in each.problem["detail"] for each in left)

    # A receipt that is void is answered with what became of it, on every node, and not passed in silence.
    for name in cluster.nodes:
        with pytest.raises(Conflict, match="no record has that stamp"):
            await cluster[name].reading.actor(code, "Order", "1", Freshness(after=(void[0],), timeout_s=5.0))


ME_SOON = msgspec.structs.replace(ME, timeout_s=0.2)


async def test_what_is_pending_is_offered_after_a_start_and_once(cluster: Trio) -> None:
    code = await cluster.department()
    old = await cluster.leader(code)
    await cluster.receipt(create(code, "Order/1"), by=old)
    await cluster.cut(old)
    message = modify(code, "Order/1", '{"n":1}', id=uuid4())
    await cluster.send(message, by=old, sender=LOCAL)
    # Its sender has sent it again meanwhile, to a node that could record it.
    again = await cluster.receipt(message, by=await cluster.leader(code))
    await cluster.stop(old)
    await cluster.start(old)

    async def heard() -> bool:
        return (await cluster[old].receipts.here(again.id)) is not None and not await pending(cluster, old, code)

    await until(heard, "word of the message")
    for name in cluster.nodes:
        assert [each.message_id for each in await cluster.records(name, code)].count(again.id) == 1
    assert await cluster.opened(old, code) == []


async def test_all_replicas_hold_what_all_were_asked_for(cluster: Trio) -> None:
    code = await cluster.department()
    leader = await cluster.leader(code)
    follower = (await cluster.followers(code))[0]
    everyone = msgspec.structs.replace(ME, concern="all")
    made = await cluster.receipt(create(code, "Order/1"), by=follower, sender=everyone)
    assert all(node.shards[code].tip.position >= made.position for node in cluster.nodes.values())
    await cluster.stop((await cluster.followers(code))[1])
    soon = msgspec.structs.replace(everyone, timeout_s=0.5)
    (unknown,) = await cluster.send(modify(code, "Order/1"), by=leader, sender=soon)
    assert isinstance(unknown, OutcomeUnknown)
    assert unknown.message_id
    await cluster.receipt(modify(code, "Order/1"), by=leader)
