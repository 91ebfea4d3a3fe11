"""Values: which fit a host variable's type, how they are written, and what those of an answer become. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from sqlalchemy import types as sql
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.types import TypeEngine

from peaceriver import jsontext
from peaceriver.columns import Named
from peaceriver.query.values import or_text

#: What makes the Python value of one in a JSON answer; None takes it as it comes.
Reader: TypeAlias = Callable[[Any], Any] | None


class Unfit(Exception):
    """A value is of no type that a host variable can have; the text says what would be."""


def bound(value: Any, kind: TypeEngine[Any]) -> Any:
    """The value as it goes to a node, which JSON can write; raises Unfit for one that is none of its type.

    Durations and times of day become text that PostgreSQL reads, an Enum's member its value, a JSON path its steps.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return None
    match kind:
        case sql.TupleType():
            _expect(isinstance(value, list | tuple) and len(value) == len(kind.types), value, "one value per column")
            return [bound(each, item) for each, item in zip(value, kind.types, strict=True)]
        case sql.ARRAY():
            _expect(isinstance(value, list | tuple), value, "a list")
            return [bound(each, kind if isinstance(each, list | tuple) else kind.item_type) for each in value]
        case sql.JSON.JSONPathType() if not isinstance(value, str):
            return [str(each) for each in value]
        case sql.Boolean():
            _expect(isinstance(value, bool), value, "True or False")
        case sql.Integer():
            _expect(isinstance(value, int) and not isinstance(value, bool), value, "a whole number")
        case sql.Numeric() | sql.Float():
            _expect(isinstance(value, int | float | Decimal) and not isinstance(value, bool), value, "a number")
            if isinstance(value, float) and isinstance(kind, sql.Numeric):
                value = Decimal(repr(value))  # as it was written, for NUMERIC can say that
        case sql.String():
            value = str(value) if isinstance(value, UUID) else value
            _expect(isinstance(value, str), value, "text")
        case sql.DateTime():
            _expect(isinstance(value, datetime), value, "a datetime")
        case sql.Date():
            _expect(isinstance(value, date) and not isinstance(value, datetime), value, "a date")
        case sql.Uuid():
            _expect(isinstance(value, UUID), value, "a UUID")
        case sql.Interval() | INTERVAL():
            _expect(isinstance(value, timedelta), value, "a timedelta")
    return _plain(value)


def _expect(fits: bool, value: Any, wanted: str) -> None:
    if not fits:
        raise Unfit(f"takes {wanted}, not {type(value).__name__}")


def _plain(value: Any) -> Any:
    """The value without what JSON, or PostgreSQL, cannot say; raises Unfit."""
    match value:
        case Enum():
            return _plain(value.value)
        case None | bool() | int() | date() | UUID() if not isinstance(value, datetime):
            return value
        case float() | Decimal():
            _expect(Decimal(value).is_finite(), value, "finite numbers")
            return value
        case str():
            if "\x00" in value or jsontext.SURROGATE.search(value):
                raise Unfit("takes well-formed text without NUL")
            return value
        case datetime():
            if value.utcoffset() is None:
                raise Unfit("takes a datetime with an offset")
            return value
        case time():
            return value.isoformat()
        case timedelta():
            return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"
        case list() | tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {_key(each): _plain(item) for each, item in value.items()}
        case msgspec.Struct():
            return _plain(msgspec.to_builtins(value, builtin_types=(Decimal, datetime, date, UUID)))
        case _:
            raise Unfit(f"takes no {type(value).__name__}")


def _key(key: Any) -> str:
    plain = _plain(key)
    _expect(isinstance(plain, str), key, "JSON objects, whose names are text")
    return str(plain)


def literal(value: Any, kind: TypeEngine[Any]) -> str:
    """The value as an SQL literal, without its type; raises Unfit as ``bound`` does.

    Exact, and one literal whatever the value holds: where strings conform to the standard, as they do in PostgreSQL
    unless somebody turns that off, only the quote ends one.
    """
    plain = bound(value, kind)
    if plain is None:
        return "NULL"
    if isinstance(kind, sql.JSON):
        return _quoted(jsontext.write(plain))
    return _literal(plain)


def _literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int() | float() | Decimal():
            # A sign would bind less tightly than the type that may follow.
            return f"({value})" if str(value).startswith("-") else str(value)
        case str():
            return _quoted(value)
        case datetime() | date():
            return _quoted(value.isoformat())
        case UUID():
            return _quoted(str(value))
        case list():
            return f"ARRAY[{', '.join(map(_literal, value))}]"
        case _:
            raise Unfit(f"takes no {type(value).__name__}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def reader_of(kind: TypeEngine[Any]) -> Reader:
    """What makes the Python value of a result's type of its value in JSON.

    A value that was kept before its field had this type is given as it comes: a number that is not whole, say.
    """
    match kind:
        case sql.ARRAY():
            return _list_reader(reader_of(kind.item_type))
        case Named():
            return _named_reader(kind.python)
        case sql.Integer():
            return _whole
        case sql.Numeric() | sql.Float():
            return _exact if kind.asdecimal else _floating
        case sql.DateTime():
            return _datetime
        case sql.Date():
            return _date
        case sql.Uuid():
            return _uuid
        case _:
            return None


def _list_reader(item: Reader) -> Reader:
    def read(value: Any) -> Any:
        return value if item is None or not isinstance(value, list) else [read_item(each) for each in value]

    def read_item(value: Any) -> Any:
        return read(value) if isinstance(value, list) else item(value) if item is not None else value

    return read


def _named_reader(python: type[Enum] | type[UUID]) -> Reader:
    def read(value: Any) -> Any:
        try:
            return None if value is None else python(value)
        except ValueError:
            return value

    return read


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, Decimal | float) and value == int(value) else value


def _exact(value: Any) -> Any:
    return Decimal(str(value)) if isinstance(value, int | float) else value


def _floating(value: Any) -> Any:
    return float(value) if isinstance(value, int | Decimal) else value


def _datetime(value: Any) -> Any:
    return or_text(datetime.fromisoformat, value)


def _date(value: Any) -> Any:
    return or_text(date.fromisoformat, value)


def _uuid(value: Any) -> Any:
    return UUID(value) if isinstance(value, str) else value
