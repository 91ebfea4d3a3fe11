"""SQL over HTTP: ``POST /query`` and named views, in every form in which they answer."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx
import pytest

from tests.acceptance.door import Door, pointers, problem

_SCHEMA = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "total": {"type": "number"},
        "open": {"type": "boolean"},
        "at": {"type": "string", "format": "date-time"},
    },
    "required": ["customer"],
}


@pytest.fixture
def sales(door: Door) -> int:
    """A department with five orders of a model that was published as a schema."""
    assert door.http.put("/directory/models/Sale", json=_SCHEMA).status_code in (200, 201)
    code = door.department()
    for number in range(1, 6):
        body = {
            "customer": "AB"[number % 2],
            "total": number * 10,
            "open": number > 2,
            "at": f"2026-11-0{number}T08:00:00Z",
        }
        last = door.create(code, f"Sale/S-{number}", body)
    door.get(f"/shards/{code}/Sale/S-1", after=last["stamp"])
    return code


def ask(door: Door, sql: str, **members: Any) -> httpx.Response:
    return door.http.post("/query", json={"sql": sql, **members})


def rows(door: Door, sql: str, **members: Any) -> list[list[Any]]:
    answer = ask(door, sql, **members)
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()["rows"]
    return found


def test_a_query_names_its_cutoff_its_columns_and_their_types(door: Door, sales: int) -> None:
    answer = ask(door, 'select actor_id, total, "open", at from "Sale" order by total desc limit 1', shards=[sales])
    told = answer.json()
    assert told["columns"] == ["actor_id", "total", "open", "at"]
    assert told["types"] == ["text", "numeric", "bool", "timestamptz"]
    assert told["rows"] == [["S-5", 50, True, "2026-11-05T08:00:00.000000Z"]]
    assert list(told["cutoff"]["positions"]) == [str(sales)]
    assert told["cutoff"]["stamp"].endswith(f".{sales}")


def test_the_vector_asked_again_gives_the_same_bytes(door: Door, sales: int) -> None:
    sql = 'select customer, sum(total), array_agg(actor_id) from "Sale" group by customer'
    first = ask(door, sql, shards=[sales])
    vector = ",".join(f"{code}:{position}" for code, position in first.json()["cutoff"]["positions"].items())
    changed = door.modify(sales, "Sale/S-1", {"total": 1_000})
    assert ask(door, sql, shards=[sales], as_of=vector).content == first.content
    later = ask(door, sql, shards=[sales], after=changed["stamp"])
    assert later.json()["rows"] != first.json()["rows"]


def test_a_query_reads_as_of_a_stamp_and_a_time(door: Door, sales: int) -> None:
    before = door.get(f"/shards/{sales}/Sale/S-1")["stamp"]
    recorded_at = next(each for each in door.history(sales) if each["actor"] == "Sale/S-1")["recorded_at"]
    for as_of in (before, recorded_at):
        assert rows(door, 'select count(*) from "Sale"', shards=[sales], as_of=as_of) == [[1]]


@pytest.mark.parametrize(
    ("sql", "variables", "expected"),
    [
        ("select :x + 1 from \"Sale\" where total = :total", {"x": 1, "total": 10}, [[2]]),
        ('select actor_id from "Sale" where customer = :c and total > :t order by 1', {"c": "A", "t": 20.0}, [["S-4"]]),
        ('select actor_id from "Sale" where actor_id = any(:ids)', {"ids": ["S-2", "S-1"]}, [["S-1"], ["S-2"]]),
        ('select count(*) from "Sale" where at < :t', {"t": "2026-11-03T09:00:00+01:00"}, [[2]]),
        ('select count(*) from "Sale" where "open" = :o', {"o": True}, [[3]]),
        ('select :t::text is null from "Sale" limit 1', {"t": None}, [[True]]),
        ('select count(*) from "Sale" where customer = :c', {"c": "' or '1'='1"}, [[0]]),
    ],
)  # fmt: skip
def test_host_variables_are_bound(
    door: Door, sales: int, sql: str, variables: dict[str, Any], expected: list[Any]
) -> None:
    assert rows(door, sql, variables=variables, shards=[sales]) == expected


def test_declared_types_say_what_a_variable_is(door: Door, sales: int) -> None:
    told = ask(door, "select :d", variables={"d": "2026-11-28"}, types={"d": "date"}, shards=[sales]).json()
    assert (told["types"], told["rows"]) == (["date"], [["2026-11-28"]])


def test_numbers_and_documents_come_back_as_they_were_sent(door: Door) -> None:
    code = door.department()
    document = '{"b": 1.50, "a": [12345678901234567890, 0.10]}'
    kind = {"Content-Type": "application/json"}
    door.http.post(f"/shards/{code}/Exact", content=document, headers=kind).raise_for_status()
    answer = ask(door, "select document, document ->> 'b' from \"Exact\"", shards=[code])
    assert document.encode() in answer.content
    assert answer.json()["rows"][0][1] == "1.50"


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, {"/sql"}),
        ({"sql": 1}, {"/sql"}),
        ({"sql": "select 1", "other": 1}, {"/other"}),
        ({"sql": "select 1", "variables": []}, {"/variables"}),
        ({"sql": "select 1", "types": {"x": 1}}, {"/types/x"}),
        ({"sql": "select :x::text"}, {"/variables/x"}),
        ({"sql": "select 1", "variables": {"x": 1}}, {"/variables/x"}),
        ({"sql": "select :x::int", "variables": {"x": "one"}}, {"/variables/x"}),
        ({"sql": "select :x::int", "variables": {"x": 2**40}}, {"/variables/x"}),
        ({"sql": "select :x", "variables": {"x": 1}, "types": {"x": "regclass"}}, {"/variables/x"}),
        ({"sql": "select nothing"}, {"/sql"}),
        ({"sql": "select 1", "shards": "here"}, {"shards"}),
        ({"sql": "select 1", "as_of": "2099-01-01T00:00:00Z"}, {"as_of"}),
    ],
)
def test_what_cannot_be_asked_is_named(door: Door, sales: int, body: dict[str, Any], places: set[str]) -> None:
    assert pointers(problem(door.http.post("/query", json=body), 422, "invalid")) == places


def test_a_model_that_is_not_there_is_named_with_one_like_it(door: Door, sales: int) -> None:
    told = problem(ask(door, 'select * from "sale"'), 422, "no-model")
    assert 'did you mean "Sale"?' in told["detail"]


def test_a_department_that_is_not_there_is_not_found(door: Door) -> None:
    problem(ask(door, "select 1", shards=[door.unused()]), 404, "not-found")


def test_departments_are_named_as_a_sentence_does(door: Door, sales: int) -> None:
    first, second = sorted((door.department(), door.department()))
    scope = {"shards": [first, second], "timeout": "50ms"}
    told = problem(ask(door, 'select 1 from "Sale"', **scope, as_of=f"{sales}:1"), 422, "invalid")
    assert told["detail"] == f"the vector has no position for departments {first} and {second}"
    told = problem(ask(door, 'select 1 from "Sale"', **scope, after=f"{first}:1000000"), 409, "conflict")
    assert told["detail"].startswith(f"departments {first} and {second} have not got there within 0.05 s")


def test_a_query_that_takes_too_long_is_ended(door: Door) -> None:
    sql = "select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b"
    problem(ask(door, sql, timeout="300ms"), 503, "too-slow")
    assert rows(door, "select 1") == [[1]]


def test_a_whole_answer_has_a_most_and_a_stream_has_more(door: Door) -> None:
    sql = "select n from generate_series(1, 10001) g(n)"
    problem(ask(door, sql), 413, "too-large")
    with door.http.stream("POST", "/query", json={"sql": sql}, headers={"Accept": "application/x-ndjson"}) as answer:
        assert sum(1 for _ in answer.iter_lines()) == 10_001


def test_a_table_comes_as_csv(door: Door, sales: int) -> None:
    sql = (
        "select actor_id as \"the id\", total, null as nothing, '' as empty, 'a,\"b\"' as quoted,"
        " document -> 'open' as o"
        ' from "Sale" order by 1 limit 2'
    )
    answer = door.http.post("/query", json={"sql": sql, "shards": [sales]}, headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Peaceriver-Cutoff"].startswith(f"{sales}:")
    assert answer.text.splitlines()[:2] == ["the id,total,nothing,empty,quoted,o", 'S-1,10,,"","a,""b""",false']
    assert list(csv.reader(io.StringIO(answer.text)))[2] == ["S-2", "20", "", "", 'a,"b"', "false"]


