"""Exceptions as people see and resolve them: what could not be done, what waits behind it, and what became of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Conflict, NotFound, Refused
from peaceriver.message import Envelope
from peaceriver.node.agents import Agents
from peaceriver.node.departments import Departments
from peaceriver.node.identity import new_id
from peaceriver.node.sending import Sender, read_form
from peaceriver.postgres import Database
from peaceriver.record import Record, from_row, written_time
from peaceriver.shard import journal, resolving
from peaceriver.shard.attempt import MarkMoved, Resolved
from peaceriver.shard.exceptions import entry_of
from peaceriver.shard.journal import ExceptionState
from peaceriver.shard.proposal import ExceptionEntry, Proposal
from peaceriver.shard.shard import Shard

How = Literal["retry", "skip", "answer"]
_BECOMES = {"retry": "retried", "skip": "skipped", "answer": "answered"}
_TRIES_MAX = 5


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An exception as it stands: its opening record, and what was folded from the later ones."""

    opening: Record
    state: ExceptionState
    #: What went wrong last (RFC 9457).
    problem: dict[str, Any]

    def public(self) -> dict[str, Any]:
        """The exception as the API shows it: its opening record, and where it stands."""
        retry_at = self.state.retry_at
        return self.opening.public() | {
            "state": self.state.state,
            "attempt": self.state.attempt,
            "retry_at": None if retry_at is None else written_time(retry_at),
            "detail": self.problem["detail"],
            "problem": self.problem,
        }


class Exceptions:
    """The exceptions of a node's departments."""

    def __init__(self, database: Database, shards: Departments, agents: Agents) -> None:
        self._database = database
        self._shards = shards
        self._agents = agents

    async def listed(self, *, state: str | None, limit: int, offset: int) -> list[Standing]:
        """Exceptions, oldest first; of one state, or all."""
        async with self._database.reading() as tx:
            rows = await journal.sql.exceptions.rows(
                tx, shards=list(self._shards), state=state, records=limit, skipped=offset
            )
        return [_standing(row) for row in rows]

    async def at(self, exception_id: UUID) -> Standing:
        """One exception; raises NotFound."""
        async with self._database.reading() as tx:
            row = await journal.sql.exception_at.row(tx, id=exception_id)
        if row is None:
            raise NotFound(f"there is no exception {exception_id}; GET /exceptions lists those that there are")
        return _standing(row)

    async def resolve(self, exception_id: UUID, how: How, sender: Sender, message: Envelope | None = None) -> Standing:
        """Retry, skip or answer an exception; answers how it stands then.

        A retry waits for the attempt, so long as the sender does; one that fails leaves the exception open. Repeating
        what was done changes nothing. Raises NotFound, Conflict where it was resolved another way, and what refuses
        the answer.
        """
        if message is not None and message.id is None:
            message = msgspec.structs.replace(message, id=new_id())
        for _ in range(_TRIES_MAX):
            standing = await self.at(exception_id)
            if standing.state.state != "open":
                return _done(standing, how)
            shard = self._shards.at(standing.opening.shard)
            entry = entry_of(standing.opening, standing.state)
            try:
                outcomes = await shard.append(self._proposal(entry, shard, how, sender, message))
            except (MarkMoved, Resolved):
                # Somebody was faster, or asked for this attempt before: look at what there is now.
                if how != "retry":
                    continue
                outcomes = []
            for each in outcomes:
                if how == "answer" and isinstance(each, Refused):
                    raise each
            return await self._attempted(standing, sender) if how == "retry" else await self.at(exception_id)
        raise Conflict(f"exception {exception_id} is being resolved by others; look at it and try again")

    def _proposal(
        self, entry: ExceptionEntry, shard: Shard, how: How, sender: Sender, message: Envelope | None
    ) -> Proposal:
        principal = sender.principal
        if how == "retry":
            return resolving.retry(entry, shard.code, datetime.now(UTC), principal)
        if how == "skip":
            return resolving.skip(entry, shard.code, shard.marks, principal)
        assert message is not None
        read_form(message, self._shards)
        wish = resolving.answering(entry, message, shard.code, principal, sender.trace)
        return resolving.answer(entry, shard.code, shard.marks, wish, principal)

    async def _attempted(self, before: Standing, sender: Sender) -> Standing:
        """How it stands after the next attempt, or when the sender's time is up."""
        rule = before.state.rule
        agent = None if rule is None else self._agents.of(rule)
        try:
            async with asyncio.timeout(sender.timeout_s):
                while True:
                    seen = 0 if agent is None else agent.changes.value
                    now = await self.at(before.state.id)
                    if agent is None or now.state.state != "open" or now.state.attempt > before.state.attempt:
                        return now
                    await agent.changes.passed(seen)
        except TimeoutError:
            return await self.at(before.state.id)


def _standing(row: Any) -> Standing:
    opening = from_row(row)
    assert opening.message_id is not None
    body = jsontext.read(opening.body.encode())
    last = jsontext.read(row["last_body"].encode())
    state = ExceptionState(
        id=opening.message_id,
        position=row["last_position"],
        state=row["state"],
        attempt=row["attempt"],
        retry_at=row["retry_at"],
        rule=None if "message" in body else opening.rule,
        actor_type=opening.actor_type or "",
        actor_id=opening.actor_id or "",
        source_position=opening.source_position,
    )
    return Standing(opening=opening, state=state, problem=last.get("problem", body["problem"]))


def _done(standing: Standing, how: How) -> Standing:
    if standing.state.state != _BECOMES[how]:
        raise Conflict(
            f"exception {standing.state.id} was {standing.state.state} already; nothing is left to do for it"
        )
    return standing
