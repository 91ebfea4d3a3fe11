"""Exceptions: what could not be done, as records of the journal from its opening to what became of it. Pure.

Two things open one: a message that was on its way already is refused (delivered by another department, released by a
timer, made by a rule), or a rule cannot act on a record. Nothing is rolled back: whoever resolves it does so by a
further record, and the journal lets each exception be resolved once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Refused
from peaceriver.message import Envelope, derived_id, moment
from peaceriver.record import Record, Resolution, written_time
from peaceriver.shard.journal import ExceptionState
from peaceriver.shard.proposal import ExceptionEntry, Wish, entry_id


def exception_id(message_id: UUID, recorded_in: int) -> UUID:
    """The id of the exception that answers a message, by the department that recorded it first.

    A message id is one of its kind in one department only: others may have used it as well.
    """
    return derived_id(message_id, "exception", str(recorded_in))


def refused(wish: Wish, refusal: Refused) -> ExceptionEntry:
    """A message that admission refuses and nobody waits for: what happened, and the message itself."""
    if wish.retries is not None:
        return failed_again(wish.retries, refusal.problem())
    envelope = wish.envelope
    actor_type, actor_id = wish.key
    return ExceptionEntry(
        id=exception_id(wish.id, envelope.recorded_in),
        state="open",
        attempt=1,
        actor_type=actor_type,
        actor_id=actor_id,
        action=envelope.action,
        message_type=envelope.message_type,
        cause=envelope.cause,
        root=wish.root,
        correlation=envelope.correlation,
        principal=wish.principal,
        trace=wish.trace,
        hops=wish.hops,
        rule=wish.rule,
        rule_version=wish.rule_version,
        sender=envelope.sender,
        receiver=envelope.to,
        source_position=wish.source_position,
        problem=refusal.problem(),
        message=_as_value(envelope),
    )


def _as_value(envelope: Envelope) -> dict[str, Any]:
    return envelope.public() | {"body": jsontext.read(envelope.body.encode())}


def resolved(entry: ExceptionEntry, state: Resolution, principal: str | None = None) -> ExceptionEntry:
    """The entry that ends an exception; ``principal`` is who did it, where it was not the system."""
    return msgspec.structs.replace(
        entry,
        state=state,
        attempt=entry.attempt + (state == "retried"),
        principal=principal or entry.principal,
        retry_at=None,
        asked=False,
        problem=None,
    )


def failed_again(
    entry: ExceptionEntry, problem: dict[str, Any], *, retry_at: datetime | None = None, principal: str | None = None
) -> ExceptionEntry:
    """The entry of an attempt that was in vain; ``retry_at``: when the next one is made by itself."""
    return msgspec.structs.replace(
        entry,
        attempt=entry.attempt + 1,
        retry_at=retry_at,
        asked=False,
        principal=principal or entry.principal,
        problem=problem,
    )


def asked(entry: ExceptionEntry, now: datetime, principal: str | None) -> ExceptionEntry:
    """Somebody asks for an exception to be tried again at once."""
    who = principal or entry.principal
    return msgspec.structs.replace(entry, asked=True, retry_at=now, principal=who, problem=None)


def written(entry: ExceptionEntry) -> dict[str, Any]:
    """The columns of an entry's record."""
    body: dict[str, Any] = {"exception": str(entry.id), "state": entry.state, "attempt": entry.attempt}
    if entry.message is None:
        body["rule"] = entry.rule
    if entry.at_exception:
        body["at_exception"] = True
    if entry.asked:
        body["asked"] = True
    if entry.retry_at is not None:
        body["retry_at"] = written_time(entry.retry_at)
    if entry.problem is not None:
        body["problem"] = entry.problem
    if entry.message is not None and entry.attempt == 1 and entry.state == "open" and not entry.asked:
        body["message"] = entry.message
    return {
        "kind": "exception",
        "message_id": entry.record_id,
        "actor_type": entry.actor_type,
        "actor_id": entry.actor_id,
        "action": entry.action,
        "message_type": entry.message_type,
        "sender_shard": entry.sender,
        "receiver_shard": entry.receiver,
        "source_position": entry.source_position,
        "cause_time": None if entry.cause is None else entry.cause.time,
        "cause_shard": None if entry.cause is None else entry.cause.shard,
        "root": entry.root,
        "correlation": entry.correlation,
        "rule": entry.rule,
        "rule_version": entry.rule_version,
        "principal": entry.principal,
        "trace": entry.trace,
        "hops": entry.hops,
        "body": jsontext.write(body),
    }


def state_of(entry: ExceptionEntry, position: int) -> ExceptionState:
    """What is folded from an entry's record at a position."""
    return ExceptionState(
        id=entry.id,
        position=position,
        state=entry.state,
        attempt=entry.attempt,
        retry_at=entry.retry_at,
        # A message that was refused may have been made by a rule, which did its part.
        rule=entry.rule if entry.message is None else None,
        actor_type=entry.actor_type,
        actor_id=entry.actor_id,
        source_position=entry.source_position,
        asked=entry.asked,
    )


def entry_ids(exception: UUID, attempts: int) -> list[UUID]:
    """The message ids that records of an exception may have which has come to so many attempts, and its end's."""
    numbers = range(1, attempts + 1)
    opened = [entry_id(exception, "open", each, asked=asked) for each in numbers for asked in (False, True)]
    return [*opened, entry_id(exception, "retried", attempts)]


def state_in(record: Record) -> ExceptionState:
    """What is folded from an exception's record as the journal has it: the same as from the entry that was written."""
    body = jsontext.read(record.body.encode())
    return ExceptionState(
        id=UUID(body["exception"]),
        position=record.position,
        state=body["state"],
        attempt=body["attempt"],
        retry_at=moment(body.get("retry_at"), "", []),
        rule=body.get("rule"),
        actor_type=record.actor_type or "",
        actor_id=record.actor_id or "",
        source_position=record.source_position,
        asked=body.get("asked", False),
    )


def entry_of(opening: Record, state: ExceptionState) -> ExceptionEntry:
    """An exception as it stands, from its opening record and what was folded from the later ones."""
    assert opening.message_id is not None
    assert opening.root is not None
    body = jsontext.read(opening.body.encode())
    return ExceptionEntry(
        id=opening.message_id,
        state=state.state,
        attempt=state.attempt,
        retry_at=state.retry_at,
        actor_type=state.actor_type,
        actor_id=state.actor_id,
        action=opening.action or "",
        message_type=opening.message_type or "",
        cause=opening.moment,
        root=opening.root,
        correlation=opening.correlation,
        principal=opening.principal,
        trace=opening.trace,
        hops=opening.hops,
        rule=opening.rule,
        rule_version=opening.rule_version,
        at_exception=body.get("at_exception", False),
        sender=opening.sender_shard,
        receiver=opening.receiver_shard,
        source_position=opening.source_position,
        message=body.get("message"),
    )
