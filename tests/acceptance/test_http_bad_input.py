"""Bad input: each has its status and its pointers, none is a 500, and nothing of it is recorded."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from peaceriver.api import connection
from peaceriver.limits import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, BODY_BYTES_MAX, TIMEOUT_MAX_S
from peaceriver.node.identity import wall_clock
from peaceriver.stamp import TICKS_PER_MICROSECOND, Stamp
from tests.acceptance.door import Door, Served, pointers, problem

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def quiet(door: Door) -> int:
    """A department in which there is one thing."""
    made = door.department()
    door.create(made, "Thing/old", {"n": 1})
    return made


@pytest.fixture
def code(door: Door, quiet: int) -> Iterator[int]:
    """A department that takes nothing of what the test sends it: one thing was there before, and nothing is after."""
    before = door.history(quiet)
    yield quiet
    assert door.history(quiet) == before


def message(code: int, **members: Any) -> dict[str, Any]:
    """An acceptable message, but for what the test makes of it."""
    return {"to": code, "actor": "Thing/new", "action": "create", "body": {"a": 1}} | members


def with_body(code: int, body: str) -> str:
    """An acceptable message with a body as text."""
    return f'{{"to": {code}, "actor": "Thing/new", "action": "create", "body": {body}}}'


def spoken(served: Served, *parts: bytes) -> bytes:
    """What the node answers to bytes as they are, until it closes the connection."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as wire:
        for part in parts:
            wire.sendall(part)
        answer = b""
        while chunk := wire.recv(65_536):
            answer += chunk
    return answer


# --- text that is no JSON


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b"{",
        b"}",
        b"{'to': 1}",
        b'{"to": 1,}',
        b'{"to": 1} x',
        b'{"to": 01}',
        b"nul",
        b"[1,",
        b"[}",
        b'{"to": 1, "body": {"a": +1}}',
        b'{"to": "\x01"}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{}",
        b'{"actor": "\xff"}',
        b'{"actor": "\xc3"}',
        b'{"actor": "\xed\xa0\x80"}',
        b"\x00",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_text_that_is_not_json_is_malformed(door: Door, code: int, text: bytes) -> None:
    problem(door.send(text), 400, "malformed")


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ('{"a": NaN}', {"/body/a"}),
        ('{"a": Infinity}', {"/body/a"}),
        ('{"a": -Infinity}', {"/body/a"}),
        ('{"a": "\\ud800"}', {"/body/a"}),
        ('{"a": ["ok", "\\udc00 tail"]}', {"/body/a/1"}),
        ('{"a": 1, "a": 2}', {"/body/a"}),
        ('{"b": {"x": 1, "y": 2, "x": 1}}', {"/body/b/x"}),
    ],
)
def test_json_that_is_not_strict_is_malformed_and_says_where(
    door: Door, code: int, body: str, places: set[str]
) -> None:
    assert pointers(problem(door.send(with_body(code, body)), 400, "malformed")) == places


def test_a_lone_surrogate_in_a_key_is_malformed(door: Door, code: int) -> None:
    problem(door.send(with_body(code, '{"\\ud800": 1}')), 400, "malformed")


def test_a_member_given_twice_is_malformed(door: Door, code: int) -> None:
    text = f'{{"to": {code}, "to": {code}, "actor": "Thing/new", "action": "create"}}'
    assert pointers(problem(door.send(text), 400, "malformed")) == {"/to"}


@pytest.mark.parametrize(
    ("depth", "accepted"), [(63, True), (64, False), (65, False), (2_000, False), (100_000, False)]
)
def test_a_document_may_be_nested_so_deep_and_no_deeper(door: Door, depth: int, accepted: bool) -> None:
    code = door.department()
    body = '{"a": ' + "[" * depth + "]" * depth + "}"
    answer = door.send(with_body(code, body))
    if accepted:
        assert answer.status_code == 201, answer.text
    else:
        problem(answer, 400, "malformed")
        assert door.history(code) == []


# --- too large


def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(door: Door) -> None:
    code = door.department()
    exact = '{"a": "' + "x" * (BODY_BYTES_MAX - 9) + '"}'
    assert len(exact) == BODY_BYTES_MAX
    problem(door.send(with_body(code, exact.replace('x"', 'xx"'))), 413, "too-large")
    assert door.history(code) == []
    assert door.send(with_body(code, exact)).status_code == 201


