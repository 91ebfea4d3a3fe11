"""Events: what a rule sees of one record, and the words that it answers with. Pure.

A ``Trigger`` is the record with its actor's documents as text, as it travels to where rules run; an ``Event`` reads
them, when it is asked to, into the classes of the application.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

import msgspec

from peaceriver.actor import Actor, Message, read_document, write_document
from peaceriver.jsontext import write
from peaceriver.message import Envelope
from peaceriver.stamp import Stamp, wall_of

_exact: Callable[[str], Any] = msgspec.json.Decoder(float_hook=Decimal).decode


class Trigger(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A record that a rule may act on, with its actor's documents at that record."""

    shard: int
    position: int
    stamp: int
    message_id: UUID
    actor_type: str
    actor_id: str
    action: str
    message_type: str
    version: int | None
    sender: int | None
    correlation: str | None
    principal: str | None
    trace: str | None
    cause_time: int | None
    cause_shard: int | None
    root: UUID
    valid_at: datetime | None
    hops: int
    body: str
    before: str | None
    document: str | None
    #: The chain at its position: a mark carries it.
    chain: bytes = b""

    @property
    def key(self) -> tuple[str, str]:
        return self.actor_type, self.actor_id

    @property
    def moment(self) -> Stamp:
        return Stamp(self.stamp, self.shard)

    def size(self) -> int:
        """The size of what it holds, roughly."""
        return len(self.body) + len(self.before or "") + len(self.document or "")


@dataclass(frozen=True, slots=True)
class Resolve:
    """What a rule yields that deals with an exception: try it again, skip it, or answer it with a message."""

    how: Literal["retry", "skip", "answer"]
    exception: UUID
    message: Envelope | None = None


class ExceptionAt(msgspec.Struct, frozen=True, kw_only=True):
    """An exception as the rule that deals with it sees it."""

    id: UUID
    #: The rule that could not act; None for a message that was refused.
    rule: str | None
    #: How often it was tried.
    attempt: int
    title: str
    detail: str
    #: The message that was refused, as ``POST /messages`` takes it; None where a rule could not act.
    message: dict[str, Any] | None


class Event:
    """What happened to an actor. ``document`` is what it was after that, ``before`` what it was until then."""

    def __init__(self, trigger: Trigger, models: Mapping[str, type[Actor]]) -> None:
        self._trigger = trigger
        self._models = models

    @property
    def id(self) -> str:
        """The actor's id, as in "SO-1"."""
        return self._trigger.actor_id

    @property
    def actor(self) -> str:
        """The actor's type and id, as in "Order/SO-1"."""
        return f"{self._trigger.actor_type}/{self._trigger.actor_id}"

    @property
    def shard(self) -> int:
        """The department's sharding code."""
        return self._trigger.shard

    @property
    def stamp(self) -> Stamp:
        return self._trigger.moment

    @property
    def position(self) -> int:
        return self._trigger.position

    @property
    def now(self) -> datetime:
        """The record's own time: a rule asks no other clock."""
        return wall_of(self._trigger.stamp)

    @property
    def action(self) -> str:
        """create, modify or cancel."""
        return self._trigger.action

    @property
    def type(self) -> str:
        """The message type."""
        return self._trigger.message_type

    @property
    def version(self) -> int | None:
        """The actor's version with this record."""
        return self._trigger.version

    @property
    def sender(self) -> int | None:
        """The department that sent the message; None where it came from outside."""
        return self._trigger.sender

    @property
    def correlation(self) -> str | None:
        return self._trigger.correlation

    @property
    def principal(self) -> str | None:
        """Who sent the message, or on whose behalf a rule did."""
        return self._trigger.principal

    @property
    def valid_at(self) -> datetime:
        """The business time."""
        return self._trigger.valid_at or self.now

    @cached_property
    def message(self) -> Any:
        """The message's body: an instance of its class, of the model for a create, else the JSON value."""
        model = self._models.get(self._trigger.actor_type)
        if model is not None:
            kind = model.__message_types__.get(self._trigger.message_type)
            if kind is not None:
                return read_document(kind, self._trigger.body)
            if self._trigger.action == "create":
                return read_document(model, self._trigger.body)
        return _exact(self._trigger.body)

    @cached_property
    def document(self) -> Any:
        """The document after the record: an instance of its model, or the JSON value of a type without one."""
        return self._read(self._trigger.document)

    @cached_property
    def before(self) -> Any:
        """The document before the record; None for a create."""
        return self._read(self._trigger.before)

    def _read(self, text: str | None) -> Any:
        if text is None:
            return None
        model = self._models.get(self._trigger.actor_type)
        return _exact(text) if model is None else read_document(model, text)

    @cached_property
    def exception(self) -> ExceptionAt | None:
        """The exception, for a rule on exceptions; else None."""
        body = _exact(self._trigger.body)
        if not isinstance(body, dict) or "exception" not in body or "problem" not in body:
            return None
        return ExceptionAt(
            id=UUID(body["exception"]),
            rule=body.get("rule"),
            attempt=body["attempt"],
            title=body["problem"]["title"],
            detail=body["problem"]["detail"],
            message=body.get("message"),
        )

    def reply(self, message: Message[Any] | Mapping[str, Any], to: str) -> Envelope:
        """A message back to the department that sent this one: a message of a named type, or a merge patch.

        ``to`` is the actor there, as in "Order/SO-1". Raises ``ValueError`` where nobody sent it.
        """
        if self.sender is None:
            raise ValueError(f"{self.actor} got a message from outside: there is no department to reply to.")
        actor_type, _, actor_id = to.partition("/")
        named = isinstance(message, Message)
        return Envelope(
            to=self.sender,
            actor_type=actor_type,
            actor_id=actor_id or None,
            action=type(message).__action__ if isinstance(message, Message) else "modify",
            type=type(message).__name__ if named else None,
            body=write_document(message) if isinstance(message, Message) else write(message),
        )

    def retry(self) -> Resolve:
        """Let the exception be tried again at once."""
        return Resolve("retry", self._exception_id)

    def skip(self) -> Resolve:
        """Leave it undone; what waits behind it goes on."""
        return Resolve("skip", self._exception_id)

    def answer(self, message: Envelope) -> Resolve:
        """Let a message take the place of what could not be done."""
        return Resolve("answer", self._exception_id, message)

    @property
    def _exception_id(self) -> UUID:
        if self.exception is None:
            raise ValueError(f"{self.actor} had no exception here: only a rule on exceptions can resolve one.")
        return self.exception.id
