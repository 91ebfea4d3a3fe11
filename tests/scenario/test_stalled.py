"""A leader whose own PostgreSQL server hangs: the others go on, and it comes back; alone, it waits."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peaceriver.embedded import Server
from peaceriver.embedded.processes import children
from peaceriver.limits import LEASE_S
from tests.scenario.trio import trio, until
from tests.scenario.words import create
from tests.scenario.world import Restart

pytestmark = pytest.mark.timeout(120)


@contextmanager
def hanging(server: Server) -> Iterator[None]:
    """A server whose processes are stopped for the block: connections stay, and nothing is answered."""
    frozen = [server.pid, *children(server.pid)]
    for each in frozen:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in frozen:
            os.kill(each, signal.SIGCONT)


async def test_a_leader_whose_server_hangs_leaves_it_to_others_to_lead(tmp_path: Path) -> None:
    async with trio(tmp_path) as three:
        code = await three.department()
        leader = await three.leader(code)
        other = (await three.followers(code))[0]
        before = await three.receipt(create(code, "Order/1"), by=other)
        with hanging(three.servers[leader]):
            during = await three.receipt(create(code, "Order/2"), by=other)
            assert three[leader].replication.keepers[code].replica.leads is None
            again = await three.receipt(create(code, "Order/1", id=before.id), by=other)
            assert (again.duplicate, again.position) == (True, before.position)
        assert await three.level(code) >= during.position


async def test_a_leader_whose_server_hangs_leaves_departments_at_rest_too(tmp_path: Path) -> None:
    async with trio(tmp_path) as three:
        code = await three.department()
        leader = await three.leader(code)
        other = (await three.followers(code))[0]
        with hanging(three.servers[leader]):
            # Nothing is sent, so nothing but its pulse says that it hangs.
            await until(lambda: three[other].shards[code].leader not in (None, leader), "another leader")
            shown = await three[other].overview.cluster("")
            (node,) = [each for each in shown["nodes"] if each["name"] == leader]
            assert (node["alive"], node["why"]) == (True, "its database does not answer")
        await three.level(code)


async def test_a_leader_that_is_alone_waits_for_its_server(own_world: Restart) -> None:
    world = await own_world()
    code = await world.department()
    shard = world.node.shards[code]
    epoch = shard.epoch
    with hanging(world.server):
        sending = asyncio.create_task(world.receipt(create(code, "Order/1")))
        await until(lambda: shard.stalled_for(time.monotonic()) > 2.3 * LEASE_S, "append that hangs")
    assert (await sending).complete
    assert shard.epoch == epoch
