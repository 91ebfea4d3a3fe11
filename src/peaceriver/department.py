"""Departments: who does the work, and the messages that are addressed to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from peaceriver.actor import Actor, Message, write_document
from peaceriver.jsontext import write
from peaceriver.limits import CODE_MAX, CONTROL, DATA_CODE_MIN
from peaceriver.message import ACTOR_TYPE, Action, Envelope
from peaceriver.stamp import Stamp

ActorType: TypeAlias = type[Actor] | str


@dataclass(frozen=True, slots=True)
class Department:
    """A Yellow Page: a department, the sharding code of its data, and what it receives.

    Codes are 0 (the control shard) or at least 100; others raise ``ValueError``. ``receives`` names actor types by
    class or by name; None means any. The methods make messages to this department; nothing is sent by them. Of their
    options, ``sender`` is the department whose journal records the message first, and ``cause`` the stamp of the record
    that it follows from.
    """

    code: int
    name: str
    receives: Sequence[ActorType] | None = None

    def __post_init__(self) -> None:
        _check_code(self.code)
        if not self.name:
            raise ValueError(f"The department {self.code} needs a name.")
        if self.receives is not None:
            object.__setattr__(self, "receives", tuple(self.receives))
            for each in self.actor_types or ():
                _check_type(each)

    @property
    def actor_types(self) -> tuple[str, ...] | None:
        """The names of the actor types that it receives; None means any."""
        if self.receives is None:
            return None
        return tuple(each if isinstance(each, str) else each.__name__ for each in self.receives)

    def create(
        self,
        actor: Actor,
        *,
        id: str | None = None,
        message_id: UUID | None = None,
        sender: Department | int | None = None,
        valid_at: datetime | None = None,
        due: datetime | None = None,
        correlation: str | None = None,
        cause: Stamp | str | None = None,
    ) -> Envelope:
        """A message that creates ``actor`` here; without ``id``, its id is derived from the message's."""
        return Envelope(
            to=self.code,
            actor_type=type(actor).__name__,
            actor_id=id,
            action="create",
            body=write_document(actor),
            id=message_id,
            sender=_code_of(sender),
            valid_at=valid_at,
            due=due,
            correlation=correlation,
            cause=_stamp(cause),
        )

    def modify(
        self,
        to: str,
        patch: Mapping[str, Any],
        *,
        if_version: int | None = None,
        message_id: UUID | None = None,
        sender: Department | int | None = None,
        valid_at: datetime | None = None,
        due: datetime | None = None,
        correlation: str | None = None,
        cause: Stamp | str | None = None,
    ) -> Envelope:
        """A message that merges ``patch`` (RFC 7396) into the actor ``to``, as in "Order/SO-1"; None removes."""
        actor_type, actor_id = _address(to)
        return Envelope(
            to=self.code,
            actor_type=actor_type,
            actor_id=actor_id,
            action="modify",
            body=write(patch),
            id=message_id,
            sender=_code_of(sender),
            if_version=if_version,
            valid_at=valid_at,
            due=due,
            correlation=correlation,
            cause=_stamp(cause),
        )

    def cancel(
        self,
        to: str,
        reason: str | None = None,
        *,
        if_version: int | None = None,
        message_id: UUID | None = None,
        sender: Department | int | None = None,
        valid_at: datetime | None = None,
        due: datetime | None = None,
        correlation: str | None = None,
        cause: Stamp | str | None = None,
    ) -> Envelope:
        """A message that ends the actor ``to``, as in "Order/SO-1"."""
        actor_type, actor_id = _address(to)
        return Envelope(
            to=self.code,
            actor_type=actor_type,
            actor_id=actor_id,
            action="cancel",
            body="{}" if reason is None else write({"reason": reason}),
            id=message_id,
            sender=_code_of(sender),
            if_version=if_version,
            valid_at=valid_at,
            due=due,
            correlation=correlation,
            cause=_stamp(cause),
        )

    def send(
        self,
        message: Message[Any],
        to: str,
        *,
        if_version: int | None = None,
        message_id: UUID | None = None,
        sender: Department | int | None = None,
        valid_at: datetime | None = None,
        due: datetime | None = None,
        correlation: str | None = None,
        cause: Stamp | str | None = None,
    ) -> Envelope:
        """A message of a named type to the actor ``to``; for one that creates, the type alone will do.

        Raises ``ValueError`` where ``to`` is an actor of another type than the message is for.
        """
        kind = type(message)
        actor_type, actor_id = _address(to, kind.__action__)
        if actor_type != kind.__actor__.__name__:
            raise ValueError(f"{kind.__name__} is a message to {kind.__actor__.__name__} and not to {to}.")
        return Envelope(
            to=self.code,
            actor_type=actor_type,
            actor_id=actor_id,
            action=kind.__action__,
            type=kind.__name__,
            body=write_document(message),
            id=message_id,
            sender=_code_of(sender),
            if_version=if_version,
            valid_at=valid_at,
            due=due,
            correlation=correlation,
            cause=_stamp(cause),
        )


def _check_code(code: int) -> None:
    if code != CONTROL and not DATA_CODE_MIN <= code <= CODE_MAX:
        raise ValueError(f"{code} cannot be a department's code: use 0 or a number from {DATA_CODE_MIN} to {CODE_MAX}.")


def _check_type(name: str) -> None:
    if not ACTOR_TYPE.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is not an actor type: use letters, digits and _, at most 63.")


def _code_of(sender: Department | int | None) -> int | None:
    if isinstance(sender, Department):
        return sender.code
    if sender is not None:
        _check_code(sender)
    return sender


def _stamp(cause: Stamp | str | None) -> Stamp | None:
    return Stamp.parse(cause, pointer="/cause") if isinstance(cause, str) else cause


def _address(to: str, action: Action = "modify") -> tuple[str, str | None]:
    """An actor's type and id, as in "Order/SO-1"; the id may hold further slashes."""
    actor_type, slash, actor_id = to.partition("/")
    _check_type(actor_type)
    if not actor_id and (slash or action != "create"):
        raise ValueError(f"{to[:80]!r} is no actor: write its type and its id, as in {actor_type}/SO-1.")
    return actor_type, actor_id or None
