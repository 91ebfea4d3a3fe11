"""The way to a node in the same process: what the HTTP client does, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from peaceriver.answers import ActorRead, Cutoff, JournalPage, Page, exact
from peaceriver.client import Moment, moment_text
from peaceriver.errors import Refused
from peaceriver.limits import PAGE_RECORDS_MAX, SEND_TIMEOUT_S
from peaceriver.message import Envelope
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing
from peaceriver.node.reading import ActorAt
from peaceriver.node.sending import Sender
from peaceriver.query import cutoff as cutoffs
from peaceriver.record import Record
from peaceriver.shard.proposal import Receipt


class Inside:
    """A node's services in the words of the client."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def send(
        self, messages: Sequence[Envelope], *, atomic: bool = False, timeout_s: float = SEND_TIMEOUT_S
    ) -> list[Receipt | Refused]:
        """One outcome per message; see Client.send."""
        sender = Sender(timeout_s=timeout_s)
        if atomic:
            return await self._node.sending.send_atomic(messages, sender)
        return await self._node.sending.send(messages, sender)

    async def put_department(
        self, code: int, name: str, *, company: str | None = None, receives: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Make or replace a department's page; returns when it takes messages."""
        members = {"name": name, "company": company, "receives": None if receives is None else list(receives)}
        page = {name: value for name, value in members.items() if value is not None}
        return (await Publishing(self._node).department(code, page, Sender())).page

    async def find(
        self, actor_type: str, actor_id: str, *, as_of: Moment | None = None, after: Moment | None = None
    ) -> Page:
        """An actor in every department that holds it."""
        cutoff, found = await self._node.reading.holders(actor_type, actor_id, _freshness(as_of, after))
        return Page(items=tuple(_read(each, None) for each in found), cutoff=_shown(cutoff))

    async def get(
        self,
        shard: int,
        actor_type: str,
        actor_id: str,
        *,
        as_of: Moment | None = None,
        after: Moment | None = None,
        version: int | None = None,
    ) -> ActorRead:
        """One actor of one department. Raises NotFound."""
        freshness = _freshness(as_of, after)
        cutoff, read = await self._node.reading.actor(shard, actor_type, actor_id, freshness, version=version)
        return _read(read, _shown(cutoff))

    async def journal(
        self, shard: int, *, after: int = 0, limit: int = PAGE_RECORDS_MAX, wait_s: float = 0.0
    ) -> JournalPage:
        """Complete records after a position, in order; waits so long for the first where there is none yet."""
        followed = self._node.shards.at(shard)
        if wait_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await followed.complete.passed(after)
        records, complete = await self._node.reading.journal(shard, after=after, limit=limit)
        last = records[-1].position if records else after
        return JournalPage(records=tuple(_value(each) for each in records), next=last, complete=complete)


def _freshness(as_of: Moment | None, after: Moment | None) -> Freshness:
    return Freshness(
        as_of=None if as_of is None else cutoffs.parse(moment_text(as_of), "as_of"),
        after=() if after is None else (cutoffs.parse_after(moment_text(after)),),
    )


def _shown(cutoff: cutoffs.Cutoff) -> Cutoff:
    positions = {shard: place.position for shard, place in cutoff.places.items()}
    return Cutoff(stamp=cutoff.public()["stamp"], positions=positions)


def _read(actor: ActorAt, cutoff: Cutoff | None) -> ActorRead:
    return ActorRead(
        type=actor.type,
        id=actor.id,
        shard=actor.shard,
        version=actor.version,
        status=actor.status,
        stamp=actor.stamp,
        text=actor.document,
        cutoff=cutoff,
    )


def _value(record: Record) -> dict[str, Any]:
    shown: dict[str, Any] = exact(msgspec.json.encode(record.public()))
    return shown
