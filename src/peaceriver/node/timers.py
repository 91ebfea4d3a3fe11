"""Timers: messages that were recorded at once and are admitted when they are due."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from peaceriver.errors import Refused
from peaceriver.postgres import Unreachable
from peaceriver.record import Record, from_row
from peaceriver.shard import journal
from peaceriver.shard.journal import Batch
from peaceriver.shard.proposal import Proposal, Wish, kind_of, supplied
from peaceriver.shard.shard import Shard
from peaceriver.shard.standing import release_id

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5
_FAILED_PAUSE_S = 5.0
_RELEASED_MAX = 500
#: The loop looks at the wall clock again at least this often, so that a clock that is set forward releases what is due.
_LOOK_AGAIN_S = 60.0


class Timers:
    """The timers of one department."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._waiting: list[tuple[datetime, int]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Take up all timers that wait, whether they were known or not."""
        async with self._shard.database.connection() as tx:
            rows = await journal.sql.timers.rows(tx, shard=self._shard.code)
        self._waiting = list({*self._waiting, *((row["due"], row["position"]) for row in rows)})
        heapq.heapify(self._waiting)
        self._wake.set()

    async def start(self) -> None:
        # Followed first: one that is recorded while the others are read must not be missed.
        self._shard.followers.append(self._follow)
        await self.load()
        self._task = asyncio.create_task(self._run(), name=f"timers {self._shard.code}")

    async def stop(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._follow in self._shard.followers:
            self._shard.followers.remove(self._follow)

    def _follow(self, shard: Shard, batch: Batch) -> None:
        for position, due in batch.timers:
            heapq.heappush(self._waiting, (due, position))
            self._wake.set()

    async def _run(self) -> None:
        while True:
            due = self._due(datetime.now(UTC))
            if not due:
                await self._sleep()
                continue
            try:
                await self._release(due)
            except (*Unreachable, Refused) as error:
                # Nothing was released: the timers still wait in the database and in memory.
                log.warning("timers wait", shard=self._shard.code, reason=str(error))
                await asyncio.sleep(_RETRY_PAUSE_S)
                continue
            except Exception:  # outermost: what is due must not be forgotten, so it is tried again, loudly
                log.exception("a release failed", shard=self._shard.code)
                await asyncio.sleep(_FAILED_PAUSE_S)
                continue
            released = set(due)
            self._waiting = [each for each in self._waiting if each[1] not in released]
            heapq.heapify(self._waiting)

    def _due(self, now: datetime) -> list[int]:
        """The timers that are due, the first due first; so many as one round releases."""
        due = heapq.nsmallest(_RELEASED_MAX, self._waiting)
        return [position for moment, position in due if moment <= now]

    async def _sleep(self) -> None:
        self._wake.clear()
        pause_s = None
        if self._waiting:
            until_due = (self._waiting[0][0] - datetime.now(UTC)) / timedelta(seconds=1)
            pause_s = min(max(until_due, 0.0), _LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _release(self, positions: list[int]) -> None:
        await self._shard.has_room()
        async with self._shard.database.connection() as tx:
            rows = await journal.sql.timers_recorded.rows(tx, shard=self._shard.code, positions=positions)
        for row in rows:
            record = from_row(row)
            await self._shard.append(Proposal(wishes=(_released(record),), released=(record.position,)), bounded=False)


def _released(timer: Record) -> Wish:
    """The message that a timer held.

    What becomes of it names the timer's position as its source: so its record alone tells that the timer has ended.
    """
    assert timer.root is not None
    released_id = release_id(timer)
    envelope = msgspec.structs.replace(supplied(timer), id=released_id, due=None, cause=timer.moment)
    return Wish(
        id=released_id,
        envelope=envelope,
        kind=kind_of(envelope),
        root=timer.root,
        principal=timer.principal,
        trace=timer.trace,
        rule=timer.rule,
        rule_version=timer.rule_version,
        source_position=timer.position,
        received_time=timer.stamp,
        records_refusal=True,
    )
