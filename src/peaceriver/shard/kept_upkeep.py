"""The upkeep of kept views as SQL: what changed of an actor is taken out of its group, and put into its group.

One statement brings all kept views of a type along, each group that changes once, however many actors of it do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache

from peaceriver.postgres import quoted
from peaceriver.shard import view_tables
from peaceriver.shard.kept_text import SIGN, KeptTable, Tally, grouped, hashed, needed, read, relation_of, types, weight
from peaceriver.shard.view_tables import ViewTable


class Left(StrEnum):
    """What is left to do about a group when the view is as it is to be."""

    #: It has no actor left, or had none for a moment.
    EMPTY = "empty"
    #: Its extremes are to be looked up in the tallies.
    LOOK_UP = "look up"
    #: It is to be computed from the view.
    COMPUTE = "compute"


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
        f"with ended as ({ended}), changed as (select -1 as {SIGN}, {names} from ended"
        f" union all select 1, {given} from unnest({arrays}) as given ({names}))"
        f"{_brought(tables)}"
    )


@lru_cache(maxsize=512)
def shift(view: ViewTable, tables: tuple[KeptTable, ...]) -> str:
    """Bring kept views along with what actors $2 of shard $1 were at the logical time $4: in ($3 is 1) or out (-1)."""
    names = ", ".join(map(quoted, needed(view, [each.kept for each in tables])))
    return (
        f"with changed as (select $3::integer as {SIGN}, {names} from unnest($2::text[]) as wanted (id)"
        f" cross join lateral (select {names} from {view.relation} where actor_shard = $1 and actor_id = wanted.id"
        f"  and actor_from <= $4 order by actor_from desc limit 1) as last)"
        f"{_brought(tables)}"
    )


def _brought(tables: Sequence[KeptTable]) -> str:
    """The rest of a statement that has the rows of ``changed``.

    Answers what is left to do about groups, by the place of their table and their hash. See ``Left``.
    """
    steps, told = [], []
    for number, table in enumerate(tables):
        source = f"known_{number}" if table.extremes else f"delta_{number}"
        steps.append(f"delta_{number} as materialized ({_delta(table)})")
        if table.extremes:
            steps.append(f"known_{number} as materialized ({_known(table, number)})")
        steps.append(f"merged_{number} as ({_merged(table, source)})")
        for place, tally in enumerate(table.tallies):
            steps += _tallied(table, tally, f"{number}_{place}")
        told.append(f"select {number} as place, hash, '{Left.EMPTY}' as left from merged_{number} where n = 0")
        for left, condition in _lost(table):
            told.append(f"select {number}, hash, '{left}' from {source} where {condition}")
    return f", {', '.join(steps)} {' union all '.join(told)}"


def _tallied(table: KeptTable, tally: Tally, name: str) -> list[str]:
    """Count values that came, and those that went; what no actor has any more goes."""
    rows = f"select * from ({_signed(table)}) as r where {tally.value} is not null"
    counted = grouped(table, (f"{tally.value} as value", f"sum({SIGN}) as n"), rows, by=tally.value)
    had = (
        f"select ctid, n from {tally.relation} where shard = $1 and hash = d.hash and value = d.value and d.n < 0"
        f" order by hash limit 1"
    )
    return [
        f"tally_{name} as materialized (select d.*, had.ctid as place, coalesce(had.n, 0) + d.n as now"
        f" from ({hashed(table, counted)} where d.n <> 0) as d left join lateral ({had}) as had on true)",
        f"ceased_{name} as (delete from {tally.relation} where ctid = any(array("
        f"select place from tally_{name} where now = 0 and place is not null)))",
        f"counted_{name} as (insert into {tally.relation} as k (shard, hash, value, n)"
        f" select $1, hash, value, n from tally_{name} where now <> 0"
        f" on conflict (shard, hash, value) do update set n = k.n + excluded.n)",
    ]


def _signed(table: KeptTable) -> str:
    return read(table.kept, table.shape, relation_of(table.kept, table.shape, "changed", signed=True), signed=True)


def _delta(table: KeptTable) -> str:
    """What changes in the groups that change."""
    columns = [f"coalesce(sum({SIGN}), 0) as n"]
    for column, part, value in table.parts:
        if part.kind == "count":
            columns.append(f"coalesce(sum({SIGN}) filter (where {value} is not null), 0) as {column}")
        elif part.kind in ("sum", "scale"):
            added = weight(value) if part.kind == "scale" else f"{value}::numeric"
            signed = f"case when {SIGN} > 0 then {added} else -({added}) end"
            columns.append(f"coalesce(sum({signed}), 0) as {column}")
        else:
            columns.append(f"{part.kind}({value}) filter (where {SIGN} > 0) as {column}")
            columns.append(f"{part.kind}({value}) filter (where {SIGN} < 0) as gone_{column}")
    return hashed(table, grouped(table, columns, _signed(table)))


def _known(table: KeptTable, number: int) -> str:
    """The same beside the extremes so far.

    There is one row at most; the limit keeps the planner from reading all of them to join them.
    """
    names = ", ".join(column for column, _, _ in table.extremes)
    was = ", ".join(f"was.{column} as was_{column}" for column, _, _ in table.extremes)
    return (
        f"select d.*, {was} from delta_{number} as d left join lateral (select {names} from {table.relation}"
        f" where shard = $1 and hash = d.hash order by hash limit 1) as was on true"
    )


def _lost(table: KeptTable) -> Iterator[tuple[Left, str]]:
    """When a group cannot be brought along, and what is left to do about it then."""
    tallied = {each.value for each in table.tallies}
    ceased: dict[Left, list[str]] = {Left.LOOK_UP: [], Left.COMPUTE: []}
    for column, sign, value in table.extremes:
        # The value that was its extreme may be gone, and none that is as good came.
        ceased[Left.LOOK_UP if value in tallied else Left.COMPUTE].append(
            f"(gone_{column} is not null and (gone_{column} {sign}= was_{column}) is not false"
            f" and ({column} is null or gone_{column} {sign} {column}))"
        )
    # What is no finite number cannot be taken out of a sum.
    ceased[Left.COMPUTE] += [f"{each} in ('NaN', 'Infinity', '-Infinity')" for each in table.sums]
    for left, conditions in ceased.items():
        if conditions:
            yield left, " or ".join(conditions)


def _merged(table: KeptTable, source: str) -> str:
    best = {"min": "least", "max": "greatest"}
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
