"""What a step of a rule appends: follow-ups, exceptions and marks as one unit. Pure.

A rule has a mark in its department. An actor that the rule could not act on is *parked*: it has a mark of its own,
behind the rule's, until what waits for it is acted on as well.

Invariant: a rule's mark never passes a record that it has not acted on, unless the record's actor is parked; and the
mark of a parked actor never passes a record of it that the rule has not acted on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from peaceriver.errors import RuleFailed
from peaceriver.event import Resolve, Trigger
from peaceriver.limits import RETRY_PAUSES_S
from peaceriver.message import Envelope, derived_id
from peaceriver.shard.exceptions import failed_again, resolved
from peaceriver.shard.journal import ExceptionState, Mark, type_and_id
from peaceriver.shard.proposal import ExceptionEntry, Proposal, Wish, kind_of
from peaceriver.verdict import Failure, Verdict

_PREFIX = "rule:"


def reader_of(rule: str) -> str:
    """The name of a rule's mark."""
    return f"{_PREFIX}{rule}"


def reader_behind(rule: str, key: type_and_id) -> str:
    """The name of the mark of an actor that waits behind an exception of a rule."""
    return f"{_PREFIX}{rule}:{key[0]}/{key[1]}"


def is_behind(reader: str) -> bool:
    """Whether a mark is one of an actor that waits behind an exception."""
    return reader.startswith(_PREFIX) and ":" in reader.removeprefix(_PREFIX)


def parked_key(rule: str, reader: str) -> type_and_id | None:
    """Whose mark it is, if it is one of an actor that waits for this rule."""
    prefix = f"{_PREFIX}{rule}:"
    if not reader.startswith(prefix):
        return None
    actor_type, _, actor_id = reader.removeprefix(prefix).partition("/")
    return actor_type, actor_id


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """Which rule acts, and where its mark is."""

    shard: int
    rule: str
    version: int
    mark: int
    #: It looks at exceptions.
    mends: bool = False

    def at(self, trigger: Trigger) -> Mark:
        """The rule's mark at a record that it has acted on."""
        return Mark(reader_of(self.rule), self.shard, trigger.position, trigger.chain)

    def behind(self, key: type_and_id, position: int, *, ended: bool = False) -> Mark:
        """The mark of a parked actor."""
        return Mark(reader_behind(self.rule, key), self.shard, position, b"", ended)


class Plan(msgspec.Struct, kw_only=True):
    """What one step comes to."""

    wishes: list[Wish]
    exceptions: list[ExceptionEntry]
    marks: list[Mark]
    #: Where other marks that it moves must stand.
    expecting: list[tuple[str, int, int]]
    #: The last record that was acted on, or whose actor is parked; None where there was none.
    last: Trigger | None = None
    #: The open exception that it stopped before, opened in an earlier run; None where there was none.
    behind: ExceptionState | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing comes of it but that the rule's own mark may move."""
        return not (self.wishes or self.exceptions or len(self.marks) > 1)

    def reached(self, triggers: Sequence[Trigger], passed: int) -> int:
        """Up to where nothing is left to do: ``passed``, unless the step got no further than one of the triggers."""
        if not triggers or self.last is triggers[-1]:
            return passed
        assert self.last is not None, "a rule is always asked about its first record"
        return self.last.position

    def add(self, part: Proposal | None) -> None:
        """Take in what resolves an exception."""
        if part is not None:
            self.wishes.extend(part.wishes)
            self.exceptions.extend(part.exceptions)
            self.marks.extend(part.marks)
            self.expecting.extend(part.expecting)

    def proposal(self, own: tuple[str, int, int]) -> Proposal:
        """The unit that is appended, where the mark that it moves on is still as in ``own``."""
        return Proposal(
            wishes=tuple(self.wishes),
            exceptions=tuple(self.exceptions),
            marks=tuple(self.marks),
            expecting=(own, *self.expecting),
        )


def empty_plan() -> Plan:
    return Plan(wishes=[], exceptions=[], marks=[], expecting=[])


def step(
    stand: Stand,
    triggers: Sequence[Trigger],
    verdicts: Mapping[int, Verdict],
    *,
    parked: Collection[type_and_id],
    known: Mapping[UUID, ExceptionState],
    resolving: Callable[[Resolve, Trigger], Proposal | None],
    now: datetime,
) -> Plan:
    """Act on records in order, as far as there are verdicts (by position).

    Records of a parked actor are left to it, and so are those behind the first that the rule fails at in this step.
    ``known`` are exceptions that an earlier run of the same rule over the same records opened: one that is resolved
    was dealt with, and is not opened again. ``resolving`` says what is appended where the rule resolves an exception;
    None where that is resolved already.
    """
    plan = empty_plan()
    waiting = set(parked)
    for trigger in triggers:
        if trigger.key not in waiting:
            verdict = verdicts.get(trigger.position)
            if verdict is None:
                break
            if verdict.failure is None:
                plan.wishes.extend(wish_of(stand, trigger, each) for each in verdict.follow_ups)
                for each in verdict.resolutions:
                    plan.add(resolving(each, trigger))
            elif (entry := _opened(stand, trigger, verdict.failure, now)).id not in known:
                waiting.add(trigger.key)
                plan.exceptions.append(entry)
                plan.marks.append(stand.behind(trigger.key, trigger.position - 1))
            elif known[entry.id].state == "open":
                waiting.add(trigger.key)
                plan.marks.append(stand.behind(trigger.key, trigger.position - 1))
        plan.last = trigger
    if plan.last is not None:
        plan.marks.append(stand.at(plan.last))
    return plan


