"""Journals over HTTP: pages, long polls, streams; one department's, and all of them merged."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest

from peaceriver.api import journal
from peaceriver.api.merging import CLOSE_INTERVAL_S
from peaceriver.api.serving import serve
from peaceriver.stamp import Stamp
from tests.acceptance.door import Door, Served, pointers, problem

STREAM = {"Accept": "text/event-stream"}


class Stream:
    """A stream of events as a browser reads it."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()
        self.comments: list[str] = []

    def event(self) -> tuple[str, dict[str, Any]]:
        """The next event: its id and its record."""
        name, data = "", []
        for line in self._lines:
            if line.startswith("id: "):
                name = line.removeprefix("id: ")
            elif line.startswith("data: "):
                data.append(line.removeprefix("data: "))
            elif line.startswith(":"):
                self.comments.append(line)
            elif not line and data:
                return name, json.loads("\n".join(data))
        raise EOFError

    def comment(self) -> str:
        """The next comment."""
        for line in self._lines:
            if line.startswith(":"):
                return line
        raise EOFError

    def records(self, number: int) -> list[dict[str, Any]]:
        return [self.event()[1] for _ in range(number)]


@contextmanager
def stream(door: Door, path: str, last: str | None = None) -> Iterator[Stream]:
    headers = STREAM if last is None else STREAM | {"Last-Event-ID": last}
    with (
        httpx.Client(base_url=door.url, timeout=30, trust_env=False) as http,
        http.stream("GET", path, headers=headers) as response,
    ):
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Stream(response)


def filled(door: Door, number: int) -> int:
    """A department with so many things."""
    code = door.department()
    messages = [{"to": code, "actor": f"Thing/{each}", "action": "create"} for each in range(number)]
    assert all("error" not in each for each in door.send(messages).json())
    return code


# --- pages


def test_a_journal_is_read_page_by_page_without_a_gap(door: Door) -> None:
    code = filled(door, 25)
    positions: list[int] = []
    after = 0
    while True:
        page = door.get(f"/shards/{code}/journal", after=str(after), limit="10")
        positions += [each["position"] for each in page["records"]]
        if not page["records"]:
            break
        assert page["next"] == positions[-1]
        assert page["complete"] >= 26
        after = page["next"]
    assert positions == list(range(1, len(positions) + 1))


def test_a_journal_is_read_as_it_was(door: Door) -> None:
    code = filled(door, 3)
    assert [each["position"] for each in door.get(f"/shards/{code}/journal", as_of=f"{code}:2")["records"]] == [1, 2]


def test_a_page_is_cut_where_its_bodies_become_too_large(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    code = door.department()
    for number in range(5):
        door.create(code, f"Thing/{number}", {"a": "x" * 1_000})
    monkeypatch.setattr(journal, "FIRST_RECORDS", 2)
    monkeypatch.setattr(journal, "PAGE_BYTES_MAX", 2_500)
    sizes, after = [], 0
    while page := door.get(f"/shards/{code}/journal", after=str(after))["records"]:
        sizes.append(len(page))
        after = page[-1]["position"]
        if len(sizes) > 6:
            break
    assert sum(sizes) >= 6
    assert max(sizes) < 6


# --- waiting


def test_a_long_poll_is_answered_as_soon_as_there_is_something(door: Door) -> None:
    code = door.department()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.get, f"{door.url}/shards/{code}/journal?after=1&wait=30s", timeout=60)
        time.sleep(0.3)
        assert not waiting.done()
        sent = time.monotonic()
        door.create(code, "Thing/1")
        page = waiting.result(timeout=10).json()
        assert time.monotonic() - sent < 5
    assert [each["position"] for each in page["records"]] == [2]
    assert (page["next"], page["complete"]) == (2, 2)


def test_a_long_poll_without_anything_ends_in_time_and_keeps_its_place(door: Door) -> None:
    code = filled(door, 1)
    began = time.monotonic()
    page = door.get(f"/shards/{code}/journal", after="2", wait="300ms")
    assert 0.25 < time.monotonic() - began < 10
    assert page == {"records": [], "next": 2, "complete": 2}


# --- streams


def test_a_stream_shows_what_was_and_what_comes(door: Door) -> None:
    code = filled(door, 150)
    with stream(door, f"/shards/{code}/journal") as events:
        assert [each["position"] for each in events.records(151)] == list(range(1, 152))
        receipt = door.create(code, "Thing/next", {"a": 1})
        name, record = events.event()
    assert name == record["stamp"] == receipt["stamp"]
    assert record["body"] == {"a": 1}


def test_a_stream_goes_on_right_after_the_last_event(door: Door) -> None:
    code = filled(door, 10)
    with stream(door, f"/shards/{code}/journal?after=3") as events:
        seen = [events.event() for _ in range(3)]
    assert [record["position"] for _, record in seen] == [4, 5, 6]
    with stream(door, f"/shards/{code}/journal?after=3", last=seen[-1][0]) as events:
        assert [each["position"] for each in events.records(5)] == [7, 8, 9, 10, 11]