def test_a_table_comes_one_object_a_line(door: Door, sales: int) -> None:
    sql = 'select actor_id, total, total from "Sale" order by 1 limit 2'
    answer = door.http.post("/query", json={"sql": sql, "shards": [sales]}, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"actor_id": "S-1", "total": 10, "total_2": 10},
        {"actor_id": "S-2", "total": 20, "total_2": 20},
    ]


def test_a_document_with_line_breaks_stays_on_its_line(door: Door) -> None:
    code = door.department()
    text = b'{\n  "a": "one\\ntwo",\r\n  "b": 1.50\n}'
    kind = {"Content-Type": "application/json"}
    door.http.post(f"/shards/{code}/Lines", content=text, headers=kind).raise_for_status()
    question = {"sql": 'select document, document::text as text from "Lines"', "shards": [code]}
    answer = door.http.post("/query", json=question, headers={"Accept": "application/x-ndjson"})
    line, nothing = answer.content.split(b"\n")
    assert nothing == b""
    told = json.loads(line)
    assert told["document"] == json.loads(told["text"]) == {"a": "one\ntwo", "b": 1.50}
    assert told["text"] == text.decode()


def test_a_stream_that_cannot_begin_is_a_problem(door: Door) -> None:
    answer = door.http.post("/query", json={"sql": "select 1/0"}, headers={"Accept": "text/csv"})
    assert "division by zero" in problem(answer, 422, "invalid")["detail"]


