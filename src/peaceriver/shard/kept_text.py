"""Kept views as SQL: the only module that puts a definition's expressions and the names of its table into statements.

A group of a shard is one row: the expressions that it is grouped by (``key_0``), how many actors it has (``n``), and
the parts that its answers are made of (``sum_0``). It is found by the hash of its keys, which always fits an index.

What is given out is canonical: the same for the same actors, however it came about. Sums carry the digits of all that
was ever added to them, so numbers are given without trailing zeros, and an average is the quotient of such a sum, with
four decimals at least. Floating point counts as the numeric that PostgreSQL makes of it, text is compared by its bytes,
and groups come in the order of their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from peaceriver.errors import Invalid, Offence
from peaceriver.postgres import quoted
from peaceriver.query.kept import Aggregate, Kept, Part
from peaceriver.shard import view_tables
from peaceriver.shard.view_tables import ViewTable
from peaceriver.stamp import OPEN_END

SCHEMA = "kept"
NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_FLOATS = frozenset({"real", "double precision"})
_TEXTS = frozenset({"text", "character varying"})
_MOMENTS = frozenset({"date", "timestamp with time zone", "timestamp without time zone"})
#: Types whose equal values are written alike, or can be: a group has the same key whoever came first.
KEYS = NUMBERS | _TEXTS | _MOMENTS | {"boolean", "uuid"}
ORDERED = NUMBERS | _TEXTS | _MOMENTS
#: As `str(Stamp)` writes it.
_STAMP = "lpad(to_hex(actor_from), 20, '0') || '.' || actor_shard"
#: What a relation's column is made of, where it is not a view's column of the same name.
_MADE_OF = {"actor_stamp": ("actor_from", "actor_shard")}
#: Whether a row comes into its group, or goes; a model can have no such field.
_SIGN = "actor_sign"


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
    return declared | {each.name: view_tables.SQL_TYPES[each.kind] for each in view.columns}


def _relation(kept: Kept, source: str, *, signed: bool = False) -> str:
    """Rows of a view as what the expressions are over."""
    columns = [f"{_STAMP} as actor_stamp" if each == "actor_stamp" else quoted(each) for each in kept.fields]
    return f"(select {', '.join([*columns, *([_SIGN] if signed else [])]) or '1'} from {source}) as v"


def _canonical(expression: str, kind: str) -> str:
    if kind in NUMBERS and kind not in ("smallint", "integer", "bigint"):
        return f"trim_scale(({expression})::numeric)"
    return _comparable(expression, kind)


def _comparable(expression: str, kind: str) -> str:
    if kind in _FLOATS:
        return f"({expression})::numeric"
    return f'({expression})::text collate "C"' if kind in _TEXTS else f"({expression})"


def _read(kept: Kept, shape: Shape, relation: str, *, signed: bool = False) -> str:
    """Keys and arguments of the rows that count."""
    keys = zip(kept.keys, shape.keys, strict=True)
    values = zip(kept.arguments, shape.arguments, strict=True)
    columns = [
        *([_SIGN] if signed else []),
        *(f"{_canonical(key.expression, kind)} as key_{number}" for number, (key, kind) in enumerate(keys)),
        *(f"{_comparable(value, kind)} as value_{number}" for number, (value, kind) in enumerate(values)),
    ]
    where = "" if kept.condition is None else f" where {kept.condition}"
    return f"select {', '.join(columns) or '1'} from {relation}{where}"


def _hashed(table: KeptTable, grouped: str) -> str:
    keys = f"sha256(record_send(row({', '.join(table.keys)})))" if table.keys else "'\\x'::bytea"
    return f"select {keys} as hash, d.* from ({grouped}) as d"


def _grouped(table: KeptTable, columns: Sequence[str], rows: str) -> str:
    by = f" group by {', '.join(table.keys)}" if table.keys else ""
    return f"select {', '.join((*table.keys, *columns))} from ({rows}) as r{by}"


def probe(view: ViewTable, kept: Kept) -> str:
    """Asks for the types of a definition's expressions: those of the keys, of the arguments, of the condition."""
    of = types(view)
    nulls = ", ".join(f"null::{of[each]} as {quoted(each)}" for each in needed(view, [kept]))
    expressions = [*(each.expression for each in kept.keys), *kept.arguments, kept.condition or "true"]
    columns = ", ".join(f"{each} as c{number}" for number, each in enumerate(expressions))
    asked = ", ".join(f"pg_typeof(c{number})::text" for number in range(len(expressions)))
    relation = _relation(kept, f"(select {nulls}) as nothing")
    return f"select array[{asked}] from (select {columns} from {relation}) as asked"


