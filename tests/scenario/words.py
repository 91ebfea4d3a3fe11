"""Short words for messages."""

from __future__ import annotations

from typing import Any

from peaceriver.message import Action, Envelope


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
