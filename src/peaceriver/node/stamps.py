"""The records that stamps name. A replica may not have one yet that was recorded elsewhere: then it is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import msgspec

from peaceriver.errors import Unavailable
from peaceriver.limits import FOLD_WAIT_S, STAMP_AHEAD_MAX_S, TICK_INTERVAL_S
from peaceriver.node.departments import Departments
from peaceriver.node.identity import wall_clock
from peaceriver.postgres import Database
from peaceriver.record import Record
from peaceriver.shard import journal
from peaceriver.shard.shard import Shard
from peaceriver.stamp import TICKS_PER_MICROSECOND, Stamp

_SECOND = 1_000_000 * TICKS_PER_MICROSECOND
#: How far ahead of the wall clock a stamp may be, as logical time.
STAMP_AHEAD_MAX = int(STAMP_AHEAD_MAX_S) * _SECOND


class Found(msgspec.Struct, frozen=True):
    """What was found of some stamps. Those in neither are of no record, for good."""

    records: dict[Stamp, Record]
    #: Of these nothing can be said yet: this node's replica is not complete past them.
    behind: frozenset[Stamp] = frozenset()


class Stamps:
    """Finds records by their stamps, and brings departments past a stamp."""

    def __init__(self, database: Database, shards: Departments, tick: Callable[[int, int], Awaitable[None]]) -> None:
        self._database = database
        self._shards = shards
        #: Has a department write a later record, wherever it is led.
        self._tick = tick
        self._ticked_at: dict[int, float] = {}

    async def find(self, stamps: Iterable[Stamp], timeout_s: float) -> Found:
        """The records that stamps name; waits, so long, for those that this node may not have yet."""
        wanted = list(set(stamps))
        deadline = asyncio.get_running_loop().time() + timeout_s
        while wanted:
            # Looked at first: what comes between the two is found by the second.
            open_still = {each for each in wanted if not self._is_past(each)}
            async with self._database.reading() as tx:
                records = await journal.at_stamps(tx, wanted)
            behind = frozenset(open_still - records.keys())
            if not behind or not await self._passed(behind, deadline):
                return Found(records, behind)
        return Found({})

    def _is_past(self, stamp: Stamp) -> bool:
        """Whether no record can come any more that has the stamp and is not here.

        Whoever leads is no exception: it may not know yet that another node does by now.
        """
        shard = self._shards.get(stamp.shard)
        is_made_up = stamp.time > wall_clock() + STAMP_AHEAD_MAX
        return shard is None or shard.complete_stamp >= stamp.time or is_made_up

    async def _passed(self, stamps: Iterable[Stamp], deadline: float) -> bool:
        """Whether this node is past all the stamps by then."""
        try:
            async with asyncio.timeout_at(deadline):
                for each in stamps:
                    # A stamp that is ahead of the clock may be made up: no department is dragged there for it.
                    patience_s = max(FOLD_WAIT_S, (each.time - wall_clock()) / _SECOND)
                    await self.close(self._shards[each.shard], each.time, patience_s=patience_s)
        except (TimeoutError, Unavailable):
            return False
        return True

    async def close(self, shard: Shard, at: int, *, patience_s: float = 0.0) -> None:
        """Return once the shard is complete at ``at`` or later: nothing stamped up to then can come any more.

        An idle shard is made to write a tick for that, not more often than every TICK_INTERVAL_S, and not before
        ``patience_s`` have passed: what is on its way is enough.
        """
        due = time.monotonic() + patience_s
        while shard.complete_stamp < at:
            complete = shard.complete.value
            due = max(due, self._ticked_at.get(shard.code, 0.0) + TICK_INTERVAL_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(due - time.monotonic()):
                    await shard.complete.passed(complete)
                    continue
            self._ticked_at[shard.code] = time.monotonic()
            await self._tick(shard.code, at)
