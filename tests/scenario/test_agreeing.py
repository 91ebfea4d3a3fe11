"""A journal that was rewritten as a whole, with a chain of its own, is sound by itself: the other replicas tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from peaceriver.errors import Withheld
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.node import Node
from peaceriver.shard.verify import verify_shard
from tests.scenario.damaging import checked, filled, follower, harm, leader, steady, told
from tests.scenario.trio import Trio, until
from tests.scenario.words import create

FORGED = 9
#: Everything from a position on, the state row with it: what a superuser can do who knows how chains are made.
FORGE = (
    "with recursive forged as ("
    ' select j.position, chain_after(b.chain, jsonb_populate_record(j, \'{{"principal":"me"}}\')) as chain'
    f" from journal j join journal b on b.shard = j.shard and b.position = {FORGED - 1}"
    f" where j.shard = {{code}} and j.position = {FORGED}"
    ' union all select j.position, chain_after(f.chain, jsonb_populate_record(j, \'{{"principal":"me"}}\'))'
    " from forged f join journal j on j.shard = {code} and j.position = f.position + 1)"
    " update journal j set principal = 'me', chain = f.chain from forged f"
    " where j.shard = {code} and j.position = f.position",
    "update shard_state s set last_chain = j.chain from journal j"
    " where s.shard = {code} and j.shard = s.shard and j.position = s.last_position",
)
Where = Callable[[Trio, int], Awaitable[Node]]


@pytest.fixture
async def trio(tmp_path: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    """Nodes of a test's own: one of them is to start with an empty directory in the end."""
    async with steady(tmp_path) as made:
        yield made


@pytest.fixture
async def code(trio: Trio) -> int:
    return await filled(trio)


async def forge(trio: Trio, node: Node, code: int) -> None:
    await harm(trio, node, code, *(each.format(code=code) for each in FORGE))
    assert (await verify_shard(node.database, node.views, code)).ok


@pytest.mark.parametrize("where", [follower, leader], ids=["follower", "leader"])
async def test_a_history_of_its_own_is_found_withheld_and_replaced(trio: Trio, code: int, where: Where) -> None:
    node = await where(trio, code)
    others = [each for each in trio.nodes.values() if each is not node]
    end = node.shards[code].tip.position
    await forge(trio, node, code)
    (flaw,) = await checked(node, code)
    assert (flaw.where, flaw.place, flaw.repaired) == ("history", f"{FORGED} to {end}", False)
    assert "its history is not that of " + " and ".join(sorted(each.name for each in others)) in flaw.detail
    assert f"start {node.name} with an empty directory" in flaw.detail
    trouble = node.replication.keepers[code].trouble
    assert trouble is not None
    assert f"start {node.name} with an empty directory" in trouble.why
    with pytest.raises(Withheld, match=r"repaired; ask another node$"):
        await node.reading.journal(code, after=FORGED - 1, limit=10)
    with pytest.raises(Withheld):
        await node.reading.actor(code, "Item", "3", Freshness())
    assert len((await node.reading.journal(code, after=0, limit=100))[0]) == FORGED - 1
    # The others are found sound, and one of them leads.
    for each in others:
        assert await checked(each, code) == []
    await until(lambda: node.replication.keepers[code].replica.leads is None, "new leader", timeout_s=30)
    receipt = await trio.receipt(create(code, "Item/new"))
    assert receipt is not None

    await trio.stop(node.name)
    trio.wipe(node.name)
    await trio.start(node.name)
    await trio.level(code)
    assert node.name in {each["node"] for each in trio[others[0].name].directory.incidents.values()}
    again = trio[node.name]
    await until(lambda: not again.replication.keepers[code].replica.recovering, "recovery")
    assert await checked(again, code) == []
    # It was lost with the disk, and shard 0 was told of it: all know that it is over.
    for each in trio.nodes.values():
        await until(lambda each=each: not each.directory.incidents, "end of the incident")
    assert len((await trio[node.name].reading.journal(code, after=0, limit=100))[0]) > end


async def test_what_is_known_of_it_stays_where_the_others_do_not_answer(trio: Trio, code: int) -> None:
    node = await follower(trio, code)
    await forge(trio, node, code)
    before = told(await checked(node, code))
    assert before
    await trio.cut(node.name)
    await until(lambda: node.shards[code].leader is None, "silence", timeout_s=10)
    assert told(await checked(node, code)) == before
    assert node.replication.keepers[code].replica.barred


async def test_what_is_known_of_it_stays_where_others_are_only_compared_before_it(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await follower(trio, code)
    await forge(trio, node, code)
    before = told(await checked(node, code))
    (other,) = [each for each in await trio.followers(code) if each != node.name]
    # It recovers, say, and has come as far as this.
    trio[other].shards[code].complete.value = FORGED - 2
    assert told(await checked(node, code)) == before
    assert node.shards[code].damage.ranges


async def test_two_who_differ_accuse_nobody(trio: Trio, code: int) -> None:
    node = await follower(trio, code)
    (other,) = [each for each in await trio.followers(code) if each != node.name]
    await trio.stop(other)
    await forge(trio, node, code)
    for each in trio.nodes.values():
        assert await checked(each, code) == []


async def test_rows_that_do_not_fit_lead_to_its_being_found(trio: Trio, code: int) -> None:
    node = await follower(trio, code)
    await forge(trio, node, code)
    await trio.receipt(create(code, "Item/new"))
    await until(lambda: node.verifying.found[code, "history"] == 1, "find", timeout_s=30)
