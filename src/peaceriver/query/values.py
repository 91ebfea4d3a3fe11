"""Host variables and answers: between JSON, Python and what PostgreSQL's types are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Invalid, Offence
from peaceriver.message import moment
from peaceriver.record import written_time

Reader: TypeAlias = Callable[[Any], Any]
_WHOLE: Final[Mapping[str, int]] = {"int2": 2**15, "int4": 2**31, "int8": 2**63}


def bound(name: str, value: Any, kind: str) -> Any:
    """A host variable's value as the driver takes it for a parameter of a PostgreSQL type (``text``, ``int4[]``).

    ``value`` is what JSON says, numbers exact, or the Python value itself. Raises Invalid, naming the variable.
    """
    if value is None:
        return None
    try:
        if kind.endswith("[]"):
            return [None if each is None else _bound(each, kind[:-2]) for each in _list(value)]
        return _bound(value, kind)
    except ValueError as error:
        raise Invalid(
            f"the host variable {name} {error}", errors=(Offence(f"/variables/{name}", str(error)),)
        ) from None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be an array")
    return list(value)


def _bound(value: Any, kind: str) -> Any:
    if kind in _WHOLE:
        return _whole(value, _WHOLE[kind])
    read = _READERS.get(kind)
    if read is None:
        raise ValueError(f"would be a {kind}, which no value can be given for; say its type, as in :name::text")
    return read(value)


def _whole(value: Any, beyond: int) -> int:
    number = _number(value)
    if number != number.to_integral_value() or not -beyond <= number < beyond:
        raise ValueError(f"must be a whole number from {-beyond} to {beyond - 1}")
    return int(number)


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite() or abs(number.adjusted()) > jsontext.NUMBER_EXPONENT_MAX:
        raise ValueError("is out of range")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    if "\x00" in value or jsontext.SURROGATE.search(value):
        raise ValueError("must not hold \\u0000 or a lone surrogate")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _moment(value: Any) -> datetime:
    errors: list[Offence] = []
    read = value if isinstance(value, datetime) else moment(_text(value), "", errors)
    if read is None or errors or read.tzinfo is None:
        raise ValueError("must be a time with an offset (RFC 3339)")
    return read


def _local(value: Any) -> datetime:
    read = value if isinstance(value, datetime) else datetime.fromisoformat(_text(value))
    if read.tzinfo is not None:
        raise ValueError("must be a time without an offset")
    return read


def _date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    text = _text(value)
    try:
        return date.fromisoformat(text) if len(text) == 10 else _date(None)
    except ValueError:
        raise ValueError("must be a date such as 2026-11-28") from None


def _uuid(value: Any) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(_text(value))
    except ValueError:
        raise ValueError("must be a UUID") from None


def _json(value: Any) -> str:
    return jsontext.write(value)


_READERS: Final[Mapping[str, Reader]] = {
    "text": _text,
    "varchar": _text,
    "bpchar": _text,
    "name": _text,
    "unknown": _text,
    "interval": _text,
    "numeric": _number,
    "float4": lambda value: float(_number(value)),
    "float8": lambda value: float(_number(value)),
    "bool": _boolean,
    "timestamptz": _moment,
    "timestamp": _local,
    "date": _date,
    "time": lambda value: value if isinstance(value, time) else time.fromisoformat(_text(value)),
    "uuid": _uuid,
    "json": _json,
    "jsonb": _json,
    "jsonpath": _text,
}


def or_text(read: Callable[[str], Any], value: Any) -> Any:
    """What a text reads as; what Python has no value for, infinity or a year BC, stays the text that it came as."""
    try:
        return read(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _moment_said(text: str) -> str:
    """A moment as RFC 3339 has it, or as PostgreSQL writes it where RFC 3339 cannot say it."""
    read = or_text(datetime.fromisoformat, text)
    if not isinstance(read, datetime):
        return text
    return written_time(read) if read.tzinfo is not None else read.isoformat()


def public(value: Any, kind: str) -> Any:
    """A value of an answer as JSON has it: numbers exact, times as RFC 3339, JSON as it is, everything else as text."""
    match value:
        case None | bool() | int():
            return value
        case str() if kind in ("timestamptz", "timestamp"):
            return _moment_said(value)
        case str():
            return msgspec.Raw(value.encode()) if kind in ("json", "jsonb") else value
        case Decimal():
            return value if value.is_finite() else str(value)
        case float():
            return value if value - value == 0 else str(value)
        case datetime():
            return written_time(value) if value.tzinfo is not None else value.isoformat()
        case list():
            return [public(each, kind.removesuffix("[]")) for each in value]
        case bytes():
            return "\\x" + value.hex()
        case date() | time():
            return value.isoformat()
        case timedelta() | UUID():
            return str(value)
    if isinstance(value, tuple) or hasattr(value, "values"):
        return [public(each, "record") for each in value]
    return str(value)
