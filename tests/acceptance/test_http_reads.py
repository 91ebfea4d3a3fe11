"""Reading over HTTP: actors, their records, lists, the directory, the cluster; each answer names its cutoff."""

from __future__ import annotations

import re
from typing import Any

import pytest

from peaceriver.api.routes import OPERATIONS
from peaceriver.errors import Refused
from tests.acceptance.door import Door, problem


@pytest.fixture
def orders(door: Door) -> int:
    """A department with five orders, seen by its views."""
    code = door.department()
    for number in range(1, 6):
        body = {"total": number * 10, "customer": "ABCDE"[number - 1] * 2, "open": number % 2 == 0}
        last = door.create(code, f"Order/SO-{number}", body)
    door.get(f"/shards/{code}/Order/SO-1", after=last["stamp"])
    return code


def ids(page: dict[str, Any]) -> list[str]:
    return [each["actor"].partition("/")[2] for each in page["items"]]


# --- one actor


def test_an_actor_is_read_with_its_version_and_the_cutoff(door: Door) -> None:
    code = door.department()
    receipt = door.create(code, "Order/SO-1", {"total": 5})
    answer = door.http.get(f"/shards/{code}/Order/SO-1", params={"after": receipt["stamp"]})
    assert answer.headers["ETag"] == '"1"'
    assert answer.json() == {
        "actor": "Order/SO-1",
        "shard": code,
        "version": 1,
        "status": "active",
        "stamp": receipt["stamp"],
        "document": {"total": 5},
        "cutoff": {"stamp": receipt["stamp"], "positions": {str(code): receipt["position"]}},
    }


def test_an_actor_is_read_as_it_was(door: Door) -> None:
    code = door.department()
    first = door.create(code, "Order/1", {"a": 1})
    second = door.modify(code, "Order/1", {"a": 2})
    place = f"/shards/{code}/Order/1"
    for as_of in (first["stamp"], f"{code}:{first['position']}"):
        assert door.get(place, as_of=as_of)["document"] == {"a": 1}
    recorded_at = door.history(code)[0]["recorded_at"]
    assert door.get(place, as_of=recorded_at)["document"] == {"a": 1}
    assert door.get(place, as_of=second["stamp"])["document"] == {"a": 2}
    assert door.get(place, version="1", after=second["stamp"])["document"] == {"a": 1}
    problem(door.http.get(place, params={"as_of": f"{code}:1"}), 404, "not-found")
    problem(door.http.get(place, params={"version": "3", "after": second["stamp"]}), 404, "not-found")


def test_an_answer_asked_again_at_its_cutoff_is_the_same_to_the_byte(door: Door, orders: int) -> None:
    places = [f"/shards/{orders}/Order/SO-3", f"/shards/{orders}/Order?order=-total", f"/shards/{orders}/Order?limit=2"]
    answers = [door.http.get(place, params={"as_of": door.get(place)["cutoff"]["stamp"]}) for place in places]
    for number in range(20):
        door.modify(orders, "Order/SO-3", {"total": number})
    for place, before in zip(places, answers, strict=True):
        positions = before.json()["cutoff"]["positions"]
        vector = ",".join(f"{code}:{position}" for code, position in positions.items())
        for as_of in (before.json()["cutoff"]["stamp"], vector):
            assert door.http.get(place, params={"as_of": as_of}).content == before.content


def test_a_client_reads_its_own_writes(door: Door) -> None:
    code = door.department()
    door.create(code, "Order/1", {"n": 0})
    for number in range(1, 20):
        receipt = door.modify(code, "Order/1", {"n": number})
        asked: dict[str, Any] = [
            {"params": {"after": receipt["stamp"]}},
            {"params": {"after": f"{code}:{receipt['position']}"}},
            {"params": {"read": "latest"}},
            {"params": {"as_of": receipt["stamp"]}},
            {"headers": {"Peaceriver-After": receipt["stamp"]}},
            {"headers": {"Peaceriver-After": f"0:1,{code}:{receipt['position']}"}},
        ][number % 6]
        shown = door.http.get(f"/shards/{code}/Order/1", **asked).json()
        assert shown["document"] == {"n": number}


