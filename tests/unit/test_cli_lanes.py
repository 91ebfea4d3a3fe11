"""Swim lanes as text: what is shown of records, and where."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peaceriver.cli.lanes import lines

NAMES = {100: "Sales", 110: "Credit", 120: "Warehouse"}


def record(number: int, shard: int, kind: str, type: str, **members: Any) -> dict[str, Any]:
    usual = {"from": None, "to": shard, "rule": None, "id": str(number), "body": {}}
    return (
        usual
        | {
            "stamp": f"{number:020}.{shard}",
            "recorded_at": f"2026-11-24T09:41:07.{number:03}000Z",
            "shard": shard,
            "kind": kind,
            "type": type,
        }
        | members
    )


def sent(number: int, way: tuple[int, int], type: str, rule: str | None, id: str) -> dict[str, Any]:
    return record(number, way[0], "sent", type, **{"from": way[0], "to": way[1]}, rule=rule, id=id)


def received(number: int, way: tuple[int, int], type: str, rule: str | None, id: str) -> dict[str, Any]:
    return record(number, way[1], "received", type, **{"from": way[0], "to": way[1]}, rule=rule, id=id)


WAY = [
    record(120, 100, "received", "Order.create"),
    sent(125, (100, 110), "AskCredit", "ask_credit", "a"),
    received(131, (100, 110), "AskCredit", "ask_credit", "a"),
    sent(135, (110, 100), "Approve", "decide", "b"),
    received(140, (110, 100), "Approve", "decide", "b"),
    sent(150, (100, 120), "Reserve", "proceed", "c"),
]


def test_what_is_handed_over_is_an_arrow_from_its_rule_to_what_it_is() -> None:
    assert lines(WAY, NAMES) == [
        "time          Sales            Credit      Warehouse",
        "09:41:07.120  ● Order.create",
        "09:41:07.131  ask_credit ────▶ AskCredit",
        "09:41:07.140  Approve ◀─────── decide",
        "09:41:07.150  proceed ───────────────────▷ Reserve",
    ]


def test_the_order_of_the_records_does_not_matter() -> None:
    assert lines(reversed(WAY), NAMES) == lines(WAY, NAMES)


def test_what_a_department_tells_itself_stays_in_its_lane() -> None:
    own = record(1, 100, "received", "Remind", rule="remind")
    later = record(2, 100, "timer", "Escalate", rule="remind")
    assert lines([own, later], NAMES)[1:] == [
        "09:41:07.001  Remind (remind)",
        "09:41:07.002  Escalate (due later)",
    ]


def test_exceptions_say_what_failed_and_what_became_of_it() -> None:
    failed = {"exception": "x", "rule": "decide", "state": "open", "problem": {"title": "Rule failed"}}
    answered = {"exception": "x", "rule": "decide", "state": "answered"}
    asked = {"exception": "x", "rule": "decide", "state": "open", "asked": True}
    told = [
        record(1, 110, "exception", "AskCredit", rule="decide", body=failed),
        record(2, 110, "exception", "AskCredit", rule="decide", body=asked),
        record(3, 110, "exception", "AskCredit", rule="decide", body=answered),
    ]
    assert [each[14:] for each in lines(told, NAMES)[1:]] == ["✗ decide failed", "✓ decide asked", "✓ decide answered"]


def test_a_message_that_was_refused_where_it_arrived_has_arrived() -> None:
    body = {"exception": "x", "state": "open", "problem": {"title": "Conflict"}, "message": {"id": "a"}}
    told = [
        *WAY[:2],
        record(130, 110, "exception", "AskCredit", body=body, rule="ask_credit", **{"from": 100, "to": 110}),
    ]
    assert [each[14:] for each in lines(told, NAMES)[2:]] == ["ask_credit ────▶ ✗ AskCredit failed"]


def test_a_department_without_a_name_is_shown_by_its_code() -> None:
    assert lines([record(1, 999, "received", "Order.create")], NAMES)[0].split() == ["time", "999"]


def test_marks_and_ticks_are_nobodys_work() -> None:
    assert lines([record(1, 100, "mark", "x"), record(2, 100, "tick", "x")], NAMES) == ["time"]


@given(
    ways=st.lists(
        st.tuples(st.sampled_from(list(NAMES)), st.sampled_from(list(NAMES)), st.text("abc", min_size=1)), max_size=9
    )
)
def test_whatever_is_handed_over_stands_below_its_departments(ways: list[tuple[int, int, str]]) -> None:
    there = [way for way in ways if way[0] != way[1]]
    told = [received(number, (way[0], way[1]), way[2], "rule", str(number)) for number, way in enumerate(there)]
    head, *steps = lines(told, NAMES)
    for line, (source, receiver, type) in zip(steps, there, strict=True):
        for code, text in ((source, "rule"), (receiver, type)):
            column = head.index(NAMES[code])
            assert line[column:].startswith(text)
            assert line[column - 1] == " "
