"""What is pending in a node's database, to be offered to whoever leads: spooled and stranded messages, and how many."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec

from peaceriver.errors import Busy, Conflict
from peaceriver.limits import APPEND_BYTES_MAX, OFFERED_MESSAGES_MAX, SPOOLED_BYTES_MAX, SPOOLED_MESSAGES_MAX
from peaceriver.node.room import Room
from peaceriver.postgres import Database
from peaceriver.shard import offering, pending
from peaceriver.shard.journal import pending_sql as sql
from peaceriver.shard.pending import Kept
from peaceriver.shard.proposal import Proposal, Spooled


class Amount(msgspec.Struct):
    """How much is spooled for a department."""

    messages: int = 0
    bytes: int = 0


class Pending:
    """The pending messages of a node. Nobody else writes them, but for the database where it strands a tail."""

    def __init__(self, database: Database, room: Room) -> None:
        self._database = database
        self._room = room
        #: By department; never less than what is there.
        self._spooled: dict[int, Amount] = {}
        #: Departments that had stranded messages when the node started.
        self._stranded: set[int] = set()
        #: One keeps at a time: rows are numbered in the order in which they become visible.
        self._keeping = asyncio.Lock()

    async def load(self) -> None:
        """Count what is there; called once, before anything is kept."""
        async with self._database.connection() as tx:
            for row in await sql.waiting.rows(tx):
                if row["state"] == "spooled":
                    self._spooled[row["shard"]] = Amount(row["messages"], row["bytes"])
                else:
                    self._stranded.add(row["shard"])

    def was_left_for(self, code: int) -> bool:
        """Whether there was anything for a department at start, or has been spooled since."""
        return code in self._spooled or code in self._stranded

    def spooled_for(self, code: int) -> int:
        """How many messages wait for a department; none, and no later one has to wait behind them."""
        return self._spooled[code].messages if code in self._spooled else 0

    async def keep(self, code: int, kept: Sequence[Kept], *, atomic: bool) -> list[Spooled | Conflict]:
        """Keep messages of one department durably, in order; one that is kept already is not kept twice.

        ``atomic``: as one unit; then Conflict is raised where one says something else than before. Raises Busy beyond
        the limits and DiskFull, with nothing kept.
        """
        self._room.check()
        size = sum(len(each.envelope.body) for each in kept)
        async with self._keeping:
            self._check_room(len(kept), size)
            async with self._database.transaction() as tx:
                known = await pending.spool(tx, code, kept[0].id if atomic else None, kept)
                changed = await pending.contradicted(tx, code, [each for each in kept if each.id in set(known)])
                if atomic and changed:
                    raise _changed(changed[0])
            amount = self._spooled.setdefault(code, Amount())
            amount.messages += len(kept) - len(known)
            amount.bytes += size
        return [_changed(each.id) if each.id in changed else _told(code, each) for each in kept]

    def _check_room(self, messages: int, size: int) -> None:
        there = sum(each.messages for each in self._spooled.values())
        if there + messages > SPOOLED_MESSAGES_MAX:
            raise _full(f"{there:,} messages and keeps {SPOOLED_MESSAGES_MAX:,} at most")
        there = sum(each.bytes for each in self._spooled.values())
        if there + size > SPOOLED_BYTES_MAX:
            raise _full(f"{there:,} bytes and keeps {SPOOLED_BYTES_MAX:,} at most")

    async def stranded(self, code: int) -> list[Proposal]:
        """The first stranded messages of a department, as the units that they were."""
        async with self._database.connection() as tx:
            rows = await sql.stranded.rows(tx, shard=code, messages=OFFERED_MESSAGES_MAX, bytes=APPEND_BYTES_MAX)
        return offering.groups(rows)

    async def spooled(self, code: int) -> list[list[Kept]]:
        """The first spooled messages of a department, in units; where there are none, later ones need not wait."""
        async with self._keeping:
            async with self._database.connection() as tx:
                units = await pending.units(tx, code, messages=OFFERED_MESSAGES_MAX, size=APPEND_BYTES_MAX)
            if not units:
                self._spooled.pop(code, None)
        return units

    async def heard(self, code: int, ids: Sequence[UUID]) -> None:
        """What became of messages is complete: they are pending no longer."""
        async with self._database.connection() as tx:
            gone = await sql.offered.rows(tx, shard=code, ids=list(ids))
        amount = self._spooled.get(code)
        for row in gone:
            if amount is not None and row["state"] == "spooled":
                amount.messages -= 1
                amount.bytes -= row["bytes"]


def _told(code: int, kept: Kept) -> Spooled:
    envelope = kept.envelope
    return Spooled(id=kept.id, actor=f"{envelope.actor_type}/{envelope.actor_id}", shard=code)


def _changed(message_id: UUID) -> Conflict:
    return Conflict(
        f"message {message_id} waits here already with other content; a new message needs a new id",
        message_id=str(message_id),
    )


def _full(what: str) -> Busy:
    return Busy(f"this node has spooled {what}; send this one again when there is a leader", retry_after_s=5.0)
