"""A node that stops offers nothing more of what is pending."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from peaceriver.node.offering import Offering

CODE = 100


class NothingPending:
    """It counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def stranded(self, code: int) -> list[Any]:
        self.asked += 1
        return []

    async def spooled(self, code: int) -> list[Any]:
        return []


async def test_what_is_taken_back_while_a_node_stops_waits_for_its_next_start() -> None:
    pending: Any = NothingPending()
    departments: Any = {CODE: None}
    keepers: Any = {CODE: SimpleNamespace(replica=SimpleNamespace(agrees=True))}
    offering = Offering(departments, keepers, pending, cast("Any", None), cast("Any", None))
    offering.wake(CODE)
    await asyncio.sleep(0.01)
    assert pending.asked == 1
    await offering.stop()
    # It gives up what it led, and a tail is taken back, when the way to the other nodes is closed already.
    offering.wake(CODE)
    await asyncio.sleep(0.01)
    assert pending.asked == 1
