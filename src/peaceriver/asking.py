"""How a client asks: paths, parameters and bodies as the API takes them, and tables as it answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVarTuple, overload
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx
import msgspec

from peaceriver import jsontext
from peaceriver.answers import Cutoff, exact
from peaceriver.limits import QUERY_TIMEOUT_S
from peaceriver.moments import Moment, moment_text, seconds
from peaceriver.query.values import or_text
from peaceriver.record import written_time

Ts = TypeVarTuple("Ts")


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """How a query is to be answered: at which cutoff, by which departments, how long it may take."""

    as_of: Moment | None = None
    after: Moment | None = None
    #: What the asker has receipts for, of each department; a Client knows that by itself.
    seen: Mapping[int, int] = {}
    latest: bool = False
    #: None stands for all departments.
    shards: Sequence[int] | None = None
    #: Whether departments that cannot answer are left out, and named.
    allow_partial: bool = False
    timeout_s: float | None = None

    @property
    def wait_s(self) -> float:
        """How long the node itself may take."""
        return QUERY_TIMEOUT_S if self.timeout_s is None else self.timeout_s

    def parameters(self) -> dict[str, str]:
        """All of it as parameters of a request."""
        return reading(self.as_of, self.after, self.timeout_s) | some(
            read="latest" if self.latest else None,
            shards=None if self.shards is None else ",".join(map(str, self.shards)),
            allow_partial="true" if self.allow_partial else None,
        )


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A query's answer as the API gives it: values are what JSON says, numbers exact."""

    cutoff: Cutoff
    columns: tuple[str, ...]
    #: PostgreSQL's names of the columns' types.
    types: tuple[str, ...]
    rows: list[list[Any]]
    #: Departments that are not in it, and why, where that was allowed.
    missing: tuple[dict[str, Any], ...] = ()


class Rows(Sequence[tuple[*Ts]], Generic[*Ts]):
    """A query's rows, and the cutoff at which it gives the same ones for ever."""

    def __init__(
        self, columns: tuple[str, ...], rows: list[tuple[*Ts]], cutoff: Cutoff, missing: tuple[dict[str, Any], ...] = ()
    ) -> None:
        self.columns = columns
        self.cutoff = cutoff
        #: Departments that are not in them, and why, where that was allowed.
        self.missing = missing
        self._rows = rows

    @overload
    def __getitem__(self, index: int) -> tuple[*Ts]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[*Ts]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[*Ts]]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return self._rows == (other._rows if isinstance(other, Rows) else other)

    __hash__ = None  # type: ignore[assignment]  # a list of rows is none that could be a key

    def __repr__(self) -> str:
        return f"Rows({self._rows!r})"

    def dicts(self) -> list[dict[str, Any]]:
        """Each row by the names of its columns."""
        rows: list[tuple[Any, ...]] = list(self._rows)
        return [dict(zip(self.columns, row, strict=True)) for row in rows]


def table_of(answer: bytes) -> Table:
    """A table as it was answered in JSON."""
    value = exact(answer)
    return Table(
        cutoff=msgspec.convert(value["cutoff"], Cutoff, strict=False),
        columns=tuple(value["columns"]),
        types=tuple(value["types"]),
        rows=value["rows"],
        missing=tuple(value.get("missing", ())),
    )


def rows_of(table: Table, readers: Sequence[Callable[[Any], Any] | None] | None = None) -> Rows[*tuple[Any, ...]]:
    """A table's rows as Python values; ``readers`` make those of a statement's columns, else their types do."""
    wanted = [_READERS.get(kind) for kind in table.types] if readers is None else readers
    rows = [
        tuple(value if read is None or value is None else read(value) for value, read in zip(row, wanted, strict=True))
        for row in table.rows
    ]
    return Rows(table.columns, rows, table.cutoff, table.missing)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "numeric": Decimal,
    "timestamptz": lambda value: or_text(datetime.fromisoformat, value),
    "timestamp": lambda value: or_text(datetime.fromisoformat, value),
    "date": lambda value: or_text(date.fromisoformat, value),
    "uuid": UUID,
}


def question_body(sql: str, variables: Mapping[str, Any], asking: Ask) -> bytes:
    """The body of ``POST /query``; raises Invalid for a value that JSON cannot say."""
    parameters: dict[str, Any] = dict(asking.parameters())
    return jsontext.write({"sql": sql, "variables": dict(variables), **parameters}).encode()


def variable_pairs(variables: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Host variables of a named view as parameters; one that is None is left out, and so has its default."""
    return [
        (name, _written(each))
        for name, value in variables.items()
        if value is not None
        for each in (value if isinstance(value, list | tuple) else (value,))
    ]


def _written(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return written_time(value)
        case date():
            return value.isoformat()
        case _:
            return str(value)


def is_url(text: str) -> bool:
    """Whether a node may be asked at ``text``."""
    try:
        parts = urlsplit(text)
        httpx.URL(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False


def reading(as_of: Moment | None, after: Moment | None, timeout_s: float | None = None) -> dict[str, str]:
    """What every read may ask for, as parameters."""
    return some(
        as_of=None if as_of is None else moment_text(as_of),
        after=None if after is None else moment_text(after),
        timeout=None if timeout_s is None else seconds(timeout_s),
    )


def some(**parameters: str | int | None) -> dict[str, str]:
    """Query parameters, without those that were not given."""
    return {name: str(value) for name, value in parameters.items() if value is not None}


def given(**members: Any) -> dict[str, Any]:
    """Members of an object, without those that were not given."""
    return {name: value for name, value in members.items() if value is not None}


def segment(text: str) -> str:
    """One segment of a path, whatever the text holds."""
    return quote(text, safe="")
