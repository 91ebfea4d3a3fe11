"""A leader whose own PostgreSQL server hangs, or is away: the others go on, and it comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peaceriver.embedded.processes import children
from tests.scenario.trio import LEASE_S, Trio, trio, until
from tests.scenario.words import create

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Trio]:
    async with trio(tmp_path) as made:
        yield made


async def test_a_leader_whose_server_hangs_leaves_it_to_others_to_lead(three: Trio) -> None:
    code = await three.department(100)
    leader = await three.led(code)
    other = next(name for name in three.nodes if name != leader)
    before = await three.receipt(create(code, "Order/1"), by=other)
    server = three.servers[leader].pid
    frozen = [server, *children(server)]
    for each in frozen:
        os.kill(each, signal.SIGSTOP)
    try:
        during = await three.receipt(create(code, "Order/2"), by=other)
        assert three.nodes[leader].replication.keepers[code].replica.leads is None
        again = await three.receipt(create(code, "Order/1", id=before.id), by=other)
        assert (again.duplicate, again.position) == (True, before.position)
    finally:
        for each in frozen:
            os.kill(each, signal.SIGCONT)
    assert await three.level(code) >= during.position


async def test_a_leader_that_is_alone_waits_for_its_server(tmp_path: Path) -> None:
    one = Trio(tmp_path)
    await one.start("n1", founders=("n1",))
    try:
        code = await one.department(100)
        epoch = one.any.shards[code].epoch
        frozen = [one.servers["n1"].pid, *children(one.servers["n1"].pid)]
        for each in frozen:
            os.kill(each, signal.SIGSTOP)
        sending = asyncio.ensure_future(one.receipt(create(code, "Order/1")))
        try:
            await until(lambda: one.any.shards[code].stalled_for(time.monotonic()) > 3 * LEASE_S, "stalled appends")
        finally:
            for each in frozen:
                os.kill(each, signal.SIGCONT)
        assert (await sending).complete
        assert one.any.shards[code].epoch == epoch
    finally:
        await one.stop("n1")
