"""Delivery: the receiving department pulls what others sent to it, and appends it and its mark as one unit.

One puller per source, so that one source's messages keep their order and a message that has to wait for its cause
holds up nobody else. A puller ends when it has caught up; the next complete record for this department starts it
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

import msgspec
import structlog

from peaceriver.errors import Conflict, Damaged, Refused
from peaceriver.limits import CAUSE_WAIT_S, STEP_RECORDS_MAX
from peaceriver.postgres import Row, Unreachable
from peaceriver.record import Record, from_row
from peaceriver.shard import journal
from peaceriver.shard.attempt import MarkMoved
from peaceriver.shard.causes import Cause, causes_of
from peaceriver.shard.journal import Mark
from peaceriver.shard.proposal import Proposal, Wish, supplied
from peaceriver.shard.shard import DELIVERY, Shard

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5
_FAILED_PAUSE_S = 5.0


class Delivery:
    """What follows every other department's journal on behalf of one receiving department."""

    def __init__(self, shard: Shard, shards: Mapping[int, Shard]) -> None:
        self._shard = shard
        self._shards = shards
        self._pulling: dict[int, asyncio.Task[None]] = {}
        self._stopped = False

    async def start(self) -> None:
        """Check that no source has lost what was read from it; raises Damaged."""
        async with self._shard.database.connection() as tx:
            for (reader, source), position in self._shard.marks.items():
                # What this node does not have yet of a source, an earlier leader may have read where it was.
                if reader != DELIVERY or not 0 < position <= self._complete(source):
                    continue
                chain = await journal.sql.chain_at.value(tx, shard=source, position=position)
                if chain != self._shard.mark_chains[reader, source]:
                    raise Damaged(
                        f"department {source} no longer has the history that {self._shard.code} read up to position "
                        f"{position}; restore it from a replica before starting this node"
                    )

    def _complete(self, source: int) -> int:
        return self._shards[source].complete.value if source in self._shards else 0

    async def catch_up(self) -> None:
        """Pull whatever waits, also where nobody woke this department for it."""
        async with self._shard.database.connection() as tx:
            waiting = await journal.sql.senders.rows(tx, shard=self._shard.code)
        for row in waiting:
            self.wake(row["source"])

    def wake(self, source: int) -> None:
        """There may be something from ``source``; only a hint."""
        if self._stopped or source in self._pulling:
            return
        task = asyncio.create_task(self._pull(source), name=f"deliver {source} to {self._shard.code}")
        self._pulling[source] = task

    async def stop(self) -> None:
        self._stopped = True
        for task in self._pulling.values():
            task.cancel()
        await asyncio.gather(*self._pulling.values(), return_exceptions=True)

    async def _pull(self, source: int) -> None:
        try:
            while not self._stopped:
                seen = self._complete(source)
                try:
                    more = await self._step(source, seen)
                except (*Unreachable, Refused, MarkMoved) as error:
                    # The mark has not moved, so nothing is lost: the same step is made again.
                    log.warning("delivery waits", source=source, shard=self._shard.code, reason=str(error))
                    await asyncio.sleep(_RETRY_PAUSE_S)
                    continue
                except Exception:  # outermost: a sender's messages must not be forgotten, so it is tried again, loudly
                    log.exception("a delivery failed", source=source, shard=self._shard.code)
                    await asyncio.sleep(_FAILED_PAUSE_S)
                    continue
                if not more and self._complete(source) == seen:
                    return
        finally:
            del self._pulling[source]

    async def _step(self, source: int, until: int) -> bool:
        """Take in what ``source`` sent after the mark; True where there was something."""
        await self._shard.has_room()
        mark = self._shard.marks.get((DELIVERY, source), 0)
        damage = self._shards[source].damage
        sound = damage.sound_until(mark, until)
        async with self._shard.database.connection() as tx:
            rows = await journal.sql.sent_to.rows(
                tx, source=source, shard=self._shard.code, after=mark, until=sound, records=STEP_RECORDS_MAX
            )
            causes = await causes_of(tx, [from_row(row) for row in rows])
        if not rows:
            damage.check(mark, until)
            return False
        taken, late = await self._arrived(rows, causes)
        last = taken[-1]
        wishes = [_wish(from_row(row), late) for row in taken]
        await self._shard.append(
            Proposal(
                wishes=tuple(wishes),
                marks=(Mark(DELIVERY, source, last["position"], last["chain"]),),
                expecting=((DELIVERY, source, mark),),
            ),
            bounded=False,
        )
        return True

    async def _arrived(self, rows: list[Row], causes: Mapping[UUID, Cause]) -> tuple[list[Row], UUID | None]:
        """The rows up to the first whose cause is still under way; a first row waits for it, and not for ever.

        Answers also the message whose cause did not come in time.
        """
        taken: list[Row] = []
        for row in rows:
            cause = causes.get(row["message_id"])
            if cause is None or cause.arrived_at(self._shard):
                taken.append(row)
            elif taken:
                break
            else:
                in_time = await cause.arrival(self._shard, CAUSE_WAIT_S)
                taken.append(row)
                if not in_time:
                    return taken, row["message_id"]
        return taken, None


def _wish(record: Record, late: UUID | None) -> Wish:
    assert record.root is not None
    refusal = None
    if record.message_id == late:
        refusal = Conflict(
            f"its cause {record.cause} was sent to this department and did not arrive within {CAUSE_WAIT_S:g} s; "
            "retry it once the cause is here"
        )
    assert record.message_id is not None
    return Wish(
        id=record.message_id,
        envelope=msgspec.structs.replace(supplied(record), due=None),
        kind="received",
        root=record.root,
        principal=record.principal,
        trace=record.trace,
        hops=record.hops,
        rule=record.rule,
        rule_version=record.rule_version,
        source_position=record.position,
        received_time=record.stamp,
        records_refusal=True,
        refusal=refusal,
    )