def test_a_modify_that_would_make_a_document_too_large_is_refused(door: Door) -> None:
    code = door.department()
    half = "x" * (BODY_BYTES_MAX // 2)
    door.create(code, "Thing/big", {"a": half})
    answer = door.send({"to": code, "actor": "Thing/big", "action": "modify", "body": {"b": half}})
    problem(answer, 413, "too-large")
    assert len(door.history(code)) == 1


def test_a_request_larger_than_a_batch_may_be_is_refused_before_it_is_read(door: Door, code: int) -> None:
    problem(door.send(b"[" + b" " * BATCH_BYTES_MAX), 413, "too-large")


def test_a_request_of_unknown_length_is_counted_while_it_comes(door: Door, code: int) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(BATCH_BYTES_MAX // 65_536 + 2):
            yield b" " * 65_536

    problem(door.http.post("/messages", content=endless(), headers=JSON), 413, "too-large")
    # The connection is still good for the next request.
    assert door.http.get("/healthz").status_code == 200


def test_an_array_may_have_so_many_messages_and_no_more(door: Door, code: int) -> None:
    problem(door.send([{}] * (BATCH_MESSAGES_MAX + 1)), 413, "too-large")
    lines = b"{}\n" * (BATCH_MESSAGES_MAX + 1)
    answer = door.http.post("/messages", content=lines, headers={"Content-Type": "application/x-ndjson"})
    problem(answer, 413, "too-large")


@pytest.mark.parametrize(
    "path", ["/shards/{}/Thing", "/drafts/6f0d2c3e-5d1b-4f0c-9a53-706561636530", "/directory/models/Thing"]
)
def test_other_bodies_have_the_limit_of_one_document(door: Door, code: int, path: str) -> None:
    content = b" " * (BODY_BYTES_MAX + 1)
    method = "POST" if "shards" in path else "PUT"
    problem(door.http.request(method, path.format(code), content=content), 413, "too-large")


# --- well-formed, and not acceptable


@pytest.mark.parametrize(
    ("members", "places"),
    [
        ({"to": "100"}, {"/to"}),
        ({"to": 1.5}, {"/to"}),
        ({"to": True}, {"/to"}),
        ({"to": None}, {"/to"}),
        ({"to": -1}, {"/to"}),
        ({"to": 2**31}, {"/to"}),
        ({"to": 10**30}, {"/to"}),
        ({"from": "100"}, {"/from"}),
        ({"from": -5}, {"/from"}),
        ({"actor": 1}, {"/actor"}),
        ({"actor": None}, {"/actor"}),
        ({"actor": ""}, {"/actor"}),
        ({"actor": "/x"}, {"/actor"}),
        ({"actor": "Thing/"}, {"/actor"}),
        ({"actor": "1Thing/x"}, {"/actor"}),
        ({"actor": "Th ing/x"}, {"/actor"}),
        ({"actor": "T" * 64 + "/x"}, {"/actor"}),
        ({"actor": "Thing/" + "x" * 256}, {"/actor"}),
        ({"actor": "Thing/a\x00b"}, {"/actor"}),
        ({"actor": "Thing/a\nb"}, {"/actor"}),
        ({"action": "delete"}, {"/action"}),
        ({"action": 1}, {"/action"}),
        ({"action": None}, {"/action"}),
        ({"id": "x"}, {"/id"}),
        ({"id": 1}, {"/id"}),
        ({"type": ""}, {"/type"}),
        ({"type": 1}, {"/type"}),
        ({"type": "x" * 256}, {"/type"}),
        ({"type": "a\x00"}, {"/type"}),
        ({"if_version": 1}, {"/if_version"}),
        ({"if_version": "1"}, {"/if_version"}),
        ({"if_version": 1.5}, {"/if_version"}),
        ({"valid_at": 1}, {"/valid_at"}),
        ({"valid_at": "yesterday"}, {"/valid_at"}),
        ({"valid_at": "2026-11-22"}, {"/valid_at"}),
        ({"valid_at": "2026-11-22T10:00:00"}, {"/valid_at"}),
        ({"valid_at": "2026-02-30T10:00:00Z"}, {"/valid_at"}),
        ({"valid_at": "10000-01-01T00:00:00Z"}, {"/valid_at"}),
        ({"valid_at": "0001-01-01T00:00:00+14:00"}, {"/valid_at"}),
        ({"valid_at": "infinity"}, {"/valid_at"}),
        ({"due": "2026-11-22T10:00:00"}, {"/due"}),
        ({"correlation": ""}, {"/correlation"}),
        ({"correlation": 1}, {"/correlation"}),
        ({"correlation": "a\x00b"}, {"/correlation"}),
        ({"correlation": "x" * 256}, {"/correlation"}),
        ({"cause": "x"}, {"/cause"}),
        ({"cause": 1}, {"/cause"}),
        ({"cause": "0" * 20 + ".100"}, {"/cause"}),
        ({"cause": "f" * 20 + ".100"}, {"/cause"}),
        ({"body": None}, {"/body"}),
        ({"body": []}, {"/body"}),
        ({"body": "text"}, {"/body"}),
        ({"body": 1}, {"/body"}),
        ({"body": {"a": "x\x00y"}}, {"/body/a"}),
        ({"body": {"a": {"b\x00": 1}}}, {"/body/a/b\x00"}),
        ({"body": {"a": ["\x00"], "b": "\x00"}}, {"/body/a/0", "/body/b"}),
        ({"colour": "red"}, {"/colour"}),
        ({"colour": "red", "to": "x", "action": 1}, {"/colour", "/to", "/action"}),
        ({"correlation": "", "valid_at": "never", "type": ""}, {"/correlation", "/valid_at", "/type"}),
    ],
)
def test_every_member_that_cannot_be_is_named(door: Door, code: int, members: dict[str, Any], places: set[str]) -> None:
    told = problem(door.send(message(code, **members)), 422, "invalid")
    assert pointers(told) == places
    if "id" not in members:
        assert told["id"], "an id was made, so that the client can name what was refused"


@pytest.mark.parametrize("missing", ["to", "actor", "action"])
def test_a_member_that_is_missing_is_named(door: Door, code: int, missing: str) -> None:
    members = message(code)
    del members[missing]
    assert pointers(problem(door.send(members), 422, "invalid")) == {f"/{missing}"}


@pytest.mark.parametrize("value", ["1", '"text"', "null", "true"])
def test_what_is_no_object_is_no_message(door: Door, code: int, value: str) -> None:
    problem(door.send(value), 422, "invalid")


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1e-400", "1e309", "9" * 5_000, "0." + "1" * 1_001, "1e99999999999999999999"]
)
def test_a_number_out_of_range_is_refused_and_named(door: Door, code: int, number: str) -> None:
    told = problem(door.send(with_body(code, f'{{"a": {{"b": [0, {number}]}}}}')), 422, "invalid")
    assert pointers(told) == {"/body/a/b/1"}


@pytest.mark.parametrize("action", ["modify", "cancel"])
def test_a_change_names_its_actor_with_an_id(door: Door, code: int, action: str) -> None:
    told = problem(door.send(message(code, actor="Thing", action=action)), 422, "invalid")
    assert pointers(told) == {"/actor"}


def test_an_unknown_department_is_not_found(door: Door, code: int) -> None:
    unknown = door.unused()
    assert pointers(problem(door.send(message(unknown)), 404, "not-found")) == {"/to"}
    told = problem(door.send(message(code) | {"from": unknown}), 404, "not-found")
    assert pointers(told) == {"/from"}


def test_a_department_refuses_types_that_it_does_not_receive(door: Door) -> None:
    code = door.department(receives=["Order"])
    told = problem(door.send(message(code)), 422, "invalid")
    assert pointers(told) == {"/actor"}
    assert door.history(code) == []
    assert door.create(code, "Order/1")["version"] == 1


def test_a_document_that_does_not_fit_its_model_is_refused_with_every_place(door: Door, code: int) -> None:
    actor_type = f"Invoice_{code}"
    schema = {
        "type": "object",
        "properties": {
            "total": {"type": "number", "minimum": 0},
            "lines": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
            "placed": {"type": "string", "format": "date-time"},
        },
        "required": ["total", "customer"],
        "additionalProperties": False,
    }
    assert door.http.put(f"/directory/models/{actor_type}", json=schema).status_code == 201
    body = {"total": -1, "lines": [{"sku": 1}, {}], "placed": "2026-11-22T10:00:00", "colour": "red"}
    told = problem(door.send(message(code, actor=f"{actor_type}/1", body=body)), 422, "invalid")
    assert pointers(told) == {
        "/body/total",
        "/body/lines/1/sku",
        "/body/placed",
        "/body/colour",
        "/body/customer",
    }


def test_what_a_modify_would_make_of_a_document_must_fit_too(door: Door) -> None:
    code = door.department()
    actor_type = f"Bill_{code}"
    schema = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}
    door.http.put(f"/directory/models/{actor_type}", json=schema)
    door.create(code, f"{actor_type}/1", {"total": 1})
    for body in ({"total": None}, {"total": "much"}):
        told = problem(
            door.send({"to": code, "actor": f"{actor_type}/1", "action": "modify", "body": body}), 422, "invalid"
        )
        assert pointers(told) == {"/body/total"}
    assert len(door.history(code)) == 1


