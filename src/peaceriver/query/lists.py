"""Lists of actors: filters, order and limit from a request, compiled to one statement over one view. Pure.

Everything a request names becomes a bound value or a column of the catalogue; nothing of it is glued into SQL. Every
order ends with (shard, id), so that two replicas give the same answer to the same question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    Integer,
    Numeric,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    table,
    values,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.elements import ColumnElement

from peaceriver.errors import Invalid, Offence
from peaceriver.limits import PAGE_RECORDS_MAX

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "like", "in", "is"]
_OPERATION = re.compile(r"(eq|ne|gt|gte|lt|lte|like|in|is)\.(.*)", re.DOTALL)
_COMPARE = {"eq": "__eq__", "ne": "__ne__", "gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its dialects untyped
OFFSET_MAX = 1_000_000
FILTERS_MAX = 32
IN_VALUES_MAX = 1_000
#: What else a request may say; a field with such a name is reached as document.NAME.
RESERVED = frozenset({"order", "limit", "offset", "as_of", "after", "read", "timeout"})
_SYSTEM = {"actor_id": "text", "actor_shard": "numeric", "actor_version": "numeric", "actor_status": "text"}
_TYPES: dict[str, Any] = {"text": Text(), "numeric": Numeric()}
#: A column of the system's; a model may have no such field.
SYSTEM_PREFIX = "actor_"
_EXPONENT_MAX = 308
_DIGITS_MAX = 1_000


class Filter(msgspec.Struct, frozen=True):
    """One condition on a field; ``values`` as the request wrote them."""

    field: str
    operator: Operator
    values: tuple[str, ...]
    #: The name that the request used, for errors.
    parameter: str


class Order(msgspec.Struct, frozen=True):
    """One key of the order."""

    field: str
    descending: bool


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a list request asks for."""

    filters: tuple[Filter, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int = 100
    offset: int = 0


class Compiled(msgspec.Struct, frozen=True):
    """A statement with numbered parameters, and their values."""

    text: str
    values: tuple[Any, ...]


def parse(parameters: Sequence[tuple[str, str]]) -> ListQuery:
    """Read the query parameters of a list; raises Invalid, naming each bad one."""
    errors: list[Offence] = []
    filters: list[Filter] = []
    order: tuple[Order, ...] = ()
    limit, offset = 100, 0
    for name, value in parameters:
        if name == "limit":
            limit = _number(name, value, 1, PAGE_RECORDS_MAX, errors)
        elif name == "offset":
            offset = _number(name, value, 0, OFFSET_MAX, errors)
        elif name == "order":
            order = tuple(Order(_field(each.lstrip("-")), each.startswith("-")) for each in value.split(",") if each)
        elif name not in RESERVED:
            filters.append(_filter(name, value, errors))
    if len(filters) > FILTERS_MAX:
        errors.append(Offence("", f"{len(filters)} filters; at most {FILTERS_MAX} are taken"))
    if errors:
        raise Invalid("; ".join(f"{each.pointer}: {each.detail}" for each in errors), errors=tuple(errors))
    return ListQuery(filters=tuple(filters), order=order, limit=limit, offset=offset)


def _number(name: str, value: str, low: int, high: int, errors: list[Offence]) -> int:
    if value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high:
        return int(value)
    errors.append(Offence(name, f"a whole number from {low} to {high}"))
    return low


def _field(name: str) -> str:
    return name.removeprefix("document.") if name.startswith("document.") else name


def _filter(name: str, value: str, errors: list[Offence]) -> Filter:
    match = _OPERATION.fullmatch(value)
    operator: Any = match[1] if match else "eq"
    operand = match[2] if match else value
    operands = tuple(operand.strip("()").split(",")) if operator == "in" else (operand,)
    if len(operands) > IN_VALUES_MAX:
        errors.append(Offence(name, f"{len(operands)} values; at most {IN_VALUES_MAX} are taken"))
    if operator == "is" and operand not in ("null", "true", "false"):
        errors.append(Offence(name, "is. takes null, true or false"))
    if "\x00" in value or "\x00" in name:
        errors.append(Offence(name.replace("\x00", ""), "must not hold a NUL"))
    return Filter(name, operator, operands, name)


def compile_list(query: ListQuery, relation: tuple[str, str], cutoff: Sequence[tuple[int, int]]) -> Compiled:
    """The statement for a list over the view ``relation`` (schema, table).

    ``cutoff`` is (shard, logical time) for each shard: a row counts where it was valid at its shard's time. One row
    more than the limit is asked for, to know whether there is a next page. Raises Invalid for what cannot be compared.
    """
    names = ["actor_shard", "actor_id", "actor_from", "actor_until", "actor_version", "actor_status", "document"]
    view = table(relation[1], *(column(each) for each in names), schema=relation[0]).alias("v")
    cut = values(column("shard", Integer), column("time", BigInteger), name="cut").data(list(cutoff)).alias("cut")
    fields = _Fields(view)
    statement = (
        select(*(view.c[each] for each in names if each != "actor_until"))
        .select_from(view.join(cut, view.c.actor_shard == cut.c.shard))
        .where(view.c.actor_from <= cut.c.time, view.c.actor_until > cut.c.time)
        .where(*(fields.condition(each) for each in query.filters))
        .order_by(*(key for each in query.order for key in fields.order(each)), view.c.actor_shard, view.c.actor_id)
        .limit(literal(query.limit + 1, Integer))
        .offset(literal(query.offset, Integer))
    )
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    parameters = compiled.params
    return Compiled(str(compiled), tuple(parameters[name] for name in compiled.positiontup or ()))


class _Fields:
    """Fields of a view, as SQL expressions: the system's own columns, else paths into the document.

    The typed columns are left alone here: they belong to the newest model, and what a list answered as of a moment must
    not change with a model that is published later.
    """

    def __init__(self, view: Any) -> None:
        self._view = view

    @staticmethod
    def _typed(name: str) -> tuple[ColumnElement[Any], str] | None:
        kind = _SYSTEM.get(name)
        if kind is not None:
            return literal_column(f"v.{name}", _TYPES[kind]), kind
        if name.startswith(SYSTEM_PREFIX):
            known = ", ".join(sorted(_SYSTEM))
            raise Invalid(f"{name}: there is no such column; there are {known}", errors=(Offence(name, "unknown"),))
        return None

    def condition(self, wanted: Filter) -> ColumnElement[bool]:
        typed = self._typed(wanted.field)
        if typed is not None:
            return _typed_condition(wanted, *typed)
        return self._document_condition(wanted)

    def order(self, key: Order) -> list[ColumnElement[Any]]:
        typed = self._typed(key.field)
        if typed is not None:
            expressions = [typed[0]]
        else:
            number, text = self._paths(key.field)
            expressions = [number, text]
        ordered = [each.desc() if key.descending else each.asc() for each in expressions]
        return [each.nulls_last() for each in ordered]

    def _paths(self, name: str) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        document = cast(self._view.c.document, JSON)
        field = literal(_field(name), Text)
        text = func.json_extract_path_text(document, field).collate("C")
        is_number = func.json_typeof(func.json_extract_path(document, field)) == "number"
        return case((is_number, cast(text, Numeric)), else_=None), text

    def _document_condition(self, wanted: Filter) -> ColumnElement[bool]:
        number, text = self._paths(wanted.field)
        if wanted.operator == "is":
            return text.is_(None) if wanted.values[0] == "null" else text == wanted.values[0]
        if wanted.operator == "like":
            return text.like(_pattern(wanted.values[0]), escape="\\")
        if wanted.operator == "in":
            return or_(*(self._compared("eq", each, number, text) for each in wanted.values))
        return self._compared(wanted.operator, wanted.values[0], number, text)

    @staticmethod
    def _compared(operator: str, value: str, number: Any, text: Any) -> ColumnElement[bool]:
        """Numbers compare as numbers and everything else as text; a value that looks like a number may be either."""
        as_number = _decimal(value)
        as_text: ColumnElement[bool] = getattr(text, _COMPARE[operator])(literal(value, Text))
        if as_number is None:
            return as_text
        numeric: ColumnElement[bool] = getattr(number, _COMPARE[operator])(literal(as_number, Numeric))
        if operator == "eq":
            return or_(numeric, and_(number.is_(None), as_text))
        if operator == "ne":
            return case((number.is_(None), as_text), else_=numeric)
        return numeric


def _typed_condition(wanted: Filter, expression: ColumnElement[Any], kind: str) -> ColumnElement[bool]:
    if wanted.operator == "is":
        if wanted.values[0] != "null":
            raise _unfit(wanted, kind)
        return expression.is_(None)
    if wanted.operator == "like":
        return cast(expression, Text).like(_pattern(wanted.values[0]), escape="\\")
    read = [_read(each, kind, wanted) for each in wanted.values]
    if wanted.operator == "in":
        return or_(*(expression == literal(each, _TYPES[kind]) for each in read))
    compared: ColumnElement[bool] = getattr(expression, _COMPARE[wanted.operator])(literal(read[0], _TYPES[kind]))
    return compared


def _pattern(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def _decimal(value: str) -> Decimal | None:
    """The number that a value says; None where it says none. Raises Invalid where it is out of range."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    if abs(number.adjusted()) > _EXPONENT_MAX or len(value) > _DIGITS_MAX:
        raise Invalid(f"{value[:60]} is out of range", errors=(Offence("", "a number out of range"),))
    return number


def _read(value: str, kind: str, wanted: Filter) -> Any:
    """A request's value as the system column's type; raises Invalid where it is none."""
    if kind == "text":
        return value
    number = _decimal(value)
    if number is None:
        raise _unfit(wanted, kind)
    return number


def _unfit(wanted: Filter, kind: str) -> Invalid:
    detail = f"{', '.join(wanted.values)[:60]!r} is no {kind} value"
    return Invalid(f"{wanted.parameter}: {detail}", errors=(Offence(wanted.parameter, detail),))