def test_business_time_is_not_the_time_of_recording(door: Door) -> None:
    code = door.department()
    door.create(code, "Price/1", {"price": 10}, valid_at="2026-01-01T00:00:00Z")
    door.modify(code, "Price/1", {"price": 30}, valid_at="2026-03-01T00:00:00Z")
    last = door.modify(code, "Price/1", {"price": 20}, valid_at="2026-02-01T00:00:00Z")
    place = f"/shards/{code}/Price/1"
    valid = {
        moment: door.get(place, valid_at=moment, after=last["stamp"])["document"]["price"]
        for moment in ("2026-01-15T00:00:00Z", "2026-02-15T00:00:00+01:00", "2026-03-15T00:00:00Z")
    }
    assert list(valid.values()) == [10, 20, 30]
    assert door.get(place)["document"]["price"] == 20, "without it, what was recorded last counts"
    problem(door.http.get(place, params={"valid_at": "2025-12-31T00:00:00Z"}), 404, "not-found")


def test_an_actors_records_are_paged_oldest_first_at_one_cutoff(door: Door) -> None:
    code = door.department()
    door.create(code, "Order/1", {"n": 0})
    for number in range(1, 5):
        last = door.modify(code, "Order/1", {"n": number})
    place: str | None = f"/shards/{code}/Order/1/records?limit=2&after={last['stamp']}"
    found: list[dict[str, Any]] = []
    cutoffs = []
    while place is not None:
        page = door.get(place)
        found += page["records"]
        cutoffs.append(page["cutoff"])
        place = page["next"]
        door.modify(code, "Order/1", {"later": True})
    assert [each["body"]["n"] for each in found] == [0, 1, 2, 3, 4]
    assert [each["version"] for each in found] == [1, 2, 3, 4, 5]
    assert cutoffs == [cutoffs[0]] * 3
    assert door.get(f"/shards/{code}/Order/1/records", after="0", limit="1")["records"] == found[:1]


# --- lists


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["SO-1", "SO-2", "SO-3", "SO-4", "SO-5"]),
        ("total=20", ["SO-2"]),
        ("total=eq.20", ["SO-2"]),
        ("total=20.0", ["SO-2"]),
        ("total=ne.20", ["SO-1", "SO-3", "SO-4", "SO-5"]),
        ("total=gt.20&total=lt.50", ["SO-3", "SO-4"]),
        ("total=gte.20&total=lte.30", ["SO-2", "SO-3"]),
        ("total=in.(10,50,7)", ["SO-1", "SO-5"]),
        ("customer=AA", ["SO-1"]),
        ("customer=like.A*", ["SO-1"]),
        ("customer=gt.CC", ["SO-4", "SO-5"]),
        ("open=true", ["SO-2", "SO-4"]),
        ("open=is.true", ["SO-2", "SO-4"]),
        ("missing=is.null&limit=1", ["SO-1"]),
        ("missing=x", []),
        ("document.total=30", ["SO-3"]),
        ("actor_id=SO-4", ["SO-4"]),
        ("actor_id=like.SO-*&actor_version=1&actor_status=active&limit=2", ["SO-1", "SO-2"]),
        ("actor_status=cancelled", []),
        ("order=-total&limit=2", ["SO-5", "SO-4"]),
        ("order=open,-total", ["SO-5", "SO-3", "SO-1", "SO-4", "SO-2"]),
        ("order=-actor_id&limit=1&offset=1", ["SO-4"]),
        ("offset=4", ["SO-5"]),
        ("offset=5", []),
        ("customer='; drop table journal; --", []),
        ("total%22%27=1", []),
    ],
)
@pytest.mark.parametrize("modelled", [False, True])
def test_lists_filter_order_and_limit(door: Door, query: str, found: list[str], modelled: bool) -> None:
    code = lists_of(door, modelled)
    actor_type = "Modelled" if modelled else "Free"
    separator = "&" if query else ""
    assert ids(door.get(f"/shards/{code}/{actor_type}?{query}{separator}")) == found


_lists: dict[tuple[str, bool], int] = {}


