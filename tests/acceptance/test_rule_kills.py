"""A rule is killed between its answer and the commit, again and again: nothing is missing, and nothing there twice.

A node takes seconds to come back: the long form, of as many kills of it as were promised, is part of ``make faults``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections import Counter

import pytest

from peaceriver import Cluster
from peaceriver.evaluation.evaluator import Evaluator
from peaceriver.shard.agent import Agent
from peaceriver.shard.steps import Plan
from tests.acceptance import killed_rules
from tests.acceptance.killed_rules import Order, sales

KILLS = 50


async def one_life(dsn: str, kill_at: int) -> str:
    """Run a node until it dies or is done; answers its last word."""
    command = [sys.executable, "-m", "tests.acceptance.killed_rules", dsn, str(kill_at)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    out, _ = await process.communicate()
    assert process.returncode == (-signal.SIGKILL if kill_at else 0)
    return out.decode().split("\n")[-2]


async def parcels(cluster: Cluster) -> Counter[tuple[int, str]]:
    """How many parcels each order has led to, by department and order."""
    found: Counter[tuple[int, str]] = Counter()
    for code in (100, 110):
        async for record in cluster.journal(code):
            if record.kind == "received" and record.type == "Parcel.create":
                assert record.actor is not None
                found[code, record.actor.removeprefix("Parcel/")] += 1
    return found


async def orders(cluster: Cluster) -> list[str]:
    return [
        (record.actor or "").removeprefix("Order/")
        async for record in cluster.journal(100)
        if record.kind == "received" and record.type == "Order.create"
    ]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kills", [10, pytest.param(KILLS, marks=pytest.mark.long)])
async def test_a_node_killed_between_a_rules_answer_and_the_commit_loses_and_doubles_nothing(
    dsn: str, kills: int
) -> None:
    for life in range(kills):
        # Each life finds what the last one left, and dies at its first or its third step.
        word = await one_life(dsn, kill_at=1 + 2 * (life % 2))
        assert word.startswith("killed "), "it was hit between the answer and the commit"
        assert int(word.split()[1]) >= 2, "follow-ups were about to be recorded"
    assert await one_life(dsn, kill_at=0) == "done"
    async with Cluster.embedded(killed_rules, dsn=dsn) as cluster:
        placed = await orders(cluster)
        assert len(placed) > kills
        assert await parcels(cluster) == {(code, each): 1 for code in (100, 110) for each in placed}
        assert not await cluster.exceptions("all")


async def test_a_rules_own_process_killed_while_asked_and_before_the_commit_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hit = Counter[str]()
    append, take = Agent._append, Evaluator._take

    def kill(cluster: Cluster, when: str) -> None:
        assert cluster.node is not None
        for pid in cluster.node.agents.processes:
            os.kill(pid, signal.SIGKILL)
            hit[when] += 1

    async with Cluster.embedded(killed_rules) as cluster:

        async def killing_append(self: Agent, plan: Plan, expecting: tuple[str, int, int]) -> None:
            kill(cluster, "answered, not committed")
            await append(self, plan, expecting)

        async def killing_take(self: Evaluator, *, anew: bool) -> object:
            process = await take(self, anew=anew)
            if hit["taken, not asked"] < KILLS // 2:
                os.kill(process.pid, signal.SIGKILL)
                hit["taken, not asked"] += 1
            return process

        monkeypatch.setattr(Agent, "_append", killing_append)
        for number in range(KILLS):
            if number == KILLS // 2:
                monkeypatch.setattr(Evaluator, "_take", killing_take)
            receipt = await cluster.send(sales.create(Order(number=number), id=str(number)))
            assert (await cluster.settled(receipt)).settled
        assert hit["answered, not committed"] >= KILLS // 2
        assert hit["taken, not asked"] >= KILLS // 2
        placed = await orders(cluster)
        assert await parcels(cluster) == {(code, each): 1 for code in (100, 110) for each in placed}
        assert not await cluster.exceptions("all")
