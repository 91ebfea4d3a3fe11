"""Queries on three nodes: the same bytes on each, whatever became of it, and another one's where it lacks something."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peaceriver.api import tables
from peaceriver.errors import Conflict, Invalid, NoModel, NotFound, Refused, TooLarge, TooSlow, Unavailable, Withheld
from peaceriver.node.publishing import Publishing
from peaceriver.node.questions import Answer, Question
from peaceriver.node.repairing import Repairing
from peaceriver.postgres import DATABASE, connect
from tests.scenario.damaging import checked, follower, harm
from tests.scenario.trio import NAMES, Trio, until
from tests.scenario.words import cancel, create, modify
from tests.scenario.world import ME

SQL = (
    "select n % 3 as k, count(*), array_agg(actor_id), string_agg(actor_id, ''), max(document ->> 'm') from \"Piece\""
    " p cross join lateral (select (p.document ->> 'n')::integer) as of(n) group by 1"
)


@pytest.fixture(scope="module")
async def trio(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    made = Trio(module_folder)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


@pytest.fixture
async def code(trio: Trio) -> int:
    """A department of the test's own, with some actors that were modified."""
    await trio.whole()
    made = await trio.department()
    await trio.receipts(*(create(made, f"Piece/{n}", f'{{"n":{n}}}') for n in range(30)))
    await trio.receipts(*(modify(made, f"Piece/{n}", f'{{"m":"{n}"}}') for n in range(0, 30, 4)))
    await trio.level(made)
    return made


async def asked(trio: Trio, name: str, sql: str, **how: Any) -> httpx.Response:
    headers = {"Accept": how.pop("accept", "application/json")}
    async with trio.door(name) as http:
        return await http.post("/query", json={"sql": sql, **how}, headers=headers)


@pytest.mark.parametrize(
    "sql",
    [
        'select p from "Piece" p',
        "select row(date '2026-01-01') as p",
        "select array_agg(row(d, 1)) as p from (values (date '2026-01-01')) v(d)",
        "select row(array[date '2026-01-01']) as p",
    ],
)
async def test_a_row_as_one_value_is_refused_for_it_has_no_form(trio: Trio, code: int, sql: str) -> None:
    answer = await asked(trio, "n1", sql)
    assert answer.status_code == 422
    assert "p is a row as one value, which no answer has a form for: name its columns" in answer.json()["detail"]
    assert (await asked(trio, "n1", "select row_to_json(row(date '2026-01-01')) as p")).json()["rows"] == [
        [{"f1": "2026-01-01"}]
    ]


async def test_a_view_over_a_type_that_was_just_recorded_can_be_published(trio: Trio, code: int) -> None:
    for n in range(6):
        async with trio.door(NAMES[n % 3]) as http:
            await trio.receipts(create(code, f"Recent{n}/1", '{"a":1}'))
            put = await http.put(f"/views/recent{n}", json={"sql": f'select count(*) from "Recent{n}"'})
            assert put.status_code == 201, put.text
            assert (await http.delete(f"/views/recent{n}")).status_code == 204
            missing = await http.put("/views/missing", json={"sql": 'select count(*) from "Missing"'})
            assert missing.json()["type"] == "/problems/no-model"


async def test_the_last_day_and_the_first_are_days_like_any_other(trio: Trio, code: int) -> None:
    model = {
        "type": "object",
        "properties": {
            "due": {"type": "string", "format": "date"},
            "since": {"type": "string", "format": "date-time"},
        },
    }
    node = trio["n1"]
    await Publishing(node).schema("Loan", model, ME)
    await trio.whole()
    days = {"late": ("9999-12-31", "9999-12-31T23:59:59.999999Z"), "early": ("0001-01-01", "0001-01-01T00:00:00Z")}
    await trio.receipts(
        *(create(code, f"Loan/{name}", f'{{"due":"{due}","since":"{since}"}}') for name, (due, since) in days.items())
    )
    await trio.level(code)
    answer = await asked(trio, "n1", 'select actor_id, due, since from "Loan" order by actor_id', shards=[code])
    assert answer.json()["rows"] == [
        ["early", "0001-01-01", "0001-01-01T00:00:00.000000Z"],
        ["late", "9999-12-31", "9999-12-31T23:59:59.999999Z"],
    ]
    for where in ("due = '9999-12-31'", "due = :day", "since = '9999-12-31T23:59:59.999999Z'"):
        variables = {"day": "9999-12-31"} if ":day" in where else {}
        sql = f'select actor_id, due - 365 as d from "Loan" where {where}'
        found = await asked(trio, "n1", sql, shards=[code], variables=variables)
        assert found.json()["rows"] == [["late", "9998-12-31"]], found.text