# --- conflicts with what is recorded


def test_an_actor_is_created_once(door: Door, code: int) -> None:
    told = problem(door.send(message(code, actor="Thing/old")), 409, "conflict")
    assert told["id"]


@pytest.mark.parametrize("action", ["modify", "cancel"])
def test_what_does_not_exist_cannot_be_changed(door: Door, code: int, action: str) -> None:
    problem(door.send(message(code, action=action)), 409, "conflict")


@pytest.mark.parametrize("version", [2, 2**31 - 1])
def test_another_version_than_expected_is_a_conflict(door: Door, code: int, version: int) -> None:
    told = problem(
        door.send(message(code, actor="Thing/old", action="modify", if_version=version)), 409, "version-conflict"
    )
    assert pointers(told) == {"/if_version"}


@pytest.mark.parametrize("version", [0, -1, 2**31, 10**30])
def test_a_version_that_cannot_be_is_invalid(door: Door, code: int, version: int) -> None:
    told = problem(door.send(message(code, actor="Thing/old", action="modify", if_version=version)), 422, "invalid")
    assert pointers(told) == {"/if_version"}


def test_a_cancelled_actor_takes_no_more(door: Door) -> None:
    code = door.department()
    door.create(code, "Thing/gone")
    door.receipt({"to": code, "actor": "Thing/gone", "action": "cancel"})
    for action in ("create", "modify", "cancel"):
        problem(door.send(message(code, actor="Thing/gone", action=action)), 409, "conflict")
    assert len(door.history(code)) == 2