def lists_of(door: Door, modelled: bool) -> int:
    """A department with orders of a type that has a model, or has none; made once."""
    key = (door.url, modelled)
    if key not in _lists:
        actor_type = "Modelled" if modelled else "Free"
        if modelled:
            properties = {
                "total": {"type": "number"},
                "customer": {"type": "string"},
                "open": {"type": "boolean"},
                "missing": {"type": "string"},
            }
            schema = {"type": "object", "properties": properties}
            assert door.http.put(f"/directory/models/{actor_type}", json=schema).status_code == 201
        code = door.department()
        for number in range(1, 6):
            body = {"total": number * 10, "customer": "ABCDE"[number - 1] * 2, "open": number % 2 == 0}
            last = door.create(code, f"{actor_type}/SO-{number}", body)
        door.get(f"/shards/{code}/{actor_type}", after=last["stamp"])
        _lists[key] = code
    return _lists[key]


def test_pages_of_a_list_agree_although_work_goes_on(door: Door, orders: int) -> None:
    place: str | None = f"/shards/{orders}/Order?order=-total&limit=2&total=gt.0"
    found: list[str] = []
    while place is not None:
        page = door.get(place)
        found += ids(page)
        place = page["next"]
        door.modify(orders, "Order/SO-1", {"total": 1_000})
    assert found == ["SO-5", "SO-4", "SO-3", "SO-2", "SO-1"]


def test_a_field_with_the_name_of_a_parameter_is_reached_through_the_document(door: Door) -> None:
    code = door.department()
    names = ("order", "limit", "offset", "as_of", "after", "read", "timeout")
    last = door.create(code, "Odd/1", dict.fromkeys(names, "x"))
    door.create(code, "Odd/2", dict.fromkeys(names, "y"))
    for name in names:
        page = door.get(f"/shards/{code}/Odd", **{f"document.{name}": "x"}, after=last["stamp"])
        assert ids(page) == ["1"], name


def test_a_list_of_a_type_that_nobody_knows_is_empty(door: Door, orders: int) -> None:
    page = door.get(f"/shards/{orders}/Nothing")
    assert page["items"] == []
    assert page["next"] is None
    assert list(page["cutoff"]["positions"]) == [str(orders)]


def test_an_actor_is_found_in_every_department_that_holds_it(door: Door) -> None:
    codes = [door.department() for _ in range(3)]
    for code in codes[:2]:
        last = door.create(code, f"Case/{codes[0]}", {"in": code})
    found = door.get(f"/actors/Case/{codes[0]}", after=f"{codes[0]}:2,{codes[1]}:{last['position']}")
    assert [(each["shard"], each["document"]) for each in found["items"]] == [
        (codes[0], {"in": codes[0]}),
        (codes[1], {"in": codes[1]}),
    ]
    assert str(codes[2]) in found["cutoff"]["positions"], "all departments were asked"
    listed = door.get("/actors/Case", actor_id=str(codes[0]), order="-actor_shard")
    assert [each["shard"] for each in listed["items"]] == [codes[1], codes[0]]


def test_idle_departments_do_not_keep_a_cutoff_from_being_answered(door: Door) -> None:
    idle, busy = door.department(), door.department()
    door.create(idle, "Case/idle")
    receipt = door.create(busy, "Case/busy")
    asked = {"as_of": receipt["stamp"], "limit": "1000", "order": "actor_id", "timeout": "60s"}
    first = door.http.get("/actors/Case", params=asked)
    assert first.status_code == 200, first.text
    door.create(idle, "Case/later")
    again = door.http.get("/actors/Case", params=asked)
    assert again.content == first.content


# --- the directory


def test_a_department_takes_messages_as_soon_as_its_page_is_answered(door: Door) -> None:
    code = door.unused()
    page = {"name": "Credit", "company": "acme", "receives": ["Check"]}
    made = door.http.put(f"/directory/departments/{code}", json=page)
    assert made.status_code == 201
    assert made.json()["code"] == code
    assert door.create(code, "Check/1")["version"] == 1
    shown = door.get(f"/directory/departments/{code}")
    assert {name: shown[name] for name in page} == page
    assert (shown["code"], shown["key"], shown["version"]) == (code, str(code), 1)

    same = door.http.put(f"/directory/departments/{code}", json=page)
    assert (same.status_code, same.json()["receipt"]) == (200, None)
    changed = door.http.put(f"/directory/departments/{code}", json={"name": "Credits"})
    assert (changed.status_code, changed.json()["receipt"]["version"]) == (200, 2)
    assert "receives" not in door.get(f"/directory/departments/{code}")
    assert door.create(code, "Anything/1")["version"] == 1


