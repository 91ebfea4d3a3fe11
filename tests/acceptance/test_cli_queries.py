"""SQL and named views on the command line: for people, for programs, and when a node dies in the middle."""

from __future__ import annotations

import csv
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from peaceriver.cli import answering
from peaceriver.errors import Unavailable
from tests.acceptance.commands import Said, peaceriver
from tests.acceptance.door import Door

_SCHEMA = {
    "type": "object",
    "properties": {"customer": {"type": "string"}, "total": {"type": "number"}, "open": {"type": "boolean"}},
}
_VIEW = {
    "sql": 'select actor_id, total from "Bill" where customer like :customer order by total desc limit :top',
    "variables": {"customer": {"type": "text", "default": "%"}, "top": {"type": "integer", "description": "how many"}},
    "description": "The largest bills",
}


@pytest.fixture
def bills(door: Door) -> int:
    """A department with four bills; one customer is called like a number, one document has lines."""
    assert door.http.put("/directory/models/Bill", json=_SCHEMA).status_code in (200, 201)
    code = door.department()
    for number, customer in enumerate(("Ada", "42", "Grace\x1b[31m", "Alan"), 1):
        door.create(code, f"Bill/B-{number}", {"customer": customer, "total": number * 1000.5, "open": number > 2})
    lines = b'{\n  "customer": "Edsger",\n  "total": 12345678901234567890.10\n}'
    kind = {"Content-Type": "application/json"}
    last = door.http.post(f"/shards/{code}/Bill", content=lines, headers=kind)
    door.get(f"/shards/{code}/Bill/B-1", after=last.json()["stamp"])
    return code


@pytest.fixture
def ask(door: Door, bills: int) -> Any:
    def asked(command: str, *arguments: str, stdin: str | None = None) -> Said:
        return peaceriver(command, *arguments, "--shards", str(bills), url=door.url, stdin=stdin)

    return asked


def test_people_see_a_table_with_its_cutoff(ask: Any, bills: int) -> None:
    sql = 'select actor_id, customer, total, null as nothing from "Bill" where actor_id like :b order by 1'
    said = ask("query", sql, "--var", "b=B-%", "--format", "table")
    assert said.code == 0
    names, _, first, second, third, *_, told = said.out.splitlines()
    assert names.split() == ["actor_id", "customer", "total", "nothing"]
    assert first.split() == ["B-1", "Ada", "1000.5", "null"]
    assert third.split()[1] == "Grace\\x1b[31m"
    assert names.index("total") + len("total") == second.index("2001.0") + len("2001.0")
    assert told.startswith(f"4 rows, as of {bills}:")
    again = told.split()[4]
    assert ask("query", sql, "--var", "b=B-%", "--format", "table", "--as-of", again).out == said.out


def test_what_is_wide_is_cut_and_numbers_are_not(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "select repeat('long ', 100) as a, total, customer from \"Bill\" order by total desc limit 1"
    row = ask("query", sql, "--format", "table").out.splitlines()[2]
    assert "…" in row
    assert "12345678901234567890.10" in row
    assert "Edsger" in row
    monkeypatch.setattr(answering.console, "width", 40)
    lines = ask("query", sql, "--format", "table").out.splitlines()
    assert lines[0] == "row 1"
    assert lines[1].endswith("…")
    assert lines[2] == "total     12345678901234567890.10"


def test_programs_get_csv_lines_or_the_answer_of_the_api(ask: Any, door: Door, bills: int) -> None:
    sql = 'select actor_id, total, document from "Bill" order by total'
    piped = ask("query", sql)
    assert piped.out == ask("query", sql, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(piped.out)))
    assert [each["total"] for each in rows] == ["1000.5", "2001.0", "3001.5", "4002.0", "12345678901234567890.10"]
    assert piped.err.startswith(f"as of {bills}:")
    lines = ask("query", sql, "--format", "ndjson").out.splitlines()
    assert len(lines) == 5
    assert json.loads(lines[4])["document"]["customer"] == "Edsger"
    whole = ask("query", sql, "--json")
    answer = door.http.post("/query", json={"sql": sql, "shards": [bills]})
    assert whole.out == answer.text + "\n"
    assert ask("query", sql, "--format", "json").out == whole.out


def test_sql_comes_from_standard_input(ask: Any) -> None:
    assert ask("query", stdin='select count(*) from "Bill"').out == "count\n5\n"
    assert ask("query", "-", stdin="select 1 as one").out == "one\n1\n"


@pytest.mark.parametrize(
    ("condition", "given", "count"),
    [
        ("total > :x", ("--var", "x=2001"), 3),
        ("total = :x", ("--var", "x=12345678901234567890.1"), 1),
        ('"open" = :x', ("--var", "x=true"), 2),
        (":x::text is null", ("--var", "x=null"), 5),
        ("actor_id = any(:x)", ("--var", 'x=["B-1", "B-2"]'), 2),
        ("customer = :x", ("--var", "x=Ada"), 1),
        ("customer = :x", ("--text", "x=42"), 1),
        ("customer = :x", ("--text", "x=a=b"), 0),
        ("customer = :x and total < :y", ("--text", "x=42", "--var", "y=1e9"), 1),
        ("""document::jsonb @> :x::jsonb""", ("--var", 'x={"customer": "Ada"}'), 1),
    ],
)
def test_host_variables_are_what_they_look_like(ask: Any, condition: str, given: tuple[str, ...], count: int) -> None:
    said = ask("query", f'select count(*) from "Bill" where {condition}', *given)
    assert said.out.split() == ["count", str(count)], said.err


