"""A log file becomes events, and events become messages that can be sent again without being recorded again."""

from __future__ import annotations

import csv
import gzip
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver import jsontext
from peaceriver.errors import Invalid
from peaceriver.imports import Columns, Event, ImportPlan, PlannedMessage, plan_import, read_log
from peaceriver.imports import csv_log as csv_reader
from peaceriver.imports import xes_log as xes_reader
from peaceriver.imports.events import LINE_BYTES_MAX
from peaceriver.limits import NAME_LETTERS_MAX
from peaceriver.message import offences
from peaceriver.stamp import Stamp

RECEIPTS = Path(__file__).parents[2] / "../shared/data/receipt.csv"
HEADER = "case:concept:name,concept:name,time:timestamp,org:group"
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def csv_events(path: Path, text: str | bytes, columns: Columns | None = None) -> list[Event]:
    file = path / "log.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_log(file, "csv", columns or Columns()))


def xes_events(path: Path, traces: str, columns: Columns | None = None) -> list[Event]:
    file = path / "log.xes"
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<log xes.version="2.0" xmlns="http://www.xes-standard.org/">\n'
    file.write_text(f"{head}{traces}</log>\n", encoding="utf-8")
    return list(read_log(file, "xes", columns or Columns()))


def xes_event(activity: str = "Ask", time: str = "2026-11-22T09:00:00Z", more: str = "") -> str:
    named = f'<string key="concept:name" value={quoteattr(activity)}/>'
    return f'<event>{named}<date key="time:timestamp" value="{time}"/>{more}</event>'


def xes_trace(*inside: str, case: str = "c1") -> str:
    return f'<trace><string key="concept:name" value="{case}"/>{"".join(inside)}</trace>\n'


def happened(case: str, activity: str, department: str | None, minute: int, **more: str) -> Event:
    time = START + timedelta(minutes=minute)
    columns = {"case": case, "activity": activity, "time": time.isoformat()} | more
    return Event(case=case, activity=activity, time=time, department=department, attributes=columns, line=2 + minute)


def planned(*events: Event, departments: dict[str, int] | None = None) -> ImportPlan:
    return plan_import(events, departments or {}, default_department="log")


def told(messages: Iterable[PlannedMessage]) -> list[str]:
    """Messages as sentences: who sends what to whom."""
    return [
        f"{message.envelope.sender or ''}>{message.envelope.to} {message.envelope.action} {message.envelope.actor_id}"
        f" {message.envelope.type}"
        for message in messages
    ]


# --- CSV


def test_a_csv_row_is_an_event_with_all_its_columns_but_the_empty_ones(tmp_path: Path) -> None:
    [event] = csv_events(tmp_path, f"{HEADER},note,amount\nc1,Ask,2026-11-22 10:00:00.5+01:00,Sales,,12.50\n")
    assert event == Event(
        case="c1",
        activity="Ask",
        time=datetime(2026, 11, 22, 9, 0, 0, 500_000, tzinfo=UTC),
        department="Sales",
        attributes={
            "case:concept:name": "c1",
            "concept:name": "Ask",
            "time:timestamp": "2026-11-22 10:00:00.5+01:00",
            "org:group": "Sales",
            "amount": "12.50",
        },
        line=2,
    )


def test_columns_may_have_any_names_and_the_department_may_be_missing(tmp_path: Path) -> None:
    columns = Columns(case="order", activity="what", time="when", department="who")
    [event] = csv_events(tmp_path, "order,what,when\n7,pay,2026-11-22T09:00:00Z\n", columns)
    assert (event.case, event.activity, event.department) == ("7", "pay", None)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "gzipped"])
def test_utf8_is_read_however_it_was_saved(tmp_path: Path, mark: bytes, ending: bytes, packed: bool) -> None:
    rows = [HEADER, "Bücher/1,Prüfen,2026-11-22T09:00:00Z,Einkauf", ""]
    raw = mark + ending.join(row.encode() for row in rows)
    [event] = csv_events(tmp_path, gzip.compress(raw) if packed else raw)
    assert (event.case, event.activity, event.department) == ("Bücher/1", "Prüfen", "Einkauf")


