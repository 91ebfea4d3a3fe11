"""Events: what a rule sees of a record, and the words that it answers with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver import Actor, Message
from peaceriver.event import Event, Trigger
from peaceriver.message import Envelope
from peaceriver.stamp import Stamp, logical
from tests.unit.triggers import trigger


class Parcel(Actor):
    weight: Decimal
    state: str = "here"


class Send(Message[Parcel], action="modify"):
    state: str = "sent"


class Post(Message[Parcel], action="create"):
    weight: Decimal


MODELS: dict[str, type[Actor]] = {"Parcel": Parcel}


def event(actor: str = "Parcel/P-1", action: str = "create", **more: Any) -> Event:
    return Event(trigger(actor, action, **more), MODELS)


# --- what happened, and to what


def test_an_event_tells_where_its_record_stands() -> None:
    happened = event("Parcel/P/1", position=17, version=3, sender=110, correlation="c", principal="ada")
    assert (happened.id, happened.actor) == ("P/1", "Parcel/P/1")
    assert (happened.shard, happened.position, happened.version) == (100, 17, 3)
    assert (happened.sender, happened.correlation, happened.principal) == (110, "c", "ada")
    assert (happened.action, happened.type) == ("create", "Parcel.create")


def test_now_is_the_records_time_and_business_time_is_the_same_unless_it_was_given() -> None:
    recorded = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)
    happened = event(stamp=logical(recorded))
    assert happened.now == happened.valid_at == recorded
    assert happened.stamp == Stamp(logical(recorded), 100)
    booked = datetime(2025, 1, 1, tzinfo=UTC)
    assert event(valid_at=booked).valid_at == booked


# --- documents


def test_documents_are_read_into_their_model_exactly() -> None:
    happened = event(action="modify", before='{"weight":1.10}', document='{"weight":12345678901234567890.10}')
    assert happened.before == Parcel(weight=Decimal("1.10"))
    assert happened.document == Parcel(weight=Decimal("12345678901234567890.10"))
    assert isinstance(happened.document, Parcel)
    assert str(happened.before.weight) == "1.10"


def test_before_a_create_there_is_nothing() -> None:
    happened = event(document='{"weight":1}')
    assert happened.before is None
    assert happened.document.weight == 1


def test_a_type_without_a_model_is_read_as_it_is_with_exact_numbers() -> None:
    happened = event("Crate/1", action="modify", before='{"n":1}', document='{"n":0.10,"big":12345678901234567890}')
    assert happened.document == {"n": Decimal("0.10"), "big": 12345678901234567890}
    assert happened.before == {"n": 1}


def test_documents_are_read_when_somebody_looks_and_once() -> None:
    unreadable = event(body="no json", before="no json", document="no json")
    assert unreadable.id == "P-1"
    with pytest.raises(msgspec.DecodeError):
        _ = unreadable.document
    happened = event(document='{"weight":1}')
    assert happened.document is happened.document


# --- messages


def test_a_named_message_is_an_instance_of_its_class() -> None:
    happened = event(action="modify", message_type="Send", body='{"state":"gone"}')
    assert happened.message == Send(state="gone")


def test_a_named_message_that_creates_is_its_own_class_and_not_the_model() -> None:
    assert event(message_type="Post", body='{"weight":2}').message == Post(weight=Decimal(2))


def test_a_plain_create_is_the_model_and_a_plain_patch_is_as_it_was_sent() -> None:
    assert event(body='{"weight":2}').message == Parcel(weight=Decimal(2))
    assert event(action="modify", body='{"weight":0.5,"note":null}').message == {"weight": Decimal("0.5"), "note": None}


def test_a_cancels_message_may_be_any_value() -> None:
    assert event(action="cancel", body='"lost"').message == "lost"


# --- exceptions

FAILURE: dict[str, Any] = {
    "exception": "00000000-0000-0000-0000-00000000002a",
    "state": "open",
    "attempt": 2,
    "rule": "weigh",
    "problem": {"title": "A rule could not act", "detail": "weigh raised KeyError", "status": 500},
}


def failed(**more: Any) -> Event:
    return event(action="modify", body=json.dumps(FAILURE | more))


def test_an_exception_tells_what_failed_and_how_often() -> None:
    told = failed().exception
    assert told is not None
    assert (told.id, told.rule, told.attempt) == (UUID(int=42), "weigh", 2)
    assert (told.title, told.detail) == ("A rule could not act", "weigh raised KeyError")
    assert told.message is None


def test_an_exception_of_a_message_holds_the_message() -> None:
    refused = {"to": 100, "actor": "Parcel/P-1", "action": "modify", "body": {}}
    told = failed(rule=None, message=refused).exception
    assert told is not None
    assert told.rule is None
    assert told.message == refused


@pytest.mark.parametrize("body", ["{}", "[]", '"exception"', '{"exception":"x"}', '{"problem":{}}'])
def test_what_is_no_exception_has_none(body: str) -> None:
    happened = event(action="cancel", body=body)
    assert happened.exception is None
    for word in (happened.retry, happened.skip):
        with pytest.raises(ValueError, match="had no exception"):
            word()


def test_a_rule_resolves_the_exception_that_it_sees() -> None:
    message = Envelope(to=100, actor_type="Parcel", actor_id="P-1", action="modify")
    assert (failed().retry().how, failed().retry().exception) == ("retry", UUID(int=42))
    assert (failed().skip().how, failed().skip().exception) == ("skip", UUID(int=42))
    answered = failed().answer(message)
    assert (answered.how, answered.exception, answered.message) == ("answer", UUID(int=42), message)


# --- replies


def test_a_reply_goes_to_whoever_sent_the_message() -> None:
    reply = event(sender=110).reply(Send(), to="Parcel/P/2")
    assert reply == Envelope(
        to=110, actor_type="Parcel", actor_id="P/2", action="modify", type="Send", body='{"state":"sent"}'
    )


def test_a_reply_may_be_a_patch() -> None:
    reply = event(sender=110).reply({"weight": Decimal("1.10"), "note": None}, to="Crate/1")
    assert reply == Envelope(
        to=110, actor_type="Crate", actor_id="1", action="modify", body='{"weight":1.10,"note":null}'
    )


def test_a_reply_that_creates_may_leave_the_id_to_the_message() -> None:
    reply = event(sender=110).reply(Post(weight=Decimal(1)), to="Parcel")
    assert (reply.action, reply.actor_id) == ("create", None)


def test_there_is_no_reply_to_a_message_from_outside() -> None:
    with pytest.raises(ValueError, match="no department to reply to"):
        event().reply(Send(), to="Parcel/P-2")


# --- the way to where rules run


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    valid_at=st.none()
    | st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    sender=st.none() | st.integers(0, 2**31 - 1),
    stamp=st.integers(0, 2**63 - 1),
    chain=st.binary(max_size=40),
)
def test_a_record_arrives_where_rules_run_as_it_was(
    text: str, valid_at: datetime | None, sender: int | None, stamp: int, chain: bytes
) -> None:
    sent = trigger(f"Parcel/{text}", valid_at=valid_at, sender=sender, stamp=stamp, chain=chain, document=text)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Trigger) == sent