def test_a_number_where_text_is_wanted_is_told_with_what_to_do(ask: Any) -> None:
    said = ask("query", 'select 1 from "Bill" where customer = :x', "--var", "x=42")
    assert said.code == 1
    assert "give it as --text x=42" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "select 1", "--format", "xml"),
        ("query", "select 1", "--json", "--format", "csv"),
        ("query", "select 1", "--var", "x"),
        ("query", "select :x", "--var", "x=1", "--text", "x=2"),
        ("query", "select 1", "--timeout", "soon"),
        ("view", "--var", "x=1"),
    ],
)
def test_wrong_usage_of_queries(arguments: tuple[str, ...], door: Door) -> None:
    assert peaceriver(*arguments, url=door.url).code == 2
    assert peaceriver("query", "select 1", "--shards", "100,x", url=door.url).code == 2


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_what_is_refused_is_told_in_every_form(ask: Any, form: str) -> None:
    said = ask("query", "delete from x", "--format", form)
    assert said.code == 1
    assert "only a SELECT" in (said.json["detail"] if form == "json" else said.err)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_departments_that_cannot_answer_are_named(
    door: Door, bills: int, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    other, cutoffs = door.department(), door.served.node.cutoffs
    resolve = cutoffs.resolve

    async def without(codes: Any, freshness: Any) -> Any:
        if other in codes:
            raise Unavailable("it has no leader")
        return await resolve(codes, freshness)

    monkeypatch.setattr(cutoffs, "resolve", without)
    arguments = ("query", 'select count(*) from "Bill"', "--shards", f"{bills},{other}", "--format", form)
    whole = peaceriver(*arguments, url=door.url)
    assert (whole.code, "it has no leader" in whole.err + whole.out) == (1, True)
    partial = peaceriver(*arguments, "--allow-partial", url=door.url)
    assert (partial.code, "5" in partial.out) == (0, True)
    assert f"department {other} is missing" in partial.err


def test_more_rows_than_a_table_has_are_told_with_what_to_do(ask: Any) -> None:
    sql = "select n from generate_series(1, 10001) g(n)"
    said = ask("query", sql, "--format", "table")
    assert (said.code, "--format csv" in said.err) == (1, True)
    assert ask("query", sql).out.count("\n") == 10_002


def test_a_named_view_is_asked_with_its_variables(ask: Any, door: Door, bills: int) -> None:
    assert door.http.put("/views/largest-bills", json=_VIEW).status_code in (200, 201)
    told = ask("view", "largest-bills", "--var", "top=2", "--var", "customer=A%")
    assert told.out.splitlines() == ["actor_id,total", "B-4,4002.0", "B-1,1000.5"]
    assert ask("view", "largest-bills", "--var", "top=2", "--format", "table").out.splitlines()[2].endswith("890.10")
    assert ask("view", "largest-bills", "--var", "top=1", "--json").json["rows"][0][1] == 12345678901234567890.10
    missing = ask("view", "largest-bills")
    assert (missing.code, "top is needed" in missing.err) == (1, True)
    assert ask("view", "not-there").code == 1


def test_views_are_listed_with_what_they_ask_for(door: Door, bills: int) -> None:
    assert door.http.put("/views/largest-bills", json=_VIEW).status_code in (200, 201)
    listed = peaceriver("view", url=door.url)
    assert 'largest-bills customer:text="%" top:integer\n    The largest bills\n' in listed.out
    assert "largest-bills" in {each["name"] for each in peaceriver("view", "--json", url=door.url).json["items"]}
    shown = peaceriver("view", "largest-bills", "--sql", url=door.url).out
    assert shown == f'-- The largest bills\n-- :customer text="%"\n-- :top integer: how many\n{_VIEW["sql"]}\n'
    assert peaceriver("view", "largest-bills", "--sql", "--json", url=door.url).json["sql"] == _VIEW["sql"]
    assert peaceriver("view", "not-there", "--sql", url=door.url).code == 1


@contextmanager
def half_an_answer() -> Iterator[str]:
    """A server that begins an answer and goes away."""

    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            head = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(f"{head}8\r\nn\r\n1\r\n2\r\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        speaking = threading.Thread(target=speak)
        speaking.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        speaking.join()


def test_an_answer_that_breaks_off_never_looks_complete() -> None:
    with half_an_answer() as url:
        said = peaceriver("query", "select n", "--format", "csv", url=url)
    assert said.code == 3
    assert said.out.startswith("n\n1")
    assert "incomplete" in said.err
    assert "as of" not in said.err
