"""A column behind a relation's name is one of that relation: PostgreSQL would call a function of that name instead."""

from __future__ import annotations

import pytest

from peaceriver.errors import Invalid
from peaceriver.query.guard import checked
from peaceriver.query.statement import Relation, stated

ORDER = Relation('view."Order_1"', (("customer", "text", "customer"), ("total", "numeric", "total")))


def state(sql: str) -> str:
    query = checked(sql)
    return stated(query, dict.fromkeys(query.models, ORDER), single=True, kinds={}).text


@pytest.mark.parametrize(
    "sql",
    [
        "select o.customer, o.actor_id from orders as o",
        'select "Orders".total from "Orders"',
        "select a.customer from orders as a join lateral (select a.total) as b on b.total = a.total",
        "with r as (select customer, count(*) as n, sum(total) from orders group by 1) select r.n, r.sum from r",
        "with recursive r (n) as (select 1 union select r.n + 1 from r where r.n < 3) select r.n from r",
        "with recursive r as (select 1 as n union select r.n + 1 from r where r.n < 3) select r.n from r",
        "with a as (with b as (select 1 as x) select b.x from b) select a.x from a",
        "select x.k from (select o.*, 1 as k from orders as o) as x where x.customer = x.actor_id",
        "select a.customer from ((orders as a join orders as b on true))",
        "select t.key, t.value from json_each('{}') as t",
        "select e.value from orders as o, json_each(o.document) as e",
        "select e.value from orders as o, json_array_elements(o.document) as e",
        "select t.column1 from (values (1)) as t",
        "select t.a, t.ordinality from unnest(array[1]) with ordinality as t (a)",
        "select (select q.n from (select count(*) as n) as q)",
        "select c.total from orders as c union select c.one from (select 1 as one) as c",
        "select o.a from (select 1 union select 2) as o (a) order by o.a",
        "select w.total from orders as w where exists (select 1 from orders as w where w.total > 0)",
    ],
)
def test_columns_that_are_there_are_found(sql: str) -> None:
    assert state(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select o.row_to_json from orders as o",
        "select o.pg_sleep from generate_series(60, 60) as o",
        "select generate_series.pg_sleep from generate_series(60, 60)",
        "select t.pg_sleep from unnest(array[60]) as t",
        "select t.pg_sleep from lateral unnest(array[60]) as t",
        "select o.lo_creat from (select 'lo_creat') as o",
        "select current_setting.current_setting from json_array_elements_text('[]') as current_setting",
        "select json_array_elements_text.json_array_elements_text from json_array_elements_text('[]')",
        "select e.e from orders as o, jsonb_array_elements(o.document::jsonb) as e",
        "select x.x from unnest(array[1], array['a']) as x",
        "select o.lo_creat from (select 1) as o, (select 1 as lo_creat) as p",
        "select (select 1 from (select o.pg_sleep) as s, (select 1 as pg_sleep) as o) from generate_series(1, 3) as o",
        "select (select o.pg_sleep from (select 1 as pg_sleep) as p) from generate_series(1, 3) as o",
        "select a.total from orders as a union select a.total from (select 1 as customer) as a",
        "with n as (select 60) select n.pg_sleep from n",
        "with recursive n as (select 1 as s union select n.pg_sleep from n) select 1 from n",
        "select j.customer from (orders as a cross join orders as b) as j",
        "select o.customer from orders as o (a, b)",
        "select p.pg_sleep from (select o.* from orders as o) as p",
        "select (o.total).numeric from orders as o",
        "select (o).customer from orders as o",
    ],
)
def test_calls_that_look_like_columns_are_refused(sql: str) -> None:
    with pytest.raises(Invalid):
        state(sql)