def test_a_quoted_value_may_hold_commas_quotes_and_line_ends_and_the_line_of_the_next_row_is_right(
    tmp_path: Path,
) -> None:
    text = f'{HEADER},note\nc1,Ask,2026-11-22T09:00:00Z,Sales,"a, ""b""\nand c"\n\nc2,Ask,2026-11-22T09:00:00Z,Sales,\n'
    first, second = csv_events(tmp_path, text)
    assert first.attributes["note"] == 'a, "b"\nand c'
    assert (first.line, second.line) == (2, 5)


ROW = "c1,Ask,2026-11-22T09:00:00Z,Sales"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "log.csv is empty; its first line should name its columns"),
        (
            "a,b\n",
            "log.csv has no column 'case:concept:name' and no 'concept:name' and no 'time:timestamp'; it has a, b",
        ),
        (f"{HEADER},org:group\n", "log.csv has more than one column called 'org:group'; give each its own name"),
        (f"{HEADER}\n{ROW}\nc1,Ask\n", "line 3: the row has 2 columns and the header has 4"),
        (
            f"{HEADER}\n,Ask,2026-11-22T09:00:00Z,S\n",
            "line 2: the event has no 'case:concept:name'; it has concept:name,",
        ),
        (
            f"{HEADER}\nc1,,2026-11-22T09:00:00Z,S\n",
            "line 2: the event has no 'concept:name'; it has case:concept:name,",
        ),
        (
            f"{HEADER}\nc1,Ask,yesterday,S\n",
            "line 2: 'yesterday' in column 'time:timestamp' is not a time such as 2011",
        ),
        (
            f"{HEADER}\nc1,Ask,2026-02-30T09:00:00Z,S\n",
            "line 2: '2026-02-30T09:00:00Z' in column 'time:timestamp' is not",
        ),
        (f"{HEADER}\nc1,Ask,0001-01-01T00:00:00+14:00,S\n", "line 2: '0001-01-01T00:00:00+14:00' in column 'time"),
        (
            f"{HEADER}\nc1,Ask,2026-11-22 09:00,S\n",
            "line 2: the time '2026-11-22 09:00' in column 'time:timestamp' has no offset",
        ),
        (f'{HEADER}\n{ROW}\nc1,"Ask,2026-11-22T09:00:00Z,S\n', "line 3: not a row of CSV: unexpected end of data"),
        (f"{HEADER}\nc1,A\0sk,2026-11-22T09:00:00Z,S\n", "line 2 holds a NUL character, which no text may hold"),
        (
            f"{HEADER}\n{ROW}\n".encode() + b"c1,\xe4,2026-11-22T09:00:00Z,S\n",
            "line 3: byte 4 is not UTF-8; save the file",
        ),
        (f"{HEADER}\nc1,{'a' * 140_000},2026-11-22T09:00:00Z,S\n", "line 2: not a row of CSV: field larger than"),
        (gzip.compress(f"{HEADER}\n{ROW}\n".encode())[:-9], "log.csv cannot be read: "),
    ],
    ids=lambda value: value[:28] if isinstance(value, str) and value[:4] in {"line", "log."} else "",
)
def test_a_csv_file_that_is_no_log_is_told_where_and_why(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        csv_events(tmp_path, text)
    assert str(caught.value).startswith(says)


def test_no_line_is_longer_than_the_limit(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"line 2 is longer than 2,097,152 bytes"):
        csv_events(tmp_path, f"{HEADER}\n{'a' * LINE_BYTES_MAX}\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"nowhere\.csv cannot be read: "):
        list(csv_reader.read(tmp_path / "nowhere.csv", Columns()))


def test_events_are_read_while_the_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text(f"{HEADER}\n{ROW}\nnot a row\n")
    events = read_log(file, "csv", Columns())
    assert next(events).case == "c1"
    with pytest.raises(Invalid, match="line 3"):
        next(events)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(rows=st.lists(st.tuples(TEXTS.filter(bool), TEXTS.filter(bool), TEXTS, TEXTS), max_size=20))
def test_whatever_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str]]
) -> None:
    file = tmp_path_factory.mktemp("csv") / "log.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["case", "activity", "time", "department", "note"])
        writer.writerows([case, activity, START.isoformat(), where, note] for case, activity, where, note in rows)
    columns = Columns(case="case", activity="activity", time="time", department="department")
    read = [
        (event.case, event.activity, event.department or "", event.attributes.get("note", ""))
        for event in read_log(file, "csv", columns)
    ]
    assert read == rows


