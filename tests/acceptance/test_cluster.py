"""The facade says the same of a cluster in this process and of one elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from peaceriver import Cluster, bindparam, select
from peaceriver.cluster import How
from peaceriver.embedding import Inside
from peaceriver.errors import Conflict, Invalid, NotFound, Refused, VersionConflict, Withheld
from peaceriver.node.questions import Answer, Question
from peaceriver.query import named
from peaceriver.shard.proposal import Receipt
from tests.acceptance import bank
from tests.acceptance.bank import Account, Deposit, branches
from tests.acceptance.processes import running

b0, b1 = branches[:2]


@pytest.fixture(params=["embedded", "three", "connected"])
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    if request.param != "connected":
        async with Cluster.embedded(bank, nodes=3 if request.param == "three" else 1) as cluster:
            yield cluster
    else:
        async with running(tmp_path / "data", Path(bank.__file__)) as up, Cluster.connect(up.url) as cluster:
            yield cluster


async def test_what_was_sent_is_read_now_and_as_it_was(cluster: Cluster) -> None:
    opened = await cluster.send(b0.create(Account(balance=Decimal("10.50")), id="a"))
    paid = await cluster.send(b0.send(Deposit(amount=Decimal("0.25")), "Account/a", if_version=1))
    now = await cluster.get(Account, "a")
    assert (now.version, now.document.balance, now.stamp) == (2, Decimal("10.75"), paid.stamp)
    assert (await cluster.get(Account, "a", as_of=opened.stamp)).document.balance == Decimal("10.50")
    assert (await cluster.get(Account, "a", at=b0, version=1)).stamp == opened.stamp
    # Where others hold it as well, its leader writes down who does.
    kinds = [(record.kind, record.type) async for record in cluster.journal(b0) if record.kind != "member"]
    assert kinds == [("epoch", None), ("received", "Account.create"), ("received", "Deposit")]
    with pytest.raises(VersionConflict):
        await cluster.send(b0.modify("Account/a", {"balance": 0}, if_version=1))
    with pytest.raises(NotFound):
        await cluster.get(Account, "nobody")
    outcomes = await cluster.send([b1.create(Account(balance=Decimal(1)), id="a"), b1.modify("Account/b", {})])
    assert isinstance(outcomes[1], Refused)
    await cluster.department(500, "New")
    assert (await anext(cluster.journal(500, follow=True))).kind == "epoch"


async def test_a_sender_says_how_safe_its_receipt_must_be(cluster: Cluster) -> None:
    quorum = await cluster.send(b0.create(Account(balance=Decimal(1)), id="quorum"), concern="quorum", spool=True)
    everyone = await cluster.send([b0.create(Account(balance=Decimal(1)), id="all")], concern="all", spool=True)
    alone = await cluster.send(b0.create(Account(balance=Decimal(1)), id="local"), concern="local")
    assert isinstance(quorum, Receipt)
    assert quorum.complete
    assert [each.complete for each in everyone if isinstance(each, Receipt)] == [True]
    assert alone.position > quorum.position


async def test_a_query_comes_after_what_it_is_told(cluster: Cluster) -> None:
    mine = await cluster.send(b0.create(Account(balance=Decimal(1)), id="mine"))
    sql = "select count(*) from \"Account\" where actor_id = 'mine'"
    for after in (mine.stamp, str(mine.stamp), {b0.code: mine.position}):
        assert await cluster.query(sql, after=after, shards=[b0.code]) == [(1,)]
        assert await cluster.query(sql, as_of=mine.stamp, after=after) == [(1,)]
    with pytest.raises(Conflict, match="have not got there"):
        await cluster.query(sql, after={b1.code: 1_000_000}, timeout_s=0.2)


async def test_what_a_query_is_told_to_come_after_is_besides_what_was_sent() -> None:
    async with Cluster.embedded(bank, nodes=3) as cluster:
        first = await cluster.send(b0.create(Account(balance=Decimal(1)), id="first"))
        late = next(each for each in cluster.nodes if each.shards[b0.code].leader != each.name)
        mine = Cluster(Inside(late), late, cluster.nodes)
        late.replication.keepers[b0.code]._paused_until = float("inf")  # it pulls nothing for now
        await asyncio.sleep(0.5)
        await mine.send(b0.create(Account(balance=Decimal(1)), id="second"))
        asking = asyncio.create_task(mine.query('select count(*) from "Account"', after=first.stamp, timeout_s=10))
        await asyncio.sleep(0.3)
        assert not asking.done()
        late.replication.keepers[b0.code]._paused_until = float("-inf")
        assert await asking == [(2,)]


async def test_what_a_node_in_this_process_lacks_is_asked_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def withheld(question: Question) -> Answer:
        raise Withheld("it is damaged")

    sql = 'select balance from "Account" where actor_id = :id'
    async with Cluster.embedded(bank, nodes=3) as cluster:
        await cluster.put_view(named.read("balance", {"sql": sql, "variables": {"id": "text"}}))
        monkeypatch.setattr(cluster.nodes[0].querying, "ask", withheld)
        sent = await cluster.send(b0.create(Account(balance=Decimal("10.50")), id="é&a"))
        for how in (How(), How(after=sent.stamp), How(as_of=sent.stamp), How(shards=[b0.code], latest=True)):
            rows = await cluster.query(sql, {"id": "é&a"}, **how)
            assert rows == [(Decimal("10.50"),)]
            assert await cluster.view("balance", {"id": "é&a"}, **how) == rows
        statement = select(Account.balance).where(Account.actor_id == bindparam("id"))
        assert await cluster.query(statement, {"id": "é&a"}) == rows
        with pytest.raises(Invalid, match="nowhere"):
            await cluster.query('select nowhere from "Account"')
        for node in cluster.nodes[1:]:
            monkeypatch.setattr(node.querying, "ask", withheld)
        with pytest.raises(Withheld):
            await cluster.query(sql, {"id": "é&a"})


async def test_three_nodes_have_what_they_had_when_they_start_again(tmp_path: Path) -> None:
    async with Cluster.embedded(bank, nodes=3, data=tmp_path) as cluster:
        opened = await cluster.send(b0.create(Account(balance=Decimal(1)), id="kept"))
    async with Cluster.embedded(bank, nodes=3, data=tmp_path) as cluster:
        assert (await cluster.get(Account, "kept")).stamp == opened.stamp
        assert (await cluster.send(b0.send(Deposit(amount=Decimal(1)), "Account/kept"))).version == 2
