"""Verification goes on beside everything else: it holds nothing up, and tells those who wait for what it repaired."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from peaceriver.limits import LEASE_S
from peaceriver.node import verifying as verifying_module
from peaceriver.node.node import Node
from peaceriver.node.repairing import Repairing
from peaceriver.node.verifying import Verifying
from peaceriver.node.wire import Flawed
from peaceriver.shard import verify as verify_module
from tests.scenario.damaging import checked, filled, follower, harm, leader, told
from tests.scenario.trio import Trio, until
from tests.scenario.trio import trio as started
from tests.scenario.words import create

# What is damaged stays led by the same node, however slow a moment is.
three = partial(started, lease_s=LEASE_S)


@pytest.fixture(scope="module")
async def trio(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    with pytest.MonkeyPatch.context() as patch:
        # Tests look before anything is tried again in the background.
        patch.setattr(verifying_module, "REPAIR_PAUSE_S", 60.0)
        async with three(module_folder) as made:
            yield made


@pytest.fixture
async def code(trio: Trio) -> int:
    """A department of the test's own."""
    return await filled(trio)


async def _nothing(*_: object) -> bool:
    return False


async def test_a_doubt_under_way_holds_up_no_stop(trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await follower(trio, code)
    under_way = asyncio.Event()

    async def verify(*_: object) -> None:
        under_way.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(Verifying, "shard", verify)
    node.verifying.doubt(node.shards[code], node.name)
    task = node.verifying._doubts[code, node.name]
    await under_way.wait()
    began = time.monotonic()
    task.cancel()
    await asyncio.wait([task], timeout=3)
    assert task.cancelled()
    assert time.monotonic() - began < 1


async def test_a_follower_gets_what_was_repaired_on_its_leader_though_nothing_else_happens(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading, behind = await leader(trio, code), await follower(trio, code)
    trio.cut(behind.name)
    for n in range(100):
        receipt = await trio.receipt(create(code, f"Item/new-{n}"), by=leading.name)
        await asyncio.sleep(0.3)
        # A poll that was under way when it was cut off is answered still.
        if behind.shards[code].tip.position < receipt.position:
            break
    other = next(each for each in trio.nodes.values() if each not in (leading, behind))
    await until(lambda: other.shards[code].tip.position >= receipt.position, "copy elsewhere")
    where = f"where shard = {code} and position = {receipt.position}"
    await harm(trio, leading, code, f"update journal set trace = 'x' {where}")
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        assert [part for part, _, _ in told(await checked(leading, code))] == ["journal"]
        # What was appended a moment ago is in memory, and sound there.
        leading.shards[code]._fresh.forget()
        trio.heal()
        session = leading.replication.followers._sessions
        await until(lambda: behind.shards[code].leader == leading.name, "leader again")
        await until(lambda: code in session[behind.name].fetches and code not in session[behind.name].spent, "fetch")
        await asyncio.sleep(1)
        assert behind.shards[code].tip.position < receipt.position
        assert leading.shards[code].serving
    await checked(leading, code)
    assert not leading.shards[code].damage.known
    await until(lambda: behind.shards[code].tip.position >= receipt.position, "repaired record", 3)


class Rests:
    """A verification that rests until it may go on."""

    def __init__(self, trio_node: Node, code: int) -> None:
        self.resting, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(trio_node.verifying.shard(trio_node.shards[code], rest=self._rest))

    async def _rest(self) -> None:
        self.resting.set()
        await self.may_go_on.wait()

    async def ends(self) -> list[Flawed]:
        self.may_go_on.set()
        return (await self.task).flaws


@pytest.mark.parametrize("position", [2, 20], ids=["passed", "ahead"])
async def test_a_verification_that_rests_holds_up_no_repair(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    monkeypatch.setattr(verify_module, "_COPIED_ROWS", 10)
    node = await follower(trio, code)
    slow = Rests(node, code)
    await slow.resting.wait()
    await harm(trio, node, code, f"update journal set trace = 'x' where shard = {code} and position = {position}")
    async with asyncio.timeout(10):
        assert [each.repaired for each in await checked(node, code)] == [True]
    assert await slow.ends() == []
    assert node.verifying.found[code, "journal"] == 1


async def test_what_somebody_found_meanwhile_is_not_taken_for_sound(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "_COPIED_ROWS", 10)
    node = await follower(trio, code)
    slow = Rests(node, code)
    await slow.resting.wait()
    await harm(trio, node, code, f"update journal set trace = 'x' where shard = {code} and position = 2")
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        assert told(await checked(node, code)) == [("journal", "1 to 2", False)]
        assert told(await slow.ends()) == [("journal", "1 to 2", False)]
        assert node.shards[code].damage.ranges
    assert [each.repaired for each in await checked(node, code)] == [True]
