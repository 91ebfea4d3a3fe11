"""A follower of a busy department sees every position once and in order."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from peaceriver import Cluster, Envelope

MESSAGES = 20_000
CLIENTS = 32


@pytest.mark.slow
async def test_a_follower_misses_nothing_while_32_clients_send(capsys: pytest.CaptureFixture[str]) -> None:
    async with Cluster.embedded() as cluster:
        assert cluster.node is not None
        await cluster.department(100, "Busy")
        seen: list[int] = []

        async def follow() -> None:
            async for record in cluster.journal(100, follow=True):
                seen.append(record.position)
                if record.kind == "received" and len(seen) > MESSAGES:
                    return

        latencies: list[float] = []
        numbers = iter(range(MESSAGES))

        async def send() -> None:
            for number in numbers:
                began = time.perf_counter()
                await cluster.send(Envelope(to=100, actor_type="Item", actor_id=str(number), action="create"))
                latencies.append(time.perf_counter() - began)

        following = asyncio.create_task(follow())
        began = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(CLIENTS)))
        took = time.perf_counter() - began
        async with asyncio.timeout(30):
            await following
        assert seen == list(range(1, MESSAGES + 2))
        latencies.sort()
        p50, p99 = (latencies[int(len(latencies) * each)] * 1000 for each in (0.5, 0.99))
        with capsys.disabled():
            sys.stdout.write(
                f"\n{MESSAGES / took:,.0f} messages/s from {CLIENTS} clients; p50 {p50:.1f} ms, p99 {p99:.1f} ms\n"
            )
