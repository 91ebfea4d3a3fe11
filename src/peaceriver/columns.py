"""Models in queries: a model is a table, its fields and what the system knows of an actor are columns.

Whatever SQLAlchemy makes of tables and columns can be made of these. A field that every value of fits one type of
column has such a column; every other field is a path into the document, and undeclared members are paths as well:
``Order.document["delivery", "city"].astext``.

Importing this costs as much as all of the rest, so nothing does before the first column is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast, overload
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from msgspec import inspect
from sqlalchemy import Boolean, Date, DateTime, Integer, Numeric, Text, column, table
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.sql.elements import ColumnClause, ColumnElement, quoted_name
from sqlalchemy.sql.expression import FromClause, TableClause
from sqlalchemy.types import TypeEngine

from peaceriver.actor import Actor
from peaceriver.annotations import schema_of
from peaceriver.errors import Invalid
from peaceriver.message import ACTOR_TYPE
from peaceriver.model import ColumnKind, columns_of

__all__ = [
    "SYSTEM_COLUMNS",
    "ColumnElement",
    "Exact",
    "Json",
    "Named",
    "Relation",
    "TableClause",
    "Whole",
    "aliased",
    "col",
    "column_of",
    "relation",
    "table_of",
]

A = TypeVar("A", bound=Actor)
T = TypeVar("T")
AnyType: TypeAlias = TypeEngine[Any]

if TYPE_CHECKING:

    class Json(ColumnElement[Any]):
        """A JSON value in a query: the document, a member of it, or a field without a typed column."""

        @property
        def astext(self) -> ColumnElement[str]: ...

        def __getitem__(self, path: Any) -> Json:
            """The value at a name, an index or, with several of them, a path."""

else:
    Json = ColumnElement


class Whole(Integer):
    """A whole number of any size: NUMERIC in SQL, ``int`` in Python."""

    __visit_name__ = "NUMERIC"
    #: What the SQL name of the type could say more.
    precision: Final = None
    scale: Final = None


class Exact(Numeric[Any]):
    """NUMERIC in SQL, and what it is compared with as well; in Python ``Decimal``, or ``float`` by ``asdecimal=False``.

    So an ``int`` may be of any size, and 0.1 is the number that was written.
    """

    def coerce_compared_value(self, op: Any, value: Any) -> AnyType:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self
        return super().coerce_compared_value(op, value)


class Named(Text):
    """Text that stands for a value of a class: an Enum's, or a UUID."""

    def __init__(self, python: type[Enum] | type[UUID]) -> None:
        super().__init__()
        self.python = python

    def coerce_compared_value(self, op: Any, value: Any) -> AnyType:
        return self


#: What every relation has, and what is not the model's own.
SYSTEM_COLUMNS: Final[Mapping[str, AnyType]] = {
    "actor_id": Text(),
    "actor_shard": Integer(),
    "actor_version": Integer(),
    "actor_status": Text(),
    "actor_stamp": Text(),
    "document": JSON(),
}
_TYPES: Final[Mapping[ColumnKind, AnyType]] = {
    "text": Text(),
    "numeric": Exact(),
    "boolean": Boolean(),
    "timestamptz": DateTime(timezone=True),
    "date": Date(),
}
_DOCUMENT: Final = "document"
_tables: WeakKeyDictionary[type, TableClause] = WeakKeyDictionary()


@overload
def col(field: ColumnElement[T]) -> ColumnElement[T]: ...
@overload
def col(field: T) -> ColumnElement[T]: ...
def col(field: Any) -> Any:
    """The field itself, as the column that it is: a type checker takes ``Order.total`` for a Decimal."""
    return field


@overload
def aliased(model: type[A], name: str | None = None) -> type[A]: ...
@overload
def aliased(model: Relation, name: str | None = None) -> Relation: ...
def aliased(model: Any, name: str | None = None) -> Any:
    """The model once more, under another name (by default one that is made up): to join it with itself, say."""
    alias = model.__clause_element__().alias(name)
    if isinstance(model, Relation):
        return Relation(alias, model._names, model._declared)
    return Relation(alias, dict(zip(model.__struct_fields__, model.__struct_encode_fields__, strict=True)))


