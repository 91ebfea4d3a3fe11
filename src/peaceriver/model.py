"""Models: what documents of an actor type look like, and which messages change them.

A model is a class in Python or a JSON Schema; both become a Blue Page, and a ``Model`` is what is compiled from one. A
Blue Page is enough to validate and to show; only a message type's own fold needs the Python class beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from peaceriver import jsontext
from peaceriver.actor import SYSTEM_PREFIX, Actor, EventSelector, Message, read_document, write_document
from peaceriver.annotations import schema_of
from peaceriver.errors import Invalid, StartFailed
from peaceriver.message import ACTOR_TYPE, Action
from peaceriver.schema import Schema, Validator, resolved
from peaceriver.source import digest_of

__all__ = [
    "ACTOR_TYPE",
    "COLUMNS_MAX",
    "COLUMN_NAME_BYTES_MAX",
    "Actor",
    "Column",
    "ColumnKind",
    "EventSelector",
    "Message",
    "MessageType",
    "Model",
    "columns_of",
    "definition",
    "model_of",
    "model_of_definition",
    "model_of_schema",
    "read_document",
    "write_document",
]

#: A table has room for more, but nobody reads a wider one; members beyond it are read through the document.
COLUMNS_MAX: Final = 500
#: What PostgreSQL keeps of a name.
COLUMN_NAME_BYTES_MAX: Final = 63
#: Our own column, and those that PostgreSQL gives every table.
_COLUMNS_TAKEN: Final = frozenset(("document", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"))
#: Alternatives within alternatives are followed so far.
_CHOICES_DEPTH_MAX: Final = 8

ActorClass: TypeAlias = type[Actor]
MessageClass: TypeAlias = type[Message[Any]]
ColumnKind: TypeAlias = Literal["text", "numeric", "boolean", "timestamptz", "date"]


@dataclass(frozen=True, slots=True)
class Column:
    """A typed column of a model's view: every value that the model accepts for the member fits its kind."""

    name: str
    kind: ColumnKind


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageType:
    """A named message type of a model."""

    name: str
    action: Action
    #: The schema of the body.
    schema: Schema
    validator: Validator = field(compare=False, repr=False)
    #: JSON text of the members that a body gets where it does not have them.
    defaults: str
    #: Whether it brings its own fold, instead of being merged.
    folded: bool
    #: The class that has the fold, where this process has it.
    python: MessageClass | None = None

    @property
    def fold(self) -> Callable[[Any, Any], Any] | None:
        """The fold as a function of the message and the actor; None where there is none, or not here."""
        return getattr(self.python, "fold", None) if self.folded else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One version of a model, compiled."""

    type: str
    version: int
    #: The schema of documents.
    schema: Schema
    validator: Validator = field(compare=False, repr=False)
    columns: tuple[Column, ...]
    message_types: Mapping[str, MessageType]
    #: SHA-256 over the source of all own folds; None where there are none.
    fold_digest: str | None = None
    #: The class that folds run on, where this process has it.
    python: ActorClass | None = None


def model_of(cls: type[Actor], version: int = 1) -> Model:
    """The model that a class defines, with the message types that were defined for it.

    Raises ``TypeError`` for an annotation that no document can hold, and for a fold whose source cannot be read.
    """
    classes = sorted(cls.__message_types__.items())
    return _model(
        cls.__name__,
        version,
        schema_of(cls),
        [_message_type(name, each.__action__, schema_of(each), hasattr(each, "fold"), each) for name, each in classes],
        digest_of(_folds(cls, cls.__message_types__)),
        cls,
    )


def model_of_schema(type: str, schema: Schema, version: int = 1) -> Model:
    """The model that a JSON Schema (draft 2020-12) defines; raises ``Invalid``, with pointers into it."""
    return _model(type, version, schema, [], None, None)


def definition(model: Model) -> dict[str, Any]:
    """What a Blue Page keeps of a model: plain JSON, from which ``model_of_definition`` makes it again."""
    return {
        "schema": model.schema,
        "messages": {
            name: {"action": each.action, "schema": each.schema, "folded": each.folded}
            for name, each in model.message_types.items()
        },
        "fold_digest": model.fold_digest,
    }


def model_of_definition(
    type: str, definition: Mapping[str, Any], version: int, python: ActorClass | None = None
) -> Model:
    """The model of a Blue Page. Its own folds can run where ``python`` is given, the class that it was defined from.

    Raises ``StartFailed`` where the folds of that class are not those of this version.
    """
    digest: str | None = definition["fold_digest"]
    folded = {name for name, each in definition["messages"].items() if each["folded"]}
    if python is not None and digest_of(_folds(python, folded)) != digest:
        raise StartFailed(
            f"The folds of {type} in {python.__module__} are not those that version {version} was published with: "
            "its records would fold differently. Undo the change, and give the new fold a message type of its own."
        )
    classes: Mapping[str, MessageClass] = {} if python is None else python.__message_types__
    messages = [
        _message_type(name, each["action"], each["schema"], each["folded"], classes.get(name))
        for name, each in sorted(definition["messages"].items())
    ]
    return _model(type, version, definition["schema"], messages, digest, python)


def _folds(cls: type[Actor], names: Collection[str]) -> dict[str, Callable[..., Any]]:
    return {name: each.fold for name, each in cls.__message_types__.items() if name in names and hasattr(each, "fold")}


def _model(
    type: str,
    version: int,
    schema: Schema,
    message_types: list[MessageType],
    fold_digest: str | None,
    python: type[Actor] | None,
) -> Model:
    if not ACTOR_TYPE.fullmatch(type):
        raise Invalid(f"{type[:80]!r} cannot be an actor type: use letters, digits and _, at most 63.")
    validator = Validator(schema)
    properties = resolved(schema, schema).get("properties", {})
    taken = jsontext.offences(
        (("properties", name), f"names that begin with {SYSTEM_PREFIX} are the system's own columns")
        for name in properties
        if name.startswith(SYSTEM_PREFIX)
    )
    if taken:
        raise Invalid(f"The model {type} has members that it cannot have: rename them.", errors=taken)
    return Model(
        type=type,
        version=version,
        schema=schema,
        validator=validator,
        columns=columns_of(schema),
        message_types=MappingProxyType({each.name: each for each in message_types}),
        fold_digest=fold_digest,
        python=python,
    )


def _message_type(name: str, action: Action, schema: Schema, folded: bool, python: MessageClass | None) -> MessageType:
    members = schema.get("properties", {})
    defaults = {name: each["default"] for name, each in members.items() if "default" in each}
    return MessageType(
        name=name,
        action=action,
        schema=schema,
        validator=Validator(schema),
        defaults=jsontext.write(defaults),
        folded=folded,
        python=python,
    )


def columns_of(schema: Schema) -> tuple[Column, ...]:
    """The typed columns of a schema's view: its members of one scalar type, the first ``COLUMNS_MAX``."""
    properties = resolved(schema, schema).get("properties", {})
    return tuple(islice(_columns(properties, schema), COLUMNS_MAX))


