"""Messages that are pending in a node's database: spooled ones, which wait for a leader, and stranded ones.

Neither is history. A row goes once its message is complete in its department's journal, or answered by an exception
that is; until then it is offered as often as it takes, and its id keeps it from being recorded twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from uuid import UUID

import msgspec

from peaceriver.message import Envelope, same_message
from peaceriver.postgres import Row, Transaction
from peaceriver.shard.journal import pending_sql as sql
from peaceriver.shard.offering import kept_record
from peaceriver.shard.proposal import supplied


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A spooled message, with what the door knew about it. Its envelope has its id, and its actor's."""

    envelope: Envelope
    principal: str | None = None
    trace: str | None = None

    @property
    def id(self) -> UUID:
        assert self.envelope.id is not None, "what is spooled has an id"
        return self.envelope.id


_read = msgspec.json.Decoder(Kept).decode


def written(kept: Kept) -> str:
    """A spooled message as its row has it: the body in it is text, and comes out as it came in."""
    return msgspec.json.encode(kept).decode()


def read(text: str) -> Kept:
    """A spooled message from its row."""
    return _read(text)


async def spool(tx: Transaction, shard: int, unit: UUID | None, kept: Sequence[Kept]) -> list[UUID]:
    """Keep messages in their order, as one ``unit`` or each for itself; answers the ids of those that were not kept.

    Something is pending under those already. Called by one at a time: so the order is that of the calls.
    """
    rows = await sql.spool.rows(
        tx, shard=shard, unit=unit, ids=[each.id for each in kept], bodies=[written(each) for each in kept]
    )
    new = {row["message_id"] for row in rows}
    return [each.id for each in kept if each.id not in new]


async def units(tx: Transaction, shard: int, *, messages: int, size: int) -> list[list[Kept]]:
    """The first spooled messages of a department, about so many, and bytes of them, as units in their order."""
    rows = await sql.spooled.rows(tx, shard=shard, messages=messages, bytes=size)
    grouped = groupby(rows, key=lambda row: row["unit"] or row["message_id"])
    return [[read(row["body"]) for row in unit] for _, unit in grouped]


def envelope_in(row: Row) -> Envelope:
    """The message that a pending row keeps."""
    return supplied(kept_record(row["body"])) if row["state"] == "stranded" else read(row["body"]).envelope


async def contradicted(tx: Transaction, shard: int, kept: Iterable[Kept]) -> list[UUID]:
    """Which messages say something else than what is pending in their department under their ids."""
    known = {each.id: each for each in kept}
    rows = await sql.pending_of.rows(tx, ids=list(known))
    return [
        row["message_id"]
        for row in rows
        if row["shard"] == shard and not same_message(envelope_in(row), known[row["message_id"]].envelope)
    ]