# --- named views

_VIEW = {
    "sql": 'select actor_id, total from "Sale" where customer like :customer order by total desc limit :top',
    "variables": {"customer": {"type": "text", "default": "%"}, "top": "integer"},
    "description": "The largest sales",
}


def test_a_named_view_is_published_asked_described_and_removed(door: Door, sales: int) -> None:
    assert door.http.put("/views/largest", json=_VIEW).status_code == 201
    assert door.http.put("/views/largest", json=_VIEW).status_code == 200
    told = door.get("/views/largest", top="2", shards=str(sales))
    assert (told["columns"], told["rows"]) == (["actor_id", "total"], [["S-5", 50], ["S-4", 40]])
    assert door.get("/views/largest", top="9", customer="A", shards=str(sales))["rows"] == [["S-4", 40], ["S-2", 20]]
    listed = next(each for each in door.get("/views")["items"] if each["name"] == "largest")
    assert listed["description"] == "The largest sales"
    operation = door.get("/openapi.json")["paths"]["/views/largest"]["get"]
    described = {each["name"]: each for each in operation["parameters"]}
    assert described["top"]["required"]
    assert described["top"]["schema"] == {"type": "integer"}
    assert described["customer"]["schema"] == {"type": "string", "default": "%"}
    page = door.get("/directory/views/largest")
    assert page["sql"] == _VIEW["sql"]
    assert door.http.delete("/views/largest").status_code == 204
    problem(door.http.get("/views/largest", params={"top": "2"}), 404, "not-found")
    problem(door.http.delete("/views/largest"), 404, "not-found")
    assert door.http.put("/views/largest", json=_VIEW).status_code == 201


def test_a_named_view_answers_as_csv_and_at_a_cutoff(door: Door, sales: int) -> None:
    door.http.put("/views/largest-csv", json=_VIEW)
    before = door.get(f"/shards/{sales}/Sale/S-2")["stamp"]
    answer = door.http.get(
        "/views/largest-csv",
        params={"top": "5", "shards": str(sales), "as_of": before},
        headers={"Accept": "text/csv"},
    )
    assert answer.text == "actor_id,total\r\nS-2,20\r\nS-1,10\r\n"


@pytest.mark.parametrize(
    ("parameters", "places"),
    [
        ({}, {"top"}),
        ({"top": "many"}, {"top"}),
        ({"top": "1.5"}, {"top"}),
        ({"top": "1", "other": "x"}, {"other"}),
        ([("top", "1"), ("top", "2")], {"top"}),
        ({"top": "99999999999999999999"}, {"top"}),
    ],
)
def test_what_a_view_cannot_take_is_named(door: Door, sales: int, parameters: Any, places: set[str]) -> None:
    door.http.put("/views/strict", json=_VIEW)
    assert pointers(problem(door.http.get("/views/strict", params=parameters), 422, "invalid")) == places


