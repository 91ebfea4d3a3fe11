"""Sending over HTTP: messages, arrays, atomic batches, resources, drafts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from peaceriver.limits import BATCH_MESSAGES_MAX
from tests.acceptance.door import Door, pointers, problem

EXACT = '{"big": 123456789012345678901234567890, "small": 0.12345678901234567890, "kept": [1.10, 1E2, -0.0]}'


def create(code: int, actor: str, body: Any = None, **more: Any) -> dict[str, Any]:
    return {"to": code, "actor": actor, "action": "create", "body": body or {}} | more


def until(happens: Callable[[], bool]) -> None:
    """Wait, a bounded time, for what another department does on its own."""
    deadline = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


def test_a_message_becomes_a_receipt_and_a_record(door: Door) -> None:
    code = door.department()
    message_id = str(uuid4())
    message = {
        "id": message_id,
        "to": code,
        "actor": "Order/SO-1",
        "action": "create",
        "type": "PlaceOrder",
        "body": {"customer": "Ada"},
        "valid_at": "2026-01-02T03:04:05+01:00",
        "correlation": "case 1",
    }
    answer = door.http.post(
        "/messages",
        json=message,
        headers={
            "Peaceriver-Principal": "Ada Lövelace".encode(),  # type: ignore[dict-item]  # httpx takes bytes as well
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
    )
    assert answer.status_code == 201
    receipt = answer.json()
    assert receipt == {
        "id": message_id,
        "actor": "Order/SO-1",
        "shard": code,
        "position": 2,
        "stamp": receipt["stamp"],
        "version": 1,
        "complete": True,
        "duplicate": False,
    }
    (record,) = door.history(code)
    assert record | {"recorded_at": ""} == {
        "shard": code,
        "position": 2,
        "stamp": receipt["stamp"],
        "epoch": 1,
        "kind": "received",
        "id": message_id,
        "actor": "Order/SO-1",
        "action": "create",
        "type": "PlaceOrder",
        "version": 1,
        "model_version": None,
        "from": None,
        "to": code,
        "cause": None,
        "root": message_id,
        "correlation": "case 1",
        "rule": None,
        "rule_version": None,
        "principal": "Ada Lövelace",
        "valid_at": "2026-01-02T02:04:05.000000Z",
        "recorded_at": "",
        "hops": 0,
        "body": {"customer": "Ada"},
    }


def test_a_message_without_an_id_gets_one_and_a_create_without_an_actor_id_too(door: Door) -> None:
    code = door.department()
    receipt = door.create(code, "Order")
    assert UUID(receipt["id"]).version == 7
    assert receipt["actor"] == f"Order/{receipt['id']}"


def test_the_same_message_again_gets_its_old_receipt(door: Door) -> None:
    code = door.department()
    message = create(code, "Order", {"a": 1, "b": [1.0]}, id=str(uuid4()))
    first = door.send(message)
    again = door.send(message | {"body": {"b": [1], "a": 1.0}})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() | {"duplicate": True}
    assert len(door.history(code)) == 1


def test_numbers_and_text_come_back_as_they_were_sent(door: Door) -> None:
    code = door.department()
    door.send(f'{{"to": {code}, "actor": "Order/1", "action": "create", "body": {EXACT}}}')
    text = door.http.get(f"/shards/{code}/Order/1?read=latest").text
    document = '"document":' + EXACT
    assert document in text or '"document": ' + EXACT in text, text
    assert '"body":' + EXACT in door.http.get(f"/shards/{code}/journal").text


def test_an_array_is_answered_in_its_order(door: Door) -> None:
    one, other = door.department(), door.department()
    outcomes = door.send(
        [
            create(one, "Order/1"),
            create(other, "Order/1"),
            create(one, "Order/1"),
            {"to": one, "actor": "Order/1", "action": "modify", "body": {"a": 1}, "if_version": 1},
        ]
    ).json()
    assert [(each.get("shard"), each.get("version")) for each in outcomes] == [
        (one, 1),
        (other, 1),
        (None, None),
        (one, 2),
    ]
    assert outcomes[2]["error"]["status"] == 409
    assert outcomes[2]["error"]["id"]


def test_an_empty_array_has_no_outcomes(door: Door) -> None:
    assert door.send([]).json() == []
    assert door.send([], atomic="true").json() == []


def test_lines_are_as_good_as_an_array(door: Door) -> None:
    code = door.department()
    lines = "\n".join(json.dumps(create(code, f"Order/{number}")) for number in range(3)) + "\r\n\n"
    answer = door.http.post("/messages", content=lines, headers={"Content-Type": "application/x-ndjson; charset=utf-8"})
    assert [each["actor"] for each in answer.json()] == ["Order/0", "Order/1", "Order/2"]


def test_the_largest_array_is_taken_in_order(door: Door) -> None:
    code = door.department()
    messages = [create(code, f"Order/{number}", {"n": number}) for number in range(BATCH_MESSAGES_MAX)]
    outcomes = door.send(messages, timeout="60s").json()
    positions = [each["position"] for each in outcomes]
    assert positions == list(range(positions[0], positions[0] + BATCH_MESSAGES_MAX))
    again = door.send(messages[:10]).json()
    assert all("error" in each for each in again), "without an id of their own they are other messages"


def test_an_atomic_batch_is_one_unit_of_its_recording_department(door: Door) -> None:
    bank, branch = door.department(), door.department()
    door.create(bank, "Account/1", {"balance": 10})
    batch = [
        {"to": bank, "actor": "Account/1", "action": "modify", "body": {"balance": 7}, "if_version": 1},
        create(branch, "Credit/1", {"amount": 3}, **{"from": bank}),
    ]
    outcomes = door.send(batch, atomic="true").json()
    assert [each["shard"] for each in outcomes] == [bank, bank]
    assert [each["kind"] for each in door.history(bank)] == ["received", "received", "sent"]
    until(lambda: len(door.history(branch)) == 1)


def test_a_message_from_a_department_is_recorded_there_and_arrives(door: Door) -> None:
    sales, credit = door.department(), door.department()
    receipt = door.receipt(create(credit, "Check/1", {"amount": 5}, **{"from": sales}))
    assert receipt["shard"] == sales
    assert receipt["version"] is None
    until(lambda: len(door.history(credit)) == 1)
    (sent,), (received,) = door.history(sales), door.history(credit)
    assert (sent["kind"], received["kind"]) == ("sent", "received")
    assert sent["id"] == received["id"]
    assert sent["stamp"] < received["stamp"]


def test_a_message_to_ones_own_department_is_one_received_record(door: Door) -> None:
    code = door.department()
    receipt = door.receipt(create(code, "Note/1", **{"from": code}))
    assert receipt["version"] == 1
    assert [each["kind"] for each in door.history(code)] == ["received"]


def test_what_became_of_a_message_can_be_asked(door: Door) -> None:
    code = door.department()
    receipt = door.create(code, "Order/1")
    assert door.get(f"/messages/{receipt['id']}") == receipt | {"state": "recorded"}
    problem(door.http.get(f"/messages/{uuid4()}"), 404, "not-found")


def test_a_delivery_that_was_refused_is_an_exception_under_the_senders_correlation(door: Door) -> None:
    sales, credit = door.department(), door.department()
    door.create(credit, "Check/1")
    receipt = door.receipt(create(credit, "Check/1", correlation="case 9", **{"from": sales}))
    until(lambda: len(door.history(credit)) == 2)
    exception = door.history(credit)[1]
    assert exception["kind"] == "exception"
    assert exception["correlation"] == "case 9"
    assert exception["body"]["problem"]["status"] == 409
    assert exception["body"]["message"]["id"] == receipt["id"]
    listed = door.get("/exceptions", state="open", limit="1000")["items"]
    assert [each["position"] for each in listed if each["shard"] == credit] == [exception["position"]]
    # The sender's journal has it, but who asks what became of it learns of the refusal.
    assert door.get(f"/messages/{receipt['id']}")["state"] == "refused"


def test_when_the_time_runs_out_the_outcome_is_unknown_and_can_be_asked_for(door: Door) -> None:
    code = door.department()
    message = create(code, "Order/1", id=str(uuid4()))
    told = problem(door.send(message, timeout="0ms"), 504, "outcome-unknown")
    assert told["outcome"] == "unknown"
    assert told["id"] == message["id"]
    until(lambda: len(door.history(code)) == 1)
    assert door.send(message).json()["duplicate"] is True


@pytest.mark.parametrize(
    "parameters",
    [
        {"concern": "quorum"},
        {"concern": "local", "timeout": "5"},
        {"concern": "all", "timeout": "500ms"},
        {"spool": "true", "timeout": "1.5s"},
    ],
)
def test_every_write_concern_holds_with_one_voter(door: Door, parameters: dict[str, str]) -> None:
    answer = door.send(create(door.department(), "Order"), **parameters)
    assert answer.status_code == 201, answer.text
    assert answer.json()["complete"] is True


def test_a_message_with_a_due_time_is_kept_until_then(door: Door) -> None:
    code = door.department()
    receipt = door.create(code, "Reminder/1", {"a": 1}, due="2999-01-01T00:00:00Z")
    assert receipt["version"] is None
    assert [each["kind"] for each in door.history(code)] == ["timer"]
    problem(door.http.get(f"/shards/{code}/Reminder/1"), 404, "not-found")
    door.create(code, "Reminder/2", {"a": 2}, due="2026-01-01T00:00:00Z")
    until(lambda: door.http.get(f"/shards/{code}/Reminder/2").status_code == 200)


def test_a_cause_is_kept_and_the_root_is_shared(door: Door) -> None:
    code = door.department()
    first = door.create(code, "Order/1")
    second = door.create(code, "Invoice/1", cause=first["stamp"])
    record = door.history(code)[1]
    assert record["cause"] == first["stamp"]
    assert record["root"] == first["id"]
    assert second["stamp"] > first["stamp"]


def test_a_cause_that_was_sent_here_is_waited_for(door: Door) -> None:
    sales, credit = door.department(), door.department()
    for number in range(20):
        sent = door.receipt(create(credit, f"Check/{number}", **{"from": sales}))
        then = door.receipt({"to": credit, "actor": f"Check/{number}", "action": "cancel", "cause": sent["stamp"]})
        assert then["version"] == 2


# --- the same as resources


def test_an_actor_is_created_modified_and_cancelled_as_a_resource(door: Door) -> None:
    code = door.department()
    key = str(uuid4())
    made = door.http.post(f"/shards/{code}/Order", json={"total": 1}, headers={"Idempotency-Key": key})
    assert made.status_code == 201
    assert made.headers["ETag"] == '"1"'
    assert made.headers["Location"] == f"/shards/{code}/Order/{key}"
    assert made.json()["id"] == key
    again = door.http.post(f"/shards/{code}/Order", json={"total": 1}, headers={"Idempotency-Key": f'"{key}"'})
    assert again.status_code == 200
    assert again.json() == made.json() | {"duplicate": True}

    place = made.headers["Location"]
    patched = door.http.patch(
        place,
        content='{"total": null, "state": "open"}',
        headers={"If-Match": made.headers["ETag"], "Content-Type": "application/merge-patch+json"},
    )
    assert patched.status_code == 200
    assert patched.headers["ETag"] == '"2"'
    problem(door.http.patch(place, json={}, headers={"If-Match": '"1"'}), 412, "version-conflict")
    assert door.http.patch(place, json={}, headers={"If-Match": "*"}).status_code == 200
    problem(door.http.request("DELETE", place, headers={"If-Match": '"2"'}), 412, "version-conflict")
    gone = door.http.request("DELETE", place, headers={"If-Match": '"3"'}, json={"reason": "enough"})
    assert gone.status_code == 200
    problem(door.http.delete(place), 409, "conflict")

    shown = door.http.get(place, params={"after": gone.json()["stamp"]})
    assert shown.headers["ETag"] == '"4"'
    assert (shown.json()["status"], shown.json()["document"]) == ("cancelled", {"state": "open"})
    assert door.history(code)[-1]["body"] == {"reason": "enough"}


@pytest.mark.parametrize(
    "actor_id",
    ["a/b", "a b", "ä", "%", "%2F", "a?b#c", "..", ".", "records", "journal", "日本", "😀", "'\";--", "\\", "x" * 255],
)
def test_an_id_may_hold_any_character(door: Door, actor_id: str) -> None:
    code = door.department()
    receipt = door.create(code, f"Order/{actor_id}", {"a": 1})
    place = f"/shards/{code}/Order/{quote(actor_id, safe='').replace('.', '%2E')}"
    assert door.get(place, after=receipt["stamp"])["actor"] == f"Order/{actor_id}"
    assert door.http.patch(place, json={"b": 2}).json()["version"] == 2
    latest = door.get(f"{place}/records", read="latest")
    assert [each["actor"] for each in latest["records"]] == [f"Order/{actor_id}"] * 2
    listed = door.get(f"/shards/{code}/Order", actor_id=f"eq.{actor_id}")
    assert [each["version"] for each in listed["items"]] == [2]
    found = door.get(f"/actors/Order/{quote(actor_id, safe='').replace('.', '%2E')}")
    assert code in [each["shard"] for each in found["items"]]


def test_the_location_of_an_actor_leads_to_it(door: Door) -> None:
    code = door.department()
    made = door.http.post(f"/shards/{code}/Order", json={})
    shown = door.http.get(made.headers["Location"], params={"read": "latest"})
    assert shown.json()["version"] == 1


# --- drafts


def test_a_draft_is_edited_freely_and_becomes_a_message(door: Door) -> None:
    code = door.department()
    draft_id = str(uuid4())
    draft = f"/drafts/{draft_id}"
    assert door.http.put(draft, json={"to": code}).json()["message"] == {"to": code}
    text = f'{{"to": {code}, "actor": "Order/1", "action": "create", "body": {EXACT}}}'
    kept = door.http.put(draft, content=text)
    assert kept.status_code == 200
    assert kept.json()["id"] == draft_id
    assert text in door.http.get(draft).text
    assert draft_id in [each["id"] for each in door.get("/drafts", limit="1000")["items"]]

    sent = door.http.post(f"{draft}/send", headers={"Peaceriver-Principal": "Ada"})
    assert sent.status_code == 201
    assert sent.json()["id"] == draft_id
    problem(door.http.get(draft), 404, "not-found")
    assert [(each["id"], each["principal"]) for each in door.history(code)] == [(draft_id, "Ada")]


def test_a_draft_is_thrown_away(door: Door) -> None:
    draft = f"/drafts/{uuid4()}"
    door.http.put(draft, json={})
    assert door.http.delete(draft).status_code == 204
    problem(door.http.delete(draft), 404, "not-found")


def test_a_draft_that_conflicts_stays_and_can_be_mended(door: Door) -> None:
    code = door.department()
    door.create(code, "Order/1")
    draft = f"/drafts/{uuid4()}"
    door.http.put(draft, json=create(code, "Order/1"))
    problem(door.http.post(f"{draft}/send"), 409, "conflict")
    door.http.put(draft, json=create(code, "Order/2"))
    assert door.http.post(f"{draft}/send").status_code == 201


def test_a_draft_cannot_take_another_id_than_its_own(door: Door) -> None:
    code = door.department()
    draft = f"/drafts/{uuid4()}"
    door.http.put(draft, json=create(code, "Order/1", id=str(uuid4())))
    assert pointers(problem(door.http.post(f"{draft}/send"), 422, "invalid")) == {"/id"}
    assert door.history(code) == []


def test_drafts_are_listed_page_by_page(door: Door) -> None:
    mine = [str(uuid4()) for _ in range(3)]
    for draft_id in mine:
        door.http.put(f"/drafts/{draft_id}", json={"page": 1})
    found: list[str] = []
    place: str | None = "/drafts?limit=2"
    while place is not None:
        page = door.get(place)
        found += [each["id"] for each in page["items"]]
        place = page["next"]
    assert [each for each in found if each in mine] == mine[::-1]
