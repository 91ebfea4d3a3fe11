"""Named views, and the list of them, take what every read takes."""

from __future__ import annotations

from typing import Any

import pytest

from peaceriver.api import views
from tests.acceptance.door import Door, pointers, problem
from tests.acceptance.test_http_messages import until


def publish(door: Door, name: str, sql: str) -> str:
    """Publish a view; answers the stamp of its page."""
    answer = door.http.put(f"/views/{name}", json={"sql": sql})
    assert answer.status_code in (200, 201), answer.text
    stamp: str = answer.json()["receipt"]["stamp"]
    return stamp


def listed(door: Door, **parameters: str) -> dict[str, str]:
    """The SQL of the views that there are, or were, whose names begin with ``at_``."""
    items: list[dict[str, Any]] = door.get("/views", **parameters)["items"]
    return {each["name"]: each["sql"] for each in items if each["name"].startswith("at_")}


def test_the_list_of_views_is_read_as_of_a_moment(door: Door) -> None:
    first = publish(door, "at_one", "select 1 as n")
    second = publish(door, "at_two", "select 2 as n")
    third = publish(door, "at_one", "select 3 as n")
    assert door.http.delete("/views/at_two").status_code == 204
    assert listed(door) == {"at_one": "select 3 as n"}
    assert listed(door, as_of=first) == {"at_one": "select 1 as n"}
    assert listed(door, as_of=second) == {"at_one": "select 1 as n", "at_two": "select 2 as n"}
    assert listed(door, as_of=third) == {"at_one": "select 3 as n", "at_two": "select 2 as n"}
    assert listed(door, after=third, timeout="1s", read="latest") == {"at_one": "select 3 as n"}
    told = door.http.get("/views", params={"as_of": second})
    positions = told.json()["cutoff"]["positions"]
    assert list(positions) == ["0"]
    again = door.http.get("/views", params={"as_of": f"0:{positions['0']}"})
    assert again.json()["items"] == told.json()["items"]


def test_a_long_list_of_views_is_read_in_parts_at_one_cutoff(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        publish(door, f"in_part{number}", f"select {number} as n")
    whole = door.get("/views")
    monkeypatch.setattr(views, "PAGE_RECORDS_MAX", 2)
    assert door.get("/views") == whole


def test_views_are_read_like_everything_else(door: Door) -> None:
    code = door.department()
    receipt = door.create(code, "Seen/1", {"n": 1})
    door.get(f"/shards/{code}/Seen/1", after=receipt["stamp"])
    publish(door, "seen", 'select count(*) as n from "Seen"')
    scope = {"shards": str(code)}
    for parameters in (
        {"after": receipt["stamp"]},
        {"after": f"{code}:{receipt['position']}", "timeout": "1s"},
        {"as_of": receipt["stamp"], "read": "latest"},
    ):
        assert door.get("/views/seen", **scope, **parameters)["rows"] == [[1]]
    beyond = f"{code}:{receipt['position'] + 50}"
    for path in ("/views/seen", "/views"):
        late = door.http.get(path, params={"after": beyond, "timeout": "100ms"})
        problem(late, 409, "conflict")
        problem(door.http.get(path, params={"timeout": "100ms"}, headers={"Peaceriver-After": beyond}), 409, "conflict")
        for name, value in (("as_of", "9999-01-01T00:00:00Z"), ("read", "soon"), ("timeout", "long")):
            assert pointers(problem(door.http.get(path, params={name: value}), 422, "invalid")) == {name}
    assert pointers(problem(door.http.get("/views", params={"limit": "1"}), 422, "invalid")) == {"limit"}


def test_the_list_says_what_is_kept_here_and_why_the_rest_is_not(door: Door) -> None:
    code = door.department()
    first = door.create(code, "Weighed/1", {"weight": "1"})
    door.get(f"/shards/{code}/Weighed/1", after=first["stamp"])
    sql = "select sum((document->>'weight')::numeric) as weight from \"Weighed\""
    assert door.http.put("/views/weight", json={"sql": sql, "kept": True}).is_success
    stamp = publish(door, "plain_weight", sql)

    def told(**parameters: str) -> dict[str, Any]:
        (item,) = (each for each in door.get("/views", **parameters)["items"] if each["name"] == "weight")
        return {name: item[name] for name in ("kept_here", "reason") if name in item}

    until(lambda: told() == {"kept_here": True})
    door.create(code, "Weighed/2", {"weight": "heavy"})
    until(lambda: told().keys() == {"kept_here", "reason"})
    assert told()["kept_here"] is False
    assert '"heavy"' in told()["reason"]
    # What was at a cutoff is told in the same way for ever, by any node.
    assert told(as_of=stamp) == {}
    assert all("kept_here" not in each for each in door.get("/views")["items"] if not each["kept"])
