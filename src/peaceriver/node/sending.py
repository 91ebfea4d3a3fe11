"""Sending: from what a client supplied to a receipt. Form is checked here, before anything reaches a journal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import msgspec

from peaceriver.directory.directory import Directory
from peaceriver.errors import (
    Conflict,
    Invalid,
    Malformed,
    NotFound,
    Offence,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from peaceriver.limits import (
    ACTOR_TYPES_MAX,
    CAUSE_WAIT_S,
    CONTROL,
    PART_MESSAGES_MAX,
    SEND_TIMEOUT_S,
    STAMP_AHEAD_MAX_S,
)
from peaceriver.message import Envelope, body_value, offences
from peaceriver.node.departments import Departments
from peaceriver.node.identity import new_id, wall_clock
from peaceriver.node.routing import Concern, Routing
from peaceriver.postgres import Database
from peaceriver.record import Record, from_row
from peaceriver.shard import journal
from peaceriver.shard.causes import Cause, causes_at
from peaceriver.shard.exceptions import exception_id
from peaceriver.shard.proposal import Outcome, Proposal, Receipt, Wish, kind_of, receipt_of
from peaceriver.stamp import TICKS_PER_MICROSECOND, Stamp


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends, and how long they wait."""

    principal: str | None = None
    #: W3C trace context, kept with the record.
    trace: str | None = None
    timeout_s: float = SEND_TIMEOUT_S
    #: How safe a receipt must be: held by a majority of the replicas, by the leader alone, or by all.
    concern: Concern = "quorum"


class Types(Protocol):
    """The actor types that have a view."""

    def __contains__(self, actor_type: str) -> bool: ...
    def __len__(self) -> int: ...


