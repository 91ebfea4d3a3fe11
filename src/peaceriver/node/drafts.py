"""Drafts: preliminary messages, freely edited, that are not history. They may be lost with their node.

A draft is kept by the node that saw it first; any other passes on what is asked about it (KeptElsewhere).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Invalid, KeptElsewhere, NotFound, Offence, Refused
from peaceriver.limits import BETWEEN_NODES_BYTES_MAX, BODY_BYTES_MAX, PEERS_ANSWER_S
from peaceriver.message import Envelope, read
from peaceriver.node.peers import Peers
from peaceriver.node.receipts import PATH as KNOWN
from peaceriver.node.sending import Sender
from peaceriver.node.spooling import Spooling
from peaceriver.node.wire import Known, Wanted, framed, unframed
from peaceriver.postgres import Database, Row
from peaceriver.record import written_time
from peaceriver.shard.journal import pending_sql as sql
from peaceriver.shard.proposal import Receipt, Spooled

PATH = "/replication/drafts"
#: Negative codes hold drafts: they belong to no department yet.
DRAFTS = -1


class Drafts:
    """The drafts of a node."""

    def __init__(self, database: Database, spooling: Spooling, peers: Peers) -> None:
        self._database = database
        self._spooling = spooling
        self._peers = peers

    async def find(self, draft_id: UUID) -> None:
        """Raises KeptElsewhere where another node keeps the draft, and this one does not."""
        async with self._database.connection() as tx:
            row = await sql.draft.row(tx, shard=DRAFTS, id=draft_id)
        if row is not None:
            return
        answers = await self._peers.ask_all(KNOWN, framed(Wanted(draft=draft_id)), timeout_s=PEERS_ANSWER_S)
        for node, answer in answers.items():
            if unframed(answer, Known)[0].has_draft:
                raise KeptElsewhere(f"draft {draft_id} is kept by the node {node}; ask that one", node=node)

    async def put(self, draft_id: UUID, text: bytes) -> dict[str, Any]:
        """Keep any part of a message; it need not be valid, but it is a JSON object."""
        value = jsontext.read(text, limit_bytes=BODY_BYTES_MAX)
        if not isinstance(value, dict):
            raise Invalid("a draft is a JSON object", errors=(Offence("", "not an object"),))
        async with self._database.connection() as tx:
            await sql.put_draft.run(tx, shard=DRAFTS, id=draft_id, body=text.decode())
        return await self.get(draft_id)

    async def get(self, draft_id: UUID) -> dict[str, Any]:
        """One draft; raises NotFound."""
        return _public(await self._row(draft_id))

    async def all(self, *, limit: int, offset: int) -> list[dict[str, Any]]:
        """Drafts, the last changed first."""
        async with self._database.connection() as tx:
            rows = await sql.drafts.rows(tx, shard=DRAFTS, records=limit, skipped=offset)
        return [_public(row) for row in rows]

    async def everywhere(self, *, limit: int, offset: int) -> list[dict[str, Any]]:
        """The same of all nodes; what a node keeps that does not answer is missing."""
        own = await self.all(limit=limit + offset, offset=0)
        answers = await self._peers.ask_all(PATH, framed(limit + offset), timeout_s=PEERS_ANSWER_S)
        lists = [jsontext.read(bytes(rest), limit_bytes=BETWEEN_NODES_BYTES_MAX) for rest in answers.values()]
        return _merged([own, *lists])[offset : offset + limit]

    async def delete(self, draft_id: UUID) -> None:
        """Throw a draft away; raises NotFound."""
        async with self._database.connection() as tx:
            if await sql.delete_draft.value(tx, shard=DRAFTS, id=draft_id) is None:
                raise _missing(draft_id)

    async def send(self, draft_id: UUID, sender: Sender) -> Receipt | Spooled:
        """Turn a draft into a message under the draft's id: the draft goes in the transaction that records it here.

        Where another node records it, or it is spooled, the draft goes right after; sent once more it is recorded no
        second time. Raises Refused, and keeps the draft, where the message is not acceptable.
        """
        row = await self._row(draft_id)
        envelope = _envelope(row)
        outcome = (await self._spooling.send([envelope], sender, promoted=(draft_id,)))[0]
        if isinstance(outcome, Refused):
            raise outcome
        await self._forget(draft_id)
        return outcome

    async def _forget(self, draft_id: UUID) -> None:
        async with self._database.connection() as tx:
            await sql.delete_draft.value(tx, shard=DRAFTS, id=draft_id)

    async def _row(self, draft_id: UUID) -> Row:
        async with self._database.connection() as tx:
            row = await sql.draft.row(tx, shard=DRAFTS, id=draft_id)
        if row is None:
            raise _missing(draft_id)
        return row


def _envelope(row: Row) -> Envelope:
    envelope = read(row["body"].encode())
    if envelope.id not in (None, row["message_id"]):
        raise Invalid("the draft names another id than its own", errors=(Offence("/id", "not the draft's id"),))
    return msgspec.structs.replace(envelope, id=row["message_id"])


def _missing(draft_id: UUID) -> NotFound:
    return NotFound(f"there is no draft {draft_id}")


def _merged(lists: Iterable[Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The drafts of several nodes as one list, the last changed first; of one that two nodes keep, the newer."""
    found: dict[str, dict[str, Any]] = {}
    for each in sorted((each for one in lists for each in one), key=lambda each: str(each["changed_at"])):
        found[str(each["id"])] = each
    return sorted(found.values(), key=lambda each: (str(each["changed_at"]), str(each["id"])), reverse=True)


def _public(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["message_id"]),
        "changed_at": written_time(row["changed_at"]),
        "message": msgspec.Raw(row["body"].encode()),
    }
