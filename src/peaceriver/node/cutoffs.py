"""Resolving cutoffs: from what a reader asked for to one place per shard at which the views can answer for good."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

import msgspec

from peaceriver.directory.directory import Directory
from peaceriver.errors import Behind, Conflict, Invalid, Offence
from peaceriver.limits import CONTROL, FOLD_WAIT_S, READ_TIMEOUT_S
from peaceriver.node.departments import Departments
from peaceriver.node.identity import wall_clock
from peaceriver.node.latest import Latest
from peaceriver.node.receipts import Receipts
from peaceriver.node.stamps import Stamps, is_far_ahead
from peaceriver.postgres import Database, Transaction
from peaceriver.query.cutoff import AsOf, AtPositions, AtTime, Cutoff, Place
from peaceriver.shard import journal
from peaceriver.shard.shard import DELIVERY
from peaceriver.shard.views import Folder
from peaceriver.stamp import Stamp
from peaceriver.wording import named

#: How many places of cutoffs a node remembers.
_PLACES_KNOWN_MAX = 20_000


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How new an answer must be, and how long its reader waits for it."""

    as_of: AsOf | None = None
    after: tuple[Stamp | AtPositions, ...] = ()
    latest: bool = False
    timeout_s: float = READ_TIMEOUT_S

    def of(self, codes: Collection[int]) -> Freshness:
        """The same as far as it concerns some departments."""
        after: list[Stamp | AtPositions] = []
        for each in self.after:
            if isinstance(each, AtPositions):
                after.append(AtPositions({code: at for code, at in each.positions.items() if code in codes}))
            elif each.shard in codes:
                after.append(each)
        return msgspec.structs.replace(self, after=tuple(after))

    def named(self, codes: Collection[int] | None) -> set[int]:
        """The departments that it names, in a read of some departments or, with None, of all."""
        vectors = [each for each in self.after if isinstance(each, AtPositions)]
        if codes is None and isinstance(self.as_of, AtPositions):
            vectors.append(self.as_of)
        return {each.shard for each in self.receipts}.union(codes or (), *(each.positions for each in vectors))

    @property
    def receipts(self) -> list[Stamp]:
        """The stamps among what the answer must come after."""
        return [each for each in self.after if isinstance(each, Stamp)]


