"""Verification of a node's replicas: a little all the time, and everything at once when somebody asks.

New records are walked along soon after they are complete; a whole journal, and what is folded from it, again after
hours. What is found is on record before anything else is done, not served from then on, and repaired; what cannot be
repaired now is tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import structlog

from peaceriver.errors import Damaged, Unavailable
from peaceriver.limits import (
    REPAIR_PATIENCE_S,
    REPAIR_PAUSE_MAX_S,
    REPAIR_PAUSE_S,
    REPAIR_ROUNDS_MAX,
    SUSPECT_AGAIN_S,
    SUSPECT_SHARE,
    VERIFY_AGAIN_S,
    VERIFY_LOOK_S,
    VERIFY_ROWS_MAX,
    VERIFY_SHARE,
    VERIFY_TIMEOUT_S,
)
from peaceriver.node.agreeing import Agreeing, Agreement
from peaceriver.node.background import Background
from peaceriver.node.departments import Departments
from peaceriver.node.incidents import Incidents
from peaceriver.node.pace import Pace
from peaceriver.node.peers import Away, in_words
from peaceriver.node.repairing import Repairing
from peaceriver.node.replication import Replication
from peaceriver.node.wire import Chains, Checked, Flawed, Given, WantedChains, WantedRows, framed, unframed
from peaceriver.postgres import Database, DatabaseCorrupted, DatabaseError, Unreachable
from peaceriver.record import Tip
from peaceriver.shard import damage
from peaceriver.shard.comparing import Rest
from peaceriver.shard.damage import Flaw, Known, Part, flaws_of
from peaceriver.shard.shard import Shard
from peaceriver.shard.verify import Verdict, at_once, verify_shard
from peaceriver.shard.views import Views
from peaceriver.shard.walking import START, Walk

log = structlog.get_logger()

VERIFY_PATH = "/replication/verify"
#: How soon after the last look another repair may be begun.
_REPAIR_LOOK_S = 0.05


class OfNode(msgspec.Struct, frozen=True):
    """What verification on one node came to; nothing where it did not answer, and why."""

    node: str
    checked: list[Checked] | None
    detail: str = ""


class Verifying:
    """Verifies the replicas of a node, and has them repaired."""

    def __init__(
        self,
        name: str,
        database: Database,
        views: Views,
        shards: Departments,
        replication: Replication,
        repairing: Repairing,
        agreeing: Agreeing,
        incidents: Incidents,
    ) -> None:
        self._name = name
        self._database = database
        self._views = views
        self._shards = shards
        self._replication = replication
        self._repairing = repairing
        self._agreeing = agreeing
        self._incidents = incidents
        #: How many incidents were found since the node started, by department and part.
        self.found: Counter[tuple[int, Part]] = Counter()
        #: Held while what was found is put on record and repaired.
        self._locks: dict[int, asyncio.Lock] = {}
        #: How often what is known of each, or the replica itself, was changed: a look that began before is void.
        self._changes: Counter[int] = Counter()
        self._tips: dict[int, Tip] = {}
        #: When each was last verified as a whole, by the steady clock.
        self._whole_at: dict[int, float] = {}
        #: When the next repair of each damaged one is tried, by the steady clock, and the pause after it.
        self._again: dict[int, tuple[float, float]] = {}
        self._doubts: dict[tuple[int, str], asyncio.Task[None]] = {}
        #: Those to be verified as a whole however short the time since it was done is, and when that was said last.
        self._due: set[int] = set()
        self._suspected_at = float("-inf")
        self._suspected = asyncio.Event()
        self._damaged = asyncio.Event()
        self._background = Background()

    def start(self) -> None:
        """Begin to verify in the background."""
        self._damaged.set()
        self._background.begin(self._look(), name="verify")
        self._background.begin(self._repair_again(), name="repair")

    async def stop(self) -> None:
        doubts = list(self._doubts.values())
        for task in doubts:
            task.cancel()
        await asyncio.gather(*doubts, self._background.stop(), return_exceptions=True)

    # --- at once

    async def everywhere(self) -> list[OfNode]:
        """Verify and repair all replicas on all nodes, this one first in the answer."""
        return await asyncio.gather(
            self._here(), *(self._there(node) for node in sorted(self._replication.peers.names))
        )

    async def answer(self, codes: list[int]) -> list[Checked]:
        """Verify and repair some replicas here; all where none is named."""
        wanted = [each for each in codes if each in self._shards] if codes else sorted(self._shards)
        return [await self.shard(self._shards[code]) for code in wanted]

    async def _here(self) -> OfNode:
        return OfNode(self._name, await self.answer([]))

    async def _there(self, node: str) -> OfNode:
        try:
            answer = await self._replication.peers.post(node, VERIFY_PATH, framed([]), timeout_s=VERIFY_TIMEOUT_S)
            return OfNode(node, unframed(answer, list[Checked])[0])
        except (*Away, Unavailable) as error:
            return OfNode(node, None, f"{node} does not answer: {in_words(error)}")

    async def shard(self, shard: Shard, *, rest: Rest = at_once) -> Checked:
        """Verify one replica as a whole, repair what can be, and answer what was found.

        Others may do the same meanwhile: nothing is held up while somebody only looks.
        """
        found: dict[UUID, Known] = {}
        rounds = 0
        while True:
            self._due.discard(shard.code)
            changes = self._changes[shard.code]
            verdict = await verify_shard(self._database, self._views, shard.code, rest=rest)
            agreement = Agreement(0) if verdict.damaged else await self._agreeing.compare(shard)
            # What is folded from a history that is not the others' cannot be told to be right or wrong.
            flaws = flaws_of([agreement.finding] if agreement.finding else verdict.findings)
            if rest is not at_once and flaws and all(each.range is None for each in flaws):
                # The journal may have been altered since it was walked along; it would be folded from as it is now.
                rest = at_once
                continue
            async with self._locks.setdefault(shard.code, asyncio.Lock()):
                if changes != self._changes[shard.code]:
                    # What was seen is no more, or somebody found more.
                    continue
                await self._note(
                    shard, flaws, sound=not (verdict.damaged or agreement.finding), compared=agreement.until
                )
                found |= shard.damage.known
                rounds += 1
                if not flaws or not await self._repaired(shard, verdict, flaws) or rounds == REPAIR_ROUNDS_MAX:
                    break
        await self._went_round(shard)
        return Checked(
            shard.code,
            verdict.records,
            [Flawed(each.part, each.place, each.detail, each.id not in shard.damage.known) for each in found.values()],
        )

    async def _repaired(self, shard: Shard, verdict: Verdict, flaws: Sequence[Flaw]) -> bool:
        is_changed = True
        try:
            is_changed = await self._repairing.repair(shard, verdict, flaws)
            return is_changed
        except DatabaseCorrupted as error:
            # It cannot even be read to be replaced: it stays on record, and is tried again.
            log.warning("a repair is in vain", shard=shard.code, reason=str(error))
            return False
        finally:
            # Also where it was broken off: whoever looks meanwhile may have seen part of it.
            if is_changed:
                self._changes[shard.code] += 1

    async def _note(self, shard: Shard, flaws: Sequence[Flaw], *, sound: bool, compared: int) -> None:
        """Put on record what there is; it is not served from here on. What is repaired is served again."""
        before = shard.damage.known
        if not flaws and not before:
            return
        async with self._database.transaction() as tx:
            known = await damage.note(tx, shard.code, flaws, sound=sound, compared=compared)
        shard.damage.become(known)
        self._replication.judge(shard, self._replication.keepers[shard.code].replica)
        self._tell_followers(shard, before)
        for each in known:
            if each.id not in before:
                self.found[shard.code, each.part] += 1
                log.error("damage found", shard=shard.code, part=each.part, place=each.place, detail=each.detail)
        for each in before.values():
            if each.id not in shard.damage.known:
                log.warning("damage repaired", shard=shard.code, part=each.part, place=each.place)
        self._incidents.wake()
        if known:
            self._again.setdefault(shard.code, (time.monotonic() + REPAIR_PAUSE_S, REPAIR_PAUSE_S))
            self._damaged.set()
        else:
            self._again.pop(shard.code, None)

    def _tell_followers(self, shard: Shard, before: Mapping[UUID, Known]) -> None:
        """Rows that were withheld can be had now, or no longer: in an idle department nothing else would say so."""
        if shard.damage.known != before:
            self._changes[shard.code] += 1
            # What was read ahead for a follower was read by what was known then.
            shard.voids += 1
            self._replication.followers.stirred(shard.code)

    # --- for other nodes

    async def chains(self, wanted: WantedChains) -> Chains:
        """The chains of a replica here, to be compared with those of another one."""
        shard = self._shards.get(wanted.shard)
        if shard is None:
            return Chains(0, [None] * len(wanted.positions))
        return await self._agreeing.answer(shard, wanted.positions)

    async def given(self, wanted: WantedRows) -> tuple[Given, list[bytes]]:
        """Rows of a replica here for the repair of another one; none where they are damaged here as well."""
        shard = self._shards.get(wanted.shard)
        if shard is None:
            return Given(False), []
        try:
            return await self._repairing.given(shard, wanted)
        except (Damaged, DatabaseCorrupted) as error:
            log.warning("rows cannot be given to a node", shard=wanted.shard, reason=str(error))
            if not shard.damage.ranges:
                self.doubt(shard, self._name)
            return Given(False), []

    def doubt(self, shard: Shard, node: str) -> None:
        """Rows from a node did not fit: verify the replica here, and have it verified there."""
        key = shard.code, node
        if key not in self._doubts:
            task = asyncio.create_task(self._settle(shard, node), name=f"doubt {shard.code} of {node}")
            self._doubts[key] = task
            task.add_done_callback(lambda _: self._doubts.pop(key))

    def suspect(self) -> None:
        """The server could not read something, for whoever asked: verify all replicas as a whole, beginning now."""
        now = time.monotonic()
        if now - self._suspected_at >= SUSPECT_AGAIN_S:
            self._suspected_at = now
            self._due |= set(self._shards)
            self._suspected.set()

    async def _settle(self, shard: Shard, node: str) -> None:
        began = time.monotonic()
        try:
            if node != self._name:
                await self._replication.peers.post(node, VERIFY_PATH, framed([shard.code]), timeout_s=VERIFY_TIMEOUT_S)
            await self.shard(shard)
        except (*Away, Unavailable, *Unreachable, DatabaseError) as error:
            log.warning("a doubt was not settled", shard=shard.code, node=node, reason=str(error))
        except Exception:  # outermost: nobody waits for it, and the next doubt is settled all the same
            log.exception("settling a doubt failed", shard=shard.code, node=node)
        # A doubt that comes back at once is settled again, and not for ever. One that is broken off takes no rest: the
        # node stops, and waits for it.
        await asyncio.sleep(max(REPAIR_PAUSE_S, (time.monotonic() - began) / VERIFY_SHARE))

    # --- in the background

    async def _look(self) -> None:
        pace = Pace(VERIFY_SHARE)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(VERIFY_LOOK_S):
                    await self._suspected.wait()
            self._suspected.clear()
            self._due |= self._incidents.unknown(self._shards)
            for shard in list(self._shards.values()):
                is_suspected = shard.code in self._due
                try:
                    pace.begin()
                    while await self._walk_on(shard):
                        await pace.rest()
                    if self._is_due(shard.code):
                        # Somebody meets what is damaged until it is known.
                        hurried = Pace(SUSPECT_SHARE) if is_suspected else pace
                        await self.shard(shard, rest=hurried.rest)
                        pace.begin()
                    await pace.rest()
                except (*Unreachable, DatabaseError) as error:
                    log.warning("verification waits", shard=shard.code, reason=str(error))
                    self._due |= {shard.code} if is_suspected else set()
                except Exception:  # outermost: without it nothing would be verified any more
                    log.exception("verification failed", shard=shard.code)

    async def _walk_on(self, shard: Shard) -> bool:
        """Walk along the next records that are complete; whether there were any."""
        code, until = shard.code, shard.complete.value
        tip = self._tips.get(code) or await self._take_up(code)
        if tip.position >= until or shard.damage.ranges:
            return False
        walk = Walk(code, tip)
        try:
            async with self._database.reading() as tx:
                await walk.goes_on(tx, until=until, rows=VERIFY_ROWS_MAX)
            is_read = True
        except DatabaseCorrupted:
            is_read = False
        if not is_read or walk.findings or walk.tip.position == tip.position:
            # They cannot be read, or not even one record follows: some are lost, or the walk came from a place that is
            # no more.
            await self.shard(shard)
            return False
        await self._reached(code, walk.tip)
        return True

    async def _take_up(self, code: int) -> Tip:
        async with self._database.connection() as tx:
            row = await damage.sql.verified.row(tx, shard=code)
        if row is None:
            self._whole_at[code] = time.monotonic()
            await self._reached(code, START)
        else:
            self._whole_at[code] = time.monotonic() - row["whole_s_ago"]
            self._tips[code] = Tip(row["epoch"], row["position"], row["stamp"], bytes(row["chain"]))
        return self._tips[code]

    async def _reached(self, code: int, tip: Tip) -> None:
        async with self._database.connection() as tx:
            await damage.sql.verify.run(
                tx, shard=code, position=tip.position, epoch=tip.epoch, stamp=tip.stamp, chain=tip.chain
            )
        self._tips[code] = tip

    def _is_due(self, code: int) -> bool:
        return code in self._due or time.monotonic() - self._whole_at.get(code, float("-inf")) > VERIFY_AGAIN_S

    async def _went_round(self, shard: Shard) -> None:
        async with self._database.connection() as tx:
            await damage.sql.whole.run(tx, shard=shard.code)
        self._whole_at[shard.code] = time.monotonic()
        if not shard.damage.known and not self._replication.keepers[shard.code].replica.recovering:
            await self._incidents.settle(shard.code)

    async def _repair_again(self) -> None:
        """Repair what could not be repaired, less and less often; a leader that stays damaged leads no longer."""
        for shard in self._shards.values():
            if shard.damage.known:
                self._again[shard.code] = (0.0, REPAIR_PAUSE_S)
        while True:
            if not self._again:
                self._damaged.clear()
                await self._damaged.wait()
            for code, (due, pause_s) in list(self._again.items()):
                if due <= time.monotonic():
                    # One that takes long, or waits, holds up no other.
                    self._again[code] = (float("inf"), pause_s)
                    self._background.begin(self._try_again(code, pause_s), name=f"repair {code}")
                await self._leave_if_damaged(self._shards[code])
            next_s = min((due for due, _ in self._again.values()), default=0.0) - time.monotonic()
            await asyncio.sleep(min(REPAIR_PAUSE_S, max(_REPAIR_LOOK_S, next_s)))

    async def _try_again(self, code: int, pause_s: float) -> None:
        began = time.monotonic()
        try:
            await self.shard(self._shards[code])
        except (*Unreachable, DatabaseError) as error:
            log.warning("a repair waits", shard=code, reason=str(error))
        finally:
            if code in self._again:
                # What cannot be repaired takes no more of the time than what is only verified.
                now = time.monotonic()
                rest_s = max(pause_s, (now - began) / VERIFY_SHARE)
                self._again[code] = (now + rest_s, min(2 * pause_s, REPAIR_PAUSE_MAX_S))

    async def _leave_if_damaged(self, shard: Shard) -> None:
        keeper = self._replication.keepers[shard.code]
        oldest = min((each.found_at for each in shard.damage.known.values()), default=None)
        if oldest is None or not keeper.replica.barred or keeper.replica.leads is None:
            return
        if (datetime.now(UTC) - oldest).total_seconds() > REPAIR_PATIENCE_S:
            try:
                await keeper.resign("its journal is damaged, and no other node could repair it")
            except (*Unreachable, DatabaseError) as error:
                log.warning("a damaged replica goes on leading", shard=shard.code, reason=str(error))
