"""An answer does not depend on where rows lie, whatever makes the values of which one stands for several.

The same rows lie in two views in opposite orders, as they do before and after a rebuild. The products of their numbers
are equal, and written 5.0 and 5; so whichever PostgreSQL comes to first would be seen in an answer.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from peaceriver.errors import Invalid
from peaceriver.postgres import Database, Transaction
from peaceriver.query.guard import checked
from peaceriver.query.statement import Relation, stated
from peaceriver.shard import view_tables

ROWS = 60
PRODUCT = "o.total * o.qty"


class Source(NamedTuple):
    """What is in FROM, the value in it that is asked for, and the star that stands for that, where there is one."""

    said: str
    value: str = "e.k"
    star: str | None = "e.*"
    with_: str = ""


def lateral(said: str, value: str = "e.k", star: str | None = "e.*") -> Source:
    return Source(f'"Order" as o, {said}', value, star)


SOURCES = {
    "columns": Source('"Order" as o', PRODUCT, None),
    "subquery": Source(f'(select {PRODUCT} as k from "Order" as o) as e'),
    "subquery of a star": Source(f'(select * from (select {PRODUCT} as k from "Order" as o) as f) as e'),
    "set": Source(f'(select {PRODUCT} from "Order" as o union all select 5.00) as e(k)'),
    "WITH": Source("w as e", with_=f'with w as (select {PRODUCT} as k from "Order" as o) '),
    "WITH of a function": Source(
        "w as e", with_=f'with w as (select e.* from "Order" as o, unnest(array[{PRODUCT}]) as e(k)) '
    ),
    "recursive WITH": Source(
        "w as e",
        with_='with recursive w(k) as (select total * qty from "Order" union all select k from w where k < 0) ',
    ),
    "VALUES": Source('"Order" as o join (values (2.5, 5.0), (5, 5)) as e(t, k) on e.t = o.total', star=None),
    "VALUES of a text": Source(
        "\"Order\" as o join (values (2.5, '5.0'), (5, 5.00)) as e(t, k) on e.t = o.total", star=None
    ),
    "WITH of VALUES": Source(
        '"Order" as o join w on w.column1 = o.total', "w.column2", None, "with w as (values (2.5, 5.0), (5, 5)) "
    ),
    "lateral VALUES": lateral(f"lateral (values ({PRODUCT})) as e(k)"),
    "lateral VALUES without names": lateral(f"lateral (values ({PRODUCT})) as e", "e.column1"),
    "lateral WITH of VALUES": lateral(f"lateral (with w as (values ({PRODUCT})) select * from w) as e(k)"),
    "lateral SELECT": lateral(f"lateral (select {PRODUCT} as k) as e"),
    "lateral SELECT of a function": lateral(f"unnest(array[{PRODUCT}]) as f(p), lateral (select f.p as k) as e"),
    "lateral SELECT of its star": lateral(f"unnest(array[{PRODUCT}]) as f(p), lateral (select f.*) as e(k)"),
    "lateral SELECT of a name": lateral(
        f'unnest(array[{PRODUCT}]) as f(p), lateral (select p as k from "Order" limit 1) as e'
    ),
    "function": lateral(f"abs({PRODUCT}) as e(k)"),
    "function without names": lateral(f"abs({PRODUCT})", "abs", None),
    "generate_series": lateral(f"generate_series({PRODUCT}, {PRODUCT}) as e(k)"),
    "unnest": lateral(f"unnest(array[{PRODUCT}]) as e(k)"),
    "unnest, one name": lateral(f"unnest(array[{PRODUCT}]) as e", "e"),
    "unnest, lateral": lateral(f"lateral unnest(array[{PRODUCT}]) with ordinality as e(k)"),
    "unnest of two": lateral(f"unnest(array[{PRODUCT}], array[7]) as e(k, other)"),
    "rows from": lateral(f"rows from (unnest(array[{PRODUCT}]), generate_series(1, 1)) as e(k, n)", star=None),
    "joined in parentheses": Source('("Order" as o cross join unnest(array[total * qty]) as e(k)) as j', "k", None),
    "USING": lateral(f"unnest(array[{PRODUCT}]) as e(k) join (values (5)) as f(k) using (k)", "k", None),
    "recordset": lateral(f"jsonb_to_recordset(jsonb_build_array(jsonb_build_object('k', {PRODUCT}))) as e(k numeric)"),
    "recordset, joined": Source(
        f"\"Order\" as o left join lateral json_to_recordset(json_build_array(json_build_object('k', {PRODUCT})))"
        " as e(k numeric, text text) on true"
    ),
    "record": lateral(f"jsonb_to_record(jsonb_build_object('k', {PRODUCT})) as e(k numeric)"),
    "texts of JSON": lateral(f"jsonb_array_elements_text(jsonb_build_array({PRODUCT})) as e(t)", "e.t::numeric", None),
    "elements of JSON": lateral(f"jsonb_array_elements(jsonb_build_array({PRODUCT})) as e", "e.value"),
    "pairs of JSON": lateral(f"jsonb_each(jsonb_build_object('k', {PRODUCT})) as e", "e.value"),
    "path of JSON": lateral(f"jsonb_path_query(jsonb_build_array({PRODUCT}), '$[*]') as e(k)"),
    "intervals": lateral("unnest(array[case when o.qty > 1 then interval '1 day' else interval '24:00' end]) as e(k)"),
    "zeros": lateral("unnest(array[case when o.qty > 1 then '0' else '-0' end::float8]) as e(k)"),
}
#: In them are {w}: what stands before, {k}: the value, {f}: what is in FROM.
USES = (
    "{w} select distinct {k} from {f}",
    "{w} select distinct {k} as k from {f} order by k",
    "{w} select distinct u.k::text from (select distinct {k} as k from {f}) as u",
    "{w} select distinct on ({k}) {k} from {f}",
    "{w} select {k} as k, count(*) from {f} group by {k}",
    "{w} select {k}, count(*) from {f} group by 1",
    "{w} select {k} as k, count(*) from {f} group by k order by k",
    "{w} select ({k})::text as t, count(*) from {f} group by {k}",
    "{w} select {k}, count(*) from {f} group by rollup ({k}) having count(*) > 0",
    "{w} select {k} from {f} union select {k} from {f}",
    "{w} select {k} from {f} intersect select {k} from {f}",
    "{w} select {k} from {f} except select {k} from {f} where {k} is null",
    "{w} select first_value({k}) over (partition by {k}), rank() over (order by {k}) from {f}",
    "{w} select mode() within group (order by {k}), percentile_disc(0.5) within group (order by {k}) from {f}",
    "{w} select array_agg(distinct {k}), array_agg({k} order by {k}) from {f}",
    "{w} select (select string_agg(d.k::text, ',') from (select distinct {k} as k from {f}) as d)",
)
STARS = (
    "{w} select distinct {s} from {f}",
    "{w} select {s} from {f} union select {s} from {f}",
    "{w} select distinct * from (select {s} from {f}) as s",
    "{w} select distinct * from (select {s} from {f} order by 1 limit 50) as s",
    "{w} select s::text, count(*) from (select distinct {s} from {f}) as s group by s",
)
#: Not of JSON, which has no greatest value.
ORDERED = (
    "{w} select min({k}), max({k}), max({k})::text from {f}",
    "{w} select max({k}) over (), max({k}) over (partition by {k}) from {f}",
)
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def views(database: Database) -> tuple[Relation, Relation]:
    """The same rows in one order and in the opposite one."""
    async with database.transaction() as tx:
        return await filled(tx, "id"), await filled(tx, "-id")


async def filled(tx: Transaction, order: str) -> Relation:
    table = await view_tables.create(tx, "Order", ())
    # Without the key, rows are read as they lie: a view is read like that where much of it is asked for.
    await tx.execute(f'''
        alter table {table.relation} drop constraint "{table.name}_pkey", add total numeric, add qty numeric
    ''')
    await tx.execute(f"""
        insert into {table.relation} (actor_id, actor_shard, actor_from, actor_until, actor_version, actor_status,
            actor_position, document, total, qty)
        select id, 100, 1, 10, 1, 'active', 1, '{{}}', case id % 3 when 0 then 2.5 else 5 end,
            case id % 3 when 0 then 2 when 1 then 1 else 1.00 end
        from generate_series(0, {ROWS - 1}) as r(id) order by {order}
    """)
    return Relation(table.relation, (("total", "numeric", "total"), ("qty", "numeric", "qty")))


async def answer(database: Database, sql: str, relation: Relation) -> list[str]:
    """The rows, as they are written."""
    query = checked(sql)
    statement = stated(query, dict.fromkeys(query.models, relation), single=True, kinds={})
    async with database.querying(10) as tx:
        rows = await tx.fetch(statement.text, 100, 1, 10_000)
    return [repr(tuple(row.values())[: len(row) - statement.hidden]) for row in rows]


def statements(source: Source) -> list[str]:
    is_json = "JSON" in source.said or source.value == "e.value" or "jsonb_path" in source.said
    used = [*USES, *(() if is_json else ORDERED), *(() if source.star is None else STARS)]
    return [each.format(w=source.with_, k=source.value, s=source.star, f=source.said).strip() for each in used]


@pytest.mark.parametrize("name", SOURCES)
async def test_rows_in_the_opposite_order_answer_the_same(
    database: Database, views: tuple[Relation, Relation], name: str
) -> None:
    differing = {}
    for sql in statements(SOURCES[name]):
        there, back = [await answer(database, sql, each) for each in views]
        assert there
        if there != back:
            differing[sql] = (there[:3], back[:3])
    assert not differing


async def test_the_rows_would_be_seen_in_an_answer(database: Database, views: tuple[Relation, Relation]) -> None:
    sql = 'select e.k from "Order" as o, unnest(array[o.total * o.qty]) as e(k)'
    assert set(await answer(database, sql, views[0])) == {"(Decimal('5.0'),)", "(Decimal('5'),)", "(Decimal('5.00'),)"}


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("select distinct e.* from unnest(array[1.0], array[2]) as e", "name the columns of e"),
        ("select distinct * from rows from (unnest(array[1.0]), unnest(array[2])) as e", "name the columns of e"),
        ('select distinct j.* from ("Order" cross join unnest(array[1.0]) as e) as j', "name the columns of j"),
        (
            "select distinct * from unnest(array[1.0]) as e(k) join unnest(array[1]) as f(k) using (k)",
            "and USING makes",
        ),
        ("select distinct * from unnest(array[1.0]) as e(k) natural join unnest(array[1]) as f(k)", "and USING makes"),
    ],
)
async def test_a_star_whose_columns_are_not_known_is_refused(sql: str, why: str) -> None:
    query = checked(sql)
    relations = dict.fromkeys(query.models, Relation(None, ()))
    with pytest.raises(Invalid, match=why):
        stated(query, relations, single=True, kinds={})
    assert stated(checked(sql.replace("distinct ", "")), relations, single=True, kinds={})