# --- XES


def test_an_xes_event_has_its_own_attributes_and_those_of_its_trace(tmp_path: Path) -> None:
    typed = (
        '<string key="org:group" value="Sales"/><int key="lines" value="-123456789012345678901234567890"/>'
        '<float key="total" value="12.50"/><float key="ratio" value="NaN"/><boolean key="rush" value="true"/>'
        '<boolean key="paid" value="0"/><id key="ref" value="8f"/><string key="note" value=""/>'
    )
    [event] = xes_events(tmp_path, xes_trace('<float key="limit" value="1e3"/>', xes_event(more=typed)))
    assert dict(event.attributes) == {
        "case:concept:name": "c1",
        "case:limit": Decimal("1e3"),
        "concept:name": "Ask",
        "time:timestamp": "2026-11-22T09:00:00Z",
        "org:group": "Sales",
        "lines": -123456789012345678901234567890,
        "total": Decimal("12.50"),
        "ratio": "NaN",
        "rush": True,
        "paid": False,
        "ref": "8f",
    }
    assert str(event.attributes["total"]) == "12.50"
    assert (event.case, event.activity, event.time, event.department, event.line) == ("c1", "Ask", START, "Sales", 3)


def test_what_says_nothing_about_an_event_is_passed_over(tmp_path: Path) -> None:
    around = (
        '<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>'
        '<global scope="event"><string key="concept:name" value="name"/></global>'
        '<classifier name="Activity" keys="concept:name"/><string key="source" value="made up"/>'
    )
    nested = (
        '<list key="parts"><values><string key="part" value="1"/></values></list><container key="box"/>'
        '<string key="org:group" value="Sales"><string key="nested" value="x"/></string>'
    )
    [event] = xes_events(tmp_path, around + xes_trace(xes_event(more=nested)))
    assert list(event.attributes) == ["case:concept:name", "concept:name", "time:timestamp", "org:group"]


def test_an_attribute_of_the_trace_counts_wherever_it_stands(tmp_path: Path) -> None:
    behind = '<string key="customer" value="Ada"/>'
    first, second = xes_events(tmp_path, xes_trace(xes_event("Ask"), xes_event("Answer"), behind))
    assert first.attributes["case:customer"] == second.attributes["case:customer"] == "Ada"


