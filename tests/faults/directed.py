"""Directed runs: one fault, over and over, with a figure to meet."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from tests.faults import replicas
from tests.faults.campaign import Say, directory
from tests.faults.checkers import complete_stays, nothing_lost, recorded_once
from tests.faults.clients import Client, Span
from tests.faults.cluster import Cluster, running
from tests.faults.evidence import Evidence
from tests.faults.history import History
from tests.faults.imported import real_log
from tests.faults.report import quantile, table
from tests.faults.schedule import Course

#: The lease of production.
LEASE_S = 1.5
#: Writes go on within so many leases, for 95 of 100 kills.
FAIL_OVER_LEASES = 3
CLIENTS = 32
KILLS = 20
RESTARTS = 5
_BETWEEN_S = 1.0
_LOOK_S = 0.02
CHECKED = (complete_stays, nothing_lost, recorded_once)

#: A directed run: says how it went, and answers what it did not keep.
Run = Callable[[Say], Awaitable[list[str]]]
#: Lets everything come to an end, and answers what is wrong.
End = Callable[[], Awaitable[list[str]]]


@asynccontextmanager
async def loaded(
    code: int, *, lease_s: float
) -> AsyncIterator[tuple[Cluster, History, Callable[[], Awaitable[list[str]]]]]:
    """A cluster of which 32 clients write to one department, each until it has its receipt.

    The block torments it, and then calls the third thing that it gets: clients end, everything heals, and it answers
    what is wrong.
    """
    place = directory()
    try:
        async with running(place, lease_s=lease_s, app=None) as cluster:
            await Course(cluster, next_code=code).fresh(1)
            history, span = History(0), Span()
            clients = [_client(number, cluster, history, span) for number in range(CLIENTS)]
            working = [asyncio.create_task(_append(each, span, code)) for each in clients]

            async def end() -> list[str]:
                span.end()
                await cluster.heal()
                await asyncio.gather(*working)
                return await _judged(cluster, history, code)

            try:
                yield cluster, history, end
            finally:
                span.end()
                for each in working:
                    each.cancel()
                await asyncio.gather(*working, return_exceptions=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _client(number: int, cluster: Cluster, history: History, span: Span) -> Client:
    return Client(number, cluster, history, span, random.Random(number))


async def _append(client: Client, span: Span, code: int) -> None:
    made = 0
    while not span.over:
        made += 1
        wish = {"to": code, "actor": f"Item/{client.number}-{made}", "action": "create", "body": {}}
        await client.send("append", [wish])


async def _judged(cluster: Cluster, history: History, code: int) -> list[str]:
    """Everything has healed: every client that asks again finds its message, once."""
    await cluster.led(codes=[code])
    client = _client(-1, cluster, history, Span(30))
    await asyncio.gather(*(client.go_on(each) for each in history.operations))
    _, unlike = await replicas.converged(cluster, [code], timeout_s=replicas.CONVERGED_S)
    evidence = Evidence(history, await replicas.read_all(cluster, [code]))
    found = [each for check in CHECKED for each in check(evidence)]
    found += [f"{each.messages[0].id} has no answer" for each in history.operations if not each.acknowledged]
    return [*found, *([unlike] if unlike else [])]


async def leader_kills(say: Say) -> list[str]:
    """The leader's node is killed 20 times under load: how long until somebody writes again."""
    code, gaps = 300, list[float]()
    async with loaded(code, lease_s=LEASE_S) as (cluster, history, end):
        for _ in range(KILLS):
            await asyncio.sleep(_BETWEEN_S)
            leader = await _leader(cluster, code)
            killed_at = time.monotonic()
            await cluster.members[leader].kill()
            gaps.append(await _until_written(history, killed_at))
            await cluster.members[leader].start()
            await cluster.led(codes=[code])
        found = await end()
    p95 = quantile(gaps, 0.95)
    if p95 > FAIL_OVER_LEASES * LEASE_S:
        found.append(f"fail-over: p95 is {p95:.2f} s, more than {FAIL_OVER_LEASES} leases of {LEASE_S} s")
    rows = [
        ("the leader's node killed", KILLS),
        ("messages acknowledged", history.count("ok")),
        ("writes went on after, p50", f"{quantile(gaps, 0.5):.2f} s"),
        ("writes went on after, p95", f"{p95:.2f} s"),
        ("writes went on after, slowest", f"{max(gaps):.2f} s"),
    ]
    return _told(say, "leader kills", rows, found)


async def all_kills(say: Say) -> list[str]:
    """Everything is killed at once, again and again, and started again: every acknowledged record is there."""
    code = 301
    async with loaded(code, lease_s=LEASE_S) as (cluster, history, end):
        for _ in range(RESTARTS):
            await asyncio.sleep(_BETWEEN_S)
            await asyncio.gather(*(each.kill_everything() for each in cluster.members.values()))
            await cluster.heal()
            await cluster.led(codes=[code])
        found = await end()
    rows = [("everything killed at once", RESTARTS), ("messages acknowledged", history.count("ok"))]
    return _told(say, "all kills", rows, found)


def _told(say: Say, name: str, rows: Sequence[tuple[str, object]], found: list[str]) -> list[str]:
    say(f"{name}\n{table(rows)}")
    for each in found:
        say(f"    VIOLATION {each}")
    return found


async def _leader(cluster: Cluster, code: int) -> str:
    async with asyncio.timeout(30):
        while True:
            leader = await cluster.leader(code)
            if leader is not None:
                return leader
            await asyncio.sleep(_LOOK_S)


async def _until_written(history: History, killed_at: float) -> float:
    """How long after the kill the first message was acknowledged that was sent after it."""
    async with asyncio.timeout(60):
        while True:
            for operation in reversed(history.operations):
                attempt = operation.attempts[-1] if operation.attempts else None
                if attempt is not None and attempt.invoked > killed_at and operation.acknowledged:
                    return attempt.ended - killed_at
                if attempt is not None and operation.attempts[0].ended and operation.attempts[0].ended < killed_at:
                    break
            await asyncio.sleep(_LOOK_S)


RUNS: dict[str, Run] = {"leader-kills": leader_kills, "all-kills": all_kills, "real-log": real_log}