@pytest.mark.parametrize("path", ["/shards/{code}/journal", "/journal"])
def test_a_stream_cannot_go_on_after_an_event_that_never_was(door: Door, path: str) -> None:
    code = filled(door, 1)
    last = Stamp.parse(door.history(code)[-1]["stamp"])
    for unknown in ("x", str(Stamp(last.time + 1, code)), str(Stamp(last.time, door.unused()))):
        headers = STREAM | {"Last-Event-ID": unknown}
        told = problem(door.http.get(path.format(code=code), headers=headers), 422, "invalid")
        assert pointers(told) == {"Last-Event-ID"}


def test_a_stream_of_one_department_does_not_go_on_after_an_event_of_another(door: Door) -> None:
    code, other = filled(door, 1), filled(door, 1)
    stamp = door.history(other)[0]["stamp"]
    answer = door.http.get(f"/shards/{code}/journal", headers=STREAM | {"Last-Event-ID": stamp})
    problem(answer, 422, "invalid")


def test_a_body_with_line_breaks_between_its_tokens_stays_one_event(door: Door) -> None:
    code = door.department()
    door.send(f'{{"to": {code}, "actor": "Thing/1", "action": "create", "body": {{\n"a":\r\n1,\r"b": "x\\ny"}}}}')
    with stream(door, f"/shards/{code}/journal?after=1") as events:
        assert events.event()[1]["body"] == {"a": 1, "b": "x\ny"}


def test_a_quiet_stream_shows_that_it_lives(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "HEARTBEAT_S", 0.05)
    code = door.department()
    with stream(door, f"/shards/{code}/journal?after=1") as events:
        assert [events.comment() for _ in range(3)] == [": open", ": alive", ": alive"]
    with stream(door, "/journal") as events:
        while events.comment() != ": alive":
            pass


def waiting(served: Served, code: int) -> int:
    """How many wait for a department's next record; its views do, once they have folded all others."""
    return sum(not each[2].done() for each in served.node.shards[code].complete._waiting)


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


def test_a_client_that_goes_leaves_nothing_behind(served: Served, door: Door) -> None:
    code = door.department()
    for _ in range(5):
        with stream(door, f"/shards/{code}/journal?after=1") as events:
            assert events.comment() == ": open"
            until(lambda: waiting(served, code) == 2)
        until(lambda: waiting(served, code) == 1)


def test_a_client_that_does_not_read_holds_up_nobody_and_gathers_nothing(served: Served, door: Door) -> None:
    code = door.department()
    large = {"a": "x" * 500_000}
    messages = [{"to": code, "actor": f"Thing/{number}", "action": "create", "body": large} for number in range(10)]
    for _ in range(6):
        assert all("error" not in each for each in door.send([each | {"actor": "Thing"} for each in messages]).json())
    read: list[int] = []
    original = served.node.reading.journal

    async def counted(*arguments: Any, **named: Any) -> Any:
        records, complete = await original(*arguments, **named)
        read.append(len(records))
        return records, complete

    served.node.reading.journal = counted  # type: ignore[method-assign]  # watched, not replaced
    try:
        with stream(door, f"/shards/{code}/journal") as events:
            assert events.comment() == ": open"
            time.sleep(0.5)
            held = sum(read)
            door.create(code, "Thing/last")
            time.sleep(0.3)
            assert sum(read) == held, "more was fetched for a client that does not read"
    finally:
        del served.node.reading.journal