def test_traces_and_events_come_in_file_order_from_a_gzipped_file_too(tmp_path: Path) -> None:
    file = tmp_path / "log.xes"
    body = "".join(xes_trace(xes_event("A"), xes_event("B"), case=f"c{number}") for number in range(2_000))
    file.write_bytes(gzip.compress(f"<log>\n{body}</log>".encode()))
    read = [(event.case, event.activity, event.line) for event in read_log(file, "xes", Columns())]
    assert read == [(f"c{number}", activity, 2 + number) for number in range(2_000) for activity in "AB"]


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        (xes_event(), "line 3: an event outside of every trace belongs to no case"),
        (
            "<trace>" + xes_event() + "</trace>",
            "line 3: the event has no 'case:concept:name'; it has concept:name, time",
        ),
        (
            xes_trace(xes_event(time="2026-11-22T09:00:00")),
            "line 3: the time '2026-11-22T09:00:00' in column 'time:times",
        ),
        (xes_trace(xes_event(more='<int key="n" value="1_0"/>')), "line 3: '1_0' in 'n' is no int"),
        (xes_trace(xes_event(more='<float key="n" value="1,5"/>')), "line 3: '1,5' in 'n' is no float"),
        (xes_trace(xes_event(more='<float key="n" value="1_5"/>')), "line 3: '1_5' in 'n' is no float"),
        (xes_trace(xes_event(more='<boolean key="n" value="yes"/>')), "line 3: 'yes' in 'n' is no boolean"),
        (xes_trace(xes_event(more='<string key="n"/>')), "line 3: a string has no 'value'"),
        (xes_trace() + "<trace>", "line 4: not well-formed XML: mismatched tag"),
    ],
    ids=lambda value: value[:40] if value.startswith("line") else "",
)
def test_an_xes_file_that_is_no_log_is_told_where_and_why(tmp_path: Path, inside: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        xes_events(tmp_path, inside)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: not well-formed XML: no element found"),
        ("<html></html>", "line 1: the document is a 'html', and XES is a 'log'"),
        ("<log>\n<trace>", "line 2: not well-formed XML: no element found"),
        ("case,activity\n", "line 1: not well-formed XML: syntax error"),
        (
            '<?xml version="1.0"?>\n<!DOCTYPE log [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>\n<log>&b;</log>',
            "line 2: XES has no document type; remove the DOCTYPE",
        ),
    ],
    ids=["empty", "another document", "cut off", "no XML", "an entity bomb"],
)
def test_what_is_not_xes_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "log.xes"
    file.write_text(text)
    with pytest.raises(Invalid) as caught:
        list(read_log(file, "xes", Columns()))
    assert str(caught.value) == says


def test_no_tag_is_longer_than_the_limit(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"a tag is longer than 2,097,152 bytes"):
        xes_events(tmp_path, f'<string key="{"k" * (LINE_BYTES_MAX + 200_000)}" value=""/>')


def test_no_trace_has_more_events_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xes_reader, "EVENTS_MAX", 2)
    with pytest.raises(Invalid, match="line 3: the trace has more than 2 events"):
        xes_events(tmp_path, xes_trace(*[xes_event()] * 3))


# --- the plan


def test_a_case_goes_through_the_departments_and_each_keeps_its_own_file_on_it() -> None:
    plan = planned(
        happened("c1", "ask", "Sales", 0),
        happened("c1", "check", "Credit", 1),
        happened("c1", "approve", "Credit", 2),
        happened("c1", "confirm", "Sales", 3),
    )
    assert told(plan.messages) == [
        ">100 create c1 ask",
        "100>101 create c1 check",
        ">101 modify c1 approve",
        "101>100 modify c1 confirm",
    ]
    assert (plan.events, plan.cases, plan.actors, plan.hand_overs) == (4, 1, 2, 2)


def test_a_message_says_what_the_event_said() -> None:
    [message] = planned(happened("c/1", "ask", "Sales", 5, note="Grüße")).messages
    envelope = message.envelope
    assert jsontext.read(envelope.body.encode())["note"] == "Grüße"
    assert envelope.valid_at == START + timedelta(minutes=5)
    assert (envelope.actor_type, envelope.actor_id, envelope.type, envelope.correlation) == (
        "Case",
        "c/1",
        "ask",
        "c/1",
    )
    assert (envelope.id, message.previous) == (message.message_id, None)
    assert not list(offences(envelope))


def test_events_of_a_case_go_in_time_order_and_in_file_order_where_times_are_equal() -> None:
    plan = planned(
        happened("c1", "last", "Sales", 9),
        happened("c1", "first", "Sales", 1),
        happened("c1", "second", "Sales", 3),
        happened("c1", "third", "Sales", 3),
    )
    assert [message.envelope.type for message in plan.messages] == ["first", "second", "third", "last"]
    assert [message.envelope.action for message in plan.messages] == ["create", "modify", "modify", "modify"]