class Cutoffs:
    """Finds the place of each shard for a read. A place, once given, never changes its answer."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        shards: Departments,
        folders: Mapping[int, Folder],
        stamps: Stamps,
        latest: Latest,
        receipts: Receipts,
    ) -> None:
        self._database = database
        self._directory = directory
        self._shards = shards
        self._folders = folders
        self._stamps = stamps
        self._latest = latest
        self._receipts = receipts
        self._known_places: dict[tuple[int, int], Place] = {}

    async def resolve(self, codes: Iterable[int] | None, freshness: Freshness) -> Cutoff:
        """One place per shard of ``codes``; None stands for all data departments that the directory had at the cutoff.

        Raises Invalid for a moment in the future, Conflict where the views do not get there in time and for a receipt
        that is void, NotFound for a department that is not there, Unavailable where no leader and majority confirm
        what is the latest, Withheld where the answer would rest on records that are damaged here, Behind where a
        department is not whole here, also after a moment.
        """
        wanted = None if codes is None else sorted(set(codes))
        deadline = asyncio.get_running_loop().time() + freshness.timeout_s
        await self._up(freshness.named(wanted), freshness)
        for code in wanted or ():
            self._shards.at(code)
        # A node that leads in its own eyes is no exception: it may have been replaced by one with such a clock.
        unsure = {
            each.shard
            for each in freshness.receipts
            if is_far_ahead(each, self._shards.at(each.shard, "after").complete_stamp)
        }
        if freshness.latest:
            unsure |= set(self._shards.data() if wanted is None else wanted)
        ahead = self._ahead(wanted, freshness.as_of)
        await self._up(unsure, freshness)
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        newest = await self._latest.positions(unsure | ahead.keys(), left_s)
        for code, position in ahead.items():
            if position > newest[code]:
                raise _in_the_future(code, newest[code])
        try:
            async with asyncio.timeout_at(deadline):
                for code in unsure:
                    await self._shards[code].folded.reached(newest[code])
                for code, position in ahead.items():
                    await self._shards[code].complete.reached(position)
                cutoff = await self._resolved(wanted, freshness)
        except TimeoutError:
            who = named("department", wanted, one="has", more="have") if wanted else "the departments have"
            raise Conflict(
                f"{who} not got there within {freshness.timeout_s:g} s; ask again, or wait longer",
            ) from None
        self._check(cutoff.places)
        for code in cutoff.places:
            if self._shards[code].recovering:
                raise Behind(
                    f"department {code} is being copied to this node, which lacks some of it; ask again in a moment, "
                    "or ask another node"
                )
        return cutoff

    async def _up(self, codes: Collection[int], freshness: Freshness) -> None:
        """Wait for departments that are being brought up, for half of the time: the rest is for the answer."""
        await self._shards.up(codes, freshness.timeout_s / 2)

    def _ahead(self, codes: list[int] | None, as_of: AsOf | None) -> dict[int, int]:
        """Positions of a vector that this node has not yet; another one may have answered at them."""
        if not isinstance(as_of, AtPositions):
            return {}
        return {
            code: position
            for code, position in as_of.positions.items()
            if (codes is None or code in codes) and position > self._shards.at(code, "as_of").complete.value
        }

    def _check(self, places: Mapping[int, Place]) -> None:
        for code, place in places.items():
            self._shards[code].damage.check_cutoff(place.position)

    async def _resolved(self, codes: list[int] | None, freshness: Freshness) -> Cutoff:
        for receipt in freshness.receipts:
            self._check_moment(receipt)
        for each in freshness.after:
            await self._pass(each, freshness.timeout_s)
        match freshness.as_of:
            case AtTime(time=at):
                return await self._at_time(codes, at, freshness)
            case AtPositions(positions=positions):
                return await self._at_positions(sorted(positions) if codes is None else codes, positions)
            case None:
                codes = self._shards.data() if codes is None else codes
                await self._up(codes, freshness)
                return await self._now(codes)

    def _check_moment(self, receipt: Stamp) -> None:
        """Raise Invalid for a receipt from the future; this node has by now what was newest when the read began."""
        if is_far_ahead(receipt, self._shards[receipt.shard].tip.stamp):
            raise Invalid(f"after={receipt} lies in the future", errors=(Offence("after", "lies in the future"),))

    async def _pass(self, after: Stamp | AtPositions, timeout_s: float) -> None:
        """Wait until the views have passed a receipt, or a vector; raises Conflict for a receipt that is void."""
        if isinstance(after, AtPositions):
            for code, position in after.positions.items():
                await self._shards.at(code, "after").folded.reached(position)
            return
        shard = self._shards.at(after.shard, "after")
        voids = shard.voids
        found = await self._stamps.find([after], timeout_s)
        record = found.records.get(after)
        if record is not None:
            await shard.folded.reached(record.group_end)
            if voids != shard.voids:
                await self._pass(after, timeout_s)  # it may have been taken back meanwhile
        elif found.behind:
            raise Conflict(f"department {shard.code} has not got past {after} within {timeout_s:g} s; ask again")
        else:
            raise Conflict(await self._receipts.of_void(after), errors=(Offence("after", "is of no record"),))

    async def _now(self, codes: list[int]) -> Cutoff:
        """What the views show now; over several shards, back to where no effect shows without its cause."""
        for code in codes:
            self._shards.at(code)
        await self._caught_up(codes)
        places = {code: Place(self._folders[code].position, self._folders[code].stamp) for code in codes}
        while len(codes) > 1 and await self.lowered(places):
            pass
        return Cutoff(places)

    async def lowered(self, places: dict[int, Place]) -> bool:
        """Take back, in place, what was received from beyond what is shown of its sender; False where nothing was."""
        pairs = [
            (code, source, places[source].position, places[code].position)
            for code in places
            for source in places
            if source != code and self._shards[code].marks.get((DELIVERY, source), 0) > places[source].position
        ]
        if not pairs:
            return False
        shards, sources, seen, shown = (list(each) for each in zip(*pairs, strict=True))
        async with self._database.reading() as tx:
            rows = await journal.sql.too_new.rows(tx, shards=shards, sources=sources, seen=seen, shown=shown)
        places |= {row["shard"]: Place(row["position"], row["stamp"]) for row in rows}
        return bool(rows)

    async def _caught_up(self, codes: list[int]) -> None:
        """Give the views a moment to show what is complete by now: whoever just got a receipt sees it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLD_WAIT_S):
                for code in codes:
                    await self._shards[code].folded.reached(self._shards[code].complete.value)

    async def _at_positions(self, codes: list[int], positions: Mapping[int, int]) -> Cutoff:
        missing = [code for code in codes if code not in positions]
        if missing:
            lacking = named("department", missing)
            raise Invalid(
                f"the vector has no position for {lacking}",
                errors=(Offence("as_of", f"needs a position for {lacking}"),),
            )
        for code in codes:
            complete = self._shards.at(code, "as_of").complete.value
            if positions[code] > complete:
                raise _in_the_future(code, complete)
        async with self._database.reading() as tx:
            places = await _places(tx, {code: positions[code] for code in codes})
        return await self._folded_to(places)

    async def _at_time(self, codes: list[int] | None, at: int, freshness: Freshness) -> Cutoff:
        newest = max((shard.tip.stamp for shard in self._shards.values()), default=0)
        if at > max(wall_clock(), newest):
            raise Invalid("as_of lies in the future", errors=(Offence("as_of", "lies in the future"),))
        if codes is None:
            codes = await self._known_at(at)
        await self._up(codes, freshness)
        open_shards = [shard for code in codes if (shard := self._shards.at(code)).complete_stamp < at]
        if open_shards:
            await asyncio.gather(*(self._stamps.close(shard, at) for shard in open_shards))
        return await self._folded_to(await self._places_at(codes, at))

    async def _places_at(self, codes: list[int], at: int) -> dict[int, Place]:
        """Where shards stood that are complete and past a time: that never changes, so it is remembered for a while."""
        missing = [code for code in codes if (code, at) not in self._known_places]
        if missing:
            async with self._database.reading() as tx:
                found = await _places_before(tx, missing, at)
            # What is remembered must be right: damaged rows say anything.
            self._check({code: found.get(code, Place(0, 0)) for code in missing})
            if len(self._known_places) > _PLACES_KNOWN_MAX:
                self._known_places.clear()
            self._known_places |= {(code, at): found.get(code, Place(0, 0)) for code in missing}
        return {code: self._known_places[code, at] for code in codes}

    async def _known_at(self, at: int) -> list[int]:
        """The data departments that the directory had at a logical time; shard 0 is closed there, so none can come."""
        control = self._shards[CONTROL]
        await self._stamps.close(control, at)
        await self._directory.applied.reached(control.complete.value)
        return self._shards.data(since=at)

    async def level_directory(self, timeout_s: float) -> None:
        """Wait until this node's directory is not older than anything acknowledged before.

        Raises Unavailable where no leader and majority say how far that is, and TimeoutError where it is not reached.
        """
        async with asyncio.timeout(timeout_s):
            newest = await self._latest.positions([CONTROL], timeout_s)
            await self._directory.applied.reached(newest[CONTROL])

    async def _folded_to(self, places: dict[int, Place]) -> Cutoff:
        for code, place in places.items():
            await self._shards[code].folded.reached(place.position)
        return Cutoff(places)


def _in_the_future(code: int, last: int) -> Invalid:
    detail = f"department {code} is complete up to {last} only"
    return Invalid(f"as_of lies in the future: {detail}", errors=(Offence("as_of", detail),))


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
