"""Resolving exceptions: what is appended where a person or a rule retries, skips or answers one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from peaceriver.errors import Refused
from peaceriver.event import Resolve, Trigger
from peaceriver.jsontext import write
from peaceriver.message import Envelope, moment
from peaceriver.shard.exceptions import asked, failed_again, resolved
from peaceriver.shard.journal import Mark
from peaceriver.shard.proposal import ExceptionEntry, Proposal, Wish, kind_of
from peaceriver.shard.steps import Stand, reader_behind, wish_of
from peaceriver.stamp import Stamp

#: Where no mark ever is.
_NOWHERE = -1


def retry(
    entry: ExceptionEntry, shard: int, marks: Mapping[tuple[str, int], int], now: datetime, principal: str | None
) -> Proposal:
    """Try again: a refused message is admitted now; a rule is asked again as soon as it hears of this entry.

    Nobody asks for another attempt at what was resolved meanwhile: then the actor's mark has moved.
    """
    if entry.message is None:
        expecting = (_expected(entry, shard, marks),)
        return Proposal(exceptions=(asked(entry, now, principal),), expecting=expecting)
    retries = msgspec.structs.replace(entry, principal=principal or entry.principal)
    wish = msgspec.structs.replace(_once_more(entry, shard), records_refusal=True, retries=retries)
    return Proposal(wishes=(wish,))


def admission(entry: ExceptionEntry, shard: int, principal: str | None) -> Proposal:
    """Admit a refused message and resolve its exception: both are recorded, or neither."""
    entries = (resolved(entry, "retried", principal),)
    return Proposal(wishes=(_once_more(entry, shard),), atomic=True, exceptions=entries)


def refused_again(entry: ExceptionEntry, refusal: Refused, principal: str | None) -> Proposal:
    """A refused message was tried again in vain."""
    return Proposal(exceptions=(failed_again(entry, refusal.problem(), principal=principal),))


def _once_more(entry: ExceptionEntry, shard: int) -> Wish:
    """A refused message at the department's door again."""
    envelope = _refused_message(entry)
    assert envelope.id is not None, "what was refused had an id"
    return Wish(
        id=envelope.id,
        envelope=envelope,
        kind="received" if envelope.to == shard else kind_of(envelope),
        root=entry.root,
        principal=entry.principal,
        trace=entry.trace,
        hops=entry.hops,
        rule=entry.rule,
        rule_version=entry.rule_version,
        source_position=entry.source_position,
        received_time=_time_of(entry),
    )


def skip(entry: ExceptionEntry, shard: int, marks: Mapping[tuple[str, int], int], principal: str | None) -> Proposal:
    """Leave it undone; what waits behind it goes on."""
    marked, expecting = _passed(entry, shard, marks)
    return Proposal(exceptions=(resolved(entry, "skipped", principal),), marks=marked, expecting=expecting)


def answer(
    entry: ExceptionEntry, shard: int, marks: Mapping[tuple[str, int], int], wish: Wish, principal: str | None
) -> Proposal:
    """Let a message take the place of what could not be done: both are recorded, or neither."""
    marked, expecting = _passed(entry, shard, marks)
    entries = (resolved(entry, "answered", principal),)
    return Proposal(wishes=(wish,), atomic=True, exceptions=entries, marks=marked, expecting=expecting)


def answering(entry: ExceptionEntry, envelope: Envelope, shard: int, principal: str | None, trace: str | None) -> Wish:
    """A person's answer at the department's door: it follows from the exception, and begins a new chain of rules."""
    sender = None if envelope.to == shard else shard
    correlation = envelope.correlation or entry.correlation
    made = msgspec.structs.replace(envelope, sender=sender, cause=entry.cause, correlation=correlation)
    assert made.id is not None, "an answer has an id"
    return Wish(
        id=made.id,
        envelope=made,
        kind=kind_of(made),
        root=entry.root,
        principal=principal,
        trace=trace,
        received_time=_time_of(entry),
    )


def by_rule(
    entries: Mapping[UUID, ExceptionEntry], stand: Stand, marks: Mapping[tuple[str, int], int], now: datetime
) -> Callable[[Resolve, Trigger], Proposal | None]:
    """How a rule resolves exceptions that are open: each once; None where one is open no longer."""
    left, principal = dict(entries), f"rule:{stand.rule}"

    def resolving(wanted: Resolve, trigger: Trigger) -> Proposal | None:
        entry = left.pop(wanted.exception, None)
        if entry is None:
            return None
        if wanted.how == "retry":
            return retry(entry, stand.shard, marks, now, principal)
        if wanted.message is None:
            return skip(entry, stand.shard, marks, principal)
        return answer(entry, stand.shard, marks, wish_of(stand, trigger, wanted.message), principal)

    return resolving


def _passed(
    entry: ExceptionEntry, shard: int, marks: Mapping[tuple[str, int], int]
) -> tuple[tuple[Mark, ...], tuple[tuple[str, int, int], ...]]:
    """The parked actor's mark beyond the record of the exception, and where it must stand now."""
    if entry.message is not None:
        return (), ()
    reader, _, position = expected = _expected(entry, shard, marks)
    if position == _NOWHERE:
        return (), ()
    assert entry.source_position is not None, "a rule's exception tells at which record"
    return (Mark(reader, shard, entry.source_position, b""),), (expected,)


def _expected(entry: ExceptionEntry, shard: int, marks: Mapping[tuple[str, int], int]) -> tuple[str, int, int]:
    """The mark of the actor that waits behind a rule's exception, where it is now; where there is none, it is moved."""
    assert entry.rule is not None, "an exception without a message is a rule's"
    reader = reader_behind(entry.rule, (entry.actor_type, entry.actor_id))
    return reader, shard, marks.get((reader, shard), _NOWHERE)


def _time_of(entry: ExceptionEntry) -> int:
    return 0 if entry.cause is None else entry.cause.time


def _refused_message(entry: ExceptionEntry) -> Envelope:
    told = entry.message
    assert told is not None
    actor_type, _, actor_id = told["actor"].partition("/")
    return Envelope(
        to=told["to"],
        actor_type=actor_type,
        actor_id=actor_id or None,
        action=told["action"],
        body=write(told["body"]),
        id=UUID(told["id"]),
        sender=told.get("from"),
        type=told.get("type"),
        if_version=told.get("if_version"),
        valid_at=moment(told.get("valid_at"), "", []),
        due=moment(told.get("due"), "", []),
        correlation=told.get("correlation"),
        cause=None if told.get("cause") is None else Stamp.parse(told["cause"]),
    )
