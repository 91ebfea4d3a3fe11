"""Kept views as SQL: what their expressions are over, and what they answer.

This and its two neighbours, `kept_fill` and `kept_upkeep`, are the only modules that put a definition's expressions and
the names of its tables into statements.

A group of a shard is one row: the expressions that it is grouped by (``key_0``), how many actors it has (``n``), and
the parts that its answers are made of (``sum_0``). It is found by the hash of its keys, which always fits an index.

What is given out is the query's answer to the byte, however it came about. A sum has as many decimals as the number in
it that has the most, and an average is the quotient of that sum; so it is kept how many numbers have how many decimals:
in one number, the sum of a thousand million millions to the power of each one's decimals (``scale_0``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from peaceriver.errors import Invalid, Offence
from peaceriver.postgres import quoted
from peaceriver.query.kept import Aggregate, Kept, Part
from peaceriver.shard import view_tables
from peaceriver.shard.view_tables import ViewTable
from peaceriver.stamp import OPEN_END

#: Kept views have a schema of their own.
SCHEMA = "kept"
NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
FLOATS = frozenset({"real", "double precision"})
TEXTS = frozenset({"text", "character varying"})
MOMENTS = frozenset({"date", "timestamp with time zone", "timestamp without time zone"})
#: Types whose equal values are written alike, or can be: a group has the same key whoever came first.
KEYS = NUMBERS | TEXTS | MOMENTS | {"boolean", "uuid"}
ORDERED = NUMBERS | TEXTS | MOMENTS
#: As `str(Stamp)` writes it.
_STAMP = "lpad(to_hex(actor_from), 20, '0') || '.' || actor_shard"
#: What a relation's column is made of, where it is not a view's column of the same name.
_MADE_OF = {"actor_stamp": ("actor_from", "actor_shard")}
#: So many digits of the count of decimals are for each number of them: so many numbers there can be.
_SCALE_DIGITS = 15
#: Whether a row comes into its group, or goes; a model can have no such field.
SIGN = "actor_sign"


class Shape(msgspec.Struct, frozen=True):
    """The types that PostgreSQL derives for a kept view's keys and arguments, in their order."""

    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    #: Numbers among the columns that they are over, which are taken without trailing zeros.
    trimmed: tuple[str, ...]


