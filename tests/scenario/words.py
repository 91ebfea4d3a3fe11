"""Short words for messages."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import msgspec

from peaceriver.message import Action, Envelope
from peaceriver.shard.proposal import ANYTHING, Wish, kind_of


def _message(action: Action, to: int, actor: str, body: str, more: dict[str, Any]) -> Envelope:
    actor_type, _, actor_id = actor.partition("/")
    return Envelope(to=to, actor_type=actor_type, actor_id=actor_id or None, action=action, body=body, **more)


def create(to: int, actor: str = "Thing", body: str = "{}", **more: Any) -> Envelope:
    """A create; ``actor`` is a type or type/id."""
    return _message("create", to, actor, body, more)


def modify(to: int, actor: str, body: str = "{}", **more: Any) -> Envelope:
    return _message("modify", to, actor, body, more)


def cancel(to: int, actor: str, body: str = "{}", **more: Any) -> Envelope:
    return _message("cancel", to, actor, body, more)


def wish(envelope: Envelope, based_on: object = ANYTHING) -> Wish:
    """A message at a department's door, as it is offered again."""
    message_id = envelope.id or uuid4()
    return Wish(
        id=message_id,
        envelope=msgspec.structs.replace(envelope, id=message_id),
        kind=kind_of(envelope),
        root=message_id,
        principal="tester",
        records_refusal=True,
        based_on=based_on,  # type: ignore[arg-type]  # an id, nothing, or anything
    )
