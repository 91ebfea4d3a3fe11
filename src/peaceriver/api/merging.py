"""All departments' journals as one, in stamp order, up to a stamp at which every one of them is complete.

A department that is idle cannot promise that nothing earlier will come until it has written something later, so it is
made to tick; but only where another department has something to show, and not more often than CLOSE_INTERVAL_S, however
many readers there are. A tick alone is nothing to show, or readers would keep idle departments ticking for ever.
"""

from __future__ import annotations

import asyncio
import time

from peaceriver.errors import Conflict, Unavailable
from peaceriver.limits import CONTROL
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.node import Node
from peaceriver.query.cutoff import AtTime
from peaceriver.record import Record
from peaceriver.shard.watermark import Watermark
from peaceriver.stamp import Stamp

CLOSE_INTERVAL_S = 0.25
#: How long idle departments are waited for; what they hold back comes with the next page.
_CLOSE_TIMEOUT_S = 2.0


class Merging:
    """Merges one node's journals, for all readers of it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        #: The logical time of the last record that is more than a tick, in any department.
        self.newest = Watermark()
        self._followed: set[int] = set()
        self._closing = asyncio.Lock()
        self._closed_at = 0.0

    async def complete(self) -> Stamp:
        """The stamp up to which every department is complete for good, without asking any to tick."""
        await self._every_department_is_open()
        return self._last_at(min(shard.complete_stamp for shard in self._node.shards.values()))

    async def close(self) -> Stamp:
        """Have idle departments tick, so that what the others have to show is complete everywhere; answers as above."""
        async with self._closing:
            complete = await self.complete()
            if complete.time < self.newest.value:
                await asyncio.sleep(max(0.0, self._closed_at + CLOSE_INTERVAL_S - time.monotonic()))
                await self._tick(self.newest.value)
        return await self.complete()

    async def between(self, after: Stamp, until: Stamp, limit: int) -> list[Record]:
        """Up to ``limit`` records after one stamp and up to another, in order."""
        # At the very time of a stamp each department may have a record, and those before the stamp in order were read.
        records = await self._node.reading.merged(
            after=after.time - 1, until=until.time, limit=limit + len(self._node.shards)
        )
        return [each for each in records if after < each.moment][:limit]

    def look(self) -> None:
        """Follow the departments that are new since the last look."""
        for code, shard in list(self._node.shards.items()):
            if code not in self._followed:
                self._followed.add(code)
                shard.news.append(self.newest.advance)
                self.newest.advance(shard.complete_stamp)

    def leave(self) -> None:
        """Follow nobody any more."""
        for code in self._followed:
            self._node.shards[code].news.remove(self.newest.advance)
        self._followed.clear()

    async def _tick(self, at: int) -> None:
        self._closed_at = time.monotonic()
        try:
            await self._node.cutoffs.resolve(
                list(self._node.shards), Freshness(as_of=AtTime(at), timeout_s=_CLOSE_TIMEOUT_S)
            )
        except (Conflict, Unavailable):
            return  # one of them is slow, or has no leader now: what is complete everywhere is shown, the rest later

    async def _every_department_is_open(self) -> None:
        """A department that the directory has and that is not open yet could still write something early."""
        control = self._node.shards[CONTROL]
        while self._node.directory.applied.value < control.complete.value:
            await self._node.directory.applied.reached(control.complete.value)
        self.look()

    def _last_at(self, until: int) -> Stamp:
        return Stamp(until, max(self._node.shards, key=str))
