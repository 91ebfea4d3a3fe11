"""Directed runs: one fault, over and over, with a figure to meet."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import aiohttp
import asyncpg

from peaceriver.errors import DiskFull
from peaceriver.limits import DISK_FREE_BYTES_MIN
from tests.faults import replicas
from tests.faults.campaign import Say, directory
from tests.faults.checkers import complete_stays, nothing_lost, recorded_once
from tests.faults.clients import Away, Client, Span
from tests.faults.cluster import Cluster, running
from tests.faults.evidence import Evidence
from tests.faults.history import History
from tests.faults.imported import real_log
from tests.faults.member import Member
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
_UP_S = 60.0
#: How long a disk is full to the brim: a server is started again a few times meanwhile.
_FULL_S = 15.0
_LOOK_S = 0.02
CHECKED = (complete_stays, nothing_lost, recorded_once)


class Run(Protocol):
    """A directed run: says how it went, and answers what it did not keep. ``own_disks``: disks may be filled up."""

    def __call__(self, say: Say, *, own_disks: bool = False) -> Awaitable[list[str]]: ...


#: Lets everything come to an end, and answers what is wrong.
End = Callable[[], Awaitable[list[str]]]


@asynccontextmanager
async def loaded(
    code: int, *, lease_s: float, own_disks: bool = False
) -> AsyncIterator[tuple[Cluster, History, Callable[[], Awaitable[list[str]]]]]:
    """A cluster of which 32 clients write to one department, each until it has its receipt.

    The block torments it, and then calls the third thing that it gets: clients end, everything heals, and it answers
    what is wrong.
    """
    place = directory()
    try:
        async with running(place, lease_s=lease_s, app=None, own_disks=own_disks) as cluster:
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


async def leader_kills(say: Say, *, own_disks: bool = False) -> list[str]:
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


async def all_kills(say: Say, *, own_disks: bool = False) -> list[str]:
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


async def full_disk(say: Say, *, own_disks: bool = False) -> list[str]:
    """The leader's disk fills up: it refuses before the database must; and where it must, it comes back with space."""
    if not own_disks:
        say("full disk: left out, no disk can be mounted here")
        return []
    code, found = 302, list[str]()
    async with loaded(code, lease_s=LEASE_S, own_disks=True) as (cluster, history, end):
        await asyncio.sleep(_BETWEEN_S)
        first = cluster.members[await _leader(cluster, code)]
        assert first.disk is not None
        first.disk.fill(leave=DISK_FREE_BYTES_MIN // 2)
        refused_s = await _until(lambda: _answers(cluster, first.name, code, sending=True, status=DiskFull.status))
        if not await _answers(cluster, first.name, code, sending=False, status=200):
            found.append("full disk: below the floor reads do not go on")
        first.disk.free()
        freed_at = time.monotonic()
        taken_s = await _until_written(history, freed_at)
        brim = cluster.members[await _leader(cluster, code)]
        server = brim.server_pid
        assert brim.disk is not None
        brim.disk.fill(leave=0)
        # The node keeps its floor free; whatever else writes to its disk does not.
        await _exhaust(brim)
        await asyncio.sleep(_FULL_S)
        server_ended, node_ended = brim.server_pid != server, not brim.alive
        brim.disk.free()
        # Whoever supervises nodes starts one that has ended; the node itself sees to its server.
        await brim.start()
        freed_at = time.monotonic()
        async with asyncio.timeout(_UP_S):
            await replicas.answering(cluster)
            await cluster.led(codes=[code])
        up_s = time.monotonic() - freed_at
        found += await end()
    rows: list[tuple[str, object]] = [
        ("refused with 507 after", f"{refused_s:.1f} s"),
        ("taken again after there was room, after", f"{taken_s:.1f} s"),
        ("full to the brim: the server ended", "yes" if server_ended else "no"),
        ("full to the brim: the node ended", "yes" if node_ended else "no"),
        ("up again after", f"{up_s:.1f} s"),
        ("messages acknowledged", history.count("ok")),
    ]
    return _told(say, "full disk", rows, found)


async def _exhaust(member: Member) -> None:
    """Make a node's server write until its disk does not take any more: then it must end, as it cannot log."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await asyncpg.connect(**member.database())
        while True:
            await connection.execute("select pg_logical_emit_message(false, 'faults', repeat('x', 1000000))")


async def _answers(cluster: Cluster, name: str, code: int, *, sending: bool, status: int) -> bool:
    """Whether a node answers so to a message, or to a read."""
    url = cluster.members[name].url
    timeout = aiohttp.ClientTimeout(total=5.0)
    try:
        if not sending:
            async with cluster.http.get(f"{url}/shards/{code}/journal", timeout=timeout) as answer:
                return answer.status == status
        wish = {"to": code, "actor": "Item/probe", "action": "create", "body": {}}
        async with cluster.http.post(f"{url}/messages?timeout=2s", json=wish, timeout=timeout) as answer:
            return answer.status == status
    except Away:
        return False


async def _until(true: Callable[[], Awaitable[bool]]) -> float:
    """Wait until something is so; how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(30):
        while not await true():  # noqa: ASYNC110 - other processes can only be asked
            await asyncio.sleep(_LOOK_S)
    return time.monotonic() - began


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


RUNS: dict[str, Run] = {
    "leader-kills": leader_kills,
    "all-kills": all_kills,
    "full-disk": full_disk,
    "real-log": real_log,
}
