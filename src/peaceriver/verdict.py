"""Verdicts: what a rule makes of one record, checked before anything comes of it. Pure, but for the rule's own code."""

from __future__ import annotations

import traceback
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from peaceriver.actor import Actor
from peaceriver.errors import Offence, Refused, RuleFailed
from peaceriver.event import Event, Resolve, Trigger
from peaceriver.limits import (
    CONTROL,
    FAILURE_LETTERS_MAX,
    FOLLOW_UPS_BYTES_MAX,
    FOLLOW_UPS_MAX,
    HOPS_MAX,
    RULE_ATTEMPTS_MAX,
)
from peaceriver.message import Envelope, body_value, derived_id, offences
from peaceriver.rule import Refuse, Rule, offence_of


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a rule could not act."""

    detail: str
    #: It would fail again: nobody tries before somebody asks for it.
    lasting: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a rule makes of one record."""

    follow_ups: list[Envelope] = []
    resolutions: list[Resolve] = []
    #: Of a validation: why the message is refused.
    offences: list[Offence] = []
    failure: Failure | None = None

    def bytes(self) -> int:
        return sum(map(_bytes, self.follow_ups)) + sum(map(_bytes, self.resolutions))


NOTHING = Verdict()


def decide(rule: Rule, version: int, trigger: Trigger, models: Mapping[str, type[Actor]]) -> Verdict:
    """Ask a rule about one record. Whatever its code raises is its verdict and not an error of ours.

    But for MemoryError, which says nothing of this rule's code: what fills the process up may be left from another one.
    """
    event = Event(trigger, models)
    try:
        if rule.when is not None and not rule.when(event):
            return NOTHING
        answers = list(_answers(rule, event))
        if rule.kind == "validation":
            return Verdict(offences=[_refusal(each) for each in answers])
        return _follow_ups(rule, version, event, trigger, answers)
    except RuleFailed as error:
        return _failed(error.detail, lasting=error.lasting)
    except MemoryError:
        raise
    except Exception as error:  # outermost: the rule's own code; what it raises becomes an exception record
        return _failed(f"{rule.name} raised {_described(error)}")


def _failed(detail: str, *, lasting: bool = False) -> Verdict:
    """A failure in words that a record can hold, whatever the rule's code said."""
    return Verdict(failure=Failure(_readable(detail)[:FAILURE_LETTERS_MAX], lasting))


