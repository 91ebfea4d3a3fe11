"""Swim lanes as text: departments side by side, time going down, an arrow for whatever one hands over to another. Pure.

    time          Sales             Credit
    09:41:07.120  * Order.create
    09:41:07.131  ask_credit -----> AskCredit
    09:41:07.140  Approve <-------- answer

A hand-over is one line: where it comes from stands the rule that sent it, where it arrives the message type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

#: What came from outside, and the shaft and the heads of arrows; a hollow head has not arrived yet.
OUTSIDE: Final = "●"
FAILED: Final = "✗"
DONE: Final = "✓"
_SHAFT: Final = "─"
_TIME: Final = "time"
_TIME_LETTERS: Final = len("09:41:07.120")
#: Between two lanes, at least: room for an arrow.
_GAP_LETTERS: Final = 3

Shown = Mapping[str, Any]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line: what happened in a lane, and from which lane it came."""

    at: str
    lane: int
    label: str
    #: The lane that handed it over, and what stands there; None where it stayed in its lane.
    source: int | None = None
    source_label: str = ""
    arrived: bool = True


def lines(records: Iterable[Shown], departments: Mapping[int, str]) -> list[str]:
    """Records, as the API shows them and in any order, as lines below a line of departments.

    A lane for each department that takes part, by sharding code. Marks and ticks of the system are left out.
    """
    steps = steps_of(records)
    codes = sorted({each.lane for each in steps} | {each.source for each in steps if each.source is not None})
    names = {code: departments.get(code, str(code)) for code in codes}
    starts = _starts(codes, names, steps)
    head = _placed([(0, _TIME), *((starts[code], names[code]) for code in codes)])
    return [head, *(_line(each, starts) for each in steps)]


def steps_of(records: Iterable[Shown]) -> list[Step]:
    """What happened, in the order of the stamps. A message that was sent and has arrived is one step."""
    ordered = sorted(records, key=lambda each: str(each["stamp"]))
    arrived = {each["id"] for each in ordered if each["kind"] == "received"}
    arrived |= {_refused_id(each) for each in ordered if each["kind"] == "exception"}
    steps: list[Step] = []
    for each in ordered:
        match each["kind"]:
            case "received":
                steps.append(_received(each))
            case "sent" if each["id"] not in arrived:
                steps.append(_handed_over(each, each["to"], str(each["type"]), arrived=False))
            case "exception":
                steps.append(_exception(each))
            case "timer":
                steps.append(Step(at=_time(each), lane=each["shard"], label=f"{each['type']} (due later)"))
    return steps


def _received(record: Shown) -> Step:
    label = str(record["type"])
    if record["from"] is not None and record["from"] != record["shard"]:
        return _handed_over(record, record["shard"], label, arrived=True)
    label = f"{OUTSIDE} {label}" if record["rule"] is None else f"{label} ({record['rule']})"
    return Step(at=_time(record), lane=record["shard"], label=label)


def _handed_over(record: Shown, lane: int, label: str, *, arrived: bool) -> Step:
    return Step(
        at=_time(record),
        lane=lane,
        label=label,
        source=record["from"],
        source_label=str(record["rule"] or OUTSIDE),
        arrived=arrived,
    )


def _exception(record: Shown) -> Step:
    body = record["body"]
    state = "asked" if body.get("asked") else "failed" if "problem" in body else body["state"]
    label = f"{FAILED if state == 'failed' else DONE} {body.get('rule', record['type'])} {state}"
    if _refused_id(record) is not None and record["from"] not in (None, record["shard"]):
        return _handed_over(record, record["shard"], label, arrived=True)
    return Step(at=_time(record), lane=record["shard"], label=label)


def _refused_id(record: Shown) -> Any:
    """The id of the message that was refused; None where a rule could not act."""
    message = record["body"].get("message")
    return None if message is None else message["id"]


def _time(record: Shown) -> str:
    return str(record["recorded_at"])[11 : 11 + _TIME_LETTERS]


def _starts(codes: Sequence[int], names: Mapping[int, str], steps: Sequence[Step]) -> dict[int, int]:
    """The column at which each lane begins: as wide as the longest of what stands in it."""
    letters = {code: len(name) for code, name in names.items()}
    for each in steps:
        letters[each.lane] = max(letters[each.lane], len(each.label))
        if each.source is not None:
            letters[each.source] = max(letters[each.source], len(each.source_label))
    starts: dict[int, int] = {}
    column = _TIME_LETTERS + 2
    for code in codes:
        starts[code] = column
        column += letters[code] + _GAP_LETTERS
    return starts


def _line(step: Step, starts: Mapping[int, int]) -> str:
    here = starts[step.lane]
    if step.source is None:
        return _placed([(0, step.at), (here, step.label)])
    there = starts[step.source]
    if there < here:
        begin, end = there + len(step.source_label) + 1, here - 1
        shaft = _SHAFT * (end - begin - 1) + ("▶" if step.arrived else "▷")
        return _placed([(0, step.at), (there, step.source_label), (begin, shaft), (here, step.label)])
    begin = here + len(step.label) + 1
    shaft = ("◀" if step.arrived else "◁") + _SHAFT * (there - 1 - begin - 1)
    return _placed([(0, step.at), (here, step.label), (begin, shaft), (there, step.source_label)])


def _placed(parts: Iterable[tuple[int, str]]) -> str:
    """Texts at their columns."""
    line = ""
    for column, text in parts:
        line = line.ljust(column) + text
    return line
