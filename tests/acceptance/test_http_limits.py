"""Queries within the limits that the reference names are answered, and those beyond are refused as it says."""

from __future__ import annotations

import pytest

from tests.acceptance.door import Door, problem

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
