"""Steps of a rule: what is appended for records and verdicts, and where the marks go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.event import Resolve, Trigger
from peaceriver.limits import RETRY_PAUSES_S
from peaceriver.message import Envelope, derived_id
from peaceriver.shard.exceptions import resolved, state_of
from peaceriver.shard.journal import Mark, type_and_id
from peaceriver.shard.proposal import ExceptionEntry, Proposal
from peaceriver.shard.steps import (
    Plan,
    Stand,
    anew,
    empty_plan,
    go_on,
    is_behind,
    parked_key,
    reader_behind,
    reader_of,
    step,
    wish_of,
)
from peaceriver.verdict import NOTHING, Failure, Verdict
from tests.unit.triggers import trigger

STAND = Stand(shard=100, rule="weigh", version=2, mark=0)
NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
BROKEN = Verdict(failure=Failure("weigh raised KeyError"))
HOPELESS = Verdict(failure=Failure("weigh yielded int", lasting=True))


def says(*ordinals: int) -> Verdict:
    """A verdict with follow-ups that can be told apart."""
    return Verdict(
        follow_ups=[
            Envelope(
                to=110, actor_type="Note", actor_id=str(each), action="create", id=UUID(int=1000 + each), sender=100
            )
            for each in ordinals
        ]
    )


def nobody(wanted: Resolve, record: Trigger) -> Proposal | None:
    raise AssertionError("no verdict resolves anything here")


def stepped(
    records: list[Trigger],
    verdicts: dict[int, Verdict],
    *,
    parked: tuple[type_and_id, ...] = (),
    known: tuple[ExceptionEntry, ...] = (),
    resolving: Callable[[Resolve, Trigger], Proposal | None] = nobody,
) -> Plan:
    states = {each.id: state_of(each, 50) for each in known}
    return step(STAND, records, verdicts, parked=parked, known=states, resolving=resolving, now=NOW)


def went_on(
    records: list[Trigger], verdicts: list[Verdict], tried: ExceptionEntry | None = None, *, is_all: bool = True
) -> Plan:
    return go_on(STAND, records, verdicts, tried, known={}, is_all=is_all, resolving=nobody, now=NOW)


def made(plan: Plan) -> list[str | None]:
    """Which follow-ups, in order."""
    return [each.envelope.actor_id for each in plan.wishes]


def marked(plan: Plan) -> list[tuple[str, int, bool]]:
    return [(each.reader, each.position, each.ended) for each in plan.marks]


def told(plan: Plan) -> list[tuple[str, int, str]]:
    return [(each.actor_id, each.attempt, each.state) for each in plan.exceptions]


A, B = ("Parcel", "a"), ("Parcel", "b")
BEHIND_A, BEHIND_B = "rule:weigh:Parcel/a", "rule:weigh:Parcel/b"


def of(actor: str, position: int, **more: Any) -> Trigger:
    return trigger(f"Parcel/{actor}", "modify", position=position, **more)


def opened(record: Trigger, verdict: Verdict = BROKEN) -> ExceptionEntry:
    """The exception that a record becomes where the rule fails at it."""
    (entry,) = stepped([record], {record.position: verdict}).exceptions
    return entry


# --- marks' names

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,62}", fullmatch=True)


@given(rule=names, other=names, actor_type=names, actor_id=st.text(min_size=1, max_size=30))
def test_a_mark_of_a_parked_actor_tells_whose_it_is(rule: str, other: str, actor_type: str, actor_id: str) -> None:
    reader = reader_behind(rule, (actor_type, actor_id))
    assert parked_key(rule, reader) == (actor_type, actor_id)
    assert is_behind(reader)
    assert other == rule or parked_key(other, reader) is None
    assert parked_key(rule, reader_of(rule)) is None
    assert not is_behind(reader_of(rule))
    assert not is_behind(f"view:{actor_id}")


# --- a step


def test_a_step_makes_what_the_verdicts_say_in_order_and_moves_the_mark_to_the_last_record() -> None:
    plan = stepped([of("a", 3), of("b", 5), of("a", 9)], {3: says(1, 2), 5: NOTHING, 9: says(3)})
    assert made(plan) == ["1", "2", "3"]
    assert plan.marks == [Mark("rule:weigh", 100, 9, of("a", 9).chain)]
    assert plan.exceptions == []
    assert plan.last is not None
    assert plan.last.position == 9
    assert not plan.idle


def test_a_step_that_leads_to_nothing_is_idle_and_still_knows_how_far_it_came() -> None:
    plan = stepped([of("a", 3), of("b", 5)], {3: NOTHING, 5: NOTHING})
    assert plan.idle
    assert marked(plan) == [("rule:weigh", 5, False)]
    assert stepped([], {}) == empty_plan()


def test_without_a_verdict_a_step_ends_before_that_record() -> None:
    plan = stepped([of("a", 3), of("b", 5), of("a", 9)], {3: says(1), 9: says(2)})
    assert made(plan) == ["1"]
    assert marked(plan) == [("rule:weigh", 3, False)]
    nothing = stepped([of("a", 3)], {})
    assert nothing == empty_plan()
    assert nothing.last is None


def test_where_the_rule_fails_the_actor_is_parked_before_the_record_and_others_go_on() -> None:
    records = [of("a", 3), of("b", 4), of("a", 5), of("b", 6)]
    plan = stepped(records, {3: BROKEN, 4: says(1), 5: says(2), 6: says(3)})
    assert made(plan) == ["1", "3"], "what the parked actor has later waits in order"
    assert told(plan) == [("a", 1, "open")]
    assert marked(plan) == [(BEHIND_A, 2, False), ("rule:weigh", 6, False)]
    assert not plan.idle


def test_each_actor_is_parked_at_its_first_failure() -> None:
    records = [of("a", 3), of("a", 4), of("b", 5), of("b", 6)]
    plan = stepped(records, {3: NOTHING, 4: BROKEN, 5: HOPELESS, 6: BROKEN})
    assert told(plan) == [("a", 1, "open"), ("b", 1, "open")]
    assert marked(plan) == [(BEHIND_A, 3, False), (BEHIND_B, 4, False), ("rule:weigh", 6, False)]


def test_records_of_parked_actors_are_left_to_them_without_a_verdict() -> None:
    plan = stepped([of("a", 3), of("b", 4), of("a", 5)], {4: says(1)}, parked=(A,))
    assert made(plan) == ["1"]
    assert marked(plan) == [("rule:weigh", 5, False)]


def test_actors_of_different_types_with_one_id_do_not_wait_for_each_other() -> None:
    crate = trigger("Crate/a", position=4)
    plan = stepped([of("a", 3), crate], {3: BROKEN, 4: says(1)})
    assert made(plan) == ["1"]


def test_an_exception_says_what_it_is_about() -> None:
    record = of("a", 3, correlation="case", principal="ada", trace="t", hops=4, root=UUID(int=9))
    entry = opened(record)
    assert entry.id == derived_id(UUID(int=3), "rule", "weigh") == entry.record_id
    assert (entry.rule, entry.rule_version, entry.source_position) == ("weigh", 2, 3)
    assert (entry.cause, entry.root, entry.hops) == (record.moment, UUID(int=9), 5)
    assert (entry.correlation, entry.principal, entry.trace) == ("case", "ada", "t")
    assert (entry.action, entry.message_type) == ("modify", "Parcel.modify")
    assert entry.message is None
    assert entry.problem is not None
    assert entry.problem["detail"] == "weigh raised KeyError"
    assert entry.problem["type"] == "/problems/rule-failed"


def test_what_an_earlier_run_opened_is_not_opened_again() -> None:
    record = of("a", 3)
    still_open = stepped([record, of("a", 4)], {3: BROKEN, 4: says(1)}, known=(opened(record),))
    assert still_open.exceptions == []
    assert made(still_open) == []
    assert marked(still_open) == [(BEHIND_A, 2, False), ("rule:weigh", 4, False)]
    dealt_with = stepped([record, of("a", 4)], {3: BROKEN, 4: says(1)}, known=(resolved(opened(record), "skipped"),))
    assert dealt_with.exceptions == []
    assert made(dealt_with) == ["1"]
    assert marked(dealt_with) == [("rule:weigh", 4, False)]


def test_what_resolves_an_exception_becomes_part_of_the_step() -> None:
    about = opened(of("b", 1))
    part = Proposal(
        exceptions=(resolved(about, "skipped"),),
        marks=(Mark(BEHIND_B, 100, 1, b""),),
        expecting=((BEHIND_B, 100, 0),),
    )
    asked: list[tuple[Resolve, int]] = []

    def resolving(wanted: Resolve, record: Trigger) -> Proposal | None:
        asked.append((wanted, record.position))
        return part if len(asked) == 1 else None  # the second time it is resolved already

    wanted = Resolve("skip", about.id)
    verdicts = {3: Verdict(resolutions=[wanted]), 4: Verdict(resolutions=[wanted])}
    plan = stepped([of("a", 3), of("a", 4)], verdicts, resolving=resolving)
    assert asked == [(wanted, 3), (wanted, 4)]
    assert told(plan) == [("b", 1, "skipped")]
    assert marked(plan) == [(BEHIND_B, 1, False), ("rule:weigh", 4, False)]
    unit = plan.proposal(("rule:weigh", 100, 0))
    assert unit.expecting == (("rule:weigh", 100, 0), (BEHIND_B, 100, 0))
    assert (unit.exceptions, unit.marks, unit.atomic) == (tuple(plan.exceptions), tuple(plan.marks), False)


# --- when it is tried again


@pytest.mark.parametrize("failed", [BROKEN, HOPELESS])
def test_a_failure_is_tried_again_by_itself_unless_it_would_fail_again(failed: Verdict) -> None:
    first = None if failed is HOPELESS else NOW + timedelta(seconds=RETRY_PAUSES_S[0])
    assert opened(of("a", 3), failed).retry_at == first


def test_pauses_grow_and_then_it_waits_for_somebody() -> None:
    entry, record = opened(of("a", 3)), of("a", 3)
    pauses = [entry.retry_at]
    for attempt in range(2, len(RETRY_PAUSES_S) + 3):
        (entry,) = went_on([record], [BROKEN], entry).exceptions
        assert (entry.attempt, entry.state) == (attempt, "open")
        pauses.append(entry.retry_at)
    expected = [NOW + timedelta(seconds=each) for each in RETRY_PAUSES_S]
    assert pauses == [*expected, None, None]


# --- what waits behind an exception


def test_after_a_retry_what_waits_goes_on_until_nothing_is_left() -> None:
    entry, records = opened(of("a", 3)), [of("a", 3), of("a", 5), of("a", 8)]
    plan = went_on(records, [says(1), NOTHING, says(2)], entry)
    assert made(plan) == ["1", "2"]
    assert told(plan) == [("a", 2, "retried")]
    assert marked(plan) == [(BEHIND_A, 8, True)]


def test_there_is_more_where_not_everything_was_read_or_asked_about() -> None:
    records = [of("a", 3), of("a", 5)]
    assert marked(went_on(records, [says(1), says(2)], is_all=False)) == [(BEHIND_A, 5, False)]
    assert marked(went_on(records, [says(1)])) == [(BEHIND_A, 3, False)]


def test_where_it_fails_again_nothing_moves_but_the_attempt() -> None:
    entry = msgspec.structs.replace(opened(of("a", 3)), asked=True)
    plan = went_on([of("a", 3)], [HOPELESS], entry)
    assert made(plan) == []
    assert plan.marks == []
    (again,) = plan.exceptions
    assert (again.id, again.attempt, again.asked, again.retry_at) == (entry.id, 2, False, None)
    assert again.problem is not None
    assert again.problem["detail"] == "weigh yielded int"
    assert again.record_id != entry.record_id


def test_where_it_fails_further_on_the_next_exception_is_opened_and_the_rest_waits_there() -> None:
    entry = opened(of("a", 3))
    plan = went_on([of("a", 3), of("a", 5), of("a", 8)], [says(1), BROKEN, says(2)], entry)
    assert made(plan) == ["1"]
    assert told(plan) == [("a", 2, "retried"), ("a", 1, "open")]
    assert plan.exceptions[1].source_position == 5
    assert marked(plan) == [(BEHIND_A, 3, False)]


def test_what_was_skipped_lets_the_rest_go_on_without_a_word() -> None:
    plan = went_on([of("a", 5)], [says(1)])
    assert told(plan) == []
    assert marked(plan) == [(BEHIND_A, 5, True)]


# --- wishes


def test_a_follow_up_carries_where_it_is_from() -> None:
    record = of("a", 3, principal="ada", trace="t", hops=4, root=UUID(int=9))
    envelope = says(1).follow_ups[0]
    wish = wish_of(STAND, record, envelope)
    assert (wish.id, wish.envelope, wish.kind) == (envelope.id, envelope, "sent")
    assert (wish.rule, wish.rule_version, wish.hops) == ("weigh", 2, 5)
    assert (wish.root, wish.principal, wish.trace, wish.received_time) == (UUID(int=9), "ada", "t", record.stamp)
    assert wish.records_refusal
    assert wish_of(STAND, record, msgspec.structs.replace(envelope, to=100, sender=None)).kind == "received"
    assert wish_of(STAND, record, msgspec.structs.replace(envelope, due=NOW)).kind == "timer"


# --- the invariant


@given(
    actors=st.lists(st.sampled_from("abc"), max_size=12),
    outcomes=st.lists(st.sampled_from([NOTHING, BROKEN, HOPELESS, None]), min_size=12, max_size=12),
    parked=st.sets(st.sampled_from("abc")),
)
def test_no_mark_ever_passes_what_was_not_acted_on(
    actors: list[str], outcomes: list[Verdict | None], parked: set[str]
) -> None:
    records = [of(actor, position) for position, actor in enumerate(actors, start=1)]
    # Each record that is acted on makes a message named after it.
    verdicts = {
        position: says(position) if outcome is NOTHING else outcome
        for position, outcome in enumerate(outcomes, start=1)
        if outcome is not None
    }
    plan = stepped(records, verdicts, parked=tuple(("Parcel", each) for each in parked))
    acted = {int(each or 0) for each in made(plan)}
    behind = {parked_key("weigh", each.reader): each.position for each in plan.marks if is_behind(each.reader)}
    until = 0 if plan.last is None else plan.last.position
    for record in records:
        if record.position <= until and record.position not in acted:
            mark = behind.get(record.key)
            assert record.actor_id in parked or (mark is not None and mark < record.position)
        if record.position in acted:
            assert record.position <= until
            assert record.position <= behind.get(record.key, until)


def test_who_waits_for_nobody_acts_anew_where_the_rule_was_moved_before_that_and_is_gone_on_with_elsewhere() -> None:
    stand = msgspec.structs.replace(STAND, mark=5)
    free = {("Parcel", "before"): 4, ("Parcel", "at"): 5, ("Parcel", "behind"): 6}
    plan = anew(stand, free)
    assert plan.marks == [stand.behind(("Parcel", each), free["Parcel", each], ended=True) for each in ("at", "behind")]
    assert plan.expecting == [
        (reader_behind("weigh", ("Parcel", each)), 100, free["Parcel", each]) for each in ("at", "behind")
    ]
    assert anew(stand, {}).marks == []