def go_on(
    stand: Stand,
    triggers: Sequence[Trigger],
    verdicts: Sequence[Verdict],
    tried: ExceptionEntry | None,
    *,
    known: Mapping[UUID, ExceptionState],
    is_all: bool,
    resolving: Callable[[Resolve, Trigger], Proposal | None],
    now: datetime,
) -> Plan:
    """Act on what waits behind an exception, in order, until the rule fails again or nothing waits any more.

    ``tried``: the exception that the first record is; None where it was resolved. ``known``: as for ``step``.
    ``is_all``: behind ``triggers`` nothing waits.
    """
    plan = empty_plan()
    for number, (trigger, verdict) in enumerate(zip(triggers, verdicts, strict=False)):
        again = tried if number == 0 else None
        if verdict.failure is not None:
            entry = _opened(stand, trigger, verdict.failure, now)
            if again is None and entry.id in known and known[entry.id].state != "open":
                plan.last = trigger
                continue
            if again is None and entry.id in known:
                plan.behind = known[entry.id]
            else:
                plan.exceptions.append(entry if again is None else _failed_again(again, verdict.failure, now))
            break
        plan.wishes.extend(wish_of(stand, trigger, each) for each in verdict.follow_ups)
        for each in verdict.resolutions:
            plan.add(resolving(each, trigger))
        if again is not None:
            plan.exceptions.append(resolved(again, "retried"))
        plan.last = trigger
    if plan.last is not None:
        is_done = is_all and plan.last is triggers[-1]
        plan.marks.append(stand.behind(plan.last.key, plan.last.position, ended=is_done))
    return plan


def not_looked_at(stand: Stand, tried: ExceptionEntry, now: datetime) -> Plan:
    """An attempt at a record that the rule does not look at any more: in vain, and somebody has to say what to do."""
    plan = empty_plan()
    detail = f"{stand.rule} waits for other events now and does not look at this one: skip it, or answer it"
    plan.exceptions.append(_failed_again(tried, Failure(detail, lasting=True), now))
    return plan


def anew(stand: Stand, free: Mapping[type_and_id, int]) -> Plan:
    """Let actors that wait behind no exception any more, by where their marks are, act anew with all others.

    The rule acts from its mark on, which was moved; where that is beyond an actor's own, only the actor's own mark says
    what is still to be done for it: it stays parked, and is gone on with.
    """
    plan = empty_plan()
    for key, position in free.items():
        if stand.mark <= position:
            plan.marks.append(stand.behind(key, position, ended=True))
            plan.expecting.append((reader_behind(stand.rule, key), stand.shard, position))
    return plan


def wish_of(stand: Stand, trigger: Trigger, envelope: Envelope) -> Wish:
    """A follow-up at the door of the rule's own department, which records it first."""
    assert envelope.id is not None, "a verdict gives every follow-up its id"
    return Wish(
        id=envelope.id,
        envelope=envelope,
        kind=kind_of(envelope),
        root=trigger.root,
        principal=trigger.principal,
        trace=trigger.trace,
        hops=trigger.hops + 1,
        rule=stand.rule,
        rule_version=stand.version,
        received_time=trigger.stamp,
        records_refusal=True,
    )


def _opened(stand: Stand, trigger: Trigger, failure: Failure, now: datetime) -> ExceptionEntry:
    return ExceptionEntry(
        id=derived_id(trigger.message_id, "rule", stand.rule),
        state="open",
        attempt=1,
        retry_at=_retry_at(1, failure, now),
        actor_type=trigger.actor_type,
        actor_id=trigger.actor_id,
        action=trigger.action,
        message_type=trigger.message_type,
        cause=trigger.moment,
        root=trigger.root,
        correlation=trigger.correlation,
        principal=trigger.principal,
        trace=trigger.trace,
        hops=trigger.hops + 1,
        rule=stand.rule,
        rule_version=stand.version,
        source_position=trigger.position,
        at_exception=stand.mends,
        problem=_problem(failure),
    )


def _failed_again(tried: ExceptionEntry, failure: Failure, now: datetime) -> ExceptionEntry:
    return failed_again(tried, _problem(failure), retry_at=_retry_at(tried.attempt + 1, failure, now))


def _problem(failure: Failure) -> dict[str, Any]:
    return RuleFailed(failure.detail).problem()


def _retry_at(attempt: int, failure: Failure, now: datetime) -> datetime | None:
    """When a failed attempt is followed by another one by itself; None: when somebody asks for it."""
    if failure.lasting or attempt > len(RETRY_PAUSES_S):
        return None
    return now + timedelta(seconds=RETRY_PAUSES_S[attempt - 1])