# --- the table


def create(table: KeptTable) -> str:
    """Its page has room for a group to be written anew in place, which happens with most steps."""

    def stored(kind: str) -> str:
        if kind in _TEXTS:
            return 'text collate "C"'
        return "numeric" if kind in _FLOATS else kind

    declared = [f"{column} {stored(kind)}" for column, kind in zip(table.keys, table.shape.keys, strict=True)]
    by_argument = dict(zip(table.kept.arguments, table.shape.arguments, strict=True))
    of = {"count": "bigint not null", "sum": "numeric not null"}
    declared += [f"{column} {of.get(p.kind) or stored(by_argument[p.argument])}" for column, p, _ in table.parts]
    return (
        f"create table {table.relation} (shard integer not null, hash bytea not null, n bigint not null"
        f"{''.join(f', {each}' for each in declared)}, primary key (shard, hash)) with (fillfactor = 50,"
        f" autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_threshold = 1000)"
    )


def drop(name: str) -> str:
    return f"drop table if exists {SCHEMA}.{quoted(name)}"


def _whole(table: KeptTable, view: ViewTable) -> str:
    """The groups of shard $1 as the view has them now."""
    made = {"count": "count({0})", "sum": "coalesce(sum({0}::numeric), 0)", "min": "min({0})", "max": "max({0})"}
    columns = ["count(*) as n", *(f"{made[p.kind].format(value)} as {column}" for column, p, value in table.parts)]
    source = f"{view.relation} where actor_shard = $1 and actor_until = {OPEN_END}"
    grouped = _grouped(table, columns, _read(table.kept, table.shape, _relation(table.kept, source)))
    return f"{_hashed(table, grouped)} where d.n > 0"


def fill(table: KeptTable, view: ViewTable) -> str:
    """Compute shard $1 from the view."""
    columns = ", ".join(table.columns)
    return f"insert into {table.relation} (shard, {columns}) select $1, {columns} from ({_whole(table, view)}) as whole"


def fill_at(table: KeptTable, view: ViewTable) -> str:
    """The same, and answer where the view's shard is folded to in the same snapshot."""
    return f"with filled as ({fill(table, view)}) select position, stamp from view_mark where shard = $1"


def fill_some(table: KeptTable, view: ViewTable) -> str:
    """The same for the groups whose hashes are $2."""
    return f"{fill(table, view)} where hash = any($2::bytea[])"


def forget(table: KeptTable) -> str:
    """Forget all groups of shard $1."""
    return f"delete from {table.relation} where shard = $1"


def forget_some(table: KeptTable) -> str:
    """Forget those whose hashes are $2."""
    return f"{forget(table)} and hash = any($2::bytea[])"


def differences(table: KeptTable, view: ViewTable) -> str:
    """Groups of shard $1 that are not what the view makes of them: as they are kept, and as they should be."""
    columns = ", ".join(table.columns)
    kept = f"select {columns} from {table.relation} where shard = $1"
    whole = f"select {columns} from ({_whole(table, view)}) as whole"
    return (
        f"select 'kept' as side, * from ({kept} except all {whole}) as kept"
        f" union all select 'view', * from ({whole} except all {kept}) as whole order by hash, side"
    )


# --- upkeep


@lru_cache(maxsize=512)
def step(view: ViewTable, tables: tuple[KeptTable, ...]) -> str:
    """End the last rows of actors of shard $1 ($2 ids, $3 untils), and bring kept views along.

    The rows that stay open after that are in arrays of their ``needed`` columns, from $4 on. See ``_brought``.
    """
    columns = needed(view, [each.kept for each in tables])
    of = types(view)
    arrays = ", ".join(f"${number}::{of[each].split()[0]}[]" for number, each in enumerate(columns, start=4))
    names = ", ".join(map(quoted, columns))
    # In the array it has lost how it is compared.
    given = ", ".join(quoted(each) + (' collate "C"' if "collate" in of[each] else "") for each in columns)
    ended = view_tables.ending(view, returning=", ".join(f"v.{quoted(each)}" for each in columns))
    return (
        f"with ended as ({ended}), changed as (select -1 as {_SIGN}, {names} from ended"
        f" union all select 1, {given} from unnest({arrays}) as given ({names}))"
        f"{_brought(tables)}"
    )


