"""Whatever is asked, the answer is an answer: never a fault of ours, and always one shape of error."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peaceriver.api.operations import Operation
from peaceriver.api.routes import OPERATIONS
from tests.acceptance.door import Door

#: What a department may be asked to record or to show, in every way that is nearly right.
odd_text = st.one_of(
    st.sampled_from(
        ["", "0", "1", "Thing", "Thing/old", "Fuzzed/1", "create", "null", "a\x00b", "'", '"', "%", "../x"]
    ),
    st.text(max_size=20),
)
odd_numbers = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 100, 2**31, 2**53 + 1, 2**63, 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
)
odd_values = st.recursive(
    st.one_of(st.none(), st.booleans(), odd_numbers, odd_text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(odd_text, inner, max_size=4)),
    max_leaves=12,
)
MEMBERS = (
    "id", "to", "from", "actor", "action", "type", "body", "if_version", "valid_at", "due", "correlation", "cause", "x",
)  # fmt: skip
messages = st.dictionaries(st.sampled_from(MEMBERS), odd_values, max_size=8)
PARAMETERS = sorted({name for each in OPERATIONS for name in each.parameters})
values = st.one_of(
    odd_text,
    st.sampled_from(["5s", "0", "2", "100:1", "100:1,0:1", "2026-11-22T10:00:00Z", "true", "latest", "local", "x,-y"]),
    st.builds("{}.{}".format, st.sampled_from(["eq", "ne", "gt", "like", "in", "is"]), odd_text),
    st.builds(lambda time, code: f"{time:020x}.{code}", st.integers(0, 2**63), st.integers(0, 200)),
    odd_numbers.map(str),
)
names = st.one_of(st.sampled_from([*PARAMETERS, "total", "document.total", "actor_version", "actor_shard"]), odd_text)

fuzzing = settings(
    # A shared node is what is under test: what one example leaves there is part of the next.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=150,
)


@pytest.fixture(scope="module")
def code(door: Door) -> int:
    made = door.department()
    door.http.put("/directory/models/Fuzzed", json={"type": "object", "properties": {"total": {"type": "number"}}})
    for actor, body in (("Thing/old", {"n": 1}), ("Fuzzed/1", {"total": 5}), ("Thing/odd", {"total": "x", "n": None})):
        last = door.create(made, actor, body)
    door.get(f"/shards/{made}/Thing", after=last["stamp"])
    return made


def is_an_answer(answer: httpx.Response) -> None:
    assert answer.status_code < 500 or answer.status_code == 504, answer.text
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


@fuzzing
@given(message=messages, fixed=st.booleans())
def test_any_message_is_answered(door: Door, code: int, message: dict[str, Any], fixed: bool) -> None:
    if fixed:
        message = {"to": code, "actor": "Thing", "action": "create"} | message
    text = json.dumps(message).encode()
    is_an_answer(door.send(text))
    outcomes = door.send(b"[" + text + b"," + text + b"]")
    is_an_answer(outcomes)
    if outcomes.status_code == 200:
        assert all(each.get("error", {}).get("status", 0) < 500 for each in outcomes.json())


@fuzzing
@given(text=st.one_of(st.binary(max_size=40), st.text(alphabet='{}[]":,0123eE+-.\\u d8truefalsn', max_size=40)))
def test_any_text_is_answered(door: Door, code: int, text: bytes | str) -> None:
    for path in ("/messages", f"/shards/{code}/Thing"):
        is_an_answer(door.http.post(path, content=text))
    is_an_answer(door.http.patch(f"/shards/{code}/Thing/old", content=text))


@fuzzing
@given(pairs=st.lists(st.tuples(names, values), max_size=5), place=st.integers(0, 9))
def test_any_question_is_answered(door: Door, code: int, pairs: list[tuple[str, str]], place: int) -> None:
    path = [
        f"/shards/{code}/Thing",
        f"/shards/{code}/Fuzzed",
        f"/shards/{code}/Thing/old",
        f"/shards/{code}/Thing/old/records",
        f"/shards/{code}/journal",
        "/journal",
        "/actors/Fuzzed",
        "/actors/Thing/old",
        "/directory/departments",
        "/exceptions",
    ][place]
    # Nobody is to wait for what may never come.
    pairs = [each for each in pairs if each[0] not in ("wait", "timeout")]
    query = urlencode([(name, _well_formed(value)) for name, value in pairs if _well_formed(name)])
    is_an_answer(door.http.get(f"{path}?{query}&timeout=50ms" if place not in (9,) else f"{path}?{query}"))


@fuzzing
@given(operation=st.sampled_from(OPERATIONS), parts=st.lists(odd_text, min_size=4, max_size=4), body=odd_values)
def test_any_path_is_answered(door: Door, code: int, operation: Operation, parts: list[str], body: Any) -> None:
    if operation.path in ("/cluster/verify", "/metrics"):
        return
    names = ("code", "type", "id", "key")
    filled = dict(zip(names, (quote(_well_formed(each), safe="") or "x" for each in parts), strict=True))
    filled |= {"section": "models", "slug": filled["key"], "stamp": filled["key"], "name": filled["key"]}
    path = operation.path.format_map(filled)
    is_an_answer(door.http.request(operation.method, path, content=json.dumps(body)))


def _well_formed(text: str) -> str:
    return text.encode("utf-8", "ignore").decode()
