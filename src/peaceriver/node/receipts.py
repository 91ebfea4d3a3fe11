"""Receipts: what became of a message, as this node knows it and as the others do.

A message that is recorded may not be complete yet, one that was recorded may have been taken back, and what waits at a
node is in the database of that node only. So whoever is asked asks the others, unless its own word is the last one.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.errors import NotFound
from peaceriver.limits import PEERS_ANSWER_S
from peaceriver.node.departments import Departments
from peaceriver.node.peers import Peers
from peaceriver.node.wire import Known, Wanted, framed, unframed
from peaceriver.postgres import Database, Row
from peaceriver.record import Record, from_row
from peaceriver.shard import journal
from peaceriver.shard.exceptions import exception_id
from peaceriver.shard.journal import pending_sql
from peaceriver.shard.pending import envelope_in
from peaceriver.shard.proposal import Spooled, receipt_of
from peaceriver.stamp import Stamp

PATH = "/replication/known"


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """What became of a message, as one node knows it."""

    #: recorded, refused, stranded or spooled.
    state: str
    #: Whether that is the last word: its record, or the exception that answers it, is complete.
    complete: bool
    #: Where the record is; None where there is none.
    shard: int | None
    position: int | None
    #: The answer to ``GET /messages/{id}``, as JSON.
    text: str

    @property
    def rank(self) -> tuple[bool, int]:
        """The smaller, the more is known."""
        return not self.complete, ("recorded", "refused", "stranded", "spooled").index(self.state)


class Receipts:
    """Answers for messages by their ids."""

    def __init__(self, database: Database, shards: Departments, peers: Peers) -> None:
        self._database = database
        self._shards = shards
        self._peers = peers

    async def of(self, message_id: UUID) -> Seen:
        """What became of a message; raises NotFound where no node that answers has seen it, and Withheld.

        A message that was sent on is told by its sender's journal. Other nodes are asked unless it is known here that
        it is complete, or answered by an exception that is.
        """
        seen = await self.here(message_id)
        if seen is not None and seen.complete:
            return seen
        known = await self._ask(Wanted(message=message_id))
        others = [each.seen for each in known if each.seen is not None]
        found = [msgspec.msgpack.decode(each, type=Seen) for each in others] + ([] if seen is None else [seen])
        if not found:
            # It may have been in what is damaged here.
            self._shards.check_records([])
            raise NotFound(f"no node that answers has seen message {message_id}")
        return min(found, key=lambda each: each.rank)

    async def here(self, message_id: UUID) -> Seen | None:
        """What this node knows of a message by itself."""
        answers = [exception_id(message_id, each) for each in self._shards]
        async with self._database.reading() as tx:
            rows = await journal.sql.recorded_anywhere.rows(tx, ids=[message_id, *answers])
            pending = await pending_sql.pending_of.rows(tx, ids=[message_id])
        found = [from_row(row) for row in rows]
        if found:
            self._shards.check_records(found)
        recorded = [each for each in found if each.message_id == message_id]
        refusals = [each for each in found if each.message_id != message_id]
        if refusals and not any(each.kind == "received" for each in recorded):
            return self._seen("refused", refusals[0], _refused(message_id, refusals[0]))
        if recorded:
            return self._seen("recorded", recorded[0], receipt_of(recorded[0]).public())
        return _waiting(pending[0]) if pending else None

    async def of_void(self, stamp: Stamp) -> str:
        """What to tell somebody who has a stamp that no record has, although its department is complete past it."""
        said = f"department {stamp.shard} is complete past {stamp} and no record has that stamp"
        wanted = Wanted(stamp=stamp)
        known = [await self.known(wanted), *await self._ask(wanted)]
        message_id = next((each.stranded for each in known if each.stranded is not None), None)
        if message_id is not None:
            return (
                f"{said}: it was of message {message_id}, whose record was taken back before it was complete, and "
                f"which is being offered again; GET /messages/{message_id} says what became of it"
            )
        return (
            f"{said}: a receipt that was not complete is void where another node began to lead; GET /messages/ID, "
            "with the id of the receipt, says what became of the message"
        )

    async def known(self, wanted: Wanted) -> Known:
        """The answer to another node's question."""
        known = Known()
        async with self._database.reading() as tx:
            if wanted.stamp is not None:
                known.stranded = await pending_sql.stranded_at.value(
                    tx, shard=wanted.stamp.shard, time=wanted.stamp.time
                )
            if wanted.draft is not None:
                known.has_draft = await pending_sql.has_draft.value(tx, id=wanted.draft) is not None
        if wanted.message is not None:
            seen = await self.here(wanted.message)
            known.seen = None if seen is None else msgspec.msgpack.encode(seen)
        return known

    async def _ask(self, wanted: Wanted) -> list[Known]:
        answers = await self._peers.ask_all(PATH, framed(wanted), timeout_s=PEERS_ANSWER_S)
        return [unframed(each, Known)[0] for each in answers.values()]

    def _seen(self, state: str, record: Record, shown: dict[str, Any]) -> Seen:
        complete = record.position <= self._shards[record.shard].complete.value
        text = jsontext.write(shown | {"complete": complete, "state": state})
        return Seen(state, complete, record.shard, record.position, text)


def _waiting(row: Row) -> Seen:
    """A message that is pending here; of a stranded one also where its record was."""
    envelope = envelope_in(row)
    actor_id = envelope.actor_id or str(row["message_id"])
    waiting = Spooled(id=row["message_id"], actor=f"{envelope.actor_type}/{actor_id}", shard=row["shard"]).public()
    waiting["spooled"] = row["state"] == "spooled"
    if row["state"] == "stranded":
        old = Stamp(row["stamp"], row["shard"])
        waiting["was"] = {"epoch": row["epoch"], "position": row["position"], "stamp": str(old)}
    return Seen(row["state"], False, row["shard"], None, jsontext.write(waiting | {"state": row["state"]}))


def _refused(message_id: UUID, exception: Record) -> dict[str, Any]:
    """A message that was on its way and refused: where the exception that answers it stands, and what it says."""
    return {
        "id": str(message_id),
        "actor": exception.actor,
        "shard": exception.shard,
        "position": exception.position,
        "stamp": str(exception.moment),
        "version": None,
        "duplicate": False,
        "problem": jsontext.read(exception.body.encode())["problem"],
    }
