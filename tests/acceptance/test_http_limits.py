"""Queries within the limits that the reference names are answered, and those beyond are refused as it says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peaceriver.node.kept import KeptViews
from peaceriver.node.querying import Querying
from tests.acceptance.door import Door, problem
from tests.acceptance.test_http_messages import until

#: What can always be nested so deep.
_DEPTH = 30


@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("abs(", ")"), ("(select ", ")"), ("case when true then ", " end")]
)
@pytest.mark.parametrize("within", ["{}", "size from (select {} as size) as y order by 1"])
def test_what_is_nested_is_answered_up_to_a_depth(door: Door, opening: str, closing: str, within: str) -> None:
    def sql(depth: int) -> str:
        return "select " + within.format(f"{opening * depth}1{closing * depth}")

    answer = door.http.post("/query", json={"sql": sql(_DEPTH)})
    assert answer.json().get("rows") == [[1]], answer.text
    problem(door.http.post("/query", json={"sql": sql(65)}), 422, "invalid")


def test_the_body_of_a_query_has_a_most(door: Door) -> None:
    def body(letters: int) -> dict[str, object]:
        return {"sql": "select length(:long) as n", "variables": {"long": "x" * letters}}

    assert door.http.post("/query", json=body(1_000_000)).json()["rows"] == [[1_000_000]]
    problem(door.http.post("/query", json=body(1024 * 1024)), 413, "too-large")
    deep: object = 1
    for _ in range(64):
        deep = [deep]
    problem(door.http.post("/query", json={"sql": "select 1", "variables": {"x": deep}}), 400, "malformed")


def test_a_kept_view_that_is_computed_after_all_takes_no_longer_than_any_query(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutoff = Querying.cutoff

    async def slow(*args: Any) -> Any:
        await asyncio.sleep(0.6)
        return await cutoff(*args)

    async def is_none(*_: Any) -> bool:
        await asyncio.sleep(1.0)
        return False

    code = door.department()
    first = door.create(code, "Timed/1")
    door.get(f"/shards/{code}/Timed/1", after=first["stamp"])
    assert door.http.put("/views/timed", json={"sql": 'select count(*) as n from "Timed"', "kept": True}).is_success
    until(lambda: kept_here(door, "timed"))
    monkeypatch.setattr(Querying, "cutoff", slow)
    monkeypatch.setattr(KeptViews, "_is_cut", is_none)
    # The node waits a second longer than the server, so that the server ends a statement.
    problem(door.http.get("/views/timed", params={"shards": str(code), "timeout": "1s"}), 503, "too-slow")


def kept_here(door: Door, name: str) -> bool:
    return any(each["name"] == name and each["kept_here"] for each in door.get("/views")["items"] if each["kept"])