def test_a_wave_holds_one_event_of_each_case_that_has_so_many() -> None:
    plan = planned(
        happened("c1", "a", "Sales", 0),
        happened("c2", "a", "Sales", 1),
        happened("c1", "b", "Sales", 2),
        happened("c1", "c", "Sales", 3),
        happened("c3", "a", "Sales", 4),
        happened("c3", "b", "Sales", 5),
    )
    assert [told(wave) for wave in plan.waves] == [
        [">100 create c1 a", ">100 create c2 a", ">100 create c3 a"],
        [">100 modify c1 b", ">100 modify c3 b"],
        [">100 modify c1 c"],
    ]


def test_each_message_follows_from_the_one_before_it_in_its_case() -> None:
    plan = planned(happened("c1", "a", "Sales", 0), happened("c2", "a", "Sales", 1), happened("c1", "b", "Credit", 2))
    [first, _], [second] = plan.waves
    stamp = Stamp(17, 100)
    assert first.caused_by(None) == first.envelope
    assert second.previous == first.message_id
    assert second.caused_by(stamp).cause == stamp
    assert second.caused_by(stamp).id == second.message_id


def test_departments_are_found_by_name_and_new_ones_get_the_next_free_code_in_order_of_appearance_in_the_file() -> None:
    events = [happened("c1", "b", "Late", 9), happened("c1", "a", "Early", 1), happened("c2", "a", "Known", 2)]
    plan = planned(*events, happened("c3", "a", "More", 3), departments={"Known": 101, "Other": 103})
    assert list(plan.departments.items()) == [("Late", 100), ("Early", 102), ("Known", 101), ("More", 104)]
    assert dict(plan.new_departments) == {"Late": 100, "Early": 102, "More": 104}


def test_a_log_without_departments_is_one_department() -> None:
    plan = planned(happened("c1", "a", None, 0), happened("c1", "b", None, 1))
    assert dict(plan.departments) == {"log": 100}
    assert plan.hand_overs == 0


def test_no_events_are_no_plan() -> None:
    plan = planned()
    assert (plan.events, plan.cases, plan.actors, plan.hand_overs, plan.waves) == (0, 0, 0, 0, ())


