"""Attack strings against every text that a query takes: all are refused or harmless, and change nothing.

Nothing written, no table outside the models readable, no setting changed, nobody else kept waiting.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from peaceriver.postgres import connect
from tests.acceptance import attacks
from tests.acceptance.door import Door
from tests.acceptance.heavy import heavy

SECRET = "known-to-the-journal-only"
#: What an answer from outside the models would hold, or a refusal that says how models are kept.
OUTSIDE = ("peaceriver_", "pg_toast", "/postgres", SECRET)
INSIDES = ('"own ', "view.", "Order_", "actor_until", "around", "cut.", "max_stack_depth", "permission denied")
ANSWER_S = 1.0
#: Of a statement that is ended after half a second, or two: with the wait of the node itself, on a slow machine.
DEADLINE_S = 4.0


@pytest.fixture(scope="module")
def code(door: Door) -> int:
    """A department with a few orders, and something in its journal that is in no model."""
    code = door.department()
    for number in range(5):
        last = door.create(code, f"Order/SO-{number}", {"customer": f"C{number % 2}", "total": number * 10})
    door.create(code, "Order/gone", {"customer": SECRET})
    last = door.modify(code, "Order/gone", {"customer": None})
    door.get(f"/shards/{code}/Order/SO-1", after=last["stamp"])
    return code


def ask(door: Door, sql: str, **more: Any) -> httpx.Response:
    return door.http.post("/query", content=json.dumps({"sql": sql, "timeout": "2s"} | more))


STATE = {
    "roles": "select array_agg(r::text order by r.oid) from pg_authid r",
    "members": "select array_agg(m::text order by m.roleid, m.member) from pg_auth_members m",
    "databases' settings": "select array_agg(s::text) from pg_db_role_setting s",
    "settings": "select array_agg((name, setting, reset_val)::text order by name) from pg_settings"
    " where source not in ('client', 'session')",
    "relations": "select array_agg((oid, relname, relacl, relowner)::text order by oid) from pg_class"
    " where relname !~ '^(view_|pg_toast|Thing|Order)' and relnamespace <> 'view'::regnamespace and relkind <> 'i'",
    "functions": "select array_agg((oid, proname, proacl, prosecdef)::text order by oid) from pg_proc",
    "schemas": "select array_agg((oid, nspname, nspacl)::text order by oid) from pg_namespace",
    "extensions": "select array_agg(extname::text order by oid) from pg_extension",
    "large objects": "select count(*) from pg_largeobject_metadata",
    "prepared": "select count(*) from pg_prepared_xacts",
    "slots": "select count(*) from pg_replication_slots",
    "records": "select array_agg((shard, position, kind, body)::text order by shard, position) from journal"
    " where kind not in ('tick', 'mark', 'epoch')",
}
LEFT = {
    "advisory locks": "select count(*) from pg_locks l join pg_stat_activity a using (pid)"
    " where locktype = 'advisory' and a.usename = 'peaceriver_runner' and a.state = 'idle'",
    "temporary tables": "select count(*) from pg_class where relpersistence = 't'",
    "transactions": "select count(*) from pg_stat_activity where state like 'idle in%' and pid <> pg_backend_pid()",
    "queries": "select count(*) from pg_stat_activity where query ilike '%pg_sleep%' and pid <> pg_backend_pid()",
}


async def _looked(connection: dict[str, Any], queries: dict[str, str]) -> dict[str, Any]:
    admin = await connect(connection)
    try:
        return {name: await admin.fetchval(sql) for name, sql in queries.items()}
    finally:
        await admin.close()


async def _settings(node: Any) -> list[tuple[str, str]]:
    """The settings of the connections that queries run on, all of them at a time."""
    async with node.database.querying(10) as tx:
        await tx.execute("select reading.fits(1)")  # its language has settings of its own, from its first use on
        rows = await tx.fetch("select name, setting from pg_settings where name <> 'statement_timeout' order by name")
        who = await tx.fetchrow("select current_user as a, session_user as b")
    return [*((row["name"], row["setting"]) for row in rows), (who["a"], who["b"])]


def looked(door: Door, queries: dict[str, str]) -> dict[str, Any]:
    connection = dict(door.served.server.connection("postgres", "peaceriver"))
    return door.served.run(_looked(connection, queries))


@contextmanager
def unchanged(door: Door) -> Iterator[None]:
    """Whatever is asked in the block, the database is as it was, and nothing is left behind."""
    orders = door.served.node.views.tables["Order"].relation
    state = STATE | {"orders": f"select array_agg(o::text order by actor_shard, actor_id, actor_from) from {orders} o"}
    before, settings = looked(door, state), door.served.run(_settings(door.served.node))
    yield
    after = looked(door, state)
    assert {name: value for name, value in after.items() if value != before[name]} == {}
    assert door.served.run(_settings(door.served.node)) == settings
    deadline = time.monotonic() + 5
    while any((left := looked(door, LEFT)).values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == dict.fromkeys(LEFT, 0)
    assert door.http.get("/cluster").status_code == 200


def wrong(answer: httpx.Response, sent: str) -> str | None:
    """What is wrong with the answer to an attack."""
    text = answer.text
    if answer.status_code >= 500 and answer.status_code != 503:
        return f"{answer.status_code}: {text[:300]}"
    if answer.status_code >= 400:
        told = " ".join([answer.json()["detail"], *(each["detail"] for each in answer.json().get("errors", []))])
        leaked = [each for each in INSIDES if each in told and each not in sent]
        return f"says {leaked}: {told[:300]}" if leaked else None
    rows = json.dumps(answer.json()["rows"]) if "rows" in answer.json() else text
    shown = [each for each in OUTSIDE if each in rows and each not in sent]
    return f"shows {shown}: {rows[:300]}" if shown else None


def test_the_list_is_long() -> None:
    assert len(attacks.statements()) >= 100


@pytest.mark.slow
def test_every_attack_is_refused_or_harmless_and_changes_nothing(door: Door, code: int) -> None:
    found = []
    with unchanged(door):
        for sql in attacks.statements():
            began = time.monotonic()
            said = wrong(ask(door, sql), sql)
            took_s = time.monotonic() - began
            if said is not None or took_s > DEADLINE_S:
                found.append(f"{sql!r} took {took_s:.1f} s and {said}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("place", [each for each in attacks.PLACES if "{t}" in each])
def test_no_place_in_a_statement_lets_a_catalogue_through(door: Door, code: int, place: str) -> None:
    for outside in ("pg_authid", "journal"):
        answer = ask(door, place.format(t=outside))
        assert answer.status_code == 422
        assert "there is no model" in answer.json()["detail"], answer.text


def test_relations_of_the_statements_own_may_be_called_like_a_catalogue(door: Door, code: int) -> None:
    answer = ask(door, "with pg_authid as (select 1 as one) select * from pg_authid, (select * from pg_authid) as b")
    assert answer.json()["rows"] == [[1, 1]]


def test_what_a_refusal_says_of_a_with_is_its_own_name(door: Door, code: int) -> None:
    answer = ask(door, "with a (b, c) as (select 1) select * from a")
    assert 'WITH query "a" has 1 columns' in answer.json()["detail"]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(heavy()))
def test_what_is_heavy_ends_in_time_and_keeps_nobody_waiting(door: Door, code: int, name: str) -> None:
    sql = heavy()[name]
    over, waits = threading.Event(), list[float]()

    def others() -> None:
        with httpx.Client(base_url=door.url, timeout=30, trust_env=False) as client:
            while True:
                began = time.monotonic()
                assert client.get(f"/shards/{code}/Order/SO-1").status_code == 200
                waits.append(time.monotonic() - began)
                if over.wait(0.02):
                    return

    other = threading.Thread(target=others)
    other.start()
    began = time.monotonic()
    try:
        answer = ask(door, sql, timeout="500ms")
    finally:
        took_s = time.monotonic() - began
        over.set()
        other.join()
    assert answer.status_code in (200, 413, 422, 503), answer.text[:300]
    assert wrong(answer, sql) is None
    assert took_s < DEADLINE_S
    assert max(waits) < ANSWER_S


VALUES: list[Any] = [
    "'; drop table journal; --",
    "$1",
    ":v",
    "\\'; select 1; --",
    "now",
    "{1,2}",
    '{"a": {"b": [1, 2, {"c": null}]}}',
    "\u0000",
    "a" * 100_000,
    10**400,
    -(10**18) * 10**20,
    1.5,
    True,
    None,
    [],
    [[1, [2, [3]]]],
    ["a", 1, None, {"b": 2}],
    {"a": "'; drop table journal; --"},
    {"sql": "select 1"},
    ["x"] * 20_000,
]
TYPED = [
    "select :v::text", "select :v::integer", "select :v::numeric", "select :v::boolean", "select :v::date",
    "select :v::timestamptz", "select :v::uuid", "select :v::json", "select :v::text[]", "select :v::integer[]",
    "select :v", "select 1 limit :v", "select 1 offset :v", "select 1 where 'a' like :v", "select 'a' ~ :v",
    'select count(*) from "Order" where customer = :v', "select * from generate_series(1, :v) as n limit 3",
    "select :v::interval", "select date :v", "select repeat('a', :v)",
]  # fmt: skip


def test_values_of_host_variables_are_values_whatever_they_say(door: Door, code: int) -> None:
    found = []
    with unchanged(door):
        for sql in TYPED:
            for value in VALUES:
                said = wrong(ask(door, sql, variables={"v": value}), sql + json.dumps(value))
                if said is not None:
                    found.append(f"{sql} with {json.dumps(value)[:60]}: {said}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "more",
    [
        {"variables": {"v; drop table journal": 1}},
        {"variables": {"": 1}},
        {"variables": {"a" * 5_000: 1}},
        {"variables": {"$1": 1}},
        {"variables": {"v": 1, "V": 2}},
        {"variables": ["v"]},
        {"variables": "v"},
        {"variables": None},
        {"variables": {"v": 1}, "types": {"v": "regclass"}},
        {"variables": {"v": 1}, "types": {"v": "text); drop table journal; --"}},
        {"variables": {"v": 1}, "types": {"v": "integer[][]"}},
        {"variables": {"v": 1}, "types": {"v": "text[] "}},
        {"variables": {"v": 1}, "types": {"w; --": "text"}},
        {"variables": {"v": 1}, "types": {"v": ["text"]}},
        {"variables": {"v": 1}, "types": [1]},
        {"as_of": "'; drop table journal; --"},
        {"as_of": "100:1; select 1"},
        {"as_of": "now()"},
        {"as_of": "999999999999999999999999999:1"},
        {"as_of": {"a": 1}},
        {"after": "1 or 1=1"},
        {"shards": "100) or (1=1"},
        {"shards": [100, "110; drop table journal"]},
        {"shards": [[100]]},
        {"shards": [10**30]},
        {"shards": -1},
        {"shards": []},
        {"read": "latest; select 1"},
        {"read": True},
        {"timeout": "1s; set role postgres"},
        {"timeout": "1e9s"},
        {"timeout": -1},
        {"allow_partial": "yes; --"},
        {"sql; drop table journal": 1},
        {"role": "postgres"},
        {"search_path": "public"},
    ],
)
def test_whatever_else_a_query_says_is_read_strictly(door: Door, code: int, more: dict[str, Any]) -> None:
    answer = ask(door, 'select count(*) from "Order"' + (" where :v is null" if "variables" in more else ""), **more)
    assert answer.status_code == 422, answer.text
    assert wrong(answer, json.dumps(more)) is None


LIST_INPUTS = [
    "'; drop table journal; --",
    "1 or 1=1",
    "eq.1) or (1=1",
    "like.%'; select 1; --",
    "in.(select 1)",
    "in.1,2)); drop table journal; --",
    "is.null; select 1",
    "is.pg_sleep(60)",
    "gt.(select count(*) from journal)",
    "gt.1e400",
    "gt.NaN",
    "eq.$1",
    "eq.:v",
    "eq.%s",
    "eq.\\",
    'eq."',
    "\x00",
    "eq.\x00",
    "\ud7ff",
    "\uff07 or 1=1",
    "like." + "%a" * 2_000,
    "in." + ",".join("1" * 500),
    "-1",
    "9" * 40,
    "1; drop table journal",
    "total desc; drop table journal",
    "(select 1)",
    "pg_sleep(60)",
    "actor_until",
    "view.Order",
    "document->>'a'",
    "../../etc/passwd",
]
LIST_PLACES = [
    "total",
    "customer",
    "actor_id",
    "actor_status",
    "document.a",
    "order",
    "limit",
    "offset",
    "as_of",
    "after",
]


def test_lists_take_every_text_as_a_value_or_not_at_all(door: Door, code: int) -> None:
    found = []
    with unchanged(door):
        for place in LIST_PLACES:
            for number, text in enumerate(LIST_INPUTS):
                path = "/actors/Order" if number % 3 == 0 else f"/shards/{code}/Order"
                answer = door.http.get(path, params={place: text, "timeout": "1s"})
                if (said := wrong(answer, text)) is not None:
                    found.append(f"{path}?{place}={text!r}: {said}")
        for text in LIST_INPUTS:
            quoted = httpx.URL("/", params={"a": text}).query.decode()[2:].replace("+", "%20")
            for answer in (
                door.http.get(f"/shards/{code}/Order", params={f"document.{text}": "eq.1"}),
                door.http.get(f"/shards/{code}/{quoted}"),
                door.http.get(f"/shards/{quoted}/Order"),
                door.http.get(f"/actors/{quoted}"),
                door.http.get(f"/actors/Order/{quoted}"),
                door.http.get(f"/shards/{code}/Order/{quoted}"),
                door.http.get(f"/directory/models/{quoted}"),
                door.http.get(f"/directory/departments/{quoted}"),
                door.http.get("/directory/departments", params={"as_of": text}),
            ):
                said = None if answer.status_code == 404 else wrong(answer, text)
                found += [] if said is None else [f"{answer.request.url}: {said}"]
    assert not found, "\n".join(found)