def test_the_directory_is_read_as_it_was(door: Door) -> None:
    code = door.unused()
    first = door.http.put(f"/directory/departments/{code}", json={"name": "One"}).json()["receipt"]
    door.http.put(f"/directory/departments/{code}", json={"name": "Two"})
    place = f"/directory/departments/{code}"
    assert door.get(place)["name"] == "Two"
    assert door.get(place, as_of=first["stamp"])["name"] == "One"
    assert door.get(place, version="1")["name"] == "One"
    listed = door.get("/directory/departments", as_of=first["stamp"], limit="1000")
    assert {each["name"] for each in listed["items"] if each["code"] == code} == {"One"}
    assert [each["code"] for each in door.get("/directory/departments", name="Two", actor_id=str(code))["items"]] == [
        code
    ]


def test_companies_rules_and_periods_are_sections_too(door: Door) -> None:
    key = f"acme-{door.unused()}"
    company = {"to": 0, "actor": f"companies/{key}", "action": "create", "body": {"name": "Acme"}}
    last = door.receipt(company)
    assert door.get(f"/directory/companies/{key}", after=last["stamp"])["name"] == "Acme"
    for section in ("rules", "periods"):
        assert door.get(f"/directory/{section}")["items"] == []
        problem(door.http.get(f"/directory/{section}/x"), 404, "not-found")


def test_a_model_has_versions_and_says_what_breaks(door: Door) -> None:
    name = f"Invoice_{door.unused()}"
    place = f"/directory/models/{name}"
    first: dict[str, Any] = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}
    wider = first | {"properties": first["properties"] | {"note": {"type": "string"}}}
    narrow = first | {"properties": {"total": {"type": "integer", "maximum": 0.12345678901234567890}}}
    made = door.http.put(place, json=first)
    assert (made.status_code, made.json()) == (201, {"type": name, "version": 1, "compatible": True, "breaks": []})
    assert door.http.put(place, json=first).json()["version"] == 1
    same = door.http.put(place, json=first)
    assert (same.status_code, same.json()["version"]) == (200, 1)
    wide = door.http.put(place, json=wider).json()
    assert (wide["version"], wide["compatible"]) == (2, True)
    broken = door.http.put(place, json=narrow).json()
    assert (broken["version"], broken["compatible"]) == (3, False)
    assert broken["breaks"]
    assert all(each["pointer"].startswith("/") and each["detail"] for each in broken["breaks"])
    assert [door.get(place, version=str(each))["schema"] for each in (1, 2)] == [first, wider]
    shown = door.get(place)
    assert (shown["type"], shown["version"]) == (name, 3)
    assert name in [each["type"] for each in door.get("/directory/models", actor_id=name)["items"]]
    problem(door.http.get(place, params={"version": "4"}), 404, "not-found")


def test_documents_of_an_older_model_live_beside_those_of_a_newer(door: Door) -> None:
    code = door.department()
    name = f"Contract_{code}"
    place = f"/directory/models/{name}"
    door.http.put(place, json={"type": "object", "properties": {"total": {"type": "string"}}})
    door.create(code, f"{name}/old", {"total": "much"})
    door.http.put(place, json={"type": "object", "properties": {"total": {"type": "number"}}})
    door.modify(code, f"{name}/old", {"total": "more"})
    last = door.create(code, f"{name}/new", {"total": 5})
    page = door.get(f"/shards/{code}/{name}", after=last["stamp"], order="actor_id")
    assert [each["document"] for each in page["items"]] == [{"total": 5}, {"total": "more"}]
    assert [each["model_version"] for each in door.history(code)] == [1, 1, 2]


# --- the cluster


def test_the_cluster_says_who_leads_what_and_how_far(door: Door) -> None:
    sales, credit = door.department(name="Sales"), door.department()
    sent = door.create(credit, "Check/1", **{"from": sales})
    door.get(f"/shards/{credit}/Check/1", after=f"{credit}:2")
    told = door.get("/cluster")
    (node,) = told["nodes"]
    assert (node["name"], node["url"], node["alive"]) == ("n1", door.url, True)
    assert {0, sales, credit} <= set(node["leads"])
    shards = {each["shard"]: each for each in told["shards"]}
    assert shards[0]["name"] == "control"
    assert shards[sales]["name"] == "Sales"
    assert shards[sales]["leader"] == "n1"
    assert shards[sales]["position"] == shards[sales]["complete"] >= sent["position"]
    (replica,) = shards[sales]["replicas"]
    assert (replica["node"], replica["lag"], replica["state"], replica["why"]) == ("n1", 0, "leader", None)
    assert replica["position"] == shards[sales]["position"]
    assert shards[credit]["marks"]["delivery"][str(sales)] == sent["position"]