@lru_cache(maxsize=512)
def shift(view: ViewTable, tables: tuple[KeptTable, ...]) -> str:
    """Bring kept views along with what actors $2 of shard $1 were at the logical time $4: in ($3 is 1) or out (-1)."""
    names = ", ".join(map(quoted, needed(view, [each.kept for each in tables])))
    return (
        f"with changed as (select $3::integer as {_SIGN}, {names} from unnest($2::text[]) as wanted (id)"
        f" cross join lateral (select {names} from {view.relation} where actor_shard = $1 and actor_id = wanted.id"
        f"  and actor_from <= $4 order by actor_from desc limit 1) as last)"
        f"{_brought(tables)}"
    )


def _brought(tables: Sequence[KeptTable]) -> str:
    """The rest of a statement that has the rows of ``changed``.

    Answers groups by the place of their table and their hash: those with no actor left, and those that cannot be
    brought along and are to be computed ``anew``.
    """
    steps, told = [], []
    for number, table in enumerate(tables):
        steps.append(f"delta_{number} as materialized ({_delta(table)})")
        if table.extremes:
            steps.append(f"known_{number} as materialized ({_known(table, number)})")
        steps.append(f"merged_{number} as ({_merged(table, number)})")
        told.append(f"select {number} as place, hash, false as anew from merged_{number} where n = 0")
        if lost := _lost(table):
            source = f"known_{number}" if table.extremes else f"delta_{number}"
            told.append(f"select {number}, hash, true from {source} where {lost}")
    return f", {', '.join(steps)} {' union all '.join(told)}"


def _delta(table: KeptTable) -> str:
    """What changes in the groups that change."""
    columns = [f"coalesce(sum({_SIGN}), 0) as n"]
    for column, part, value in table.parts:
        if part.kind == "count":
            columns.append(f"coalesce(sum({_SIGN}) filter (where {value} is not null), 0) as {column}")
        elif part.kind == "sum":
            signed = f"case when {_SIGN} > 0 then {value}::numeric else -({value}::numeric) end"
            columns.append(f"coalesce(sum({signed}), 0) as {column}")
        else:
            columns.append(f"{part.kind}({value}) filter (where {_SIGN} > 0) as {column}")
            columns.append(f"{part.kind}({value}) filter (where {_SIGN} < 0) as gone_{column}")
    rows = _read(table.kept, table.shape, _relation(table.kept, "changed", signed=True), signed=True)
    return _hashed(table, _grouped(table, columns, rows))


def _known(table: KeptTable, number: int) -> str:
    """The same beside the extremes so far."""
    names = ", ".join(column for column, _, _ in table.extremes)
    was = ", ".join(f"was.{column} as was_{column}" for column, _, _ in table.extremes)
    return (
        f"select d.*, {was} from delta_{number} as d left join lateral (select {names} from {table.relation}"
        f" where shard = $1 and hash = d.hash) as was on true"
    )


def _lost(table: KeptTable) -> str:
    """Whether a group cannot be brought along.

    The value that was its extreme may be gone, and no better one came. Or what is no finite number came or went: it
    cannot be taken out of a sum.
    """
    lost = [
        f"(gone_{column} is not null and (gone_{column} {sign}= was_{column}) is not false"
        f" and ({column} is null or gone_{column} {sign} {column}))"
        for column, sign, _ in table.extremes
    ]
    return " or ".join([*lost, *(f"{each} in ('NaN', 'Infinity', '-Infinity')" for each in table.sums)])


def _merged(table: KeptTable, number: int) -> str:
    best = {"min": "least", "max": "greatest"}
    source = f"known_{number}" if table.extremes else f"delta_{number}"
    changes, set_to = ["n <> 0"], ["n = k.n + excluded.n"]
    for column, part, _ in table.parts:
        if part.kind in best:
            changes.append(f"{best[part.kind]}(was_{column}, {column}) is distinct from was_{column}")
            set_to.append(f"{column} = {best[part.kind]}(k.{column}, excluded.{column})")
        else:
            changes.append(f"{column} <> 0")
            set_to.append(f"{column} = k.{column} + excluded.{column}")
    columns = ", ".join(table.columns)
    return (
        f"insert into {table.relation} as k (shard, {columns}) select $1, {columns} from {source}"
        f" where {' or '.join(changes)} on conflict (shard, hash) do update set {', '.join(set_to)}"
        f" returning k.hash, k.n"
    )


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
    return _answer(kept, shape, "count(*)", parts, f"({_read(kept, shape, relation)})")


def open_rows(kept: Kept, view: ViewTable) -> str:
    """What the expressions are over, for ``computed``: the actors of the shards $1 as the view has them now."""
    source = f"{view.relation} where actor_shard = any($1::integer[]) and actor_until = {OPEN_END}"
    return _relation(kept, source)


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
