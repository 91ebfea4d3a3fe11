"""What a name in a query means stays what it meant at a cutoff, whatever fields a model gets later."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.acceptance.door import Door, pointers, problem

_NUMBER = {"type": "number"}
_names = itertools.count(1)


def publish(door: Door, name: str, *fields: str) -> None:
    schema = {"type": "object", "properties": dict.fromkeys(fields, _NUMBER)}
    answer = door.http.put(f"/directory/models/{name}", json=schema)
    assert answer.status_code in (200, 201), answer.text


def two_models(door: Door) -> tuple[str, str, int, str]:
    """Two models at version 1, with an actor each; their names, their department, and its vector."""
    this, other = (f"Aged{next(_names)}" for _ in range(2))
    publish(door, this, "size")
    publish(door, other, "size", "weight")
    code = door.department()
    door.create(code, f"{this}/1", {"size": 3, "later": 7})
    last = door.create(code, f"{other}/1", {"size": 2, "weight": 5, "newer": 9})
    return this, other, code, f"{code}:{last['position']}"


@pytest.mark.parametrize(
    "sql",
    [
        "select *, 1 as later from {this}",
        "select *, -size as later from {this} order by later",
        "select * from (select *, size as later from {this} order by 1, later limit 5) as x",
        "select size + 1 as later, count(*) from {this} group by later",
        "select distinct on (later) *, -size as later from {this} order by later",
        "select this.*, x.later from {this} as this, (select 1 as later) as x",
        "select *, later as twice from {this}, (select 1 as later) as x",
        "with w (later) as (select size from {this}) select * from w, {this} where later > 0",
        "select this.*, (select later from (select 5 as later) as x) as y from {this} as this",
        "select size, null as later from {this} union all select size, 1 from {this} order by later",
        "select this.*, later from {this} as this, json_to_record('{{\"later\": 1}}') as x (later int)",
        "select this.*, other.weight as later, weight from {this} as this join {other} as other using (actor_shard)"
        " order by later",
    ],
)
def test_a_name_that_is_no_column_at_a_cutoff_does_not_become_one(door: Door, sql: str) -> None:
    this, other, code, vector = two_models(door)
    body = {"sql": sql.format(this=f'"{this}"', other=f'"{other}"'), "as_of": vector}
    before = door.http.post("/query", json=body)
    assert before.status_code == 200, before.text
    publish(door, this, "size", "later", "weight")
    assert door.http.post("/query", json=body).content == before.content
    door.create(code, f"{this}/2", {"size": 4, "later": 8, "weight": 1})
    for _ in range(2):
        assert door.http.post("/query", json=body).content == before.content


@pytest.mark.parametrize(
    ("sql", "columns", "row"),
    [
        ("select later from {this}", ["later"], [7]),
        ("select l.later from (select later as later from {this}) as l", ["later"], [7]),
        ("select size from {this} order by later + 1", ["size"], [3]),
        (
            "select size as later, newer from {this}, (select 9 as newer) as x order by later",
            ["later", "newer"],
            [3, 9],
        ),
        # The column of one model is needed, and the name of the other's is an alias here.
        (
            "select s.*, 1 as later, n.newer from (select size, actor_id from {other}) s, {other} n order by later",
            ["size", "actor_id", "later", "newer"],
            [2, "1", 1, 9],
        ),
    ],
)
def test_a_field_of_a_later_version_is_a_column_where_it_is_asked_for(
    door: Door, sql: str, columns: list[str], row: list[Any]
) -> None:
    this, other, _, vector = two_models(door)
    publish(door, this, "size", "later", "more")
    publish(door, other, "size", "weight", "newer", "later")
    body = {"sql": sql.format(this=f'"{this}"', other=f'"{other}"'), "as_of": vector}
    answer = door.http.post("/query", json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["columns"], answer.json()["rows"]) == (columns, [row])
    publish(door, this, "size", "later", "more", "newer")
    assert door.http.post("/query", json=body).content == answer.content


def test_a_field_that_is_asked_of_one_model_is_not_added_to_another(door: Door) -> None:
    this, other, _, vector = two_models(door)
    publish(door, this, "size", "later")
    sql = f'select this.later, other.* from "{this}" as this, "{other}" as other'
    before = door.http.post("/query", json={"sql": sql, "as_of": vector})
    assert (before.status_code, before.json()["columns"][-2:]) == (200, ["size", "weight"]), before.text
    publish(door, other, "size", "weight", "later")
    assert door.http.post("/query", json={"sql": sql, "as_of": vector}).content == before.content


def test_a_name_that_is_nowhere_is_refused_also_beside_one_of_a_later_version(door: Door) -> None:
    this, _, _, vector = two_models(door)
    publish(door, this, "size", "later")
    refused = door.http.post("/query", json={"sql": f'select later, nowhere from "{this}"', "as_of": vector})
    assert pointers(problem(refused, 422, "invalid")) == {"/sql"}
    assert "nowhere" in refused.json()["detail"]


def test_a_name_that_two_models_got_is_ambiguous(door: Door) -> None:
    this, other, _, vector = two_models(door)
    publish(door, this, "size", "later")
    publish(door, other, "size", "weight", "later")
    refused = door.http.post("/query", json={"sql": f'select later from "{this}", "{other}"', "as_of": vector})
    assert pointers(problem(refused, 422, "invalid")) == {"/sql"}
    assert "ambiguous" in refused.json()["detail"]