def test_one_id_stands_for_one_message(door: Door) -> None:
    code, other = door.department(), door.department()
    first = message(code, id=str(uuid4()))
    door.receipt(first)
    changes: list[dict[str, Any]] = [
        {"body": {"a": 2}},
        {"body": {"a": 1, "b": 1}},
        {"actor": "Thing/other"},
        {"action": "modify"},
        {"type": "Other"},
        {"correlation": "c"},
        {"valid_at": "2026-11-22T10:00:00Z"},
    ]
    for change in changes:
        told = problem(door.send(first | change), 409, "conflict")
        assert told["id"] == first["id"]
    assert door.send(first | {"body": {"a": 1.0}}).status_code == 200, "the same value is the same body"
    assert len(door.history(code)) == 1
    assert door.history(other) == []


def test_the_id_of_a_refused_message_comes_back(door: Door, code: int) -> None:
    message_id = str(uuid4())
    for members in ({"valid_at": "never"}, {"to": "x"}, {"body": {"a": "\x00"}}, {"actor": "Thing/old"}):
        answer = door.send(message(code, id=message_id, **members))
        assert answer.status_code in (409, 422), answer.text
        assert answer.json()["id"] == message_id


# --- causes


def test_a_cause_that_no_record_has_is_refused(door: Door, code: int) -> None:
    stamp = Stamp.parse(door.history(code)[-1]["stamp"])
    for cause in (Stamp(stamp.time + 1, stamp.shard), Stamp(stamp.time, door.unused()), Stamp(1, code)):
        told = problem(door.send(message(code, cause=str(cause))), 422, "invalid")
        assert pointers(told) == {"/cause"}


def test_a_cause_far_ahead_of_the_clock_is_refused_and_drags_no_stamp_along(door: Door, code: int) -> None:
    ahead = Stamp(wall_clock() + 3600 * 1_000_000 * TICKS_PER_MICROSECOND, code)
    told = problem(door.send(message(code, cause=str(ahead))), 422, "invalid")
    assert pointers(told) == {"/cause"}
    assert "future" in told["detail"]


# --- one bad message and its neighbours


def test_one_bad_message_spoils_no_neighbour(door: Door) -> None:
    code = door.department()
    bad = [
        '{"to": 1',
        "1",
        "[]",
        json.dumps(message(code, colour="red")),
        json.dumps(message(code, to=door.unused())),
        with_body(code, '{"a": NaN}'),
        with_body(code, '{"a": 1e400}'),
        json.dumps(message(code, actor="Thing/good")),
    ]
    good = json.dumps(message(code, actor="Thing/good"))
    lines = "\n".join([good, *bad])
    answer = door.http.post("/messages", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    outcomes = answer.json()
    assert outcomes[0]["version"] == 1
    assert [each["error"]["status"] for each in outcomes[1:]] == [400, 422, 422, 422, 404, 400, 422, 409]
    assert len(door.history(code)) == 1


@pytest.mark.parametrize(
    ("second", "status", "places"),
    [
        ({"colour": "red"}, 422, {"/1/colour"}),
        ({"actor": "Thing/old"}, 409, {"/1"}),
        ({"body": {"a": "\x00"}}, 422, {"/1/body/a"}),
        ({"actor": "Thing/first"}, 409, {"/1"}),
    ],
)
def test_an_atomic_batch_is_recorded_whole_or_not_at_all(
    door: Door, code: int, second: dict[str, Any], status: int, places: set[str]
) -> None:
    batch = [message(code, actor="Thing/first"), message(code, **second), message(code, actor="Thing/third")]
    answer = door.send(batch, atomic="true")
    slug = {422: "invalid", 409: "conflict"}[status]
    told = problem(answer, status, slug)
    assert pointers(told) == places
    assert "message 1" in told["detail"]


def test_an_atomic_batch_is_of_one_department(door: Door, code: int) -> None:
    other = door.department()
    problem(door.send([message(code), message(other)], atomic="true"), 422, "invalid")
    assert door.history(other) == []


# --- parameters and headers


@pytest.mark.parametrize(
    "parameters",
    [
        {"concern": "most"},
        {"timeout": "soon"},
        {"timeout": "-1s"},
        {"timeout": f"{TIMEOUT_MAX_S + 1:g}s"},
        {"timeout": "1h"},
        {"timeout": "1e1"},
        {"timeout": ""},
        {"timeout": "٣s"},
        {"spool": "perhaps"},
        {"atomic": "yes"},
        {"colour": "red"},
        {"concern": "a\x00"},
    ],
)
def test_a_parameter_that_cannot_be_is_named(door: Door, code: int, parameters: dict[str, str]) -> None:
    told = problem(door.http.post("/messages", params=parameters, json=message(code)), 422, "invalid")
    assert pointers(told) == set(parameters)


def test_a_parameter_given_twice_is_named(door: Door, code: int) -> None:
    told = problem(door.http.post("/messages?timeout=1s&timeout=2s", json=message(code)), 422, "invalid")
    assert pointers(told) == {"timeout"}


def test_parameters_that_are_not_utf_8_are_malformed(door: Door, code: int) -> None:
    problem(door.http.get(f"/shards/{code}/Thing?colour=%FF"), 400, "malformed")
    problem(door.http.get(f"/shards/{code}/Thing/%FF"), 400, "malformed")


READS = [
    "/shards/{code}/Thing/old",
    "/shards/{code}/Thing/old/records",
    "/shards/{code}/Thing",
    "/actors/Thing",
    "/actors/Thing/old",
    "/directory/departments",
]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("as_of", "x"),
        ("as_of", "100"),
        ("as_of", "100:"),
        ("as_of", "100:1,100:2"),
        ("as_of", "2026-11-22"),
        ("as_of", "2026-11-22T10:00:00"),
        ("as_of", "2026-11-22T10:00:00 01:00"),
        ("as_of", "2999-01-01T00:00:00Z"),
        ("as_of", "7" + "f" * 15 + ".100"),
        ("as_of", "00007" + "f" * 15 + ".100"),
        ("as_of", ""),
        ("after", "x"),
        ("after", "00007" + "f" * 15 + ".0"),
        ("timeout", "soon"),
        ("timeout", "61s"),
        ("read", "dirty"),
    ],
)
def test_a_cutoff_that_cannot_be_is_named(door: Door, code: int, path: str, name: str, value: str) -> None:
    told = problem(door.http.get(path.format(code=code), params={name: value}), 422, "invalid")
    assert pointers(told) == {name}