def test_verification_finds_every_journal_whole(door: Door, orders: int) -> None:
    answer = door.http.post("/cluster/verify")
    assert answer.status_code == 200
    told = answer.json()
    assert told["ok"] is True
    (mine,) = (each for each in told["shards"] if each["shard"] == orders)
    assert mine["records"] >= 6
    assert mine["damaged"] == []


def test_the_node_lives_and_is_ready(door: Door) -> None:
    assert door.get("/healthz")["alive"] is True
    assert door.get("/readyz")["ready"] is True


def test_metrics_count_requests_and_messages_and_show_positions(door: Door, orders: int) -> None:
    door.send({"to": orders, "actor": "Order/SO-1", "action": "create"})
    door.http.get("/nothing/here")
    answer = door.http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    text = answer.text
    for line in (
        r'peaceriver_http_requests_total\{method="POST",route="/messages",status="409"\} [1-9]',
        r'peaceriver_http_requests_total\{method="GET",route="\(none\)",status="404"\} [1-9]',
        r'peaceriver_messages_total\{outcome="recorded"\} [1-9]',
        r'peaceriver_messages_total\{outcome="conflict"\} [1-9]',
        r"peaceriver_append_seconds_count [1-9]",
        rf'peaceriver_journal_position\{{shard="{orders}"\}} 6\.0',
        rf'peaceriver_view_lag_records\{{shard="{orders}"\}} 0\.0',
    ):
        assert re.search(line, text), line


# --- what holds for all of it


def test_the_index_leads_on(door: Door) -> None:
    for place in door.get("/")["links"].values():
        assert door.http.get(place).status_code == 200, place


def test_every_problem_has_a_page(door: Door) -> None:
    def slugs(of: type[Refused]) -> set[str]:
        return {of.slug}.union(*(slugs(each) for each in of.__subclasses__()))

    for slug in slugs(Refused):
        answer = door.http.get(f"/problems/{slug}")
        assert answer.status_code == 200, slug
        assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
        assert answer.text.startswith("# ")


def test_head_says_what_get_would_say_of_itself(door: Door, orders: int) -> None:
    places = {
        each.path.format_map({"code": orders, "type": "Order", "id": "SO-1", "section": "departments", "key": orders})
        for each in OPERATIONS
        if each.method == "GET"
        and not each.path.startswith(
            ("/messages", "/drafts/", "/exceptions/", "/explain", "/problems", "/directory/models/")
        )
        if "type}/{id" not in each.path or "shards" in each.path
        if "{name}" not in each.path
    } - {"/metrics", "/journal", f"/directory/departments/{orders}", "/cluster"}
    assert len(places) > 10
    for place in places:
        asked = {"as_of": f"{orders}:6"} if "Order" in place and "shards" in place else {}
        head, get = door.http.head(place, params=asked), door.http.get(place, params=asked)
        assert head.status_code == get.status_code == 200, place
        assert head.content == b""
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert head.headers["Content-Length"] == str(len(get.content)), place
    stream = door.http.head(f"/shards/{orders}/journal", headers={"Accept": "text/event-stream"})
    assert stream.headers["Content-Type"].startswith("text/event-stream")


def test_a_failure_of_ours_is_told_as_one_and_logged(
    door: Door, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a planted fault")

    monkeypatch.setattr(door.served.node.reading, "actor", broken)
    told = problem(door.http.get("/shards/100/Order/SO-1"), 500, "failed")
    assert told["outcome"] == "unknown"
    assert "planted" not in told["detail"]
    logged = capfd.readouterr()
    assert "a planted fault" in logged.out + logged.err


def test_a_database_that_is_away_is_said_so(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise ConnectionResetError("the server closed the connection")

    monkeypatch.setattr(door.served.node.reading, "actor", away)
    answer = door.http.get("/shards/100/Order/SO-1")
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