def relation(name: str, /, **fields: Any) -> Relation:
    """A model by its name, such as one that is known as JSON Schema only. Any attribute or ``[name]`` is a column.

    ``fields``: Python types of fields, by which their values are compared and read. Where nothing is said of a field,
    its values come as they are. Raises ``Invalid`` for a name that no model has, ``TypeError`` for a type that no
    document can hold.
    """
    if not ACTOR_TYPE.fullmatch(name):
        raise Invalid(f"{name[:80]!r} cannot be an actor type: use letters, digits and _, at most 63.")
    return Relation(_table(name, msgspec.defstruct(name, list(fields.items()), kw_only=True)), None, frozenset(fields))


class Relation:
    """A model, or an alias of one, in a statement: its attributes are columns."""

    #: What SQLAlchemy asks everything for; a field of this name is ``relation["is_clause_element"]``.
    is_clause_element: Final = False

    def __init__(
        self, source: FromClause, names: Mapping[str, str] | None, declared: frozenset[str] = frozenset()
    ) -> None:
        """``names``: columns by attribute; None where every attribute may be one, of which ``declared`` are typed."""
        self._source = source
        self._names = names
        self._declared = declared

    def __clause_element__(self) -> FromClause:
        return self._source

    if TYPE_CHECKING:

        @property
        def document(self) -> Json: ...

    def __getattr__(self, name: str) -> ColumnElement[Any]:
        if name.startswith("__") or not (self._names is None or name in self._names or name in SYSTEM_COLUMNS):
            raise AttributeError(f"{self._source.description} has no field {name}")
        if self._names is not None and name in self._names:
            return member(self._source, self._names[name])
        return self[name]

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        if name in SYSTEM_COLUMNS:
            return self._source.c[name]
        if self._names is not None or name in self._declared:
            return member(self._source, name)
        made: ColumnClause[Any] = column(name)
        made.table = self._source
        return made

    def __repr__(self) -> str:
        return f"Relation({self._source.description!r})"


def member(source: FromClause, name: str) -> ColumnElement[Any]:
    """A declared field of a model or of an alias: its typed column, else its place in the document."""
    if name in source.c and name != _DOCUMENT:
        return source.c[name]
    path: ColumnElement[Any] = source.c[_DOCUMENT][name]
    return path.label(name)


def column_of(cls: type[Actor], field: str) -> ColumnElement[Any]:
    """A field of a model class, by the name of its attribute."""
    fields = cls.__struct_fields__
    return member(table_of(cls), cls.__struct_encode_fields__[fields.index(field)])


def table_of(cls: type[Actor]) -> TableClause:
    """A model class as a table; the same one each time, for else a statement would read it twice.

    Raises ``TypeError`` for an annotation that no document can hold.
    """
    made = _tables.get(cls)
    return made if made is not None else _tables.setdefault(cls, _table(cls.__name__, cls))


def _table(name: str, struct: type) -> TableClause:
    columns = [column(name, kind) for name, kind in SYSTEM_COLUMNS.items()]
    return table(quoted_name(name, quote=True), *columns, *_typed_columns(struct))


def _typed_columns(struct: type) -> Iterator[ColumnClause[Any]]:
    fields = {each.encode_name: each.type for each in cast(inspect.StructType, inspect.type_info(struct)).fields}
    for each in columns_of(schema_of(struct)):
        yield column(each.name, _type(each.kind, fields[each.name]))


def _type(kind: ColumnKind, field: inspect.Type) -> AnyType:
    """What is more exact than the kind of a column, where all values of the field are of one Python type."""
    match list(_alternatives(field)):
        case [inspect.IntType()]:
            return Whole()
        case [inspect.FloatType()]:
            return Exact(asdecimal=False)
        case [inspect.LiteralType() | inspect.EnumType()] if kind == "numeric":
            return Whole()
        case [inspect.EnumType(cls=cls)] if kind == "text":
            return Named(cls)
        case [inspect.UUIDType()]:
            return Named(UUID)
        case _:
            return _TYPES[kind]


def _alternatives(field: inspect.Type) -> Iterator[inspect.Type]:
    match field:
        case inspect.Metadata(type=inner):
            yield from _alternatives(inner)
        case inspect.UnionType(types=types):
            for each in types:
                yield from _alternatives(each)
        case inspect.NoneType():
            return
        case _:
            yield field
