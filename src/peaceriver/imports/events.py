"""One event of a log, whatever format it came in, and the bytes of a log file.

Column names follow the XES convention (IEEE 1849-2016): ``case:`` stands before what belongs to the case as a whole.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from io import BufferedReader
from pathlib import Path
from typing import TypeAlias

from peaceriver.errors import Invalid

#: Events in one log; planning holds them all in memory, at about 2 kB each.
EVENTS_MAX = 2_000_000
#: Bytes of one line of a CSV file, and of one tag of an XES file.
LINE_BYTES_MAX = 2 * 1024 * 1024

#: What a column may hold. A date stays the text that it was.
Value: TypeAlias = str | int | Decimal | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns say what an event belongs to; the defaults are those of XES."""

    case: str = "case:concept:name"
    activity: str = "concept:name"
    time: str = "time:timestamp"
    #: May be missing in a log: the log is then one department.
    department: str = "org:group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a case. ``attributes`` are all its columns, but for the empty ones, in file order."""

    case: str
    activity: str
    #: With an offset, always; representable in UTC.
    time: datetime
    #: None where the log does not say.
    department: str | None
    attributes: Mapping[str, Value]
    #: Where in its file it starts, counted from 1.
    line: int


def event(attributes: Mapping[str, Value], columns: Columns, line: int) -> Event:
    """The event that a row or an element describes; raise Invalid where a column it needs is empty or no time."""
    time = _needed(attributes, columns.time, line)
    return Event(
        case=_needed(attributes, columns.case, line),
        activity=_needed(attributes, columns.activity, line),
        time=_read_time(time, columns.time, line),
        department=_text(attributes[columns.department]) if columns.department in attributes else None,
        attributes=attributes,
        line=line,
    )


def _needed(attributes: Mapping[str, Value], column: str, line: int) -> str:
    if column not in attributes:
        held = ", ".join(attributes) or "nothing"
        raise Invalid(f"line {line}: the event has no {column!r}; it has {held}")
    return _text(attributes[column])


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_time(text: str, column: str, line: int) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
        if time.tzinfo is not None:
            time.astimezone(UTC)
    except (ValueError, OverflowError):
        example = "2011-10-11T13:45:40.276+02:00"
        raise Invalid(f"line {line}: {text[:60]!r} in column {column!r} is not a time such as {example}") from None
    if time.tzinfo is None:
        raise Invalid(
            f"line {line}: the time {text[:60]!r} in column {column!r} has no offset from UTC;"
            " write it with one, such as +02:00 or Z, because two departments may keep two clocks"
        )
    return time


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader | gzip.GzipFile]:
    """The bytes of a log file, unpacked where it is gzipped (by its content, not by its name)."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.open(file) as unpacked:
                    yield unpacked
            else:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        raise Invalid(f"{path.name} cannot be read: {error}") from error
