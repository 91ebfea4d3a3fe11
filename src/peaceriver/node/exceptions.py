"""Exceptions as people see and resolve them: what could not be done, what waits behind it, and what became of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Conflict, Invalid, LedElsewhere, NotFound, Offence, OutcomeUnknown, Refused
from peaceriver.message import Envelope, derived_id, same_message
from peaceriver.node.agents import Agents
from peaceriver.node.departments import Departments
from peaceriver.node.room import Room
from peaceriver.node.sending import Sender, Sending
from peaceriver.postgres import Database
from peaceriver.record import Record, from_row, written_time
from peaceriver.shard import journal, resolving
from peaceriver.shard.attempt import MarkMoved, Resolved
from peaceriver.shard.exceptions import entry_of
from peaceriver.shard.journal import ExceptionState
from peaceriver.shard.proposal import ExceptionEntry, Wish, supplied
from peaceriver.shard.shard import Shard
from peaceriver.shard.watermark import Watermark

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

    def __init__(self, database: Database, shards: Departments, agents: Agents, sending: Sending, room: Room) -> None:
        self._database = database
        self._shards = shards
        self._agents = agents
        self._sending = sending
        self._room = room

    async def listed(self, *, state: str | None, limit: int, offset: int) -> list[Standing]:
        """Exceptions, oldest first; of one state, or all. Raises Withheld where they are damaged."""
        self._check()
        async with self._database.reading() as tx:
            rows = await journal.sql.exceptions.rows(
                tx, shards=list(self._shards), state=state, records=limit, skipped=offset
            )
        return [_standing(row) for row in rows]

    async def at(self, exception_id: UUID) -> Standing:
        """One exception; raises NotFound, and Withheld where it may be damaged."""
        self._check()
        async with self._database.reading() as tx:
            row = await journal.sql.exception_at.row(tx, id=exception_id)
        if row is None:
            raise NotFound(f"there is no exception {exception_id}; GET /exceptions lists those that there are")
        return _standing(row)

    def _check(self) -> None:
        for shard in self._shards.values():
            shard.damage.check_standing()

    async def resolve(self, exception_id: UUID, how: How, sender: Sender, message: Envelope | None = None) -> Standing:
        """Retry, skip or answer an exception; answers how it stands then.

        A retry waits for the attempt, so long as the sender does; one that fails leaves the exception open. Repeating
        what was done changes nothing. Raises NotFound, Conflict where it was resolved another way, and what refuses
        the answer.
        """
        if message is not None and message.id is None:
            # The same each time, so that an answer can be repeated by somebody who does not know whether it was heard.
            message = msgspec.structs.replace(message, id=derived_id(exception_id, "answer"))
        for _ in range(_TRIES_MAX):
            standing = await self.at(exception_id)
            if standing.state.state != "open":
                return await self._repeated(standing, how, message)
            try:
                await self._say(standing, how, sender, message)
            except (MarkMoved, Resolved):
                # Somebody was faster, or asked for this attempt before: look at what there is now.
                if how != "retry":
                    continue
            now = await (self._attempted(standing, sender) if how == "retry" else self.at(exception_id))
            return now if now.state.state == "open" else await self._repeated(now, how, message)
        raise Conflict(f"exception {exception_id} is being resolved by others; look at it and try again")

    async def _say(self, standing: Standing, how: How, sender: Sender, message: Envelope | None) -> None:
        """Record what is to become of an open exception; raises MarkMoved or Resolved where it is open no longer."""
        shard = self._shards.at(standing.opening.shard)
        if not shard.serving:
            raise LedElsewhere(
                f"department {shard.code}, where exception {standing.state.id} is, is not led by this node; ask again "
                "in a moment",
                shard=shard.code,
            )
        entry = entry_of(standing.opening, standing.state)
        reign = shard.reign
        if how == "skip":
            await shard.append(resolving.skip(entry, shard.code, shard.marks, sender.principal))
        elif how == "answer":
            await self._answer(entry, shard, sender, message)
        elif entry.message is None:
            if self._agents.of(str(entry.rule)) is None:
                raise Conflict(
                    f"the rule {entry.rule} is not active here, so nobody tries again; skip it, or answer it"
                )
            await shard.append(resolving.retry(entry, shard.code, shard.marks, datetime.now(UTC), sender.principal))
        else:
            (outcome,) = await shard.append(resolving.admission(entry, shard.code, sender.principal))
            if isinstance(outcome, Refused):
                await shard.append(resolving.refused_again(entry, outcome, sender.principal))
        await _for_good(reign, shard.tip.position, standing, sender.timeout_s)

    async def _answer(self, entry: ExceptionEntry, shard: Shard, sender: Sender, message: Envelope | None) -> None:
        wish = _answering(entry, message, shard.code, sender)
        self._room.check()
        try:
            wish = msgspec.structs.replace(wish, value=self._sending.checked(wish.envelope))
        except Refused as refusal:
            refusal.message_id = str(wish.id)
            raise
        answer = resolving.answer(entry, shard.code, shard.marks, wish, sender.principal)
        (outcome,) = await shard.append(answer)
        if isinstance(outcome, Refused):
            raise outcome

    async def _repeated(self, standing: Standing, how: How, message: Envelope | None) -> Standing:
        """How an exception stands that was resolved; raises Conflict where that was done by saying something else."""
        is_same = standing.state.state == _BECOMES[how]
        if is_same and (how != "answer" or await self._was_answered_by(standing, message)):
            return standing
        raise Conflict(
            f"exception {standing.state.id} was {standing.state.state} already; nothing is left to do for it"
        )

    async def _was_answered_by(self, standing: Standing, message: Envelope | None) -> bool:
        code = standing.opening.shard
        wish = _answering(entry_of(standing.opening, standing.state), message, code, Sender())
        async with self._database.connection() as tx:
            recorded = (await journal.recorded(tx, code, [wish.id])).get(wish.id)
        said = msgspec.structs.replace(wish.envelope, actor_id=wish.key[1])
        return recorded is not None and same_message(said, supplied(recorded))

    async def _attempted(self, before: Standing, sender: Sender) -> Standing:
        """How it stands after the next attempt, or when the sender's time is up."""
        rule = before.state.rule
        try:
            async with asyncio.timeout(sender.timeout_s):
                while True:
                    agent = None if rule is None else self._agents.of(rule)
                    seen = 0 if agent is None else agent.changes.value
                    now = await self.at(before.state.id)
                    if agent is None or now.state.state != "open" or now.state.attempt > before.state.attempt:
                        return now
                    await agent.changes.passed(seen)
        except TimeoutError:
            return await self.at(before.state.id)


async def _for_good(reign: Watermark, position: int, standing: Standing, timeout_s: float) -> None:
    """Wait until what was recorded in a reign is complete; raises OutcomeUnknown where that takes too long."""
    if not await reign.reached_within(position, timeout_s):
        raise OutcomeUnknown(
            f"what is to become of exception {standing.state.id} is recorded, and not yet in a majority of the "
            "replicas: look at it again, or say the same again"
        )


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


def _answering(entry: ExceptionEntry, message: Envelope | None, code: int, sender: Sender) -> Wish:
    """An answer as its department would get it; raises Invalid where it is none."""
    if message is None:
        raise Invalid("an answer is a message: say to whom, which actor and what happens to it")
    for name, given in (("from", message.sender), ("cause", message.cause)):
        if given is not None:
            detail = "an answer gets it from the exception: leave it out"
            raise Invalid(f"{name}: {detail}", errors=(Offence(f"/{name}", detail),), message_id=str(message.id))
    return resolving.answering(entry, message, code, sender.principal, sender.trace)
