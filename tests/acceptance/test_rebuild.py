"""A view is folded anew over HTTP and on the command line: with progress, beside the live one, or not at all."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import pytest

from peaceriver.cli import rebuilding as command
from peaceriver.cli import terminal
from peaceriver.errors import Withheld
from peaceriver.shard import former, view_tables
from peaceriver.shard import rebuild as rebuild_module
from peaceriver.shard.views import Folder
from tests.acceptance.commands import peaceriver
from tests.acceptance.door import Door, problem


@pytest.fixture
def cards(door: Door) -> int:
    """A department with actors of a type that has no model."""
    code = door.department()
    messages = [{"to": code, "actor": f"Card/{n}", "action": "create", "body": {"n": n}} for n in range(20)]
    changes = [{"to": code, "actor": f"Card/{n}", "action": "modify", "body": {"m": n}} for n in range(10)]
    receipts = door.send([*messages, *changes]).json()
    door.get(f"/shards/{code}/Card/1", after=receipts[-1]["stamp"])
    return code


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_module, "_ROWS_AT_A_TIME", 8)


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Rebuilds that have begun rest, until they are let go on."""
    going_on, fold_all = threading.Event(), rebuild_module._fold_all

    async def resting(*args: Any) -> None:
        await asyncio.to_thread(going_on.wait)
        await fold_all(*args)

    monkeypatch.setattr(rebuild_module, "_fold_all", resting)
    try:
        yield going_on
    finally:
        going_on.set()


def tables(door: Door) -> set[str]:
    """Every view table of the node's database."""

    async def found() -> set[str]:
        async with door.served.node.database.connection() as tx:
            return {row["table_name"] for row in await view_tables.sql.tables.rows(tx)}

    return door.served.run(found())


def live(door: Door) -> str:
    return door.served.node.views.tables["Card"].name


def rebuilding(door: Door) -> AbstractContextManager[httpx.Response]:
    return door.http.stream("POST", "/cluster/rebuild", json={"type": "Card"})


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    return [json.loads(each) for each in answer.text.splitlines()]


def test_a_view_is_folded_anew_and_says_how_far_it_is(door: Door, cards: int, few_at_a_time: None) -> None:
    before = door.get(f"/shards/{cards}/Card", limit="100")["items"]
    old = live(door)
    told = lines(door.http.post("/cluster/rebuild", json={"type": "Card"}))
    assert told[-1]["state"] == "done"
    assert {"shard": cards, "folded": 30, "records": 30} in told[-1]["shards"]
    assert {each["state"] for each in told[:-1]} <= {"waiting", "folding"}
    assert {(each["node"], each["type"]) for each in told} == {("n1", "Card")}
    assert live(door) != old
    assert live(door) in tables(door)
    assert door.get(f"/shards/{cards}/Card", limit="100")["items"] == before


