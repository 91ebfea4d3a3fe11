"""Short words for the records that rules are asked about."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from peaceriver.event import Trigger

#: The moment of the tests' records: 2026-11-24T10:00:00Z as a logical time.
TIME = 1_795_514_400_000_000 * 16


def trigger(actor: str = "Parcel/P-1", action: str = "create", *, position: int = 1, **more: Any) -> Trigger:
    """A record of department 100; ``position`` tells it apart from others."""
    actor_type, _, actor_id = actor.partition("/")
    columns: dict[str, Any] = {
        "shard": 100,
        "position": position,
        "stamp": TIME + position,
        "message_id": UUID(int=position),
        "actor_type": actor_type,
        "actor_id": actor_id,
        "action": action,
        "message_type": f"{actor_type}.{action}",
        "version": 1,
        "sender": None,
        "correlation": None,
        "principal": None,
        "trace": None,
        "cause_time": None,
        "cause_shard": None,
        "root": UUID(int=position),
        "valid_at": None,
        "hops": 0,
        "body": "{}",
        "before": None,
        "document": "{}",
        "chain": position.to_bytes(32, "big"),
    }
    return Trigger(**columns | more)
