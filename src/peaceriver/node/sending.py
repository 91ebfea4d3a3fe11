"""Sending: from what a client supplied to a receipt. Form is checked here, before anything reaches a journal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import msgspec

from peaceriver.directory.directory import Directory
from peaceriver.errors import (
    Behind,
    Conflict,
    Invalid,
    Malformed,
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
)
from peaceriver.message import Envelope, body_value, offences
from peaceriver.node.departments import Departments
from peaceriver.node.identity import new_id
from peaceriver.node.routing import Routing
from peaceriver.node.stamps import Stamps, is_far_ahead
from peaceriver.shard.causes import Cause
from peaceriver.shard.pending import Kept
from peaceriver.shard.proposal import Concern, Outcome, Proposal, Wish, kind_of
from peaceriver.stamp import Stamp
from peaceriver.wording import named


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends, and how long they wait."""

    principal: str | None = None
    #: W3C trace context, kept with the record.
    trace: str | None = None
    timeout_s: float = SEND_TIMEOUT_S
    #: How safe a receipt must be: held by a majority of the replicas, by the leader alone, or by all.
    concern: Concern = "quorum"
    #: Where nobody records it for good in a short time, it may be kept here until somebody does (see Spooling).
    spool: bool = False


class Causes(NamedTuple):
    """The records that messages name as their causes; of those in ``behind`` nothing can be said here yet."""

    found: Mapping[Stamp, Cause]
    behind: frozenset[Stamp] = frozenset()


_NO_CAUSES = Causes({})


class Types(Protocol):
    """The actor types that have a view."""

    def __contains__(self, actor_type: str) -> bool: ...
    def __len__(self) -> int: ...


class Sending:
    """The door of a node: takes messages for any department it serves."""

    def __init__(
        self,
        directory: Directory,
        shards: Departments,
        routing: Routing,
        stamps: Stamps,
        types: Types,
    ) -> None:
        self._stamps = stamps
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
        causes = await self._causes(messages, sender.timeout_s)
        # Causes may have to be waited for: then a list stays whole, so that it keeps its order.
        if causes.found or len(messages) <= PART_MESSAGES_MAX:
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
                f"an atomic batch is recorded by one department, not by {named('department', sorted(recorders))}; "
                "give the messages the same 'from', or the same 'to'",
                errors=(Offence("", "more than one recording department"),),
            )
        wishes: list[Wish] = []
        causes = await self._causes(messages, sender.timeout_s)
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

    async def spooled(self, unit: Sequence[Kept]) -> tuple[Wish, ...]:
        """Messages of one department that were spooled here, as they come to its door; what refuses one is recorded.

        Raises Behind where nothing can be said of a cause yet.
        """
        causes = await self._causes([each.envelope for each in unit], CAUSE_WAIT_S)
        wishes = [self._kept_wish(each, causes) for each in unit]
        return tuple(await self._await_causes(wishes, causes, atomic=False))

    def _kept_wish(self, kept: Kept, causes: Causes) -> Wish:
        refusal, root, received = None, kept.id, 0
        try:
            root, received = self._origin(kept.id, kept.envelope, causes)
        except Invalid as error:
            refusal = error
        return Wish(
            id=kept.id,
            envelope=kept.envelope,
            kind=kind_of(kept.envelope),
            root=root,
            principal=kept.principal,
            trace=kept.trace,
            received_time=received,
            records_refusal=True,
            refusal=refusal,
        )

    async def _send_part(
        self,
        messages: Sequence[Envelope | Refused],
        causes: Causes,
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
        causes: Causes,
        sender: Sender,
        outcomes: list[Outcome | None],
        promoted: tuple[UUID, ...],
    ) -> None:
        """Send one department's messages in their order."""
        wishes = [wish for _, wish in lane]
        if causes.found:
            wishes = await self._await_causes(wishes, causes, atomic=False)
        proposals = [Proposal(wishes=(wish,), promoted=promoted) for wish in wishes if wish.refusal is None]
        sent = iter(
            await self._routing.send(code, proposals, concern=sender.concern, timeout_s=sender.timeout_s)
            if proposals
            else ()
        )
        for (index, _), wish in zip(lane, wishes, strict=True):
            outcomes[index] = next(sent)[0] if wish.refusal is None else wish.refusal

    def _prepared(self, messages: Iterable[Envelope | Refused], sender: Sender, causes: Causes) -> list[Wish | Refused]:
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

    async def _causes(self, messages: Iterable[Envelope | Refused], wait_s: float) -> Causes:
        """The causes of messages; those that this node may not have yet are waited for."""
        stamps = {each.cause for each in messages if isinstance(each, Envelope) and each.cause is not None}
        if not stamps:
            return _NO_CAUSES
        found = await self._stamps.find(stamps, min(wait_s, CAUSE_WAIT_S))
        return Causes({stamp: Cause(record) for stamp, record in found.records.items()}, found.behind)

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

    def _wish(self, message_id: UUID, envelope: Envelope, sender: Sender, causes: Causes) -> Wish:
        value = self.checked(envelope)
        root, received = self._origin(message_id, envelope, causes)
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
    def _origin(message_id: UUID, envelope: Envelope, causes: Causes) -> tuple[UUID, int]:
        """The root of a message, and the time that its stamp must exceed; raises Invalid, or Behind."""
        stamp = envelope.cause
        if stamp is None:
            return message_id, 0
        found = causes.found.get(stamp)
        if found is not None:
            return found.record.root or message_id, stamp.time
        if stamp in causes.behind:
            raise Behind(
                f"this node's replica of department {stamp.shard} is not as far as the cause {stamp} yet; send the "
                "message again in a moment, or to another node",
                errors=(Offence("/cause", "is not known here yet"),),
            )
        reason = "lies far in the future" if is_far_ahead(stamp) else "is not the stamp of any record"
        raise Invalid(f"the cause {stamp} {reason}", errors=(Offence("/cause", reason),))

    async def _await_causes(self, wishes: Sequence[Wish], causes: Causes, *, atomic: bool) -> list[Wish]:
        """Wait, a bounded time, for causes that were sent to the recording department and are still under way."""
        if not causes.found:
            return list(wishes)
        return list(await asyncio.gather(*(self._await_cause(wish, causes, atomic=atomic) for wish in wishes)))

    async def _await_cause(self, wish: Wish, causes: Causes, *, atomic: bool) -> Wish:
        stamp = wish.envelope.cause
        shard = self._shards[wish.envelope.recorded_in]
        if stamp is None or wish.refusal is not None or await causes.found[stamp].arrival(shard, CAUSE_WAIT_S):
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
