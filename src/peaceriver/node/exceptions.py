"""Exceptions as people see and resolve them: what could not be done, what waits behind it, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec

from peaceriver.errors import Conflict, Invalid, LedElsewhere, NotFound, Offence, OutcomeUnknown, Refused
from peaceriver.message import Envelope, derived_id, same_message
from peaceriver.node.agents import Agents
from peaceriver.node.departments import Departments
from peaceriver.node.room import Room
from peaceriver.node.sending import Sender, Sending
from peaceriver.node.standings import Standing, Standings
from peaceriver.postgres import Database
from peaceriver.shard import journal, resolving
from peaceriver.shard.attempt import MarkMoved, Resolved
from peaceriver.shard.exceptions import entry_of
from peaceriver.shard.proposal import ExceptionEntry, Wish, supplied
from peaceriver.shard.shard import Shard
from peaceriver.shard.watermark import Watermark

How = Literal["retry", "skip", "answer"]
_BECOMES = {"retry": "retried", "skip": "skipped", "answer": "answered"}
_TRIES_MAX = 5


class Exceptions:
    """The exceptions of a node's departments."""

    def __init__(self, database: Database, shards: Departments, agents: Agents, sending: Sending, room: Room) -> None:
        self._database = database
        self._shards = shards
        self._agents = agents
        self._sending = sending
        self._room = room
        self._standings = Standings(database, shards)

    async def listed(self, *, state: str | None, limit: int, offset: int) -> list[Standing]:
        """Exceptions, oldest first; of one state, or all. Raises Withheld where they are damaged."""
        self._check()
        return await self._standings.listed(state=state, limit=limit, offset=offset)

    async def at(self, exception_id: UUID) -> Standing:
        """One exception, as far as its department is complete; raises NotFound, and Withheld where it may be damaged.

        One whose opening is not complete is not there yet.
        """
        self._check()
        found = await self._standings.at([exception_id])
        if not found:
            raise _missing(exception_id)
        return found[0]

    async def open_among(self, ids: Iterable[UUID]) -> list[Standing]:
        """Those of some exceptions that are open, as far as their departments are complete; raises Withheld."""
        self._check()
        return await self._standings.open_among(ids)

    async def _recorded(self, exception_id: UUID) -> Standing:
        """One exception as it is recorded here, complete or not; raises NotFound, Withheld."""
        self._check()
        found = await self._standings.recorded(exception_id)
        if found is None:
            raise _missing(exception_id)
        return found

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
            standing = await self._recorded(exception_id)
            if standing.state.state != "open":
                await self._stays(standing, sender)
                standing = await self.at(exception_id)
                if standing.state.state == "open":
                    continue  # the end was taken back
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

    async def _stays(self, standing: Standing, sender: Sender) -> None:
        """Wait until what became of an exception cannot be taken back any more; whoever leads can tell of that.

        Raises LedElsewhere, OutcomeUnknown.
        """
        shard = self._shards.at(standing.opening.shard)
        if standing.state.position > shard.complete.value:
            reign = self._led(shard, standing).reign
            await _for_good(reign, standing.state.position, standing, sender.timeout_s)

    def _led(self, shard: Shard, standing: Standing) -> Shard:
        """The department of an exception; raises LedElsewhere where this node does not lead it."""
        if not shard.serving:
            raise LedElsewhere(
                f"department {shard.code}, where exception {standing.state.id} is, is not led by this node; ask again "
                "in a moment",
                shard=shard.code,
            )
        return shard

    async def _say(self, standing: Standing, how: How, sender: Sender, message: Envelope | None) -> None:
        """Record what is to become of an open exception; raises MarkMoved or Resolved where it is open no longer."""
        shard = self._led(self._shards.at(standing.opening.shard), standing)
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
        """How it stands after the next attempt, once that is complete; or when the sender's time is up."""
        rule, shard = before.state.rule, self._shards.at(before.opening.shard)
        try:
            async with asyncio.timeout(sender.timeout_s):
                while True:
                    agent = None if rule is None else self._agents.of(rule)
                    seen = 0 if agent is None else agent.changes.value
                    reign, now = shard.reign, await self._recorded(before.state.id)
                    if agent is None or now.state.state != "open" or now.state.attempt > before.state.attempt:
                        await reign.reached(now.state.position)
                        break
                    await agent.changes.passed(seen)
        except TimeoutError:
            pass  # it is shown as it stands
        return await self.at(before.state.id)


async def _for_good(reign: Watermark, position: int, standing: Standing, timeout_s: float) -> None:
    """Wait until what was recorded in a reign is complete; raises OutcomeUnknown where that takes too long."""
    if not await reign.reached_within(position, timeout_s):
        raise OutcomeUnknown(
            f"what is to become of exception {standing.state.id} is recorded, and not yet in a majority of the "
            "replicas: look at it again, or say the same again"
        )


def _missing(exception_id: UUID) -> NotFound:
    return NotFound(f"there is no exception {exception_id}; GET /exceptions lists those that there are")


def _answering(entry: ExceptionEntry, message: Envelope | None, code: int, sender: Sender) -> Wish:
    """An answer as its department would get it; raises Invalid where it is none."""
    if message is None:
        raise Invalid("an answer is a message: say to whom, which actor and what happens to it")
    for name, given in (("from", message.sender), ("cause", message.cause)):
        if given is not None:
            detail = "an answer gets it from the exception: leave it out"
            raise Invalid(f"{name}: {detail}", errors=(Offence(f"/{name}", detail),), message_id=str(message.id))
    return resolving.answering(entry, message, code, sender.principal, sender.trace)
