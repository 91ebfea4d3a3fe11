"""Kept views as SQL: what their expressions are over, and what they answer.

This and its two neighbours, `kept_fill` and `kept_upkeep`, are the only modules that put a definition's expressions and
the names of its tables into statements.

A group of a shard is one row: the expressions that it is grouped by (``key_0``), how many actors it has (``n``), and
the parts that its answers are made of (``sum_0``). It is found by the hash of its keys, which always fits an index.

What is given out is canonical: the same for the same actors, however it came about. Sums carry the digits of all that
was ever added to them, so numbers are given without trailing zeros, and an average is the quotient of such a sum, with
four decimals at least. Floating point counts as the numeric that PostgreSQL makes of it, text is compared by its bytes,
and groups come in the order of their keys.
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
#: Whether a row comes into its group, or goes; a model can have no such field.
SIGN = "actor_sign"


class Shape(msgspec.Struct, frozen=True):
    """The types that PostgreSQL derives for a kept view's keys and arguments, in their order."""

    keys: tuple[str, ...]
    arguments: tuple[str, ...]


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
    if kind in TEXTS:
        return 'text collate "C"'
    return "numeric" if kind in FLOATS else kind


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


def relation_of(kept: Kept, source: str, *, signed: bool = False) -> str:
    """Rows of a view as what the expressions are over."""
    columns = [f"{_STAMP} as actor_stamp" if each == "actor_stamp" else quoted(each) for each in kept.fields]
    return f"(select {', '.join([*columns, *([SIGN] if signed else [])]) or '1'} from {source}) as v"


def _canonical(expression: str, kind: str) -> str:
    if kind in NUMBERS and kind not in ("smallint", "integer", "bigint"):
        return f"trim_scale(({expression})::numeric)"
    return _comparable(expression, kind)


def _comparable(expression: str, kind: str) -> str:
    if kind in FLOATS:
        return f"({expression})::numeric"
    return f'({expression})::text collate "C"' if kind in TEXTS else f"({expression})"


def read(kept: Kept, shape: Shape, relation: str, *, signed: bool = False) -> str:
    """Keys and arguments of the rows that count."""
    keys = zip(kept.keys, shape.keys, strict=True)
    values = zip(kept.arguments, shape.arguments, strict=True)
    columns = [
        *([SIGN] if signed else []),
        *(f"{_canonical(key.expression, kind)} as key_{number}" for number, (key, kind) in enumerate(keys)),
        *(f"{_comparable(value, kind)} as value_{number}" for number, (value, kind) in enumerate(values)),
    ]
    where = "" if kept.condition is None else f" where {kept.condition}"
    return f"select {', '.join(columns) or '1'} from {relation}{where}"


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
    """The answer over the shards $1, in the definition's columns."""
    made = {"count": "sum({0})::bigint", "sum": "sum({0})", "min": "min({0})", "max": "max({0})"}
    parts = {part: made[part.kind].format(column) for column, part, _ in table.parts}
    source = f"(select * from {table.relation} where shard = any($1::integer[]))"
    return _answer(table.kept, table.shape, "coalesce(sum(n), 0)::bigint", parts, source)


def computed(kept: Kept, shape: Shape, relation: str) -> str:
    """The same answer from what the expressions are over: ``relation`` is what stands in FROM."""
    made = {"count": "count({0})", "sum": "sum({0}::numeric)", "min": "min({0})", "max": "max({0})"}
    values = {each: f"value_{number}" for number, each in enumerate(kept.arguments)}
    parts = {part: made[part.kind].format(values[part.argument]) for part in kept.parts}
    return _answer(kept, shape, "count(*)", parts, f"({read(kept, shape, relation)})")


#: The types of keys and values, as the driver names them.
_DRIVERS = {
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "real": "numeric",
    "double precision": "numeric",
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
        of_function = {"count": "int8", "sum": "numeric", "avg": "numeric"}
        kinds[each.name] = of_function.get(each.function, _DRIVERS.get(kind, kind))
    return kinds


def open_in_shard(kept: Kept, view: ViewTable) -> str:
    """What the expressions are over: the actors of the shard $1 as the view has them now."""
    return relation_of(kept, f"{view.relation} where actor_shard = $1 and actor_until = {OPEN_END}")


def open_rows(kept: Kept, view: ViewTable) -> str:
    """What the expressions are over, for ``computed``: the actors of the shards $1 as the view has them now."""
    source = f"{view.relation} where actor_shard = any($1::integer[]) and actor_until = {OPEN_END}"
    return relation_of(kept, source)


def _answer(kept: Kept, shape: Shape, n: str, parts: dict[Part, str], source: str) -> str:
    kinds = dict(zip(kept.arguments, shape.arguments, strict=True))
    outputs = {each.name: f"key_{number}" for number, each in enumerate(kept.keys)}
    outputs |= {each.name: _output(each, n, parts, kinds) for each in kept.aggregates}
    columns = ", ".join(f"{outputs[each]} as {quoted(each)}" for each in kept.columns)
    keys = ", ".join(f"key_{number}" for number in range(len(kept.keys)))
    ordered = f" group by {keys} order by {keys}" if keys else ""
    return f"select {columns} from {source} as r{ordered}"


def _output(aggregate: Aggregate, n: str, parts: dict[Part, str], kinds: dict[str, str]) -> str:
    argument = aggregate.argument
    if argument is None:
        return n
    count = f"coalesce({parts[Part('count', argument)]}, 0)" if Part("count", argument) in parts else "0"
    match aggregate.function:
        case "count":
            return count
        case "sum":
            return f"case when {count} > 0 then trim_scale({parts[Part('sum', argument)]}) end"
        case "avg":
            # A quotient has as many digits as its operands at least: some, where there were none.
            total = f"trim_scale({parts[Part('sum', argument)]}) + 0.0000"
            return f"case when {count} > 0 then trim_scale(({total}) / {count}) end"
        case "min" | "max":
            return _canonical(parts[Part(aggregate.function, argument)], kinds[argument])
