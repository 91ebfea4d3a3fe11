"""The same attacks against named views: their names, their statements, their variables, and who asks for them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance import attacks
from tests.acceptance.door import Door
from tests.acceptance.test_query_attacks import OUTSIDE, STATE, looked, wrong

#: All but what a view's own page adds to shard 0.
_STATE = {name: sql for name, sql in STATE.items() if name != "records"} | {
    "records": STATE["records"] + " and shard > 0"
}
_STRINGS = [
    "' or '1'='1",
    "'; drop table journal; --",
    '"; drop table journal; --',
    "x') union select rolname from pg_authid --",
    "1; select pg_sleep(10)",
    "{}",
    "$1",
    ":x",
    "%s",
    "\\",
    "\u2019 or 1=1 --",
    "0x41",
    "1e400",
    "NaN",
    "-0",
    "null",
    "../../etc/passwd",
    "a" * 10_000,
    "\ufeff",
    "\u202eesrever",
]


@pytest.fixture(scope="module")
def code(door: Door) -> int:
    """A department with a few orders."""
    code = door.department()
    for number in range(5):
        last = door.create(code, f"Order/SO-{number}", {"customer": f"C{number % 2}", "total": number * 10})
    door.get(f"/shards/{code}/Order/SO-1", after=last["stamp"])
    return code


@pytest.mark.slow
def test_no_attack_becomes_a_view_that_shows_or_changes_anything(door: Door, code: int) -> None:
    before, found, published = looked(door, _STATE), [], 0
    for sql in attacks.statements():
        put = door.http.put("/views/attack", json={"sql": sql})
        said = wrong(put, sql) if put.status_code >= 400 else None
        if put.status_code < 400:
            published += 1
            said = wrong(door.http.get("/views/attack", params={"timeout": "2s"}), sql)
        if said is not None:
            found.append(f"{sql!r} {said}")
    assert not found, "\n".join(found)
    assert 0 < published < len(attacks.statements()), "some are harmless"
    after = looked(door, _STATE)
    assert {name: value for name, value in after.items() if value != before[name]} == {}


@pytest.mark.parametrize("name", [each for each in _STRINGS if not each.isalpha() or len(each) > 63])
def test_a_name_is_a_name_whatever_it_says(door: Door, code: int, name: str) -> None:
    path = f"/views/{quote(name, safe='')}"
    assert door.http.put(path, json={"sql": "select 1"}).status_code in (404, 422)
    assert door.http.get(path).status_code == 404
    assert door.http.delete(path).status_code == 404
    odd = {"sql": "select 1", "variables": {name: "text"}}
    assert door.http.put("/views/odd", json=odd).status_code == 422
    assert door.http.put("/views/odd", json={"sql": "select :x", "variables": {"x": name}}).status_code == 422


def test_values_of_variables_are_values_whatever_they_say(door: Door, code: int) -> None:
    definition: dict[str, Any] = {
        "sql": "select actor_id from \"Order\" where document ->> 'customer' = :c or actor_version = :n"
        " order by :c limit :top",
        "variables": {"c": "text", "n": {"type": "integer", "default": 0}, "top": {"type": "integer", "default": 9}},
    }
    assert door.http.put("/views/valued", json=definition).status_code in (200, 201)
    assert len(door.get("/views/valued", c="C1", shards=str(code))["rows"]) == 2
    for each in _STRINGS:
        answer = door.http.get("/views/valued", params={"c": each, "shards": str(code)})
        assert answer.status_code == 200
        assert answer.json()["rows"] == []
        for name in ("n", "top"):
            answer = door.http.get("/views/valued", params={"c": "C1", name: each, "shards": str(code)})
            assert answer.status_code in (200, 422), answer.text
            assert not any(outside in answer.text for outside in OUTSIDE)
        for name in ("as_of", "after", "read", "timeout", "shards", "allow_partial"):
            answer = door.http.get("/views/valued", params={"c": "C1", name: each})
            assert answer.status_code in (404, 409, 422), (name, each, answer.text)


def test_descriptions_and_defaults_are_texts_whatever_they_say(door: Door, code: int) -> None:
    for each in _STRINGS:
        definition = {
            "sql": "select :x::text",
            "variables": {"x": {"type": "text", "default": each, "description": each}},
            "description": each,
        }
        if len(each) > 4_000:
            assert door.http.put("/views/told", json=definition).status_code == 422
            continue
        assert door.http.put("/views/told", json=definition).status_code in (200, 201)
        assert door.get("/views/told")["rows"] == [[each]]
        (page,) = [view for view in door.get("/views")["items"] if view["name"] == "told"]
        assert page["description"] == each
    description = "\n".join(_STRINGS)[:4_000]
    assert door.http.put("/views/told", json={"sql": "select 1", "description": description}).status_code == 200
    assert door.get("/openapi.json")["paths"]["/views/told"]["get"]["description"] == description