@pytest.mark.parametrize(
    ("definition", "places"),
    [
        ({}, {"/sql"}),
        ({"sql": "select :x::text"}, {"/variables/x"}),
        ({"sql": "select 1", "variables": {"x": "text"}}, {"/variables/x"}),
        ({"sql": "select :x", "variables": {"x": "regclass"}}, {"/variables/x"}),
        ({"sql": "select :as_of", "variables": {"as_of": "text"}}, {"/variables/as_of"}),
        ({"sql": "select :x", "variables": {"x": {"type": "integer", "default": "one"}}}, {"/variables/x"}),
        ({"sql": "delete from x"}, {"/sql"}),
        ({"sql": "select nothing"}, {"/sql"}),
        ({"sql": "select 1", "extra": 1}, {"/extra"}),
    ],
)
def test_a_view_that_could_not_be_asked_is_not_published(
    door: Door, sales: int, definition: Any, places: set[str]
) -> None:
    assert pointers(problem(door.http.put("/views/broken", json=definition), 422, "invalid")) == places
    problem(door.http.get("/views/broken"), 404, "not-found")


def test_arrays_are_given_by_repeating_a_parameter(door: Door, sales: int) -> None:
    definition = {"sql": 'select actor_id from "Sale" where actor_id = any(:ids)', "variables": {"ids": "text[]"}}
    assert door.http.put("/views/some", json=definition).status_code in (200, 201)
    answer = door.http.get("/views/some", params=[("ids", "S-1"), ("ids", "S-3"), ("shards", str(sales))])
    assert answer.json()["rows"] == [["S-1"], ["S-3"]]


# --- models that change


def test_an_answer_as_of_a_moment_outlives_every_model_that_comes_later(door: Door) -> None:
    def publish(**properties: Any) -> None:
        schema = {"type": "object", "properties": properties}
        assert door.http.put("/directory/models/Grown", json=schema).status_code in (200, 201)

    number, text, flag = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
    code = door.department()
    publish(size=number, name=text)
    first = door.create(code, "Grown/1", {"size": 1, "name": "a", "more": True})
    early = [('select * from "Grown"', ask(door, 'select * from "Grown"', shards=[code], as_of=first["stamp"]).content)]
    sql = 'select size, name, size * 2 as twice from "Grown"'
    early.append((sql, ask(door, sql, shards=[code], as_of=first["stamp"]).content))
    assert json.loads(early[1][1])["types"] == ["numeric", "text", "numeric"]

    publish(size=number, name=text, more=flag)  # a field more, which is compatible
    assert rows(door, 'select size, more from "Grown"', shards=[code], as_of=first["stamp"]) == [[1, True]]
    second = door.create(code, "Grown/2", {"size": 2, "name": "b", "more": False})
    both = 'select actor_id, size, more from "Grown"'
    middle = ask(door, both, shards=[code], as_of=second["stamp"]).content
    assert json.loads(middle)["rows"] == [["1", 1, True], ["2", 2, False]]

    publish(size=text)  # another kind, which is not
    third = door.create(code, "Grown/3", {"size": "large"})
    newest = ask(door, 'select actor_id, size from "Grown"', shards=[code], after=third["stamp"]).json()
    assert newest["types"] == ["text", "text"]
    assert newest["rows"] == [["1", None], ["2", None], ["3", "large"]]
    for asked, content in early:
        assert ask(door, asked, shards=[code], as_of=first["stamp"]).content == content
    assert ask(door, both, shards=[code], as_of=second["stamp"]).content == middle
    door.served.run(door.served.node.rebuild("Grown"))
    for asked, content in early:
        assert ask(door, asked, shards=[code], as_of=first["stamp"]).content == content


def test_a_whole_answer_is_bounded_in_bytes_and_a_stream_reads_large_rows_one_after_the_other(door: Door) -> None:
    sql = "select repeat('a', 10000) || n as a from generate_series(1, 9000) as g(n)"
    problem(ask(door, sql), 413, "too-large")
    with door.http.stream("POST", "/query", json={"sql": sql}, headers={"Accept": "text/csv"}) as answer:
        assert sum(map(len, answer.iter_bytes())) > 90_000_000


