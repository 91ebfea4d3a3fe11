"""Documents as records fold them, one after the other: the same for views, for the standing, and for checks of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from peaceriver import fold
from peaceriver.model import Model
from peaceriver.record import Record
from peaceriver.shard.journal import ActorState, Documents, type_and_id

#: A received record, and its actor's document before and after it.
Change: TypeAlias = tuple[Record, Documents]


class ModelAt(Protocol):
    """Models as folds need them; the directory has them."""

    def newest(self, actor_type: str) -> Model | None:
        """The newest version of a type's model; None for a schema-free type."""

    def versions(self, actor_type: str) -> list[Model]:
        """All versions of a type's model, oldest first; none for a schema-free type."""

    def version(self, actor_type: str, version: int | None) -> Model | None:
        """The version that a record was folded with; None for records of a schema-free type."""


def key_of(record: Record) -> type_and_id:
    """The actor that a record of it tells of."""
    assert record.actor_type is not None
    assert record.actor_id is not None
    return record.actor_type, record.actor_id


def document_after(record: Record, before: str | None, models: ModelAt) -> str:
    """An actor's document after a record of it, as admission made it."""
    assert record.action is not None
    assert record.actor_type is not None
    model = models.version(record.actor_type, record.model_version)
    document = fold.apply(model, record.action, record.message_type, before, record.body)
    assert document is not None
    return document


def changes(received: Iterable[Record], before: Mapping[type_and_id, str], models: ModelAt) -> list[Change]:
    """Consecutive received records with the documents that they fold into, on top of what actors were before."""
    documents = dict(before)
    changed: list[Change] = []
    for record in received:
        key = key_of(record)
        was = documents.get(key)
        documents[key] = document_after(record, was, models)
        changed.append((record, Documents(was, documents[key])))
    return changed


def status_after(record: Record) -> str:
    """An actor's status after a record of it."""
    return "cancelled" if record.action == "cancel" else "active"


def state_after(record: Record, document: str) -> ActorState:
    """An actor after a record of it, as admission keeps it."""
    assert record.actor_version is not None
    return ActorState(record.actor_version, record.position, status_after(record), record.model_version, document)
