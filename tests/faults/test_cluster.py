"""What is done to a cluster is felt: a checker that finds nothing under faults that do nothing proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults.cluster import running


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await true():  # noqa: ASYNC110 - other processes can only be asked
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_node_that_is_cut_off_leads_no_longer_and_another_one_does(tmp_path: Path) -> None:
    async with running(tmp_path, app=None) as cluster:

        async def somebody_leads() -> bool:
            return await cluster.leader(0) is not None

        async def another_leads() -> bool:
            return await cluster.leader(0) not in (first, None)

        async def gave_up() -> bool:
            alone = await cluster.standing(first)
            return alone is not None and alone[0].state != "leader"

        await _until(somebody_leads)
        first = await cluster.leader(0) or ""
        cluster.isolate(first)
        await _until(another_leads)
        await _until(gave_up)
        cluster.clear_weather()
        await cluster.led()
