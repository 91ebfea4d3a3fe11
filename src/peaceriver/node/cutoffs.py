"""Resolving cutoffs: from what a reader asked for to one place per shard at which the views can answer for good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

import msgspec

from peaceriver.directory.directory import Directory
from peaceriver.errors import Conflict, Invalid, Offence
from peaceriver.limits import CONTROL, FOLD_WAIT_S, READ_TIMEOUT_S, TICK_INTERVAL_S
from peaceriver.node.departments import Departments
from peaceriver.node.identity import wall_clock
from peaceriver.postgres import Database, Transaction
from peaceriver.query.cutoff import AsOf, AtPositions, AtTime, Cutoff, Place
from peaceriver.shard import journal
from peaceriver.shard.shard import DELIVERY, Shard
from peaceriver.shard.views import Folder
from peaceriver.stamp import Stamp

#: How many places of cutoffs a node remembers.
_PLACES_KNOWN_MAX = 20_000


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How new an answer must be, and how long its reader waits for it."""

    as_of: AsOf | None = None
    after: tuple[Stamp | AtPositions, ...] = ()
    latest: bool = False
    timeout_s: float = READ_TIMEOUT_S


class Cutoffs:
    """Finds the place of each shard for a read. A place, once given, never changes its answer."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        shards: Departments,
        folders: Mapping[int, Folder],
        tick: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self._database = database
        self._directory = directory
        self._shards = shards
        self._folders = folders
        self._tick = tick
        self._ticked_at: dict[int, float] = {}
        self._known_places: dict[tuple[int, int], Place] = {}

    async def resolve(self, codes: Iterable[int] | None, freshness: Freshness) -> Cutoff:
        """One place per shard of ``codes``; None stands for all data departments that the directory had at the cutoff.

        Raises Invalid for a moment in the future, Conflict where the views do not get there in time, NotFound for a
        department that is not there.
        """
        wanted = None if codes is None else sorted(set(codes))
        for code in wanted or ():
            self._shards.at(code)
        try:
            async with asyncio.timeout(freshness.timeout_s):
                return await self._resolved(wanted, freshness)
        except TimeoutError:
            who = "the departments have" if wanted is None else f"departments {wanted} have"
            raise Conflict(
                f"{who} not got there within {freshness.timeout_s:g} s; ask again, or wait longer",
            ) from None

    async def _resolved(self, codes: list[int] | None, freshness: Freshness) -> Cutoff:
        for each in freshness.after:
            await self._pass(each)
        if freshness.latest:
            for code in self._shards.data() if codes is None else codes:
                shard = self._shards.at(code)
                await shard.folded.reached(shard.complete.value)
        match freshness.as_of:
            case AtTime(time=at):
                return await self._at_time(codes, at)
            case AtPositions(positions=positions):
                return await self._at_positions(sorted(positions) if codes is None else codes, positions)
            case None:
                return await self._now(self._shards.data() if codes is None else codes)

    async def _pass(self, after: Stamp | AtPositions) -> None:
        """Wait until the views have passed a receipt, or a vector."""
        if isinstance(after, AtPositions):
            for code, position in after.positions.items():
                await self._shards.at(code, "after").folded.reached(position)
            return
        shard = self._shards.at(after.shard, "after")
        if after.time > max(shard.tip.stamp, wall_clock()):
            raise Invalid(f"after={after} lies in the future", errors=(Offence("after", "lies in the future"),))
        await self._arrived(shard, after.time)
        async with self._database.reading() as tx:
            position = await journal.sql.last_before.value(tx, shard=after.shard, time=after.time)
        await shard.folded.reached(position)

    async def _arrived(self, shard: Shard, at: int) -> None:
        """Return once this replica is complete up to a receipt's time: before, it cannot tell what it lacks."""
        with suppress(TimeoutError):
            # The record is on its way here.
            async with asyncio.timeout(FOLD_WAIT_S):
                while shard.complete_stamp < at:
                    await shard.complete.passed(shard.complete.value)
        await self._close(shard, at)

    async def _now(self, codes: list[int]) -> Cutoff:
        """What the views show now; over several shards, back to where no effect shows without its cause."""
        for code in codes:
            self._shards.at(code)
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
                        places |= await _places(tx, {code: row["before"]})
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
            complete = self._shards.at(code, "as_of").complete.value
            if positions[code] > complete:
                detail = f"department {code} is complete up to {complete} only"
                raise Invalid(f"as_of lies in the future: {detail}", errors=(Offence("as_of", detail),))
        async with self._database.reading() as tx:
            places = await _places(tx, {code: positions[code] for code in codes})
        return await self._folded_to(places)

    async def _at_time(self, codes: list[int] | None, at: int) -> Cutoff:
        newest = max((shard.tip.stamp for shard in self._shards.values()), default=0)
        if at > max(wall_clock(), newest):
            raise Invalid("as_of lies in the future", errors=(Offence("as_of", "lies in the future"),))
        if codes is None:
            codes = await self._known_at(at)
        open_shards = [shard for code in codes if (shard := self._shards.at(code)).complete_stamp < at]
        if open_shards:
            await asyncio.gather(*(self._close(shard, at) for shard in open_shards))
        return await self._folded_to(await self._places_at(codes, at))

    async def _places_at(self, codes: list[int], at: int) -> dict[int, Place]:
        """Where shards stood that are complete and past a time: that never changes, so it is remembered for a while."""
        missing = [code for code in codes if (code, at) not in self._known_places]
        if missing:
            async with self._database.reading() as tx:
                found = await _places_before(tx, missing, at)
            if len(self._known_places) > _PLACES_KNOWN_MAX:
                self._known_places.clear()
            self._known_places |= {(code, at): found.get(code, Place(0, 0)) for code in missing}
        return {code: self._known_places[code, at] for code in codes}

    async def _known_at(self, at: int) -> list[int]:
        """The data departments that the directory had at a logical time; shard 0 is closed there, so none can come."""
        control = self._shards[CONTROL]
        await self._close(control, at)
        await self._directory.applied.reached(control.complete.value)
        return self._shards.data(since=at)

    async def _close(self, shard: Shard, at: int) -> None:
        """Return once the shard is complete at ``at`` or later: nothing stamped up to then can come any more.

        An idle shard is made to write a tick for that, not more often than every TICK_INTERVAL_S.
        """
        while shard.complete_stamp < at:
            due = self._ticked_at.get(shard.code, 0.0) + TICK_INTERVAL_S
            pause_s = due - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
                continue
            self._ticked_at[shard.code] = time.monotonic()
            complete = shard.complete.value
            await self._tick(shard.code, at)
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_INTERVAL_S):
                    await shard.complete.passed(complete)

    async def _folded_to(self, places: dict[int, Place]) -> Cutoff:
        for code, place in places.items():
            await self._shards[code].folded.reached(place.position)
        return Cutoff(places)


async def _places_before(tx: Transaction, codes: list[int], at: int) -> dict[int, Place]:
    """The place of each shard at a time; none where nothing was recorded by then."""
    if len(codes) == 1:
        row = await journal.sql.place_at.row(tx, shard=codes[0], time=at)
        return {} if row is None else {codes[0]: Place(row["position"], row["stamp"])}
    rows = await journal.sql.places_at.rows(tx, shards=codes, time=at)
    return {row["shard"]: Place(row["position"], row["stamp"]) for row in rows}


async def _places(tx: Transaction, positions: Mapping[int, int]) -> dict[int, Place]:
    """The place at a position of each shard, rounded up to the end of its group; nothing stands at position 0."""
    rows = await journal.sql.groups_at.rows(tx, shards=list(positions), positions=list(positions.values()))
    found = {row["shard"]: Place(row["position"], row["stamp"]) for row in rows}
    return {code: found.get(code, Place(0, 0)) for code in positions}