def test_a_position_that_is_not_complete_yet_lies_in_the_future(door: Door, code: int) -> None:
    told = problem(door.http.get(f"/shards/{code}/Thing/old", params={"as_of": f"{code}:1000000"}), 422, "invalid")
    assert pointers(told) == {"as_of"}


def test_what_is_not_reached_in_time_is_a_conflict(door: Door, code: int) -> None:
    answer = door.http.get(f"/shards/{code}/Thing/old", params={"after": f"{code}:1000000", "timeout": "10ms"})
    problem(answer, 409, "conflict")


@pytest.mark.parametrize("value", ["x", "1:", "0" * 21 + ".1"])
def test_the_header_after_is_read_as_strictly_as_the_parameter(door: Door, code: int, value: str) -> None:
    answer = door.http.get(f"/shards/{code}/Thing/old", headers={"Peaceriver-After": value})
    assert pointers(problem(answer, 422, "invalid")) == {"Peaceriver-After"}


@pytest.mark.parametrize("path", ["/shards/{code}/Thing", "/actors/Thing", "/directory/departments"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "1001"),
        ("limit", "many"),
        ("limit", "1.0"),
        ("limit", "٣"),
        ("limit", ""),
        ("limit", "9" * 5_000),
        ("offset", "-1"),
        ("offset", "1000001"),
        ("actor_version", "gt.x"),
        ("actor_version", "is.true"),
        ("colour", "is.red"),
        ("colour", "red\x00"),
        ("co\x00lour", "red"),
        ("order", "colour\x00"),
    ],
)
def test_a_list_that_cannot_be_made_names_the_parameter(
    door: Door, code: int, path: str, name: str, value: str
) -> None:
    told = problem(door.http.get(path.format(code=code), params={name: value}), 422, "invalid")
    assert pointers(told) == {name.replace("\x00", "")}


@pytest.mark.parametrize("path", ["/shards/{code}/journal", "/journal", "/shards/{code}/Thing/old/records", "/drafts"])
@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "1001"), ("limit", "x"), ("colour", "red")])
def test_a_page_that_cannot_be_made_names_the_parameter(
    door: Door, code: int, path: str, name: str, value: str
) -> None:
    told = problem(door.http.get(path.format(code=code), params={name: value}), 422, "invalid")
    assert pointers(told) == {name}


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/shards/{code}/journal", "after", "x"),
        ("/shards/{code}/journal", "after", "-1"),
        ("/shards/{code}/journal", "after", "9" * 20),
        ("/shards/{code}/journal", "wait", "61s"),
        ("/journal", "after", "1"),
        ("/journal", "after", "00007" + "f" * 15 + ".0"),
        ("/shards/{code}/Thing/old", "version", "0"),
        ("/shards/{code}/Thing/old", "version", "x"),
        ("/shards/{code}/Thing/old", "version", str(2**31)),
        ("/shards/{code}/Thing/old", "valid_at", "2026-11-22T10:00:00"),
        ("/shards/{code}/Thing/old", "limit", "1"),
        ("/exceptions", "state", "shut"),
    ],
)
def test_other_parameters_are_read_as_strictly(door: Door, code: int, path: str, name: str, value: str) -> None:
    told = problem(door.http.get(path.format(code=code), params={name: value}), 422, "invalid")
    assert pointers(told) == {name}