class Sending:
    """The door of a node: takes messages for any department it serves."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        shards: Departments,
        routing: Routing,
        types: Types,
    ) -> None:
        self._database = database
        self._directory = directory
        self._shards = shards
        self._routing = routing
        #: The actor types that have a view already.
        self._types = types

    async def send(
        self, messages: Sequence[Envelope | Refused], sender: Sender, *, promoted: tuple[UUID, ...] = ()
    ) -> list[Outcome]:
        """Send messages on their own: one outcome each, in order; a bad one spoils no neighbour.

        A message that could not even be read comes as its refusal and is answered with it.
        """
        causes = await self._causes(messages)
        # Causes may have to be waited for: then a list stays whole, so that it keeps its order.
        if causes or len(messages) <= PART_MESSAGES_MAX:
            return await self._send_part(messages, causes, sender, promoted)
        parts: list[asyncio.Task[list[Outcome]]] = []
        for part in _parts(messages):
            parts.append(asyncio.create_task(self._send_part(part, causes, sender, promoted)))
            # While one part of a long list commits, the next is made ready.
            await asyncio.sleep(0)
        return [outcome for part in await asyncio.gather(*parts) for outcome in part]

    async def send_atomic(self, messages: Sequence[Envelope], sender: Sender) -> list[Outcome]:
        """Send messages that one department records all, or none; raises the refusal of the first bad one."""
        if not messages:
            return []
        recorders = {each.recorded_in for each in messages}
        if len(recorders) > 1:
            raise Invalid(
                f"an atomic batch is recorded by one department, not by {sorted(recorders)}; "
                "give the messages the same 'from', or the same 'to'",
                errors=(Offence("", "more than one recording department"),),
            )
        wishes: list[Wish] = []
        causes = await self._causes(messages)
        for index, each in enumerate(self._prepared(messages, sender, causes)):
            if isinstance(each, Refused):
                raise each.of_batch(index)
            wishes.append(each)
        await self._await_causes(wishes, causes, atomic=True)
        proposal = Proposal(wishes=tuple(wishes), atomic=True)
        outcomes = (
            await self._routing.send(recorders.pop(), [proposal], concern=sender.concern, timeout_s=sender.timeout_s)
        )[0]
        for outcome in outcomes:
            if isinstance(outcome, OutcomeUnknown | Unavailable):
                raise outcome
            if isinstance(outcome, Refused):
                # All have the refusal of the first bad one.
                raise outcome.of_batch([str(each.id) for each in wishes].index(str(outcome.message_id)))
        return outcomes

    async def receipt(self, message_id: UUID) -> tuple[str, Receipt | Record]:
        """What became of a message, by its id: its state and its receipt, or the exception that answers it.

        Raises NotFound where no department here has seen it. A message that was sent is told by its sender's journal.
        """
        answers = [exception_id(message_id, each) for each in self._shards]
        async with self._database.reading() as tx:
            rows = await journal.sql.recorded_anywhere.rows(tx, ids=[message_id, *answers])
        found = [from_row(row) for row in rows]
        recorded = [each for each in found if each.message_id == message_id]
        refusals = [each for each in found if each.message_id != message_id]
        if refusals and not any(each.kind == "received" for each in recorded):
            return "refused", refusals[0]
        if recorded:
            return "recorded", receipt_of(recorded[0])
        raise NotFound(f"no department here has seen message {message_id}")

    async def _send_part(
        self,
        messages: Sequence[Envelope | Refused],
        causes: Mapping[Stamp, Cause],
        sender: Sender,
        promoted: tuple[UUID, ...],
    ) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(messages)
        lanes: dict[int, list[tuple[int, Wish]]] = {}
        for index, each in enumerate(self._prepared(messages, sender, causes)):
            if isinstance(each, Wish):
                lanes.setdefault(each.envelope.recorded_in, []).append((index, each))
            else:
                outcomes[index] = each
        sending = [self._send_lane(code, lane, causes, sender, outcomes, promoted) for code, lane in lanes.items()]
        if len(sending) == 1:
            await sending[0]
        else:
            await asyncio.gather(*sending)
        return [each for each in outcomes if each is not None]

    async def _send_lane(
        self,
        code: int,
        lane: Sequence[tuple[int, Wish]],
        causes: Mapping[Stamp, Cause],
        sender: Sender,
        outcomes: list[Outcome | None],
        promoted: tuple[UUID, ...],
    ) -> None:
        """Send one department's messages in their order."""
        wishes = [wish for _, wish in lane]
        if causes:
            wishes = await self._await_causes(wishes, causes, atomic=False)
        proposals = [Proposal(wishes=(wish,), promoted=promoted) for wish in wishes if wish.refusal is None]
        sent = iter(
            await self._routing.send(code, proposals, concern=sender.concern, timeout_s=sender.timeout_s)
            if proposals
            else ()
        )
        for (index, _), wish in zip(lane, wishes, strict=True):
            outcomes[index] = next(sent)[0] if wish.refusal is None else wish.refusal

    def _prepared(
        self, messages: Iterable[Envelope | Refused], sender: Sender, causes: Mapping[Stamp, Cause]
    ) -> list[Wish | Refused]:
        """Each message with an id, checked as far as can be without its department; or why not."""
        prepared: list[Wish | Refused] = []
        for message in messages:
            if isinstance(message, Refused):
                prepared.append(message)
                continue
            message_id = message.id or new_id()
            try:
                prepared.append(self._wish(message_id, message, sender, causes))
            except Refused as refusal:
                refusal.message_id = str(message_id)
                prepared.append(refusal)
        return prepared

    async def _causes(self, messages: Iterable[Envelope | Refused]) -> dict[Stamp, Cause]:
        stamps = {each.cause for each in messages if isinstance(each, Envelope) and each.cause is not None}
        if not stamps:
            return {}
        async with self._database.reading() as tx:
            return await causes_at(tx, list(stamps))

    def checked(self, envelope: Envelope) -> object:
        """The decoded body of a message from outside, checked as far as can be without its department.

        Whatever way a message comes in, it comes through here. Raises Refused.
        """
        value = _read_form(envelope, self._shards)
        if envelope.sender == CONTROL and envelope.to != CONTROL:
            detail = "the control shard sends nothing: name the department that does, or none"
            raise Invalid(detail, errors=(Offence("/from", detail),))
        self._check_form(envelope, value)
        return value

    def _wish(self, message_id: UUID, envelope: Envelope, sender: Sender, causes: Mapping[Stamp, Cause]) -> Wish:
        value = self.checked(envelope)
        root, received = message_id, 0
        if envelope.cause is not None:
            cause = self._cause(envelope.cause, causes)
            root, received = cause.record.root or message_id, envelope.cause.time
        return Wish(
            id=message_id,
            envelope=envelope,
            kind=kind_of(envelope),
            root=root,
            principal=sender.principal,
            trace=sender.trace,
            received_time=received,
            value=value,
        )

    def _check_form(self, envelope: Envelope, value: object) -> None:
        """A create's document is checked before it is recorded anywhere, also where it is only sent on."""
        if envelope.action != "create":
            return
        model = self._directory.newest(envelope.actor_type)
        if model is None and envelope.actor_type not in self._types and len(self._types) >= ACTOR_TYPES_MAX:
            raise Invalid(
                f"{envelope.actor_type} would be a new type and there are {ACTOR_TYPES_MAX} already; "
                "publish a model for it, or use one that there is",
                errors=(Offence("/actor", "too many types without a model"),),
            )
        if kind_of(envelope) == "received" or model is None or envelope.message_type in model.message_types:
            return
        errors = model.validator.offences(value)
        if errors:
            raise Invalid("; ".join(f"{each.pointer}: {each.detail}" for each in errors[:5]), errors=errors)

    @staticmethod
    def _cause(stamp: Stamp, causes: Mapping[Stamp, Cause]) -> Cause:
        found = causes.get(stamp)
        if found is not None:
            return found
        ahead_max = int(STAMP_AHEAD_MAX_S * 1_000_000) * TICKS_PER_MICROSECOND
        reason = "lies far in the future" if stamp.time > wall_clock() + ahead_max else "is not the stamp of any record"
        raise Invalid(f"the cause {stamp} {reason}", errors=(Offence("/cause", reason),))

    async def _await_causes(self, wishes: Sequence[Wish], causes: Mapping[Stamp, Cause], *, atomic: bool) -> list[Wish]:
        """Wait, a bounded time, for causes that were sent to the recording department and are still under way."""
        if not causes:
            return list(wishes)
        return list(await asyncio.gather(*(self._await_cause(wish, causes, atomic=atomic) for wish in wishes)))

    async def _await_cause(self, wish: Wish, causes: Mapping[Stamp, Cause], *, atomic: bool) -> Wish:
        stamp = wish.envelope.cause
        shard = self._shards[wish.envelope.recorded_in]
        if stamp is None or await causes[stamp].arrival(shard, CAUSE_WAIT_S):
            return wish
        refusal = Conflict(
            f"the cause {stamp} was sent to department {shard.code} and has not arrived within {CAUSE_WAIT_S:g} s; "
            "send the message again",
            errors=(Offence("/cause", "has not arrived"),),
            message_id=str(wish.id),
        )
        if atomic:
            raise refusal
        return msgspec.structs.replace(wish, refusal=refusal)


def _read_form(envelope: Envelope, shards: Departments) -> object:
    """The decoded body of a message that departments here may be asked about; raises Refused for any other."""
    errors = offences(envelope)
    if errors:
        raise Invalid("; ".join(f"{each.pointer}: {each.detail}" for each in errors), errors=errors)
    for pointer, code in (("/to", envelope.to), ("/from", envelope.sender)):
        if code is not None:
            shards.at(code, pointer)
    try:
        return body_value(envelope)
    except UnicodeEncodeError as error:
        raise Malformed(f"the body holds a lone surrogate at letter {error.start}") from None


def _parts(messages: Sequence[Envelope | Refused]) -> Iterator[Sequence[Envelope | Refused]]:
    for start in range(0, len(messages), PART_MESSAGES_MAX):
        yield messages[start : start + PART_MESSAGES_MAX]