def _columns(properties: Schema, root: Schema) -> Iterator[Column]:
    for name, schema in properties.items():
        if name in _COLUMNS_TAKEN or not 1 <= len(name.encode()) <= COLUMN_NAME_BYTES_MAX:
            continue
        kinds = _kinds(schema, root, _CHOICES_DEPTH_MAX)
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is not None:
            yield Column(name, kind)


def _kinds(schema: Any, root: Schema, depth: int) -> set[ColumnKind | None]:
    """The kinds of column that values of a schema need, null apart; None stands for what no column can hold."""
    schema = resolved(schema, root)
    if not isinstance(schema, dict) or depth == 0:
        return {None}
    if "const" in schema:
        return _kinds_of_values([schema["const"]])
    if "enum" in schema:
        return _kinds_of_values(schema["enum"])
    if "type" in schema:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        return {_kind_of_type(each, schema.get("format")) for each in types if each != "null"}
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return {kind for each in choices for kind in _kinds(each, root, depth - 1)}
    return {None}


def _kind_of_type(type: str, format: str | None) -> ColumnKind | None:
    match type, format:
        case "string", "date-time":
            return "timestamptz"
        case "string", "date":
            return "date"
        case "string", _:
            return "text"
        case (("integer" | "number"), _):
            return "numeric"
        case "boolean", _:
            return "boolean"
        case _:
            return None


def _kinds_of_values(values: list[Any]) -> set[ColumnKind | None]:
    kinds: set[ColumnKind | None] = set()
    for value in values:
        match value:
            case None:
                continue
            case str():
                kinds.add("text")
            case bool():
                kinds.add("boolean")
            case dict() | list():
                kinds.add(None)
            case _:
                kinds.add("numeric")
    return kinds