@pytest.mark.parametrize("path", ["/shards/{code}/journal?after=1", "/journal?after={end}"])
def test_streams_and_long_polls_end_when_the_server_stops(served: Served, door: Door, path: str) -> None:
    code = door.department()
    end = start(door)
    serving = served.run(serve(served.node))
    ended = threading.Event()

    def poll() -> None:
        httpx.get(f"{serving.url}/shards/{code}/journal?after=1&wait=60s", timeout=60)
        ended.set()

    thread = threading.Thread(target=poll)
    thread.start()
    until(lambda: waiting(served, code) == 2)
    with (
        httpx.Client(base_url=serving.url, timeout=30, trust_env=False) as http,
        http.stream("GET", path.format(code=code, end=end), headers=STREAM) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == ": open"
        began = time.monotonic()
        served.run(serving.stop())
        list(lines)  # ends, and not by an error
    thread.join()
    assert ended.is_set()
    assert time.monotonic() - began < 4
    served.run(serving.stop())  # again, which is no fault


# --- merged


def merged(door: Door, after: str, limit: int) -> tuple[list[dict[str, Any]], str]:
    """All of the merged journal from a stamp on, page by page, and where it ends."""
    found: list[dict[str, Any]] = []
    while True:
        page = door.get("/journal", after=after, limit=str(limit))
        found += page["records"]
        after = page["next"]
        assert page["next"] <= max(page["complete"], after)
        if not page["records"]:
            return found, after


def start(door: Door) -> str:
    """The end of the merged journal."""
    return merged(door, door.get("/journal", limit="1")["complete"], 1_000)[1]


@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_the_merged_journal_is_in_stamp_order_and_lacks_nothing(door: Door, limit: int) -> None:
    codes = [door.department() for _ in range(3)]
    began = start(door)
    messages = [{"to": codes[number % 3], "actor": f"Thing/{number}", "action": "create"} for number in range(30)]
    receipts = door.send(messages).json()
    found, _ = merged(door, began, limit)
    stamps = [Stamp.parse(each["stamp"]) for each in found]
    assert all(one < other for one, other in pairwise(stamps))
    assert {each["stamp"] for each in receipts} <= {str(each) for each in stamps}


def test_the_merged_journal_shows_no_effect_before_its_cause(door: Door) -> None:
    sales, credit = door.department(), door.department()
    began = start(door)
    for number in range(10):
        door.receipt({"to": credit, "from": sales, "actor": f"Check/{number}", "action": "create"})
    seen: list[str] = []
    for record in merged(door, began, 3)[0]:
        if record["kind"] == "sent":
            seen.append(record["id"])
        elif record["kind"] == "received" and record["from"] == sales:
            assert record["id"] in seen


def test_reading_the_merged_journal_does_not_keep_idle_departments_writing(door: Door) -> None:
    codes = [filled(door, 1) for _ in range(3)]
    place = start(door)
    before = [door.get(f"/shards/{code}/journal", after="0")["complete"] for code in codes]
    for _ in range(5):
        page = door.get("/journal", after=place, wait="20ms")
        assert all(each["kind"] == "tick" for each in page["records"])
        place = page["next"]
    assert [door.get(f"/shards/{code}/journal", after="0")["complete"] for code in codes] == before


def test_a_long_poll_of_the_merged_journal_is_answered_when_any_department_has_something(door: Door) -> None:
    code = door.department()
    pages = [{"records": [], "next": start(door)}]

    def poll_until_received() -> None:
        # Ticks of other departments, which somebody's read has asked for, are an answer too.
        while not any(each["kind"] == "received" for each in pages[-1]["records"]):
            url = f"{door.url}/journal?after={pages[-1]['next']}&wait=30s"
            pages.append(httpx.get(url, timeout=60).json())

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll_until_received)
        time.sleep(0.3)
        receipt = door.create(code, "Thing/1")
        waiting.result(timeout=10)
    assert receipt["stamp"] in [each["stamp"] for each in pages[-1]["records"]]
    assert pages[-1]["complete"] >= receipt["stamp"]


def test_a_stream_of_all_departments_goes_on_right_after_the_last_event(door: Door) -> None:
    codes = [door.department() for _ in range(3)]
    began = start(door)
    messages = [{"to": codes[number % 3], "actor": f"Thing/{number}", "action": "create"} for number in range(12)]
    expected = sorted(each["stamp"] for each in door.send(messages).json())
    found: list[str] = []
    last: str | None = None
    while len(found) < 12:
        with stream(door, f"/journal?after={began}", last=last) as events:
            received = 0
            while received < 4:
                last, record = events.event()
                if record["kind"] == "received":
                    found.append(record["stamp"])
                    received += 1
    assert found == expected


def test_a_stream_of_all_departments_shows_one_that_comes_up_meanwhile(door: Door) -> None:
    with stream(door, f"/journal?after={start(door)}") as events:
        code = door.department()
        receipt = door.create(code, "Thing/1")
        while events.event()[0] != receipt["stamp"]:
            pass


def test_readers_of_all_departments_share_their_ticks(door: Door) -> None:
    idle, busy = filled(door, 1), filled(door, 1)
    place = start(door)
    ticks_before = door.get(f"/shards/{idle}/journal")["complete"]
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(_follow, door.url, place, 1.0) for _ in range(4)]
        while time.monotonic() - began < 1.0:
            door.create(busy, "Thing")
        for each in readers:
            each.result(timeout=30)
    ticks = door.get(f"/shards/{idle}/journal")["complete"] - ticks_before
    assert ticks <= (time.monotonic() - began) / CLOSE_INTERVAL_S + 2


def _follow(url: str, place: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        while time.monotonic() < until:
            place = http.get("/journal", params={"after": place, "wait": "100ms"}).json()["next"]


def test_the_merged_journal_is_read_as_it_was(door: Door) -> None:
    codes = [door.department() for _ in range(2)]
    place = start(door)
    receipts = [door.create(code, "Thing/1") for code in codes]
    pages = []
    for _ in range(2):
        asked = {"as_of": receipts[0]["stamp"], "after": place, "limit": "1000", "timeout": "60s"}
        pages.append(door.http.get("/journal", params=asked))
        door.create(codes[0], "Thing")
    assert pages[0].status_code == 200
    assert pages[0].content == pages[1].content
    assert [each["stamp"] for each in pages[0].json()["records"] if each["kind"] == "received"] == [
        receipts[0]["stamp"]
    ]