@pytest.mark.parametrize("often", ["10001", "n + 20000", ":often"])
def test_a_text_is_not_made_as_long_as_anybody_says(door: Door, often: str) -> None:
    variables = {"often": 250_000_000} if ":" in often else {}
    sql = f"select repeat('a', {often}) from generate_series(1, 3) as g(n)"
    assert "repeat goes up to 10000" in problem(ask(door, sql, variables=variables), 422, "invalid")["detail"]
    assert rows(door, "select length(repeat('ab', 5000)), lpad('7', n, '0') from generate_series(3, 3) as g(n)") == [
        [10000, "007"]
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("'infinity'::date", "infinity"),
        ("'-infinity'::timestamptz", "-infinity"),
        ("'0001-01-01 BC'::date", "0001-01-01 BC"),
        ("'20000-01-01'::date", "20000-01-01"),
        ("date '2026-01-01' + 10000000", "29405-01-27"),
        ("timestamptz '9999-12-31 23:00Z' + interval '1 year'", "10000-12-31 23:00:00+00"),
        ("timestamptz '2026-11-28 10:00:00.5+02:00'", "2026-11-28T08:00:00.500000Z"),
        ("timestamp '2026-11-28 10:00'", "2026-11-28T10:00:00"),
        ("'24:00'::time", "24:00:00"),
        ("array[date '2026-11-28', null]", ["2026-11-28", None]),
        ("array[timestamptz '2026-11-28 10:00Z', 'infinity']", ["2026-11-28T10:00:00.000000Z", "infinity"]),
    ],
)
def test_a_date_is_said_as_it_is_also_where_no_calendar_of_pythons_has_it(door: Door, value: str, said: Any) -> None:
    assert rows(door, f"select {value}") == [[said]]


def test_a_value_within_a_row_counts_towards_the_most_of_an_answer(door: Door) -> None:
    sql = "select array_agg(repeat('a', 10000)) from generate_series(1, 9000) as n group by n % 6"
    problem(ask(door, sql), 413, "too-large")


@pytest.mark.parametrize(
    "sql",
    [
        "select customer, sum(interval '1 day' * actor_version) as d from \"Sale\" group by customer",
        'select sum(total::float8) as s from "Sale"',
        "select customer, max(document -> 'total') as m from \"Sale\" group by customer",
        'select customer from "Sale" group by customer',
        'select s.customer, count(*) as n from "Sale" s join "Sale" t using (actor_id) group by 1',
    ],
)
def test_what_cannot_be_kept_is_not_published_as_kept(door: Door, sales: int, sql: str) -> None:
    assert door.http.put("/views/kept-once", json={"sql": 'select count(*) as n from "Sale"', "kept": True}).is_success
    problem(door.http.put("/views/kept-once", json={"sql": sql, "kept": True}), 422, "invalid")
    assert door.get("/views/kept-once")["columns"] == ["n"]


def test_a_kept_view_that_is_replaced_answers_as_the_new_one_at_once(door: Door, sales: int) -> None:
    for number in range(6):
        definition = {"sql": f'select customer, count(*) + 0 * {number} as n{number} from "Sale" group by 1'}
        if number % 2 == 0:
            definition = {"sql": f'select customer as c{number}, count(*) as n from "Sale" group by 1', "kept": True}
        assert door.http.put("/views/turning", json=definition).is_success
        told = door.get("/views/turning", shards=str(sales))
        assert told["columns"] == ([f"c{number}", "n"] if number % 2 == 0 else ["customer", f"n{number}"])


def test_a_kept_view_outlives_models_that_change_and_come_back(door: Door) -> None:
    def publish(kind: str) -> None:
        schema = {"type": "object", "properties": {"amt": {"type": kind}}}
        assert door.http.put("/directory/models/Note", json=schema).is_success

    code = door.department()
    publish("number")
    door.create(code, "Note/1", {"amt": 5})
    door.get(f"/shards/{code}/Note/1")
    sql = 'select count(*) as n, sum(amt) as s from "Note"'
    assert door.http.put("/views/notes", json={"sql": sql, "kept": True}).is_success
    publish("string")
    second = door.create(code, "Note/2", {"amt": "7"})
    publish("number")
    asked = {"shards": str(code), "after": second["stamp"]}
    first = door.http.get("/views/notes", params=asked)
    vector = f"{code}:{second['position']}"
    before = [door.http.get("/views/notes", params={"shards": str(code), "as_of": vector}) for _ in range(2)]
    door.create(code, "Note/3", {"amt": 9})
    after = door.http.get("/views/notes", params={"shards": str(code), "as_of": vector})
    assert [each.status_code for each in (first, *before)] == [after.status_code] * 3
    assert [each.content for each in before] == [after.content] * 2
    twin = ask(door, sql, shards=[code], as_of=vector)
    assert twin.status_code == after.status_code