def test_a_version_and_a_business_time_are_not_asked_together(door: Door, code: int) -> None:
    parameters = {"version": "1", "valid_at": "2026-11-22T10:00:00Z"}
    problem(door.http.get(f"/shards/{code}/Thing/old", params=parameters), 422, "invalid")


@pytest.mark.parametrize("text", ["x", "1", "01a20558", "z" * 36, "01a20558-9b97-77e4-bee7-005649b7b91"])
def test_an_id_that_is_no_uuid_is_invalid(door: Door, code: int, text: str) -> None:
    problem(door.http.get(f"/messages/{text}"), 422, "invalid")
    problem(door.http.put(f"/drafts/{text}", json={}), 422, "invalid")
    answer = door.http.post(f"/shards/{code}/Thing", json={}, headers={"Idempotency-Key": text})
    assert pointers(problem(answer, 422, "invalid")) == {"Idempotency-Key"}


@pytest.mark.parametrize("tag", ["3", "*3", 'W/"1"', '"1", "2"', '"', ""])
def test_an_if_match_that_is_no_entity_tag_is_invalid(door: Door, code: int, tag: str) -> None:
    answer = door.http.patch(f"/shards/{code}/Thing/old", json={}, headers={"If-Match": tag})
    assert pointers(problem(answer, 422, "invalid")) == {"If-Match"}


@pytest.mark.parametrize("tag", ['"2"', '"0"', '"x"', '"-1"', '""', '"99999999999"'])
def test_an_if_match_that_does_not_hold_fails_the_precondition(door: Door, code: int, tag: str) -> None:
    answer = door.http.patch(f"/shards/{code}/Thing/old", json={"n": 2}, headers={"If-Match": tag})
    problem(answer, 412, "version-conflict")


@pytest.mark.parametrize("name", ["x" * 256, b"\xff", b"a\x01b"])
def test_a_principal_that_cannot_be_kept_is_refused(door: Door, code: int, name: str | bytes) -> None:
    raw = name.encode() if isinstance(name, str) else name
    answer = door.http.post("/messages", json=message(code), headers=[(b"Peaceriver-Principal", raw)])
    if answer.json()["type"] != "/problems/malformed":
        assert pointers(problem(answer, 422, "invalid")) == {"Peaceriver-Principal"}


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "x"])
def test_a_compressed_body_is_not_taken(door: Door, code: int, encoding: str) -> None:
    answer = door.http.post("/messages", json=message(code), headers={"Content-Encoding": encoding})
    problem(answer, 400, "malformed")


@pytest.mark.parametrize("media", ["application/json-patch+json", "text/plain", "application/xml"])
def test_a_patch_of_another_kind_is_not_taken_for_a_merge_patch(door: Door, code: int, media: str) -> None:
    answer = door.http.patch(f"/shards/{code}/Thing/old", content=b'{"n": 2}', headers={"Content-Type": media})
    problem(answer, 400, "malformed")


# --- resources


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b"\xff", 400, "malformed"),
        (b"\xef\xbb\xbf{}", 400, "malformed"),
        (b'{"a": 1, "a": 1}', 400, "malformed"),
        (b"[]", 422, "invalid"),
        (b'"x"', 422, "invalid"),
        (b'{"a": "\\u0000"}', 422, "invalid"),
    ],
)
def test_a_document_that_cannot_be_is_refused(door: Door, code: int, content: bytes, status: int, slug: str) -> None:
    problem(door.http.post(f"/shards/{code}/Thing", content=content), status, slug)
    problem(door.http.patch(f"/shards/{code}/Thing/old", content=content), status, slug)
    if content:
        model = door.http.put(f"/directory/models/Bad_{code}", content=content)
        assert model.status_code == status, model.text


def test_paths_that_are_not_there_are_not_found(door: Door, code: int) -> None:
    for path in (
        "/nothing",
        "/messages/",
        "/shards",
        "/shards/x/Thing",
        "/shards/-1/Thing",
        "/shards/99999999999/Thing",
        f"/shards/{door.unused()}/journal",
        f"/shards/{door.unused()}/Thing",
        f"/shards/{code}/bad-type",
        f"/shards/{code}/Thing/none",
        f"/shards/{code}/Thing/none/records",
        f"/shards/{code}/Thing/old/x",
        "/actors/bad-type",
        f"/messages/{uuid4()}",
        f"/drafts/{uuid4()}",
        "/directory/colours",
        "/directory/colours/red",
        "/directory/departments/1",
        "/directory/models/None",
        "/problems/nothing",
        "/problems/..%2F__init__",
        "/asyncapi.json",
        f"/messages/{uuid4()}/settled",
    ):
        problem(door.http.get(path), 404, "not-found")


