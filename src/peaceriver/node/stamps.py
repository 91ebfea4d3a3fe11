"""The records that stamps name. A replica may not have one yet that was recorded elsewhere: then it is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
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


def is_far_ahead(stamp: Stamp, known: int = 0) -> bool:
    """Whether a stamp is later than what is known of its department, and than this node's clock lets any be.

    It is made up, or of a clock that is far ahead: only whoever leads can tell, as far as a majority confirms it.
    """
    return stamp.time > max(known, wall_clock() + STAMP_AHEAD_MAX)


class Stamps:
    """Finds records by their stamps, and brings departments past a stamp."""

    def __init__(
        self,
        database: Database,
        shards: Departments,
        tick: Callable[[int, int], Awaitable[None]],
        newest: Callable[[Iterable[int], float], Awaitable[Mapping[int, int]]],
    ) -> None:
        self._database = database
        self._shards = shards
        #: Has a department write a later record, wherever it is led.
        self._tick = tick
        #: Positions of departments that are not before anything acknowledged until now, as a majority confirms.
        self._newest = newest
        self._ticked_at: dict[int, float] = {}

    async def find(self, stamps: Iterable[Stamp], timeout_s: float) -> Found:
        """The records that stamps name; waits, so long, for those that this node may not have yet."""
        wanted = list(set(stamps))
        deadline = asyncio.get_running_loop().time() + timeout_s
        past: set[Stamp] = set()
        while wanted:
            # Looked at first: what comes between the two is found by the second.
            open_still = {each for each in wanted if each not in past and not self._is_past(each)}
            async with self._database.reading() as tx:
                records = await journal.at_stamps(tx, wanted)
            behind = frozenset(open_still - records.keys())
            if not behind or not await self._passed(behind, deadline):
                return Found(records, behind)
            past |= behind
        return Found({})

    def _is_past(self, stamp: Stamp) -> bool:
        """Whether no record can come any more that has the stamp and is not here.

        Whoever leads is no exception: it may not know yet that another node does by now.
        """
        shard = self._shards.get(stamp.shard)
        return shard is None or shard.complete_stamp >= stamp.time

    async def _passed(self, stamps: frozenset[Stamp], deadline: float) -> bool:
        """Whether this node is past all the stamps by then."""
        far = {each for each in stamps if is_far_ahead(each, self._shards[each.shard].complete_stamp)}
        try:
            async with asyncio.timeout_at(deadline):
                await self._level({each.shard for each in far}, deadline)
                for each in stamps - far:
                    # A stamp that is ahead of the clock may be made up: no department is dragged there for it.
                    patience_s = max(FOLD_WAIT_S, (each.time - wall_clock()) / _SECOND)
                    await self.close(self._shards[each.shard], each.time, patience_s=patience_s)
        except (TimeoutError, Unavailable):
            return False
        return True

    async def _level(self, codes: Iterable[int], deadline: float) -> None:
        """Return once this node has whatever anybody can have been given a stamp of before."""
        newest = await self._newest(codes, deadline - asyncio.get_running_loop().time())
        for code, position in newest.items():
            await self._shards[code].complete.reached(position)

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
