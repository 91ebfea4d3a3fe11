"""What rules did is the same from every node, and what only their leader can do is asked of any node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peaceriver import application
from peaceriver.node.gateway import Inside
from peaceriver.shard.proposal import Receipt
from tests.scenario import relaying
from tests.scenario.relaying import Order, credit, sales
from tests.scenario.trio import NAMES, Trio, trio, until


@pytest.fixture(scope="module")
async def cluster(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with trio(module_folder, application.load(relaying)) as made:
        await made.enter()
        yield made


async def test_settled_and_explained_from_every_node(cluster: Trio) -> None:
    for n, name in enumerate(NAMES):
        inside = Inside(cluster[name])
        (receipt,) = await inside.send([sales.create(Order(total=n), id=f"S-{n}")])
        assert isinstance(receipt, Receipt)
        for other in NAMES:
            settled = await Inside(cluster[other]).settled(receipt.id, timeout_s=10)
            assert (settled.settled, settled.records) == (True, 3), (name, other, settled)
            told = await Inside(cluster[other]).explain(receipt.stamp)
            assert [each["kind"] for each in told.records] == ["received", "sent", "received"]
            read = await Inside(cluster[other]).get(credit.code, "Check", f"S-{n}", after=settled.positions)
            assert read.version == 1


async def test_a_rule_s_exception_is_retried_and_skipped_at_any_node(cluster: Trio) -> None:
    leader = await cluster.leader(sales.code)
    one, two = await cluster.followers(sales.code)
    (receipt,) = await Inside(cluster[one]).send([sales.create(Order(total=1, trips=True), id="T-1")])
    assert isinstance(receipt, Receipt)

    async def opened() -> bool:
        return all([await Inside(each).exceptions() for each in cluster.nodes.values()])

    await until(opened, "exception on every node")
    (exception,) = await Inside(cluster[two]).exceptions()
    settled = await Inside(cluster[two]).settled(receipt.id, timeout_s=0.5)
    assert settled.settled is False
    async with cluster.door(one) as door:
        retried = await door.post(f"/exceptions/{exception['id']}/retry", params={"timeout": "5s"})
        assert retried.status_code == 200, retried.text
        # It is tried again by itself as well.
        assert retried.json()["attempt"] > exception["attempt"]
    skipped = await Inside(cluster[two]).resolve(exception["id"], "skip")
    assert skipped["state"] == "skipped"
    for name in NAMES:
        settled = await Inside(cluster[name]).settled(receipt.id, timeout_s=10)
        assert settled.settled, name
    assert leader in NAMES


async def test_a_rule_acts_anew_asked_at_any_node(cluster: Trio) -> None:
    for name in await cluster.followers(sales.code):
        async with cluster.door(name) as door:
            path = "/directory/rules/ask/replay"
            replayed = await door.post(path, json={"from": "start"}, params={"timeout": "10s"})
            assert (replayed.status_code, replayed.json()["from"]) == (200, 0), replayed.text
            missing = await door.post("/directory/rules/nobody/replay", json={"from": "start"})
            assert missing.status_code == 404


async def test_a_rule_acts_on_what_came_while_another_node_led_however_its_last_reign_ended(
    cluster: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that outlived its reign was not told of it, and took what it was told of later for all there was."""

    async def nothing(*_: object) -> None:
        """As where a reign was over before its end was seen to."""

    here = await cluster.leader(sales.code)
    there, _ = await cluster.followers(sales.code)
    monkeypatch.setattr(cluster[here].agents, "leave", nothing)
    monkeypatch.setattr(cluster[there].agents, "level", nothing)  # nobody acts while that one leads
    await lead(cluster, there)
    missed = await Inside(cluster[there]).send([sales.create(Order(total=1), id="M-1")])
    await lead(cluster, here)
    later = await Inside(cluster[here]).send([sales.create(Order(total=2), id="M-2")])
    for (receipt,) in (later, missed):
        assert isinstance(receipt, Receipt)
        settled = await Inside(cluster[here]).settled(receipt.id, timeout_s=20)
        assert (settled.settled, settled.records) == (True, 3), settled


async def lead(cluster: Trio, name: str) -> None:
    """Have a node lead the department where the rules are."""
    leader = await cluster.leader(sales.code)
    await cluster[leader].membership.transfer(sales.code, name, 10.0)
    await until(lambda: cluster[name].shards[sales.code].serving, f"{name} to lead")
