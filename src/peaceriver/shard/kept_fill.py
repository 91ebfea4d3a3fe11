"""The tables of kept views as SQL: made, computed from a view, forgotten, and compared with it."""

from __future__ import annotations

from collections.abc import Sequence

from peaceriver.postgres import READER, quoted
from peaceriver.shard.kept_text import SCHEMA, KeptTable, Tally, grouped, hashed, open_in_shard, read, stored, weight
from peaceriver.shard.view_tables import ViewTable

#: Rows are changed in place, over and over: a page has room for that.
_STORAGE = "with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_threshold = 1000)"


def create(table: KeptTable) -> list[str]:
    """A table of groups, and the tallies of their extremes."""
    declared = [f"{column} {stored(kind)}" for column, kind in zip(table.keys, table.shape.keys, strict=True)]
    kinds = dict(zip(table.kept.arguments, table.shape.arguments, strict=True))
    of = {"count": "bigint not null", "sum": "numeric not null", "scale": "numeric not null"}
    declared += [f"{column} {of.get(p.kind) or stored(kinds[p.argument])}" for column, p, _ in table.parts]
    return [
        f"create table {table.relation} (shard integer not null, hash bytea not null, n bigint not null"
        f"{''.join(f', {each}' for each in declared)}, primary key (shard, hash)) {_STORAGE}",
        *(
            f"create table {each.relation} (shard integer not null, hash bytea not null, value {each.kind} not null,"
            f" n bigint not null, primary key (shard, hash, value)) {_STORAGE}"
            for each in table.tallies
        ),
        f"grant select on {table.relation} to {READER}",
    ]


def drop(names: Sequence[str]) -> str:
    return f"drop table if exists {', '.join(f'{SCHEMA}.{quoted(each)}' for each in names)}"


def _whole(table: KeptTable, view: ViewTable) -> str:
    """The groups of shard $1 as the view has them now."""
    made = {"count": "count({0})", "sum": "coalesce(sum({0}::numeric), 0)", "min": "min({0})", "max": "max({0})"}
    made["scale"] = f"coalesce(sum({weight('{0}')}), 0)"
    columns = ["count(*) as n", *(f"{made[p.kind].format(value)} as {column}" for column, p, value in table.parts)]
    rows = read(table.kept, table.shape, open_in_shard(table, view))
    return f"select {', '.join(table.columns)} from ({hashed(table, grouped(table, columns, rows))}) as w where n > 0"


def _tallied(table: KeptTable, tally: Tally, view: ViewTable) -> str:
    """How often each of them has each value."""
    rows = read(table.kept, table.shape, open_in_shard(table, view))
    columns = (f"{tally.value} as value", "count(*) as n")
    counted = grouped(table, columns, f"select * from ({rows}) as r where {tally.value} is not null", by=tally.value)
    return f"select hash, value, n from ({hashed(table, counted)}) as w"


def fill(table: KeptTable, view: ViewTable, *, some: bool = False) -> str:
    """Compute shard $1 from the view, or the groups of it whose hashes are $2.

    Answers where the view is folded to in the same snapshot.
    """
    where = " where hash = any($2::bytea[])" if some else ""
    columns = ", ".join(table.columns)
    inserts = [
        f"insert into {table.relation} (shard, {columns}) select $1, w.* from ({_whole(table, view)}) as w{where}",
        *(
            f"insert into {each.relation} (shard, hash, value, n)"
            f" select $1, w.* from ({_tallied(table, each, view)}) as w{where}"
            for each in table.tallies
        ),
    ]
    return _together(inserts, "select position, stamp from view_mark where shard = $1")


def forget(table: KeptTable, *, some: bool = False) -> str:
    """Forget all groups of shard $1, or those whose hashes are $2."""
    where = " and hash = any($2::bytea[])" if some else ""
    relations = [table.relation, *(each.relation for each in table.tallies)]
    return _together([f"delete from {each} where shard = $1{where}" for each in relations], "select")


def forget_empty(table: KeptTable) -> str:
    """Forget groups of shard $1 with the hashes $2 that have no actor."""
    return f"delete from {table.relation} where shard = $1 and hash = any($2::bytea[]) and n = 0"


def look_up(table: KeptTable) -> str:
    """Take the extremes of groups of shard $1 with the hashes $2 from the tallies."""
    order = {"<": "asc", ">": "desc"}
    relations = {each.value: each.relation for each in table.tallies}
    sets = [
        f"{column} = (select value from {relations[value]} as t where t.shard = $1 and t.hash = k.hash"
        f" order by value {order[sign]} limit 1)"
        for column, sign, value in table.extremes
        if value in relations
    ]
    return f"update {table.relation} as k set {', '.join(sets)} where shard = $1 and hash = any($2::bytea[])"


def differences(table: KeptTable, view: ViewTable) -> list[str]:
    """Rows of shard $1 that are not what the view makes of them: as they are kept, and as they should be."""
    compared = [(table.relation, table.columns, _whole(table, view))]
    compared += [(each.relation, ("hash", "value", "n"), _tallied(table, each, view)) for each in table.tallies]
    asked = []
    for relation, columns, whole in compared:
        kept = f"select {', '.join(columns)} from {relation} where shard = $1"
        asked.append(
            f"select 'kept' as side, * from ({kept} except all {whole}) as kept"
            f" union all select 'view', * from ({whole} except all {kept}) as whole order by hash, side"
        )
    return asked


def _together(statements: Sequence[str], answer: str) -> str:
    """Statements on different tables, in one snapshot."""
    return f"with {', '.join(f'did_{number} as ({each})' for number, each in enumerate(statements))} {answer}"