class KeptTable(msgspec.Struct, frozen=True):
    """The table of a kept view."""

    kept: Kept
    name: str
    shape: Shape

    @property
    def relation(self) -> str:
        return f"{SCHEMA}.{quoted(self.name)}"

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(f"key_{number}" for number in range(len(self.kept.keys)))

    @property
    def parts(self) -> tuple[tuple[str, Part, str], ...]:
        """Each part's column, the part, and the column of its argument."""
        numbers = {each: number for number, each in enumerate(self.kept.arguments)}
        return tuple(
            (f"{each.kind}_{numbers[each.argument]}", each, f"value_{numbers[each.argument]}")
            for each in self.kept.parts
            if each.kind != "scale" or self.shape.arguments[numbers[each.argument]] == "numeric"
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return ("hash", *self.keys, "n", *(column for column, _, _ in self.parts))

    @property
    def extremes(self) -> tuple[tuple[str, str, str], ...]:
        """Column, comparison of what is more extreme, and argument of each minimum and maximum."""
        compared = {"min": "<", "max": ">"}
        return tuple((column, compared[p.kind], value) for column, p, value in self.parts if p.kind in compared)

    @property
    def sums(self) -> tuple[str, ...]:
        return tuple(column for column, part, _ in self.parts if part.kind == "sum")

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """Of the arguments that have an extreme and whose values fit an index; a text may be too long for one."""
        values = dict.fromkeys(value for _, _, value in self.extremes)
        kinds = {f"value_{number}": kind for number, kind in enumerate(self.shape.arguments)}
        return tuple(
            Tally(f"{self.name}_{value}", value, stored(kinds[value])) for value in values if kinds[value] not in TEXTS
        )


class Tally(NamedTuple):
    """A table of how often each group has each value of an argument: when its extreme goes, the next one is there."""

    name: str
    value: str
    kind: str

    @property
    def relation(self) -> str:
        return f"{SCHEMA}.{quoted(self.name)}"


def stored(kind: str) -> str:
    """The type of a column for what is of a type."""
    return 'text collate "C"' if kind in TEXTS else kind


def weight(value: str) -> str:
    """What a number adds to the count of decimals; nothing where there is none, or none that is finite."""
    return f"('1e' || {_SCALE_DIGITS} * scale({value}))::numeric"


# --- the relation that a definition's expressions are over


def needed(view: ViewTable, wanted: Sequence[Kept]) -> tuple[str, ...]:
    """The columns of a view that kept views are made of, at least one; raises Invalid where it has no such column."""
    fields = sorted({each for kept in wanted for each in kept.fields})
    columns = tuple(dict.fromkeys(column for each in fields for column in _MADE_OF.get(each, (each,))))
    if missing := [each for each in columns if each not in view.column_names]:
        why = f"{view.actor_type} has no column {missing[0]}"
        raise Invalid(f"{wanted[0].name} cannot be kept: {why}", errors=(Offence("", why),))
    return columns or ("actor_version",)


def types(view: ViewTable) -> dict[str, str]:
    """The types of a view's columns, as they are declared."""
    declared = {name: kind.removesuffix(" not null") for name, kind in view_tables.SYSTEM_COLUMNS}
    return declared | {name: view_tables.SQL_TYPES[each.kind] for name, each in view.stored}


def relation_of(kept: Kept, shape: Shape, source: str, *, signed: bool = False) -> str:
    """Rows of a view as what the expressions are over."""
    columns = [_column(each, each in shape.trimmed) for each in kept.fields]
    return f"(select {', '.join([*columns, *([SIGN] if signed else [])]) or '1'} from {source}) as v"


def _column(name: str, is_trimmed: bool) -> str:
    if name == "actor_stamp":
        return f"{_STAMP} as actor_stamp"
    return f"trim_scale({quoted(name)}) as {quoted(name)}" if is_trimmed else quoted(name)


def read(kept: Kept, shape: Shape, relation: str, *, signed: bool = False) -> str:
    """Keys and arguments of the rows that count."""
    keys = zip(kept.keys, shape.keys, strict=True)
    values = zip(kept.arguments, shape.arguments, strict=True)
    columns = [
        *([SIGN] if signed else []),
        *(f"{_comparable(key.expression, kind)} as key_{number}" for number, (key, kind) in enumerate(keys)),
        *(f"{_comparable(value, kind)} as value_{number}" for number, (value, kind) in enumerate(values)),
    ]
    where = "" if kept.condition is None else f" where {kept.condition}"
    return f"select {', '.join(columns) or '1'} from {relation}{where}"


def _comparable(expression: str, kind: str) -> str:
    return f'({expression})::text collate "C"' if kind in TEXTS else f"({expression})"


def hashed(table: KeptTable, groups: str) -> str:
    keys = f"substr(sha256(record_send(row({', '.join(table.keys)}))), 1, 16)" if table.keys else "'\\x'::bytea"
    return f"select {keys} as hash, d.* from ({groups}) as d"


def grouped(table: KeptTable, columns: Sequence[str], rows: str, *, by: str = "") -> str:
    """Columns of the groups of some rows; ``by`` something more."""
    keys = [*table.keys, *([by] if by else [])]
    group = f" group by {', '.join(keys)}" if keys else ""
    return f"select {', '.join((*table.keys, *columns))} from ({rows}) as r{group}"


def fields(view: ViewTable, kept: Kept) -> dict[str, str]:
    """The types of what a definition's expressions are over; raises Invalid where a view has no such column."""
    needed(view, [kept])
    return types(view) | {"actor_stamp": view_tables.SQL_TYPES["text"]}


def probe(kept: Kept, of: Mapping[str, str]) -> str:
    """Asks for the types of a definition's expressions: those of the keys, of the arguments, of the condition.

    ``of``: the types of what they are over.
    """
    nulls = ", ".join(f"null::{of[each]} as {quoted(each)}" for each in kept.fields) or "1"
    expressions = [*(each.expression for each in kept.keys), *kept.arguments, kept.condition or "true"]
    columns = ", ".join(f"{each} as c{number}" for number, each in enumerate(expressions))
    asked = ", ".join(f"pg_typeof(c{number})::text" for number in range(len(expressions)))
    return f"select array[{asked}] from (select {columns} from (select {nulls}) as v) as asked"


# --- answers


def merged(table: KeptTable) -> str:
    """The answer over the shards $1, in the definition's columns; its groups are in the order of the query's."""
    made = {"count": "sum({0})::bigint", "sum": "sum({0})", "scale": "sum({0})", "min": "min({0})", "max": "max({0})"}
    parts = {part: made[part.kind].format(column) for column, part, _ in table.parts}
    kept, kinds = table.kept, dict(zip(table.kept.arguments, table.shape.arguments, strict=True))
    outputs = {each.name: f"key_{number}" for number, each in enumerate(kept.keys)}
    outputs |= {each.name: _output(each, parts, kinds) for each in kept.aggregates}
    columns = ", ".join(f"{outputs[each]} as {quoted(each)}" for each in kept.columns)
    keys = ", ".join(table.keys)
    ordered = f" group by {keys} order by {keys}" if keys else ""
    return f"select {columns} from {table.relation} where shard = any($1::integer[]){ordered}"


def _output(aggregate: Aggregate, parts: dict[Part, str], kinds: dict[str, str]) -> str:
    argument = aggregate.argument
    if argument is None:
        return "coalesce(sum(n), 0)::bigint"
    if aggregate.function in ("min", "max"):
        return parts[Part(aggregate.function, argument)]
    count = f"coalesce({parts[Part('count', argument)]}, 0)"
    if aggregate.function == "count":
        return count
    total = parts[Part("sum", argument)]
    if (weights := parts.get(Part("scale", argument))) is not None:
        total = f"round({total}, (length(({weights})::text) - 1) / {_SCALE_DIGITS})"
    if aggregate.function == "avg":
        total = f"{total} / {count}"
    elif kinds[argument] in _SMALL:
        total = f"({total})::bigint"
    return f"case when {count} > 0 then {total} end"


#: The types whose sums are not numeric.
_SMALL = frozenset({"smallint", "integer"})
#: The types of keys and values, as the driver names them.
_DRIVERS = {
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "character varying": "text",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "boolean": "bool",
}


def output_kinds(kept: Kept, shape: Shape) -> dict[str, str]:
    """The types of the answer's columns, as the driver names them."""
    arguments = dict(zip(kept.arguments, shape.arguments, strict=True))
    kinds = {key.name: _DRIVERS.get(kind, kind) for key, kind in zip(kept.keys, shape.keys, strict=True)}
    for each in kept.aggregates:
        kind = arguments.get(each.argument or "", "")
        of_function = {"count": "int8", "sum": "int8" if kind in _SMALL else "numeric", "avg": "numeric"}
        kinds[each.name] = of_function.get(each.function, _DRIVERS.get(kind, kind))
    return kinds


def open_in_shard(table: KeptTable, view: ViewTable) -> str:
    """What the expressions are over: the actors of the shard $1 as the view has them now."""
    source = f"{view.relation} where actor_shard = $1 and actor_until = {OPEN_END}"
    return relation_of(table.kept, table.shape, source)
