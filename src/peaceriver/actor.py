"""Actors and messages as Python classes, and their documents as text.

The classes are Structs of plain annotations, so that reading a document into one and writing it again is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    Self,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
)

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Invalid, Offence
from peaceriver.message import ACTOR_TYPE, Action

if TYPE_CHECKING:
    from peaceriver.columns import ColumnElement, Json, TableClause

ACTIONS: Final[tuple[Action, ...]] = ("create", "modify", "cancel")
#: System columns begin with it, so a document's own members must not.
SYSTEM_PREFIX: Final = "actor_"
CLASSES_CACHED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSelector:
    """What a rule waits for: that an actor of a type was created, modified or cancelled."""

    actor_type: str
    action: Literal["created", "modified", "cancelled"]


class _DocumentMeta(msgspec.StructMeta):
    """Makes frozen, keyword-only Structs of plain annotations."""

    #: What the class needs for itself.
    names_taken: ClassVar[frozenset[str]] = frozenset()

    def __new__(
        mcs: type[_M],
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        frozen: Literal[True] = True,
        closed: bool | None = None,
    ) -> _M:
        # Without a word about it, a class is as closed as its base.
        config = {} if closed is None else {"forbid_unknown_fields": closed}
        cls = super().__new__(mcs, name, bases, namespace, frozen=frozen, kw_only=True, **cast(Any, config))
        names = {*cls.__struct_fields__, *cls.__struct_encode_fields__}
        for taken in sorted(each for each in names if each.startswith(SYSTEM_PREFIX)):
            raise TypeError(f"{name}.{taken}: names that begin with {SYSTEM_PREFIX} are the system's own columns.")
        for taken in mcs.names_taken.intersection(cls.__struct_fields__):
            raise TypeError(
                f"{name}.{taken}: the class needs this name itself. Name the attribute otherwise, and the member "
                f'with msgspec.field(name="{taken}").'
            )
        return cls


_M = TypeVar("_M", bound=_DocumentMeta)


class ActorMeta(_DocumentMeta):
    """What an actor class can do itself: name its events, and be a table in queries, with its fields as columns.

    A field's attribute is called otherwise than these; ``msgspec.field(name="document")`` names its member all the
    same. Every other name is free, ``mro`` and ``metadata`` among them.
    """

    names_taken = frozenset(("created", "modified", "cancelled", "replace", "document", "is_clause_element"))
    __message_types__: dict[str, type[Message[Any]]]

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        frozen: Literal[True] = True,
        closed: bool | None = None,
    ) -> ActorMeta:
        if not ACTOR_TYPE.fullmatch(name):
            raise TypeError(f"{name} cannot be an actor type: use letters, digits and _, at most 63.")
        namespace["__message_types__"] = {}
        return super().__new__(mcs, name, bases, namespace, frozen=frozen, closed=closed)

    @property
    def created(cls) -> EventSelector:
        return EventSelector(actor_type=cls.__name__, action="created")

    @property
    def modified(cls) -> EventSelector:
        return EventSelector(actor_type=cls.__name__, action="modified")

    @property
    def cancelled(cls) -> EventSelector:
        return EventSelector(actor_type=cls.__name__, action="cancelled")

    @property
    def actor_id(cls) -> ColumnElement[str]:
        return cls._system("actor_id")

    @property
    def actor_shard(cls) -> ColumnElement[int]:
        return cls._system("actor_shard")

    @property
    def actor_version(cls) -> ColumnElement[int]:
        return cls._system("actor_version")

    @property
    def actor_status(cls) -> ColumnElement[str]:
        return cls._system("actor_status")

    @property
    def actor_stamp(cls) -> ColumnElement[str]:
        return cls._system("actor_stamp")

    @property
    def document(cls) -> Json:
        return cast("Json", cls._system("document"))

    def _system(cls, name: str) -> ColumnElement[Any]:
        return cls.__clause_element__().c[name]

    def __clause_element__(cls) -> TableClause:
        """The model as SQLAlchemy takes it wherever a table can be."""
        # What is queried loads SQLAlchemy, which takes as long as all of the rest; what is only sent does without it.
        from peaceriver import columns

        return columns.table_of(cast("type[Actor]", cls))

    if not TYPE_CHECKING:  # it would let every name pass

        def __getattribute__(cls, name: str) -> Any:
            """A field is a column; on instances, which do not come by here, it is a value."""
            if name[:2] != "__" and name in type.__getattribute__(cls, "__struct_fields__"):
                from peaceriver import columns

                return columns.column_of(cls, name)
            return super().__getattribute__(name)


# Says to type checkers what the metaclass does; ``frozen=True`` on the base is there for them too.
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Actor(msgspec.Struct, frozen=True, metaclass=ActorMeta):
    """The base of model classes: plain annotations are the members of a document.

    Instances are frozen, compare by value and take keywords only. A model is open (undeclared members are kept) unless
    its class says ``class Order(Actor, closed=True)``.
    """

    def replace(self, **changes: Any) -> Self:
        """A copy with some members changed."""
        return msgspec.structs.replace(self, **changes)


A = TypeVar("A", bound=Actor)
T = TypeVar("T")


class MessageMeta(_DocumentMeta):
    """Ties a message class to its actor class and its action."""

    names_taken = frozenset(("fold",))
    __actor__: type[Actor]
    __action__: Action

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        frozen: Literal[True] = True,
        action: str | None = None,
        closed: bool | None = None,
    ) -> MessageMeta:
        cls = super().__new__(mcs, name, bases, namespace, frozen=frozen, closed=closed)
        if any(isinstance(base, MessageMeta) for base in bases):
            _tie(cls, namespace, action)
        return cls


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, Generic[A], frozen=True, metaclass=MessageMeta):
    """The base of named message types: ``class Approve(Message[Order], action="modify")``.

    Its members, defaults included, are merged into the document. With a method ``fold(self, order: Order) -> Order`` it
    makes the new document itself. A fold is pure and deterministic, for it runs on every replica and in every rebuild;
    Decimals are exact in it to ``fold.DECIMAL_DIGITS``.
    """


def _tie(cls: MessageMeta, namespace: dict[str, Any], action: str | None) -> None:
    name = cls.__name__
    for base in namespace.get("__orig_bases__", ()):
        if isinstance(get_origin(base), MessageMeta):
            cls.__actor__ = get_args(base)[0]
    if action is not None:
        if action not in ACTIONS:
            raise TypeError(f'{name} has the action {action!r}: use one of "create", "modify" and "cancel".')
        cls.__action__ = action
    actor = getattr(cls, "__actor__", None)
    if not isinstance(actor, ActorMeta) or not hasattr(cls, "__action__"):
        raise TypeError(f'{name} must say what it is for: class {name}(Message[Order], action="modify").')
    if hasattr(cls, "fold") and cls.__action__ != "modify":
        raise TypeError(f"{name} cannot have a fold: only a modify makes a new document of an old one.")
    other = actor.__message_types__.get(name, cls)
    if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise TypeError(f"{actor.__name__} has two message types called {name}: rename one of them.")
    actor.__message_types__[name] = cls  # type: ignore[assignment]  # every MessageMeta makes Messages


def read_document(cls: type[T], text: str) -> T:
    """The document as an instance of ``cls``, every number exact; undeclared members are left out.

    Raises ``Invalid`` for a document that is none of this class.
    """
    decode: Callable[[bytes | str], T] = _decoder_of(cast(Hashable, cls)).decode
    try:
        return decode(text)
    except msgspec.ValidationError as error:
        try:
            # JSON knows one kind of number: where an int is declared, 1.0 and 1e2 are as good as 1 and 100.
            return decode(jsontext.encode(_with_whole_numbers(_decoder_of(Any).decode(text))))
        except msgspec.ValidationError:
            raise Invalid(
                f"The document cannot be read as {cls.__name__}: {error}.", errors=(Offence("", str(error)),)
            ) from error


def write_document(instance: msgspec.Struct) -> str:
    """The instance as JSON text, defaults included; raises ``Invalid`` for what JSON cannot say."""
    return jsontext.write(instance)


@lru_cache(CLASSES_CACHED_MAX)
def _decoder_of(cls: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast(Any, cls), float_hook=Decimal)


def _with_whole_numbers(value: Any) -> Any:
    match value:
        case dict():
            return {key: _with_whole_numbers(member) for key, member in value.items()}
        case list():
            return [_with_whole_numbers(each) for each in value]
        case Decimal() if value == value.to_integral_value():
            return int(value)
        case _:
            return value