def test_a_log_may_have_so_many_events_and_no_more() -> None:
    events = [happened("c1", "a", None, minute) for minute in range(3)]
    assert plan_import(events, {}, default_department="log", events_max=3).events == 3
    with pytest.raises(Invalid, match="the log has more than 2 events"):
        plan_import(events, {}, default_department="log", events_max=2)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (happened("", "ask", "Sales", 0), "line 2: the case must not be empty"),
        (
            happened("c" * (NAME_LETTERS_MAX + 1), "ask", "Sales", 0),
            "line 2: the case has 256 letters; 255 are allowed",
        ),
        (happened("c\t1", "ask", "Sales", 0), "line 2: the case must not hold control characters"),
        (happened("c1", "", "Sales", 0), "line 2: the activity must not be empty"),
        (happened("c1", "a" * (NAME_LETTERS_MAX + 1), "Sales", 0), "line 2: the activity has 256 letters"),
        (happened("c1", "a\nb", "Sales", 0), "line 2: the activity must not hold control characters"),
        (happened("c1", "a", "S" * (NAME_LETTERS_MAX + 1), 0), "line 2: the department's name has 256 letters"),
        (happened("c1", "a", "Sa\x00les", 0), "line 2: the department's name 'Sa\\x00les' must not hold control"),
    ],
    ids=lambda value: value[8:50] if isinstance(value, str) else "",
)
def test_an_event_that_no_message_can_stand_for_is_named_by_its_line(event: Event, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        planned(event)
    assert str(caught.value).startswith(says)


# --- the ids


def ids(plan: ImportPlan) -> set[str]:
    return {str(message.message_id) for message in plan.messages}


EVENTS = st.lists(
    st.builds(
        happened,
        case=st.sampled_from(["c1", "c2", "c3"]),
        activity=st.sampled_from(["a", "b"]),
        department=st.sampled_from(["Sales", "Credit", None]),
        minute=st.integers(0, 5),
    ),
    max_size=30,
)


@given(events=EVENTS)
def test_the_same_log_makes_the_same_messages_also_when_its_departments_are_there(events: list[Event]) -> None:
    first = planned(*events)
    again = planned(*events, departments=dict(first.departments))
    assert again.waves == first.waves
    assert not again.new_departments


@given(events=EVENTS)
def test_every_event_has_an_id_of_its_own_even_where_two_say_the_same(events: list[Event]) -> None:
    assert len(ids(planned(*events))) == len(events)


@given(events=EVENTS, more=EVENTS, order=st.randoms(use_true_random=False))
def test_a_log_that_grew_or_was_sorted_anew_keeps_the_ids_it_had(
    events: list[Event], more: list[Event], order: random.Random
) -> None:
    grown = events + more
    order.shuffle(grown)
    assert ids(planned(*events)) <= ids(planned(*grown))


@given(events=EVENTS, other=st.text("xyz", min_size=1, max_size=5))
def test_another_log_with_the_same_case_ids_makes_other_ids(events: list[Event], other: str) -> None:
    elsewhere = [
        happened(event.case, event.activity, event.department, event.line - 2, origin=other) for event in events
    ]
    assert not ids(planned(*events)) & ids(planned(*elsewhere))


@given(events=EVENTS)
def test_a_plan_holds_every_event_once_and_adds_up(events: list[Event]) -> None:
    plan = planned(*events)
    pairs = {(event.case, event.department) for event in events}
    assert (plan.events, plan.cases, plan.actors) == (len(events), len({event.case for event in events}), len(pairs))
    held: dict[str, int] = {}
    sent: set[object] = {None}
    for wave in plan.waves:
        assert max(Counter(message.envelope.actor_id for message in wave).values()) == 1
        for message in wave:
            envelope = message.envelope
            assert envelope.actor_id is not None
            assert envelope.recorded_in == held.get(envelope.actor_id, envelope.to)
            assert envelope.sender != envelope.to
            assert message.previous in sent
            held[envelope.actor_id] = envelope.to
        sent |= {message.message_id for message in wave}


# --- the real log


@pytest.mark.skipif(not RECEIPTS.exists(), reason="the log of permit applications is not beside this checkout")
def test_the_log_of_permit_applications_has_the_figures_that_are_known_of_it() -> None:
    events = list(read_log(RECEIPTS, "csv", Columns()))
    plan = plan_import(events, {"unrelated": 100}, default_department="receipt")
    assert (plan.events, plan.cases, len(plan.departments)) == (8_577, 1_434, 10)
    assert (plan.actors, plan.hand_overs) == (5_923, 5_440)
    assert len(ids(plan)) == 8_577
    assert list(plan.departments.values()) == list(range(101, 111))
    assert not [offence for message in plan.messages for offence in offences(message.envelope)]


def test_one_planned_message_stays_as_it_was_for_those_who_imported_before() -> None:
    [message] = planned(happened("c1", "ask", "Sales", 0)).messages
    assert str(message.message_id) == "ede98c47-aacf-578f-b552-98e44aab3c01"


def test_a_code_in_use_is_never_given_again_also_where_two_departments_share_a_name() -> None:
    event = Event(
        case="c", activity="a", time=datetime(2026, 1, 1, tzinfo=UTC), department="New", attributes={}, line=1
    )
    planned = plan_import([event], {"Sales": 130}, default_department="log", taken={100, 101, 130})
    assert planned.new_departments == {"New": 102}
