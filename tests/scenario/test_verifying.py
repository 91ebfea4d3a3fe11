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
from peaceriver.node.verifying import Verifying
from tests.scenario.damaging import filled, follower
from tests.scenario.trio import Trio
from tests.scenario.trio import trio as started

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


async def test_a_doubt_under_way_holds_up_no_stop(trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await follower(trio, code)
    under_way = asyncio.Event()

    async def verify(*_: object) -> None:
        under_way.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(Verifying, "shard", verify)
    node.verifying.doubt(node.shards[code], node.name)
    (task,) = node.verifying._doubts.values()
    await under_way.wait()
    began = time.monotonic()
    task.cancel()
    await asyncio.wait([task], timeout=3)
    assert task.cancelled()
    assert time.monotonic() - began < 1
