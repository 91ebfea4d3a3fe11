"""Causes: effects never overtake them, whichever way they come.

A message may name the record it follows from. Where that record was sent to the very department that is to take the
message, the message waits until it has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec

from peaceriver.postgres import Transaction
from peaceriver.record import Record
from peaceriver.shard import journal
from peaceriver.shard.shard import Shard
from peaceriver.stamp import Stamp


class Cause(msgspec.Struct, frozen=True):
    """The record that a message follows from."""

    record: Record

    def arrived_at(self, shard: Shard) -> bool:
        """Whether a message that follows from it may be recorded in ``shard``."""
        if self.record.kind != "sent" or self.record.receiver_shard != shard.code:
            return True
        return shard.delivered_from(self.record.shard).value >= self.record.position

    async def arrival(self, shard: Shard, timeout_s: float) -> bool:
        """Wait until it has arrived in ``shard``; False where it does not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                # Again where the mark was given up: what had arrived was taken back.
                while not self.arrived_at(shard):
                    await shard.delivered_from(self.record.shard).reached(self.record.position)
        except TimeoutError:
            return False
        return True


async def causes_of(tx: Transaction, records: Sequence[Record]) -> dict[UUID, Cause]:
    """The causes of recorded messages, by message id."""
    wanted = {each.cause for each in records if each.cause is not None}
    found = await causes_at(tx, list(wanted)) if wanted else {}
    return {
        each.message_id: found[each.cause]
        for each in records
        if each.cause in found and each.message_id is not None and each.cause is not None
    }


async def causes_at(tx: Transaction, stamps: Sequence[Stamp]) -> dict[Stamp, Cause]:
    """The records that stamps name; a stamp of no record is missing."""
    return {stamp: Cause(record) for stamp, record in (await journal.at_stamps(tx, stamps)).items()}