async def test_every_node_gives_the_same_bytes_also_after_a_fail_over_a_rebuild_and_a_lost_disk(
    trio: Trio, code: int
) -> None:
    first = await asked(trio, "n1", SQL, shards=[code])
    assert first.status_code == 200, first.text
    vector = ",".join(f"{shard}:{position}" for shard, position in first.json()["cutoff"]["positions"].items())
    again = {"shards": [code], "as_of": vector}

    async def same() -> None:
        for name in trio.nodes:
            for _ in range(3):
                assert (await asked(trio, name, SQL, **again)).content == first.content, name

    await same()
    leader = await trio.leader(code)
    await trio.stop(leader)
    await trio.leader(code)
    await trio.receipts(*(modify(code, f"Piece/{n}", f'{{"n":-{n}}}') for n in range(30)))
    await same()
    trio.wipe(leader)
    await trio.whole()
    await until(lambda: code in trio[leader].shards and not trio[leader].shards[code].recovering, "a copy")
    await trio.level(code)
    for node in trio.nodes.values():
        await node.rebuild("Piece")
    await same()
    assert (await asked(trio, "n1", SQL, shards=[code])).content != first.content


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "application/x-ndjson"])
async def test_what_a_node_lacks_is_asked_of_one_that_has_it(
    trio: Trio, code: int, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await follower(trio, code)
    vector = f"{code}:{trio.any.shards[code].complete.value}"
    whole = await asked(trio, await trio.leader(code), SQL, as_of=vector, shards=[code], accept=accept)
    await harm(trio, node, code, f"update journal set trace = 'x' where shard = {code} and position = 5")
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        await checked(node, code)
        with pytest.raises(Withheld):
            await node.querying.ask(Question(sql=SQL, shards=(code,)))
        answer = await asked(trio, node.name, SQL, as_of=vector, shards=[code], accept=accept)
        assert (answer.status_code, answer.content) == (200, whole.content)
        assert answer.headers["Content-Type"].startswith(accept)
    await checked(node, code)


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_what_another_node_is_asked_ends_there_when_the_client_goes(
    trio: Trio, code: int, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await follower(trio, code)
    await harm(trio, node, code, f"update journal set trace = 'x' where shard = {code} and position = 5")
    long = 'select count(*) from "Piece", generate_series(1, 100000) a, generate_series(1, 100000) b'
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        await checked(node, code)
        asking = asyncio.create_task(asked(trio, node.name, long, shards=[code], accept=accept, timeout="60s"))
        await until(lambda: _is_asked(trio, "%100000%"), "statement on another node")
        asking.cancel()
        await until(lambda: _is_over(trio, "%100000%"), "end of the statement", timeout_s=10)
    await checked(node, code)


async def _is_over(trio: Trio, statement: str) -> bool:
    return not await _is_asked(trio, statement)


async def _is_asked(trio: Trio, statement: str) -> bool:
    """Whether some node's server works at such a statement."""
    for server in trio.servers.values():
        admin = await connect(server.connection("postgres", DATABASE))
        try:
            found = (
                "select true from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()"
            )
            if await admin.fetchval(found, statement):
                return True
        finally:
            await admin.close()
    return False


async def test_a_department_that_cannot_answer_fails_the_query_or_is_named(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await trio.department()
    await trio.receipts(create(other, "Piece/x", '{"n":1}'))
    await trio.level(other)
    sql = 'select actor_shard, count(*) from "Piece" group by 1'
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        for name in NAMES:
            await harm(trio, trio[name], code, f"update journal set trace = 'x' where shard = {code} and position = 5")
            await checked(trio[name], code)
        failed = await asked(trio, "n1", sql, shards=[code, other])
        assert (failed.status_code, failed.json()["type"]) == (503, "/problems/withheld")
        partly = (await asked(trio, "n1", sql, shards=[code, other], allow_partial=True)).json()
        assert partly["rows"] == [[other, 1]]
        assert list(partly["cutoff"]["positions"]) == [str(other)]
        assert [(each["shard"], each["type"]) for each in partly["missing"]] == [(code, "/problems/withheld")]
        lines = await asked(trio, "n1", sql, shards=[code, other], allow_partial=True, accept="application/x-ndjson")
        assert lines.headers["Peaceriver-Missing"] == str(code)
    for name in NAMES:
        await harm(trio, trio[name], code, f"update journal set trace = null where shard = {code} and position = 5")
        await checked(trio[name], code)
        assert not trio[name].shards[code].damage.known


async def test_the_newest_is_asked_of_the_leader_or_refused(trio: Trio, code: int) -> None:
    name = (await trio.followers(code))[0]
    receipt = await trio.receipt(modify(code, "Piece/1", '{"n":1000}'))
    sql = "select document ->> 'n' from \"Piece\" where actor_id = '1'"
    assert (await asked(trio, name, sql, shards=[code], read="latest")).json()["rows"] == [["1000"]]
    assert (await asked(trio, name, sql, shards=[code], after=str(receipt.stamp))).json()["rows"] == [["1000"]]
    await trio.cut(name)
    try:
        refused = await asked(trio, name, sql, shards=[code], read="latest", timeout="500ms")
        assert refused.status_code == 503
        assert (await asked(trio, name, sql, shards=[code])).json()["rows"] == [["1000"]]
    finally:
        trio.heal()


KEPT = (
    "select document ->> 'k' as k, count(*) as n, sum((document ->> 'n')::numeric) as total,"
    " max((document ->> 'n')::numeric) as most from \"Tally\" where actor_status = 'active' group by 1"
)


async def test_a_kept_view_is_the_query_at_its_vector_on_every_node(trio: Trio) -> None:
    await trio.whole()
    codes = [await trio.department(), await trio.department()]
    chance = random.Random(5)
    shards = ",".join(map(str, codes))
    for each in range(40):
        body = f'{{"k":"{chance.choice("abc")}","n":{chance.randrange(1, 999)}.50}}'
        await trio.receipts(create(chance.choice(codes), f"Tally/{each}", body))
    async with trio.door("n1") as http:
        assert (await http.put("/views/tallies", json={"sql": KEPT, "kept": True})).status_code == 201
    await until(lambda: all(node.views.kept.get("Tally") for node in trio.nodes.values()), "kept views")

    async def kept(name: str, **parameters: str) -> httpx.Response:
        async with trio.door(name) as http:
            return await http.get("/views/tallies", params={"shards": shards} | parameters)

    vectors: list[tuple[str, bytes]] = []
    for round_ in range(6):
        for name in NAMES:
            told = (await kept(name)).json()
            vector = ",".join(f"{code}:{position}" for code, position in told["cutoff"]["positions"].items())
            twin = (await asked(trio, name, KEPT, shards=codes, as_of=vector)).json()
            assert told["columns"] == twin["columns"]
            assert told["rows"] == twin["rows"], (name, vector)
            vectors.append((vector, (await kept(name, as_of=vector)).content))
        target = chance.randrange(40)
        changed = f'{{"k":"{chance.choice("abc")}","n":{chance.randrange(1, 999)}}}'
        for code in codes:
            await trio.send(modify(code, f"Tally/{target}", changed), cancel(code, f"Tally/{round_}"))
    for vector, content in vectors:
        for name in NAMES:
            assert (await kept(name, as_of=vector)).content == content
    lines = await _lines(trio, "/views/tallies", {"shards": shards})
    assert [list(each) for each in lines] == [["k", "n", "total", "most"]] * len(lines)
    await trio["n2"].rebuild("Tally")
    vector, content = vectors[-1]
    assert (await kept("n2", as_of=vector)).content == content
    async with trio.door("n3") as http:
        assert (await http.delete("/views/tallies")).status_code == 204
    await until(lambda: not any(node.views.kept.get("Tally") for node in trio.nodes.values()), "nothing kept")


async def test_a_view_is_there_on_every_node_as_soon_as_it_is_published(trio: Trio) -> None:
    await trio.whole()
    for number in range(5):
        async with trio.door("n1") as http:
            assert (await http.put(f"/views/soon{number}", json={"sql": f"select {number} as n"})).status_code == 201
        for name in NAMES:
            async with trio.door(name) as http:
                assert (await http.get(f"/views/soon{number}")).json()["rows"] == [[number]]
        async with trio.door("n2") as http:
            assert (await http.put(f"/views/soon{number}", json={"sql": "select -1 as n"})).status_code == 200
        for name in NAMES:
            async with trio.door(name) as http:
                assert (await http.get(f"/views/soon{number}", params={"read": "latest"})).json()["rows"] == [[-1]]


async def test_a_model_and_a_view_that_are_just_published_are_known_on_every_node(trio: Trio) -> None:
    await trio.whole()
    schema = {"type": "object", "properties": {"n": {"type": "number"}}}
    for number in range(5):
        name, sql = f"Fresh{number}", f'select n from "Fresh{number}"'
        async with trio.door("n1") as http:
            assert (await http.put(f"/directory/models/{name}", json=schema)).status_code == 201
        answer = await asked(trio, "n2", sql)
        assert (answer.status_code, answer.json()["rows"]) == (200, []), answer.text
        async with trio.door("n3") as http:
            assert (await http.put(f"/views/fresh{number}", json={"sql": sql})).status_code == 201
        async with trio.door("n2") as http:
            assert (await http.delete(f"/views/fresh{number}")).status_code == 204
    async with trio.door("n2") as http:
        assert (await http.delete("/views/fresh0")).status_code == 404
    assert (await asked(trio, "n2", 'select 1 from "Nowhere"')).json()["type"] == "/problems/no-model"


async def test_a_refusal_is_told_by_its_kind_and_not_by_its_words(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def withheld(question: Question) -> Answer:
        raise Withheld("it is damaged")

    monkeypatch.setattr(trio["n1"].querying, "ask", withheld)
    # The other nodes refuse it for good; a column that is called so is no model that is missing.
    answer = await asked(trio, "n1", 'select "there is no model" from "Piece"', shards=[code])
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid"), answer.text


async def test_what_one_node_alone_refuses_is_asked_of_the_next(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(name: str, refusal: Refused) -> None:
        async def ask(question: Question) -> Answer:
            raise refusal

        monkeypatch.setattr(trio[name].querying, "ask", ask)

    whole = (await asked(trio, "n3", SQL, shards=[code])).json()["rows"]
    refusing("n1", Withheld("it is damaged"))
    for own in (Conflict("x"), NotFound("x"), Unavailable("x"), NoModel("x")):
        refusing("n2", own)
        answer = await asked(trio, "n1", SQL, shards=[code])
        assert (answer.status_code, answer.json().get("rows")) == (200, whole), own
    for any_ones in (TooSlow("x"), TooLarge("x"), Invalid("x")):
        refusing("n2", any_ones)
        refusing("n3", any_ones)
        answer = await asked(trio, "n1", SQL, shards=[code])
        assert (answer.status_code, answer.json()["type"]) == (any_ones.status, f"/problems/{any_ones.slug}")
    refusing("n2", Conflict("x"))
    refusing("n3", Unavailable("x"))
    assert (await asked(trio, "n1", SQL, shards=[code])).json()["type"] == "/problems/withheld"


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
async def test_a_stream_with_more_rows_than_it_may_have_breaks_off(
    trio: Trio, code: int, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = 'select actor_id from "Piece"'
    monkeypatch.setattr(tables, "STREAM_ROWS_MAX", 30)
    whole = await asked(trio, "n1", sql, shards=[code], accept=accept, timeout=20.5)
    assert whole.status_code == 200, whole.text
    assert len(whole.text.splitlines()) == 30 + (accept == "text/csv")
    monkeypatch.setattr(tables, "STREAM_ROWS_MAX", 25)
    with pytest.raises(httpx.RemoteProtocolError):
        await asked(trio, "n1", sql, shards=[code], accept=accept)


async def _lines(trio: Trio, path: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
    async with trio.door("n1") as http:
        answer = await http.get(path, params=parameters, headers={"Accept": "application/x-ndjson"})
        return [json.loads(each) for each in answer.text.splitlines()]


async def _nothing(*_: object) -> bool:
    return False