@pytest.mark.parametrize(
    "path", ["//messages", "/problems/..", "/problems/%2e%2e", "/problems/../problems/busy", "/./"]
)
def test_a_path_is_matched_as_it_came(served: Served, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert spoken(served, head.encode()).startswith(b"HTTP/1.1 404 ")


def test_a_nul_in_a_path_is_refused(door: Door, code: int) -> None:
    for path in (f"/shards/{code}/Thing/a%00b", "/actors/Thing/%00", "/directory/companies/%00", "/problems/%00"):
        problem(door.http.get(path), 422, "invalid")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/messages", "POST"),
        ("DELETE", "/messages", "POST"),
        ("PUT", "/shards/{code}/Thing/old", "DELETE, GET, HEAD, PATCH"),
        ("POST", "/shards/{code}/Thing/old", "DELETE, GET, HEAD, PATCH"),
        ("POST", "/shards/{code}/journal", "GET, HEAD"),
        ("OPTIONS", "/healthz", "GET, HEAD"),
        ("POST", "/directory/departments/100", "GET, HEAD, PUT"),
        ("BREW", "/", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_offered_is_answered_with_those_that_are(
    door: Door, code: int, method: str, path: str, allowed: str
) -> None:
    answer = door.http.request(method, path.format(code=code))
    if method == "BREW":
        problem(answer, 400, "malformed")  # the parser of requests knows only methods that are registered
    else:
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["Allow"] == allowed


# --- the directory


@pytest.mark.parametrize(
    ("page", "places"),
    [
        ({}, {"/body/name"}),
        ({"name": ""}, {"/body/name"}),
        ({"name": 1}, {"/body/name"}),
        ({"name": "x" * 256}, {"/body/name"}),
        ({"name": "Sales", "colour": "red"}, {"/body/colour"}),
        ({"name": "Sales", "receives": "Order"}, {"/body/receives"}),
        ({"name": "Sales", "receives": ["Order", "bad type"]}, {"/body/receives/1"}),
        ({"name": "a\x00"}, {"/body/name"}),
    ],
)
def test_a_department_that_cannot_be_is_refused_with_every_place(
    door: Door, page: dict[str, Any], places: set[str]
) -> None:
    unused = door.unused()
    answer = door.http.put(f"/directory/departments/{unused}", json=page)
    assert answer.status_code == 422, answer.text
    assert {each.removeprefix("/body") for each in pointers(answer.json())} == {
        each.removeprefix("/body") for each in places
    }
    problem(door.http.get(f"/directory/departments/{unused}"), 404, "not-found")


@pytest.mark.parametrize("key", ["0", "99", "2147483648"])
def test_a_department_has_a_sharding_code_of_its_own(door: Door, key: str) -> None:
    answer = door.http.put(f"/directory/departments/{key}", json={"name": "Sales"})
    assert answer.status_code in (404, 422), answer.text


def test_a_change_of_the_directory_that_takes_too_long_is_not_called_failed(door: Door, quiet: int) -> None:
    unused = door.unused()
    answer = door.http.put(f"/directory/departments/{unused}", json={"name": "Late"}, params={"timeout": "0ms"})
    assert problem(answer, 504, "outcome-unknown")["outcome"] == "unknown"
    again = door.http.put(f"/directory/departments/{unused}", json={"name": "Late"}, params={"timeout": "60s"})
    assert again.status_code in (200, 201), again.text


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {},
        {"type": "object", "properties": {"a": {"type": "colour"}}},
        {"type": "object", "properties": {"actor_id": {}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.org/a"}}},
        {"type": "object", "properties": {"a": {"pattern": "("}}},
    ],
)
def test_a_schema_that_cannot_be_a_model_is_refused(door: Door, code: int, schema: dict[str, Any]) -> None:
    problem(door.http.put(f"/directory/models/Bad_{code}", json=schema), 422, "invalid")
    problem(door.http.get(f"/directory/models/Bad_{code}"), 404, "not-found")


@pytest.mark.parametrize(
    "document",
    [
        {"definition": "{}"},
        {"definition": "[]"},
        {"definition": "1"},
        {"definition": "not json"},
        {"definition": '{"schema": 1, "messages": {}, "fold_digest": null}'},
        {"definition": '{"schema": {"type": "object"}, "messages": [], "fold_digest": null}'},
        {"definition": '{"schema": {"type": "object"}, "messages": {"A": {}}, "fold_digest": null}'},
        {"definition": '{"schema": {"type": "object"}, "messages": {"A": 1}, "fold_digest": null}'},
        {"definition": '{"schema": {"type": "object"}, "messages": {}, "fold_digest": 1}'},
        {"definition": '{"schema": {"type": "object"}, "messages": {}, "fold_digest": null, "x": 1}'},
    ],
)
def test_a_model_sent_as_a_message_is_judged_as_strictly(door: Door, code: int, document: dict[str, Any]) -> None:
    answer = door.send({"to": 0, "actor": f"models/Bad_{code}", "action": "create", "body": document})
    assert answer.status_code in (400, 422), answer.text
    assert door.http.get("/readyz").status_code == 200


@pytest.mark.parametrize("actor", ["Order/1", "rules/x", "departments/x", "departments/0100", "models/departments"])
def test_the_control_department_holds_pages_and_nothing_else(door: Door, actor: str) -> None:
    answer = door.send({"to": 0, "actor": actor, "action": "create", "body": {"name": "x"}})
    problem(answer, 422, "invalid")
    assert door.http.get("/readyz").status_code == 200


# --- drafts


def test_a_draft_may_be_wrong_but_is_an_object(door: Door, code: int) -> None:
    draft = f"/drafts/{uuid4()}"
    problem(door.http.put(draft, content=b"["), 400, "malformed")
    problem(door.http.put(draft, content=b"[]"), 422, "invalid")
    problem(door.http.put(draft, content=b'{"a": "\\u0000"}'), 422, "invalid")
    problem(door.http.delete(draft), 404, "not-found")
    problem(door.http.post(f"{draft}/send"), 404, "not-found")


def test_a_draft_that_is_refused_stays(door: Door, code: int) -> None:
    draft = f"/drafts/{uuid4()}"
    assert door.http.put(draft, json={"to": code, "colour": "red"}).status_code == 200
    told = problem(door.http.post(f"{draft}/send"), 422, "invalid")
    assert pointers(told) == {"/colour", "/actor", "/action"}
    assert door.get(draft)["message"] == {"to": code, "colour": "red"}


# --- strangers


@pytest.mark.parametrize("host", ["example.org", "example.org:7400", "10.0.0.1", "127.0.0.1.example.org", "[::2]", ""])
def test_a_name_that_is_not_this_machines_is_not_answered(door: Door, code: int, host: str) -> None:
    problem(door.http.get("/healthz", headers={"Host": host}), 403, "forbidden")
    problem(door.http.post("/messages", json=message(code), headers={"Host": host}), 403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:80", "a.localhost"])
def test_every_name_of_this_machine_is_answered(door: Door, host: str) -> None:
    assert door.http.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://example.org", "null", "http://127.0.0.1:1", "http://localhost"])
def test_pages_of_other_origins_may_not_send(door: Door, code: int, origin: str) -> None:
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    problem(door.http.post("/messages", content=json.dumps(message(code)), headers=headers), 403, "forbidden")
    problem(door.http.delete(f"/shards/{code}/Thing/old", headers={"Origin": origin}), 403, "forbidden")


def test_the_nodes_own_pages_may_send(door: Door) -> None:
    code = door.department()
    answer = door.http.post("/messages", json=message(code), headers={"Origin": door.url})
    assert answer.status_code == 201
    assert "access-control-allow-origin" not in answer.headers


# --- the wire itself


def test_what_is_not_http_is_answered_with_a_problem(served: Served) -> None:
    for text in (b"HELLO\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"):
        answer = spoken(served, text)
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b"application/problem+json" in answer
        assert b"/problems/malformed" in answer


@pytest.mark.parametrize("lines", [70, 5_000])
def test_a_head_without_end_is_cut_off(served: Served, lines: int) -> None:
    line = b"X-A: " + b"a" * 1_000 + b"\r\n"
    answer = spoken(served, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", *[line] * lines)
    assert answer.startswith(b"HTTP/1.1 400 "), answer


@pytest.mark.parametrize("head_bytes", [4, connection.HEAD_BYTES_MAX])
def test_whoever_reads_no_refusal_and_sends_on_is_not_listened_to_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch, head_bytes: int
) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.3)
    # A head may be malformed and too long, both in what arrives at once: it is refused once.
    monkeypatch.setattr(connection, "HEAD_BYTES_MAX", head_bytes)
    host, port = served.url.removeprefix("http://").split(":")
    began = time.monotonic()

    def send_on(wire: socket.socket) -> None:
        while time.monotonic() - began < 20:
            wire.sendall(b"HELLO\r\n\r\n")
            time.sleep(0.01)

    with socket.create_connection((host, int(port)), timeout=30) as wire, pytest.raises(ConnectionError):
        send_on(wire)
    assert time.monotonic() - began >= 0.3


def test_what_comes_after_a_refusal_is_not_taken_for_a_request(served: Served, door: Door) -> None:
    code = door.department()
    body = json.dumps(message(code)).encode()
    send = b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    before = door.history(code)
    answer = spoken(served, b"HELLO\r\n\r\n" + send, send)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"content-type") == 1
    assert door.history(code) == before


def test_a_head_that_does_not_come_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    assert spoken(served).startswith(b"HTTP/1.1 400 ")
    assert spoken(served, b"GET / HT").startswith(b"HTTP/1.1 400 ")


def test_a_body_that_does_not_come_is_not_waited_for(
    served: Served, door: Door, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BODY_TIMEOUT_S", 0.2)
    head = b"POST /messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\n"
    answer = spoken(served, head + b'{"to"')
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"did not arrive" in answer


def test_there_may_be_so_many_connections_and_no_more(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 0)
    monkeypatch.setattr(connection, "NODES_CONNECTIONS_MAX", 0)
    assert spoken(served).startswith(b"HTTP/1.1 503 ")


def test_clients_leave_some_connections_to_the_other_nodes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 0)
    head = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    for client in (b"POST /messages", b"GET /cluster", b"GET /x/replication/poll"):
        assert spoken(served, client + head).startswith(b"HTTP/1.1 503 ")
    assert spoken(served, b"POST /replication/poll" + head).startswith(b"HTTP/1.1 400 ")