def _readable(text: str) -> str:
    """A text without what no journal holds."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _answers(rule: Rule, event: Event) -> Iterator[Any]:
    answer: Any = rule.action(event)
    if answer is None:
        return
    if isinstance(answer, Envelope | Refuse | Resolve | str) or not isinstance(answer, Iterable):
        answer = (answer,)
    count = size = 0
    for each in answer:
        count, size = count + 1, size + _bytes(each)
        if count > FOLLOW_UPS_MAX:
            raise RuleFailed(f"{rule.name} makes more than {FOLLOW_UPS_MAX:,} messages of one record", lasting=True)
        if size > FOLLOW_UPS_BYTES_MAX:
            detail = f"{rule.name} makes more than {FOLLOW_UPS_BYTES_MAX:,} bytes of messages of one record"
            raise RuleFailed(detail, lasting=True)
        yield each


def _bytes(answer: Any) -> int:
    """The size of what a rule yields, roughly."""
    if isinstance(answer, Envelope):
        return len(answer.body)
    match answer:
        case Resolve():
            return _bytes(answer.message)
        case Refuse(detail=str(), pointer=str()):
            return len(answer.detail) + len(answer.pointer)
        case str():
            return len(answer)
    return 0


def _refusal(answer: Any) -> Offence:
    if not isinstance(answer, Refuse | str):
        raise RuleFailed(f"a validation yields Refuse, not {type(answer).__name__}", lasting=True)
    offence = offence_of(answer)
    said: tuple[Any, Any] = (offence.detail, offence.pointer)
    if not all(isinstance(each, str) for each in said):
        raise RuleFailed(
            "a validation refuses with a text and a JSON pointer, as in Refuse('too small', '/body/total')"
        )
    return Offence(_readable(offence.pointer), _readable(offence.detail))


def _follow_ups(rule: Rule, version: int, event: Event, trigger: Trigger, answers: list[Any]) -> Verdict:
    follow_ups: list[Envelope] = []
    resolutions: list[Resolve] = []
    for ordinal, each in enumerate(answers):
        if isinstance(each, Resolve):
            _check_resolution(rule, event, each)
            message = each.message and _checked(rule, version, trigger, each.message, ordinal)
            resolutions.append(Resolve(each.how, each.exception, message))
        else:
            follow_ups.append(_checked(rule, version, trigger, each, ordinal))
    if trigger.hops >= HOPS_MAX and (follow_ups or any(each.message is not None for each in resolutions)):
        detail = f"{rule.name} would be rule number {trigger.hops + 1} in a row and {HOPS_MAX} may follow each other"
        raise RuleFailed(f"{detail}; do two rules answer each other?", lasting=True)
    return Verdict(follow_ups=follow_ups, resolutions=resolutions)


def _check_resolution(rule: Rule, event: Event, wanted: Resolve) -> None:
    if (wanted.how == "answer") is not (wanted.message is not None):
        raise RuleFailed(
            f"{rule.name} gave a message with {wanted.how!r}: an answer has one, and nothing else", lasting=True
        )
    attempts = 0 if event.exception is None else event.exception.attempt
    if wanted.how == "retry" and attempts >= RULE_ATTEMPTS_MAX:
        detail = (
            f"{rule.name} would let it be tried again after {attempts} attempts and {RULE_ATTEMPTS_MAX} are allowed"
        )
        raise RuleFailed(f"{detail}; skip it, answer it, or leave it to a person", lasting=True)


def _checked(rule: Rule, version: int, trigger: Trigger, envelope: Any, ordinal: int) -> Envelope:
    """A follow-up with what every follow-up has: an id that can be repeated, its sender and its cause."""
    if not isinstance(envelope, Envelope):
        raise RuleFailed(
            f"{rule.name} yielded {type(envelope).__name__}: yield messages, as in credit.create(...)", lasting=True
        )
    own = trigger.shard
    if envelope.id is not None or envelope.cause is not None or envelope.sender not in (None, own):
        raise RuleFailed(
            f"{rule.name} gave a message an id, a cause or a sender of its own: a follow-up gets them from its record",
            lasting=True,
        )
    errors = tuple(offences(envelope))
    if errors:
        raise RuleFailed(f"{rule.name} made a message that nobody takes: {errors[0].pointer} {errors[0].detail}")
    try:
        body_value(envelope)
    except (Refused, UnicodeEncodeError) as error:
        raise RuleFailed(f"{rule.name} made a message with a body that nobody takes: {error}") from error
    return msgspec.structs.replace(
        envelope,
        id=derived_id(trigger.message_id, rule.name, str(version), str(ordinal)),
        sender=None if envelope.to == own else own,
        cause=trigger.moment,
        correlation=envelope.correlation or trigger.correlation,
    )


def addressed(verdict: Verdict, departments: Container[int], rule: str) -> Verdict:
    """The verdict, or a failure where it has a message for a department that is not there."""
    answers = [each.message for each in verdict.resolutions if each.message is not None]
    for each in (*verdict.follow_ups, *answers):
        if each.to not in departments and each.to != CONTROL:
            return Verdict(failure=Failure(f"{rule} made a message to department {each.to}, which is not there"))
    return verdict


def _described(error: BaseException) -> str:
    """An error and the place in the rule's code that it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    try:
        text = str(error)[:500]
    except Exception:  # outermost: the rule's own code again; the error's name and its place are left to tell
        text = ""
    return f"{type(error).__name__}{': ' if text else ''}{text} (in {last.name}, line {last.lineno})"