def test_the_former_view_goes_once_nobody_can_be_reading_it(
    door: Door, cards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(former, "_READ_FOR_S", 0.0)
    old = live(door)
    assert lines(door.http.post("/cluster/rebuild", json={"type": "Card"}))[-1]["state"] == "done"
    for _ in range(100):
        if old not in tables(door):
            break
        time.sleep(0.05)
    assert old not in tables(door)
    assert live(door) in tables(door)


def test_progress_is_told_of_every_department_before_it_begins_and_after_each_part(
    door: Door, cards: int, few_at_a_time: None
) -> None:
    told: list[rebuild_module.Folded] = []
    door.served.run(door.served.node.rebuild("Card", told.append))
    ours = [each for each in told if each.shard == cards]
    assert [(each.folded, each.records) for each in ours] == [(0, 30), (8, 30), (16, 30), (24, 30), (30, 30)]
    assert told.index(ours[1]) >= len(door.served.node.folders)


def test_reads_and_writes_go_on_meanwhile(door: Door, cards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with held(monkeypatch) as going_on, rebuilding(door) as answer:
        told = (json.loads(each) for each in answer.iter_lines())
        assert next(each for each in told if each["state"] == "folding")["shards"]
        changed = door.modify(cards, "Card/1", {"k": 1})
        assert door.get(f"/shards/{cards}/Card/1", after=changed["stamp"])["document"] == {"n": 1, "m": 1, "k": 1}
        going_on.set()
        assert [each["state"] for each in told][-1] == "done"
    assert door.get(f"/shards/{cards}/Card/1")["document"] == {"n": 1, "m": 1, "k": 1}


def test_a_second_one_waits_for_the_first(door: Door, cards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with held(monkeypatch) as going_on, rebuilding(door) as first:
        ours = (json.loads(each) for each in first.iter_lines())
        next(each for each in ours if each["state"] == "folding")
        with rebuilding(door) as second:
            theirs = (json.loads(each) for each in second.iter_lines())
            assert next(theirs)["state"] == "waiting"
            going_on.set()
            assert [each["state"] for each in ours][-1] == "done"
            assert [each["state"] for each in theirs][-1] == "done"


def test_where_nobody_listens_any_more_it_ends_and_leaves_nothing(
    door: Door, cards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, before = live(door), tables(door)
    with held(monkeypatch):
        with rebuilding(door) as answer:
            assert next(answer.iter_lines())
            assert len(tables(door)) == len(before) + 1
        for _ in range(100):
            if tables(door) == before:
                break
            time.sleep(0.05)
    assert tables(door) == before
    assert live(door) == old
    assert lines(door.http.post("/cluster/rebuild", json={"type": "Card"}))[-1]["state"] == "done"


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ({"type": "Unheard"}, 404, "not-found"),
        ({"type": 1}, 422, "invalid"),
        ({}, 422, "invalid"),
        ({"type": "Card", "at": 1}, 422, "invalid"),
    ],
)
def test_what_cannot_be_rebuilt(door: Door, body: Any, status: int, slug: str) -> None:
    problem(door.http.post("/cluster/rebuild", json=body), status, slug)


def test_what_is_no_json_cannot_be_rebuilt(door: Door) -> None:
    problem(door.http.post("/cluster/rebuild", content=b"{"), 400, "malformed")


def test_a_damaged_journal_is_said_at_once_or_in_the_last_line(
    door: Door, cards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: Folder) -> None:
        raise Withheld("positions 8 to 9 are not as recorded")

    with held(monkeypatch) as going_on, rebuilding(door) as first:
        ours = first.iter_lines()
        next(ours)
        with rebuilding(door) as second:
            theirs = (json.loads(each) for each in second.iter_lines())
            assert next(theirs)["state"] == "waiting"
            monkeypatch.setattr(Folder, "check_journal", check)
            going_on.set()
            *_, last = theirs
    assert (last["state"], last["problem"]["type"], last["problem"]["status"]) == ("failed", "/problems/withheld", 503)
    problem(door.http.post("/cluster/rebuild", json={"type": "Card"}), 503, "withheld")
    said = peaceriver("rebuild", "Card", url=door.url)
    assert (said.code, "not as recorded" in said.err) == (1, True)


def test_on_the_command_line_it_tells_in_lines_or_json(door: Door, cards: int, few_at_a_time: None) -> None:
    said = peaceriver("rebuild", "Card", url=door.url)
    assert said.code == 0
    assert said.out.startswith("n1: the view of Card is folded anew, ")
    assert f"n1 {cards}: 30 of 30 records" in said.err
    everywhere = peaceriver("rebuild", "Card", "--all", "--json", url=door.url)
    assert (everywhere.code, everywhere.lines[-1]["state"]) == (0, "done")
    unheard = peaceriver("rebuild", "Unheard", url=door.url)
    assert (unheard.code, "there is no type 'Unheard'" in unheard.err) == (1, True)


def test_a_node_that_is_away_does_not_keep_the_others_waiting(
    door: Door, cards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview = door.served.node.overview
    cluster = overview.cluster

    async def with_another(url: str) -> dict[str, Any]:
        told = await cluster(url)
        return told | {"nodes": [{"name": "n0", "url": "http://127.0.0.1:9", "alive": False}, *told["nodes"]]}

    monkeypatch.setattr(overview, "cluster", with_another)
    said = peaceriver("rebuild", "Card", "--all", url=door.url)
    assert said.code == 3
    assert "no node answers at http://127.0.0.1:9" in said.err
    assert said.out.startswith("n1: the view of Card is folded anew")


def test_at_a_terminal_there_is_a_bar_for_each_department(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "errors_console", terminal.Console(force_terminal=True, width=100))
    with command._Bars() as bars:
        bars.show({"node": "n1", "state": "waiting", "shards": []})
        bars.show({"node": "n1", "state": "folding", "shards": [{"shard": 100, "folded": 5, "records": 10}]})
        bars.show({"node": "n1", "state": "done", "shards": [{"shard": 100, "folded": 10, "records": 10}]})
    assert "10/10" in capsys.readouterr().out


def test_types_are_listed_with_their_columns(door: Door, cards: int) -> None:
    schema = {"type": "object", "properties": {"total": {"type": "number"}, "lines": {"type": "array"}}}
    door.http.put("/directory/models/Listed", json=schema).raise_for_status()
    items = {each["type"]: each["columns"] for each in door.get("/actors")["items"]}
    assert items["Card"] == []
    assert items["Listed"] == [{"name": "total", "type": "numeric"}]
    assert not {"departments", "models"} & items.keys()
