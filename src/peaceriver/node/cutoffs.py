"""Resolving cutoffs: from what a reader asked for to one place per shard at which the views can answer for good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec

from peaceriver.errors import Conflict, Invalid, NotFound, Offence
from peaceriver.limits import FOLD_WAIT_S, READ_TIMEOUT_S, TICK_INTERVAL_S
from peaceriver.node.identity import wall_clock
from peaceriver.postgres import Database, Transaction
from peaceriver.query.cutoff import AsOf, AtPositions, AtTime, Cutoff, Place
from peaceriver.shard import journal
from peaceriver.shard.shard import DELIVERY, Shard
from peaceriver.shard.views import Folder
from peaceriver.stamp import Stamp


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How new an answer must be, and how long its reader waits for it."""

    as_of: AsOf | None = None
    after: tuple[Stamp | AtPositions, ...] = ()
    latest: bool = False
    timeout_s: float = READ_TIMEOUT_S


class Cutoffs:
    """Finds the place of each shard for a read. A place, once given, never changes its answer."""

    def __init__(self, database: Database, shards: Mapping[int, Shard], folders: Mapping[int, Folder]) -> None:
        self._database = database
        self._shards = shards
        self._folders = folders
        self._ticked_at: dict[int, float] = {}

    async def resolve(self, codes: Iterable[int], freshness: Freshness) -> Cutoff:
        """One place per shard of ``codes``.

        Raises Invalid for a moment in the future, Conflict where the views do not get there in time, NotFound for a
        department that is not there.
        """
        wanted = sorted(set(codes))
        for code in wanted:
            if code not in self._shards:
                raise NotFound(f"there is no department {code}")
        try:
            async with asyncio.timeout(freshness.timeout_s):
                return await self._resolved(wanted, freshness)
        except TimeoutError:
            raise Conflict(
                f"departments {wanted} have not got there within {freshness.timeout_s:g} s; ask again, or wait longer",
            ) from None

    async def _resolved(self, codes: list[int], freshness: Freshness) -> Cutoff:
        for each in freshness.after:
            await self._pass(each)
        if freshness.latest:
            for code in codes:
                await self._shards[code].folded.reached(self._shards[code].complete.value)
        match freshness.as_of:
            case AtTime(time=at):
                return await self._at_time(codes, at)
            case AtPositions(positions=positions):
                return await self._at_positions(codes, positions)
            case None:
                return await self._now(codes)

    async def _pass(self, after: Stamp | AtPositions) -> None:
        """Wait until the views have passed a receipt, or a vector."""
        if isinstance(after, AtPositions):
            for code, position in after.positions.items():
                await self._shard(code, "after").folded.reached(position)
            return
        shard = self._shard(after.shard, "after")
        if after.time > max(shard.tip.stamp, wall_clock()):
            raise Invalid(f"after={after} lies in the future", errors=(Offence("after", "lies in the future"),))
        async with self._database.reading() as tx:
            position = await journal.sql.last_before.value(tx, shard=after.shard, time=after.time)
        await shard.folded.reached(position)

    def _shard(self, code: int, name: str) -> Shard:
        if code not in self._shards:
            raise NotFound(f"there is no department {code}", errors=(Offence(name, f"no department {code}"),))
        return self._shards[code]

    async def _now(self, codes: list[int]) -> Cutoff:
        """What the views show now; over several shards, back to where no effect shows without its cause."""
        await self._caught_up(codes)
        places = {code: Place(self._folders[code].position, self._folders[code].stamp) for code in codes}
        while len(codes) > 1 and await self._lowered(places):
            pass
        return Cutoff(places)

    async def _lowered(self, places: dict[int, Place]) -> bool:
        """Take back, in place, what was received from beyond what is shown of its sender; False where nothing was."""
        lowered = False
        for code in places:
            for source in places:
                seen = places[source].position
                if source == code or self._shards[code].marks.get((DELIVERY, source), 0) <= seen:
                    continue
                async with self._database.reading() as tx:
                    row = await journal.sql.too_new.row(tx, shard=code, source=source, seen=seen)
                    if row is not None and row["group_end"] <= places[code].position:
                        places[code] = await self._place(tx, code, row["before"])
                        lowered = True
        return lowered

    async def _caught_up(self, codes: list[int]) -> None:
        """Give the views a moment to show what is complete by now: whoever just got a receipt sees it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLD_WAIT_S):
                for code in codes:
                    await self._shards[code].folded.reached(self._shards[code].complete.value)

    async def _at_positions(self, codes: list[int], positions: Mapping[int, int]) -> Cutoff:
        missing = [code for code in codes if code not in positions]
        if missing:
            raise Invalid(
                f"the vector has no position for departments {missing}",
                errors=(Offence("as_of", f"needs a position for {missing}"),),
            )
        for code in codes:
            if positions[code] > self._shards[code].complete.value:
                detail = f"department {code} is complete up to {self._shards[code].complete.value} only"
                raise Invalid(f"as_of lies in the future: {detail}", errors=(Offence("as_of", detail),))
        async with self._database.reading() as tx:
            places = {code: await self._place(tx, code, positions[code]) for code in codes}
        return await self._folded_to(places)

    async def _at_time(self, codes: list[int], at: int) -> Cutoff:
        newest = max((shard.tip.stamp for shard in self._shards.values()), default=0)
        if at > max(wall_clock(), newest):
            raise Invalid("as_of lies in the future", errors=(Offence("as_of", "lies in the future"),))
        await asyncio.gather(*(self._close(self._shards[code], at) for code in codes))
        async with self._database.reading() as tx:
            places = {}
            for code in codes:
                position = await journal.sql.last_before.value(tx, shard=code, time=at)
                places[code] = await self._place(tx, code, position)
        return await self._folded_to(places)

    async def _close(self, shard: Shard, at: int) -> None:
        """Return once the shard is complete and past ``at``: nothing stamped earlier can come any more.

        An idle shard is made to write a tick for that, not more often than every TICK_INTERVAL_S.
        """
        while shard.complete_stamp <= at:
            due = self._ticked_at.get(shard.code, 0.0) + TICK_INTERVAL_S
            pause_s = due - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
                continue
            self._ticked_at[shard.code] = time.monotonic()
            await shard.tick(received_time=at)

    @staticmethod
    async def _place(tx: Transaction, code: int, position: int) -> Place:
        """The place at a position, rounded up to the end of its group."""
        if position == 0:
            return Place(0, 0)
        row = await journal.sql.group_at.row(tx, shard=code, position=position)
        assert row is not None, f"position {position} of {code} is complete and not in the journal"
        return Place(row["position"], row["stamp"])

    async def _folded_to(self, places: dict[int, Place]) -> Cutoff:
        for code, place in places.items():
            await self._shards[code].folded.reached(place.position)
        return Cutoff(places)
