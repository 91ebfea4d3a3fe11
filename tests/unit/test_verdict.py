"""Verdicts: what a rule's answers become, and what of them nobody takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from peaceriver import Actor, Department, Envelope, Event, Refuse, rule
from peaceriver.evaluation import frames
from peaceriver.event import Resolve, Trigger
from peaceriver.limits import (
    BODY_BYTES_MAX,
    FAILURE_LETTERS_MAX,
    FOLLOW_UPS_BYTES_MAX,
    FOLLOW_UPS_MAX,
    HOPS_MAX,
    RULE_ATTEMPTS_MAX,
)
from peaceriver.message import derived_id
from peaceriver.rule import exceptions
from peaceriver.verdict import NOTHING, Failure, Verdict, addressed, decide
from tests.unit.triggers import trigger


class Parcel(Actor):
    weight: int = 0


post = Department(100, "Post")
MODELS: dict[str, type[Actor]] = {"Parcel": Parcel}
RECORD = trigger()


def asked(action: Any, record: Trigger = RECORD, **more: Any) -> Verdict:
    """What a rule with this function makes of a record, under the name "tell" in its version 3."""
    made = rule(**{"on": Parcel.created, "at": post, "name": "tell"} | more)(lambda event: action(event))
    return decide(made, 3, record, MODELS)


def failure(action: Any, record: Trigger = RECORD, **more: Any) -> Failure:
    """Why it failed; there is nothing else to a verdict then."""
    verdict = asked(action, record, **more)
    assert verdict.failure is not None
    assert verdict == Verdict(failure=verdict.failure)
    return verdict.failure


def note(to: int = 110, **more: Any) -> Envelope:
    return Envelope(**{"to": to, "actor_type": "Note", "actor_id": "n", "action": "create"} | more)


# --- what follows


@pytest.mark.parametrize("answer", [None, (), [], {}, iter(())])
def test_a_rule_may_have_nothing_to_say(answer: Any) -> None:
    assert asked(lambda event: answer) == NOTHING


@pytest.mark.parametrize(
    "answer", [note(), [note()], (note(),), iter([note()])], ids=["alone", "list", "tuple", "iterator"]
)
def test_a_message_may_come_alone_or_in_whatever_can_be_gone_through(answer: Any) -> None:
    assert [each.actor_id for each in asked(lambda event: answer).follow_ups] == ["n"]


def test_a_condition_that_does_not_hold_asks_no_further() -> None:
    def never(event: Event) -> None:
        raise AssertionError

    assert asked(never, when=lambda event: event.document.weight > 0) == NOTHING
    assert asked(never, when=lambda event: None) == NOTHING


def test_a_follow_up_gets_its_id_sender_cause_and_correlation_from_its_record() -> None:
    record = trigger(position=7, correlation="case", sender=120)
    there, here, other = asked(
        lambda event: [note(110), note(100), note(110, correlation="another")], record
    ).follow_ups
    assert [each.id for each in (there, here, other)] == [
        derived_id(UUID(int=7), "tell", "3", str(ordinal)) for ordinal in range(3)
    ]
    assert (there.sender, here.sender) == (100, None)
    assert {each.cause for each in (there, here, other)} == {record.moment}
    assert [each.correlation for each in (there, here, other)] == ["case", "case", "another"]
    assert asked(lambda event: note(), record).follow_ups == [there], "asked again, it says the same under the same id"


def test_another_version_rule_or_place_gives_another_id() -> None:
    def ids(name: str, version: int) -> list[UUID | None]:
        made = rule(on=Parcel.created, at=post, name=name)(lambda event: [note(), note()])
        return [each.id for each in decide(made, version, RECORD, MODELS).follow_ups]

    found = [each for made in (ids("a", 1), ids("a", 2), ids("b", 1)) for each in made]
    assert len(set(found)) == 6


# --- what nobody takes


@pytest.mark.parametrize("answer", ["text", 7, Refuse("no"), [None], [note(), 7], {"a": 1}, object()])
def test_what_is_no_message_is_no_follow_up_and_will_not_be_one_later(answer: Any) -> None:
    failed = failure(lambda event: answer)
    assert failed.lasting
    assert "tell yielded" in failed.detail


async def test_a_coroutine_is_no_follow_up() -> None:
    async def later() -> None: ...

    waiting = later()
    assert "yielded coroutine" in failure(lambda event: waiting).detail
    await waiting


@pytest.mark.parametrize(
    "members", [{"id": UUID(int=1)}, {"cause": RECORD.moment}, {"sender": 110}], ids=["id", "cause", "sender"]
)
def test_what_a_follow_up_gets_from_its_record_no_rule_gives_it(members: dict[str, Any]) -> None:
    failed = failure(lambda event: note(**members))
    assert failed.lasting
    assert "gets them from its record" in failed.detail


def test_a_message_that_names_its_own_department_as_sender_says_nothing_new() -> None:
    assert asked(lambda event: note(sender=100)).follow_ups == asked(lambda event: note()).follow_ups


EAST = timezone(timedelta(hours=14))


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"to": -1}, "/to"),
        ({"to": 2**31}, "/to"),
        ({"actor_type": "No te"}, "/actor"),
        ({"actor_id": ""}, "/actor"),
        ({"actor_id": "x" * 256}, "/actor"),
        ({"actor_id": "a\x00"}, "/actor"),
        ({"actor_id": "a\ud800"}, "/actor"),
        ({"actor_id": None, "action": "modify"}, "/actor"),
        ({"type": "a\udfff"}, "/type"),
        ({"correlation": ""}, "/correlation"),
        ({"correlation": "\ud800"}, "/correlation"),
        ({"if_version": 1}, "/if_version"),
        ({"due": datetime(2026, 1, 1)}, "/due"),
        ({"valid_at": datetime(1, 1, 1, tzinfo=EAST)}, "/valid_at"),
    ],
)
def test_a_message_that_no_department_takes_is_a_failure_that_says_where(members: dict[str, Any], place: str) -> None:
    detail = failure(lambda event: note(**members)).detail
    assert f"tell made a message that nobody takes: {place} " in detail


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", '{"a": 1, "a": 2}', '{"a": "\\ud800"}', '{"a": "\ud800"}', '{"a": "\\u0000"}', "NaN"],
)
def test_a_body_that_no_department_takes_is_a_failure(body: str) -> None:
    assert "with a body that nobody takes" in failure(lambda event: note(body=body)).detail


def test_a_cancel_may_say_anything() -> None:
    assert asked(lambda event: note(action="cancel", body='"enough"')).failure is None


@pytest.mark.parametrize(
    "members",
    [
        {"to": "110"},
        {"to": None},
        {"actor_type": 7},
        {"actor_id": 7},
        {"body": {}},
        {"body": b"{}"},
        {"body": None},
        {"valid_at": "2026-01-01T00:00:00Z"},
        {"correlation": 7},
        {"type": 7},
        {"if_version": "1", "action": "modify"},
    ],
)
def test_members_of_wrong_types_are_the_rules_failure(members: dict[str, Any]) -> None:
    assert failure(lambda event: note(**members)).detail


# --- what goes wrong inside


def test_what_a_rule_raises_is_named_with_its_place() -> None:
    def broken(event: Event) -> None:
        raise KeyError(event.id)

    failed = failure(broken)
    assert not failed.lasting
    assert failed.detail.startswith("tell raised KeyError: 'P-1' (in broken, line ")


def test_it_may_go_wrong_in_the_condition_and_in_the_middle_of_the_answers() -> None:
    def halfway(event: Event) -> Iterator[Envelope]:
        yield note()
        raise ValueError("half")

    assert "ZeroDivisionError" in failure(lambda event: note(), when=lambda event: 1 / 0).detail
    assert "tell raised ValueError: half" in failure(halfway).detail


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [ValueError("\ud800 and \x00"), Speechless(), ValueError("x" * 1_000_000)])
def test_a_failure_is_told_in_words_that_a_record_can_hold(error: Exception) -> None:
    def broken(event: Event) -> None:
        raise error

    detail = failure(broken).detail
    assert f"tell raised {type(error).__name__}" in detail
    assert len(detail) <= FAILURE_LETTERS_MAX
    assert "\x00" not in detail
    assert detail.encode()


def test_a_document_that_does_not_fit_its_model_is_the_failure_of_whoever_looks_at_it() -> None:
    record = trigger(document='{"weight": "heavy"}')
    assert asked(lambda event: note(), record).failure is None
    assert "raised" in failure(lambda event: event.document, record).detail


def test_a_lack_of_memory_is_nobodys_verdict() -> None:
    def hungry(event: Event) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        asked(hungry)


# --- limits


def test_so_many_messages_may_follow_a_record_and_no_more() -> None:
    assert len(asked(lambda event: (note() for _ in range(FOLLOW_UPS_MAX))).follow_ups) == FOLLOW_UPS_MAX
    failed = failure(lambda event: (note() for _ in range(FOLLOW_UPS_MAX + 1)))
    assert failed.lasting
    assert "tell makes more than 10,000 messages of one record" in failed.detail


def test_a_rule_that_never_ends_its_answer_ends_at_the_limit() -> None:
    def endless(event: Event) -> Iterator[Any]:
        while True:
            yield None

    assert "more than 10,000" in failure(endless).detail


BIG = json.dumps({"a": "x" * (BODY_BYTES_MAX - 20)})
FULL = FOLLOW_UPS_BYTES_MAX // len(BIG)


@pytest.mark.parametrize(
    "made",
    [
        lambda event: [note(body=BIG)] * (FULL + 1),
        lambda event: [Resolve("answer", UUID(int=1), note(body=BIG))] * (FULL + 1),
    ],
    ids=["messages", "answers"],
)
def test_so_many_bytes_may_follow_a_record_and_no_more(made: Any) -> None:
    assert asked(lambda event: made(event)[1:]).failure is None
    failed = failure(made)
    assert failed.lasting
    assert "bytes of messages of one record" in failed.detail


def test_a_verdict_counts_the_bytes_of_all_that_it_makes() -> None:
    verdict = asked(lambda event: [note(body='{"a":1}'), Resolve("answer", UUID(int=1), note(body="{}"))])
    assert verdict.bytes() == 9
    assert NOTHING.bytes() == 0


@pytest.mark.parametrize(
    "answer", [note(), Resolve("answer", UUID(int=1), note())], ids=["follow-up", "answer to an exception"]
)
def test_so_many_rules_may_follow_each_other_and_no_more(answer: Any) -> None:
    assert asked(lambda event: answer, trigger(hops=HOPS_MAX - 1)).failure is None
    failed = failure(lambda event: answer, trigger(hops=HOPS_MAX))
    assert failed.lasting
    assert "tell would be rule number 33 in a row and 32 may follow each other" in failed.detail


def test_at_the_end_of_a_chain_a_rule_may_still_say_nothing_and_skip() -> None:
    last = trigger(hops=HOPS_MAX)
    assert asked(lambda event: None, last) == NOTHING
    assert asked(lambda event: Resolve("skip", UUID(int=1)), last).failure is None


# --- exceptions


def failed_record(attempt: int = 1) -> Trigger:
    body = {"exception": str(UUID(int=42)), "state": "open", "attempt": attempt, "rule": "weigh"}
    return trigger(body=json.dumps(body | {"problem": {"title": "t", "detail": "d", "status": 500}}))


def test_a_rule_resolves_what_another_could_not_do() -> None:
    def all_three(event: Event) -> list[Any]:
        return [event.skip(), event.retry(), event.answer(note())]

    skip, retry, answer = asked(all_three, failed_record(), on=exceptions(Parcel)).resolutions
    assert skip == Resolve("skip", UUID(int=42))
    assert retry == Resolve("retry", UUID(int=42))
    assert answer.message is not None
    assert (answer.message.id, answer.message.sender) == (derived_id(UUID(int=1), "tell", "3", "2"), 100)


def test_an_answer_is_checked_like_any_follow_up() -> None:
    def bad(event: Event) -> Resolve:
        return event.answer(note(actor_id=""))

    assert "a message that nobody takes: /actor" in failure(bad, failed_record(), on=exceptions()).detail


@pytest.mark.parametrize(
    "wanted",
    [Resolve("answer", UUID(int=42)), Resolve("skip", UUID(int=42), note()), Resolve("retry", UUID(int=42), note())],
)
def test_an_answer_has_a_message_and_nothing_else_has(wanted: Resolve) -> None:
    assert "an answer has one, and nothing else" in failure(lambda event: wanted, failed_record()).detail


def test_a_rule_does_not_let_a_thing_be_tried_again_for_ever() -> None:
    def again(event: Event) -> Resolve:
        return event.retry()

    assert asked(again, failed_record(RULE_ATTEMPTS_MAX - 1)).failure is None
    failed = failure(again, failed_record(RULE_ATTEMPTS_MAX))
    assert failed.lasting
    assert "tried again after 32 attempts" in failed.detail


# --- validations


def test_a_validation_says_why_and_where() -> None:
    def twice(event: Event) -> list[Any]:
        return [Refuse("too heavy", "/body/weight"), "not today"]

    found = asked(twice, kind="validation").offences
    assert [(each.pointer, each.detail) for each in found] == [("/body/weight", "too heavy"), ("/body", "not today")]
    assert asked(lambda event: "no", kind="validation").offences[0].detail == "no"
    assert asked(lambda event: None, kind="validation") == NOTHING


SPEECHLESS: Any = None


@pytest.mark.parametrize("answer", [note(), True, 7, [None], Refuse(SPEECHLESS), Refuse("x", SPEECHLESS)])
def test_a_validation_that_answers_anything_else_is_a_failure(answer: Any) -> None:
    assert "a validation" in failure(lambda event: answer, kind="validation").detail


def test_a_refusal_is_told_in_words_that_a_record_can_hold() -> None:
    (offence,) = asked(lambda event: Refuse("\x00 \ud800", "/\ud800"), kind="validation").offences
    assert "\x00" not in offence.detail
    assert (offence.detail + offence.pointer).encode()


# --- addresses


def test_a_message_to_a_department_that_is_not_there_is_a_failure() -> None:
    for made in (note(110), Resolve("answer", UUID(int=1), note(110))):
        verdict = asked(lambda event, made=made: [note(100), made])
        assert addressed(verdict, {100, 110}, "tell") is verdict
        assert addressed(verdict, {100}, "tell") == Verdict(
            failure=Failure("tell made a message to department 110, which is not there")
        )


def test_the_directory_is_always_there() -> None:
    verdict = asked(lambda event: note(0))
    assert addressed(verdict, set(), "tell") is verdict


# --- the way back to the node


def test_verdicts_come_back_as_they_were() -> None:
    verdicts = [
        asked(lambda event: [note(valid_at=datetime(2026, 1, 1, tzinfo=UTC), body='{"a": 1.10}'), note(100)]),
        asked(lambda event: [event.skip(), event.answer(note())], failed_record()),
        asked(lambda event: Refuse("no", "/body/a"), kind="validation"),
        Verdict(failure=Failure("broken", lasting=True)),
        NOTHING,
    ]
    assert frames.verdicts_of("tell", frames.answer_of("tell", verdicts)) == verdicts


@pytest.mark.parametrize(
    "odd",
    [
        note(action="delete"),
        note(to=True),
        Resolve("explode", UUID(int=1)),  # type: ignore[arg-type]  # what a rule may do wrong
        Resolve("skip", "no id"),  # type: ignore[arg-type]  # what a rule may do wrong
        Resolve("skip", object()),  # type: ignore[arg-type]  # what a rule may do wrong
        Resolve("\ud800", UUID(int=1)),  # type: ignore[arg-type]  # what a rule may do wrong
    ],
)
def test_what_cannot_be_passed_on_is_the_failure_of_its_record_alone(odd: Any) -> None:
    good, bad = asked(lambda event: note()), asked(lambda event: odd)
    before, told, after = frames.verdicts_of("tell", frames.answer_of("tell", [good, bad, good]))
    assert (before, after) == (good, good)
    assert told.failure is not None
    assert told.failure.lasting
    assert "tell answered what cannot be passed on" in told.failure.detail
