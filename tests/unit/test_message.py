"""A message is read strictly, whole, and with every offending member named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peaceriver.errors import Invalid, Malformed, Refused, TooLarge
from peaceriver.limits import BATCH_MESSAGES_MAX
from peaceriver.message import body_value, derived_id, offences, read, read_batch, read_lines, same_message

GOOD: dict[str, Any] = {"to": 100, "actor": "Order/SO-1", "action": "create", "body": {"total": 1}}


def raw(**changes: Any) -> bytes:
    members = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return json.dumps({name.rstrip("_"): value for name, value in members.items()}).encode()


def pointers(error: Refused) -> set[str]:
    return {each.pointer for each in error.errors}


def test_a_message_keeps_its_body_to_the_letter() -> None:
    envelope = read(b'{"to": 100, "actor": "Order/a/b", "action": "create", "body": {"x" : 1e5, "y":0.10} }')
    assert envelope.body == '{"x" : 1e5, "y":0.10}'
    assert (envelope.actor_type, envelope.actor_id) == ("Order", "a/b")
    assert envelope.message_type == "Order.create"
    assert not list(offences(envelope))


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"to": "100"}, "/to"),
        ({"to": -1}, "/to"),
        ({"to": 2**31}, "/to"),
        ({"to": True}, "/to"),
        ({"from_": -5}, "/from"),
        ({"to": ...}, "/to"),
        ({"actor": ...}, "/actor"),
        ({"actor": "9Order/x"}, "/actor"),
        ({"actor": "Order/"}, "/actor"),
        ({"actor": "Order/a\u0001b"}, "/actor"),
        ({"actor": "Order/" + "x" * 256}, "/actor"),
        ({"actor": "Order", "action": "modify"}, "/actor"),
        ({"action": "delete"}, "/action"),
        ({"id": "not-a-uuid"}, "/id"),
        ({"type": ""}, "/type"),
        ({"if_version": 0, "action": "modify"}, "/if_version"),
        ({"if_version": 1}, "/if_version"),
        ({"if_version": 2**31, "action": "modify"}, "/if_version"),
        ({"valid_at": "2026-01-01T00:00:00"}, "/valid_at"),
        ({"valid_at": "2026-13-01T00:00:00Z"}, "/valid_at"),
        ({"valid_at": "infinity"}, "/valid_at"),
        ({"due": "yesterday"}, "/due"),
        ({"correlation": "a\u0000b"}, None),
        ({"correlation": 5}, "/correlation"),
        ({"cause": "x"}, "/cause"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_every_bad_member_is_refused_by_its_pointer(changes: dict[str, Any], pointer: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        read(raw(**changes))
    assert pointers(refused.value) == {pointer or "/correlation"}


def test_all_bad_members_are_named_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        read(raw(to="x", action="z", colour="red", if_version="1"))
    assert pointers(refused.value) == {"/to", "/action", "/colour", "/if_version"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"to":100,"actor":"Order/1","action":"create","body":{"a":NaN}}',
        b'{"to":100,"actor":"Order/1","action":"create","body":{"a":"\xff"}}',
        b'{"to":100,"actor":"Order/\xff","action":"create"}',
        b'{"to":100,"actor":"Order/1","action":"create","body":{"a":"\\ud800"}}',
        b'{"to":100,"actor":"Order/1","action":"create","to":101}',
        b'\xef\xbb\xbf{"to":100,"actor":"Order/1","action":"create"}',
        b'{"to":100,"actor":"Order/1","action":"create"} x',
    ],
)
def test_what_is_not_well_formed_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        body_value(read(text))


def test_a_message_that_is_no_object_is_invalid() -> None:
    with pytest.raises(Invalid):
        read(b'"hello"')


def test_a_key_given_twice_in_the_body_is_malformed() -> None:
    with pytest.raises(Malformed):
        body_value(read(b'{"to":100,"actor":"Order/1","action":"create","body":{"a":1,"a":2}}'))


@pytest.mark.parametrize("action", ["create", "modify"])
@pytest.mark.parametrize("body", [1, "x", [1], None, True])
def test_a_body_that_is_no_object_is_named(action: str, body: Any) -> None:
    with pytest.raises(Invalid) as refused:
        body_value(read(raw(action=action, body=body)))
    assert pointers(refused.value) == {"/body"}


def test_a_cancel_may_say_anything() -> None:
    assert body_value(read(raw(action="cancel", body="changed my mind"))) == "changed my mind"


def test_batches_have_a_limit() -> None:
    with pytest.raises(TooLarge):
        read_batch(b"[" + b",".join([b"1"] * (BATCH_MESSAGES_MAX + 1)) + b"]")
    assert read_batch(b'[{"a":1}, 2]') == [b'{"a":1}', b"2"]
    assert read_lines(b'{"a":1}\n\n{"b":2}\r\n') == [b'{"a":1}', b'{"b":2}\r']


def test_the_same_message_said_with_other_spaces_is_the_same() -> None:
    one, other = read(raw(body={"a": 1, "b": 2})), read(raw(body={"b": 2, "a": 1.0}, type="Order.create"))
    assert same_message(one, other)
    assert not same_message(one, read(raw(body={"a": 2, "b": 2})))
    assert not same_message(one, read(raw(body={"a": 1, "b": 2}, correlation="x")))


def test_derived_ids_are_the_same_for_ever() -> None:
    from uuid import UUID

    assert derived_id(UUID(int=1), "release") == derived_id(UUID(int=1), "release")
    assert derived_id(UUID(int=1), "release") != derived_id(UUID(int=1), "exception")
    assert derived_id(UUID(int=1), "a", "b") != derived_id(UUID(int=1), "ab")


def test_what_a_message_says_is_written_as_it_is_read() -> None:
    envelope = read(
        raw(
            id="01935a4f-6e21-7c00-8000-000000000001",
            from_=110,
            action="modify",
            if_version=3,
            valid_at="2026-01-01T00:00:00+01:00",
            due="2026-01-02T00:00:00Z",
            correlation="c",
            type="Approve",
            cause="0000065a4f6e21c00007.100",
        )
    )
    from peaceriver import jsontext

    assert read(jsontext.write(envelope.public()).encode()) == envelope
