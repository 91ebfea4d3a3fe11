"""Three nodes while the directory changes: what was answered at one counts at the others, and nobody is refused."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from peaceriver.errors import Behind
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.publishing import Publishing
from peaceriver.node.questions import Question
from peaceriver.query import named
from tests.scenario.trio import ME, Trio, trio, until

SQL = "select 1 as one"


@pytest.fixture(scope="module")
async def cluster(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with trio(module_folder) as made:
        yield made


async def test_a_query_waits_for_a_department_that_is_being_brought_up(cluster: Trio) -> None:
    newest = await cluster.department()
    asked, refused, over = Counter[str](), list[str](), asyncio.Event()

    async def asking(door: httpx.AsyncClient, scope: str) -> None:
        while not over.is_set():
            answer = await door.post("/query", json={"sql": SQL} | ({"shards": [newest]} if scope == "one" else {}))
            asked[scope] += 1
            if answer.status_code != 200:
                refused.append(answer.text)

    async with cluster.door("n1") as one, cluster.door("n2") as two, cluster.door("n3") as three:
        tasks = [asyncio.create_task(asking(each, scope)) for each in (one, two, three) for scope in ("all", "one")]
        for code in range(500, 530):
            made = await one.put(f"/directory/departments/{code}", json={"name": f"Department {code}"})
            assert made.status_code == 201, made.text
            newest = code
        over.set()
        await asyncio.gather(*tasks)
    assert min(asked.values()) > 30
    assert refused == []


async def test_a_department_that_does_not_come_up_in_time_is_asked_of_another_node(
    cluster: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, code, comes = cluster["n2"], 600, asyncio.Event()
    take_up = late._open

    async def take_up_late(code: int) -> None:
        await comes.wait()
        await take_up(code)

    monkeypatch.setattr(late, "_open", take_up_late)
    try:
        async with cluster.door("n1") as one, cluster.door("n2") as two:
            await one.put(f"/directory/departments/{code}", json={"name": "Late"})
            await until(lambda: code in late.directory.departments, "page of the department")
            began = time.monotonic()
            answer = await two.post("/query", json={"sql": SQL, "shards": [code], "timeout": "800ms"})
            assert (answer.status_code, time.monotonic() - began < 0.8) == (200, True), answer.text
            began = time.monotonic()
            freshness = Freshness(timeout_s=0.4)
            with pytest.raises(Behind, match=f"department {code} is being brought up"):
                await late.querying.ask(Question(sql=SQL, freshness=freshness))
            assert 0.2 <= time.monotonic() - began < 0.4
            partly = await late.querying.ask(Question(sql=SQL, freshness=freshness, allow_partial=True))
            assert [each.shard for each in partly.missing] == [code]
    finally:
        comes.set()
    await until(lambda: code in late.shards, "department")


async def test_a_new_replica_that_is_copied_is_waited_for_and_an_old_one_is_not(
    cluster: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await cluster.department()
    node = cluster["n3"]
    shard, loop = node.shards[code], asyncio.get_running_loop()
    monkeypatch.setitem(node.shards._since, code, time.monotonic())
    monkeypatch.setattr(shard, "recovering", True)
    loop.call_later(0.2, setattr, shard, "recovering", False)
    assert code in (await node.querying.ask(Question(sql=SQL))).cutoff.places
    monkeypatch.setitem(node.shards._since, code, time.monotonic() - 10)
    shard.recovering = True
    began = time.monotonic()
    with pytest.raises(Behind, match="is being copied"):
        await node.querying.ask(Question(sql=SQL))
    assert time.monotonic() - began < 0.5


async def test_a_view_that_is_replaced_or_removed_is_so_at_every_node(cluster: Trio) -> None:
    async with cluster.door("n1") as one, cluster.door("n2") as two, cluster.door("n3") as three:
        doors = (one, two, three)
        for number in range(50):
            put, *others = doors[number % 3 :] + doors[: number % 3]
            made = await put.put("/views/turning", json={"sql": f"select {number} as n"})
            assert made.status_code == (201 if number == 0 else 200), made.text
            told = await asyncio.gather(*(each.get("/views/turning") for each in others))
            assert [each.json()["rows"] for each in told] == [[[number]]] * 2
        assert (await two.delete("/views/turning")).status_code == 204
        listed = await asyncio.gather(*(each.get("/views") for each in (one, three)))
        assert [each.json()["items"] for each in listed] == [[], []]
        assert (await one.get("/views/turning")).status_code == 404


async def test_views_of_an_application_are_what_it_says_at_every_node(cluster: Trio) -> None:
    publishing = Publishing(cluster["n1"])
    for number in range(10):
        view = named.read("deployed", {"sql": f"select {number} as n"})
        await publishing.views({} if number == 9 else {"deployed": view}, "app", ME)
        for other in (cluster["n2"], cluster["n3"]):
            page = other.directory.views["deployed"]
            assert (page.active, page.view.sql) == (number < 9, f"select {min(number, 8)} as n")


async def test_a_node_that_does_not_answer_holds_no_view_up(cluster: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(position: int) -> bool:
        return False

    monkeypatch.setattr(cluster["n1"].overview, "is_applied", never)
    async with cluster.door("n1") as http:
        began = time.monotonic()
        made = await http.put("/views/alone", json={"sql": "select 1 as n"}, params={"timeout": "800ms"})
        assert (made.status_code, time.monotonic() - began < 0.8) == (201, True), made.text
        assert (await http.delete("/views/alone")).status_code == 204
