"""Rules over HTTP: what they could not do and who says what happens then, what follows from what, and bad input."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from peaceriver import Actor, Department, Envelope, Event, Message, Refuse, rule
from peaceriver.application import load
from peaceriver.limits import BODY_BYTES_MAX
from peaceriver.message import MESSAGE_BYTES_MAX
from tests.acceptance.door import Door, pointers, problem
from tests.acceptance.serving import serving

SALES, CREDIT = 100, 110
JSON = {"Content-Type": "application/json"}
names = (f"o{number}" for number in itertools.count())


class Order(Actor):
    total: int
    state: str = "open"


class Check(Actor):
    amount: int


class Approve(Message[Order], action="modify"):
    state: str = "approved"


def application(mended: Path) -> ModuleType:
    """A shop whose rules cannot act on orders in the state "bad", until a file of the order's name is there."""
    sales, credit = Department(SALES, "Sales"), Department(CREDIT, "Credit")

    @rule(on=Order.created, at=sales, when=lambda event: event.document.total > 1)
    def ask(event: Event) -> Iterator[Any]:
        if event.document.state == "bad" and not (mended / event.id).exists():
            yield 13  # no message, today or tomorrow: nobody tries it again by himself
        if event.document.state == "odd":
            raise ValueError("\x00 and \ud800")
        yield credit.create(Check(amount=event.document.total), id=event.id)

    @rule(on=Check.created, at=credit, when=lambda event: event.document.amount > 1)
    def agree(event: Event) -> Iterator[Envelope]:
        yield event.reply(Approve(), to=f"Order/{event.id}")

    @rule(on=Order.cancelled, at=sales)
    def lower(event: Event) -> Iterator[Envelope]:
        yield credit.modify(f"Check/{event.id}", {"amount": 0})

    @rule(on=Order.created, at=sales, kind="validation")
    def positive(event: Event) -> Iterator[Refuse]:
        if event.document.state == "unheard of":
            raise ValueError("nobody can judge this")
        if event.document.state == "deadly":
            os._exit(3)
        if event.document.total < 0:
            yield Refuse("an order is worth something", pointer="/body/total")

    module = ModuleType("shop")
    for each in (sales, credit, Order, Check, ask, agree, lower, positive):
        name = each.__name__ if isinstance(each, type) else each.name.lower()
        setattr(module, name, each)
    return module


class Shop(Door):
    """The shop's door, and short words for what goes wrong in it."""

    mended: Path

    def order(self, total: int = 5, **body: Any) -> dict[str, Any]:
        return self.create(SALES, f"Order/{next(names)}", {"total": total} | body)

    def settled(self, message_id: str, **parameters: str) -> dict[str, Any]:
        told: dict[str, Any] = self.get(f"/messages/{message_id}/settled", **parameters)
        return told

    def waiting_for(self, receipt: dict[str, Any], **parameters: str) -> dict[str, Any]:
        """The exception that keeps a message from being settled."""
        (found,) = self.settled(receipt["id"], **parameters)["exceptions"]
        assert isinstance(found, dict)
        return found

    def parked(self) -> dict[str, Any]:
        """An exception of a rule that could not act."""
        return self.waiting_for(self.order(state="bad"))

    def refused(self) -> dict[str, Any]:
        """An exception of a message that the credit department refused: nobody knows this check."""
        name = self.order(total=1)["actor"]
        return self.waiting_for(self.receipt({"to": SALES, "actor": name, "action": "cancel"}))

    def mend(self, exception: dict[str, Any]) -> None:
        """Let what failed succeed from now on."""
        if exception["shard"] == SALES:
            (self.mended / exception["actor"].removeprefix("Order/")).touch()
        else:
            self.create(CREDIT, exception["actor"], {"amount": 1})

    def say(self, exception: dict[str, Any] | str, how: str, message: Any = None) -> httpx.Response:
        """Retry, skip or answer an exception."""
        key = exception if isinstance(exception, str) else exception["id"]
        content = message if isinstance(message, str | bytes) or message is None else json.dumps(message)
        return self.http.post(f"/exceptions/{key}/{how}", content=content, headers=JSON)

    def state(self, exception: dict[str, Any]) -> str:
        found: str = self.get(f"/exceptions/{exception['id']}")["state"]
        return found

    def resolve(self, exception: dict[str, Any], how: str, message: Any = None) -> dict[str, Any]:
        """How an exception stands that was retried, skipped or answered, after everything that came of it."""
        answer = self.say(exception, how, message)
        assert answer.status_code == 200, answer.text
        self.settled(exception["root"])
        told: dict[str, Any] = answer.json()
        return told

    def positions(self) -> dict[int, int]:
        """How much is recorded."""
        return {code: self.served.node.shards[code].tip.position for code in (0, SALES, CREDIT)}

    def since(self, positions: dict[int, int]) -> list[Any]:
        """What was recorded since then, but for what the system itself writes at its own time."""
        pages = [self.get(f"/shards/{code}/journal", after=str(after)) for code, after in positions.items()]
        return [each for page in pages for each in page["records"] if each["kind"] not in ("tick", "mark", "epoch")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    mended = tmp_path_factory.mktemp("mended")
    with (
        serving(tmp_path_factory.mktemp("shop") / "postgres", load(application(mended))) as served,
        Shop(served) as door,
    ):
        door.mended = mended
        yield door


@pytest.fixture(scope="module")
def stuck(shop: Shop) -> dict[str, Any]:
    """An exception that stays open."""
    return shop.parked()


@pytest.fixture
def unchanged(shop: Shop, stuck: dict[str, Any]) -> Iterator[None]:
    """What the test asks for leaves everything as it was."""
    before = shop.positions()
    yield
    assert shop.since(before) == []


def together(ask: Callable[[int], httpx.Response], times: int) -> list[httpx.Response]:
    """Several clients ask at the same moment."""
    start = threading.Barrier(times)

    def at_once(number: int) -> httpx.Response:
        start.wait(30)
        return ask(number)

    with ThreadPoolExecutor(times) as clients:
        return list(clients.map(at_once, range(times)))


def note(to: int = CREDIT, **members: Any) -> dict[str, Any]:
    """An acceptable answer, but for what the test makes of it."""
    return {"to": to, "actor": f"Check/{next(names)}", "action": "create", "body": {"amount": 1}} | members


# --- GET /exceptions


def test_exceptions_are_listed_by_state_oldest_first(shop: Shop) -> None:
    kept, done = shop.parked(), shop.refused()
    shop.resolve(done, "skip")

    def ids(**parameters: str) -> list[str]:
        return [each["id"] for each in shop.get("/exceptions", limit="1000", **parameters)["items"]]

    assert kept["id"] in ids(state="open")
    assert done["id"] not in ids(state="open")
    assert ids() == ids(state="all")
    assert done["id"] in ids(state="skipped")
    assert kept["id"] not in ids(state="skipped")
    everything = shop.get("/exceptions", state="all", limit="1000")["items"]
    assert {kept["id"], done["id"]} <= {each["id"] for each in everything}
    stamps = [each["stamp"] for each in everything]
    assert stamps == sorted(stamps)
    shop.resolve(kept, "skip")


def test_exceptions_are_listed_page_by_page(shop: Shop) -> None:
    made = [shop.parked() for _ in range(3)]
    found: list[str] = []
    place: str | None = "/exceptions?state=open&limit=2"
    while place is not None:
        page = shop.get(place)
        assert len(page["items"]) <= 2
        found += [each["id"] for each in page["items"]]
        place = page["next"]
    assert [each for each in found if each in {one["id"] for one in made}] == [each["id"] for each in made]
    assert len(found) == len(set(found))
    for each in made:
        shop.resolve(each, "skip")


def test_an_exception_says_what_happened_to_what_and_where_it_stands(shop: Shop) -> None:
    receipt = shop.order(state="bad")
    found = shop.waiting_for(receipt)
    assert shop.get(f"/exceptions/{found['id']}") == found
    assert (found["kind"], found["shard"], found["actor"], found["rule"]) == (
        "exception",
        SALES,
        receipt["actor"],
        "ask",
    )
    assert (found["state"], found["attempt"], found["retry_at"]) == ("open", 1, None)
    assert found["detail"] == "ask yielded int: yield messages, as in credit.create(...)"
    assert found["problem"]["type"] == "/problems/rule-failed"
    assert shop.http.get(found["problem"]["type"]).status_code == 200
    assert (found["cause"], found["root"]) == (receipt["stamp"], receipt["id"])
    shop.resolve(found, "skip")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("state=closed", "state"),
        ("state=", "state"),
        ("state=OPEN", "state"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.5", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("offset=-1", "offset"),
        ("offset=x", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("state=open&state=open", "state"),
        ("colour=red", "colour"),
        ("as_of=1", "as_of"),
        ("state=%00", "state"),
    ],
)
def test_a_list_with_a_parameter_that_is_none_is_refused(shop: Shop, query: str, place: str) -> None:
    assert pointers(problem(shop.http.get(f"/exceptions?{query}"), 422, "invalid")) == {place}


def test_what_a_rule_says_when_it_fails_can_be_read_whatever_it_is(shop: Shop) -> None:
    receipt = shop.order(state="odd")
    found = shop.waiting_for(receipt, timeout="50ms")
    assert found["detail"].startswith("ask raised ValueError: \ufffd and ?")
    assert found["retry_at"] is not None
    assert shop.get(f"/explain/{found['stamp']}")["record"]["body"]["problem"]["detail"] == found["detail"]
    assert shop.resolve(found, "skip")["state"] == "skipped"


def test_departments_that_refuse_messages_of_one_id_have_an_exception_each(shop: Shop) -> None:
    key, name = str(uuid4()), next(names)
    for to, actor in ((SALES, "Order"), (CREDIT, "Check")):
        timer = {"id": key, "to": to, "actor": f"{actor}/{name}", "action": "modify", "due": "2026-01-01T00:00:00Z"}
        shop.receipt(timer)
    found: list[dict[str, Any]] = []
    while len(found) < 2:
        listed = shop.get("/exceptions", state="open", limit="1000")["items"]
        found = [each for each in listed if each["actor"].endswith(f"/{name}")]
    assert {each["shard"] for each in found} == {SALES, CREDIT}
    assert len({each["id"] for each in found}) == 2
    for each in found:
        assert shop.get(f"/exceptions/{each['id']}")["shard"] == each["shard"]
        assert shop.resolve(each, "skip")["shard"] == each["shard"]


# --- retry, skip, answer


def test_a_retry_answers_how_it_stands_after_the_attempt(shop: Shop) -> None:
    found = shop.parked()
    failed = shop.say(found, "retry")
    assert failed.status_code == 200
    assert (failed.json()["state"], failed.json()["attempt"]) == ("open", 2)
    shop.mend(found)
    done = shop.http.post(f"/exceptions/{found['id']}/retry", headers={"Peaceriver-Principal": "ada"})
    assert (done.status_code, done.json()["state"], done.json()["attempt"]) == (200, "retried", 3)
    assert shop.settled(found["root"])["settled"]
    assert [each["body"]["state"] for each in told_of(shop, found)] == ["open", "open", "open", "open", "retried"]
    assert told_of(shop, found)[-2]["principal"] == "ada", "whoever asked for the attempt is in the records"


def told_of(shop: Shop, exception: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of an exception."""
    kept = shop.history(exception["shard"])
    return [each for each in kept if each["kind"] == "exception" and each["body"]["exception"] == exception["id"]]


def test_a_refused_message_is_admitted_when_it_is_retried(shop: Shop) -> None:
    found = shop.refused()
    assert (found["shard"], found["problem"]["status"]) == (CREDIT, 409)
    failed = shop.say(found, "retry").json()
    assert (failed["state"], failed["attempt"], failed["detail"]) == ("open", 2, found["detail"])
    shop.mend(found)
    done = shop.say(found, "retry").json()
    assert (done["state"], done["attempt"]) == ("retried", 3)
    assert shop.settled(found["root"])["settled"]
    assert shop.get(f"/shards/{CREDIT}/{found['actor']}", read="latest")["document"] == {"amount": 0}


@pytest.mark.parametrize("kind", ["parked", "refused"])
def test_what_is_skipped_is_left_undone(shop: Shop, kind: str) -> None:
    found = getattr(shop, kind)()
    done = shop.http.post(f"/exceptions/{found['id']}/skip", headers={"Peaceriver-Principal": "ada"})
    assert (done.status_code, done.json()["state"]) == (200, "skipped")
    assert shop.settled(found["root"])["settled"]
    assert told_of(shop, found)[-1]["principal"] == "ada"


@pytest.mark.parametrize("kind", ["parked", "refused"])
@pytest.mark.parametrize("to", [SALES, CREDIT])
def test_an_answer_takes_the_place_of_what_could_not_be_done(shop: Shop, kind: str, to: int) -> None:
    found = getattr(shop, kind)()
    message = note(to, id=str(uuid4()), correlation="by hand")
    done = shop.http.post(f"/exceptions/{found['id']}/answer", json=message, headers={"Peaceriver-Principal": "ada"})
    assert (done.status_code, done.json()["state"]) == (200, "answered")
    assert shop.settled(found["root"])["settled"]
    shown = shop.get(f"/shards/{to}/{message['actor']}", read="latest")
    assert shown["document"] == {"amount": 1}
    (record,) = shop.get(f"/shards/{to}/{message['actor']}/records", read="latest")["records"]
    assert (record["id"], record["principal"], record["rule"]) == (message["id"], "ada", None)
    assert (record["cause"], record["root"]) == (found["stamp"], found["root"])
    assert record["correlation"] == "by hand"


def test_an_answer_without_an_id_gets_one(shop: Shop) -> None:
    found = shop.parked()
    message = note()
    assert shop.resolve(found, "answer", message)["state"] == "answered"
    assert shop.settled(found["root"])["settled"]
    (record,) = shop.get(f"/shards/{CREDIT}/{message['actor']}/records", read="latest")["records"]
    assert UUID(record["id"])


@pytest.mark.parametrize("kind", ["parked", "refused"])
@pytest.mark.parametrize("first", ["retry", "skip", "answer"])
def test_what_is_resolved_is_resolved_once(shop: Shop, kind: str, first: str) -> None:
    found = getattr(shop, kind)()
    message = note()
    shop.mend(found)
    words = {"retry": None, "skip": None, "answer": message}
    shop.resolve(found, first, words[first])
    before = shop.positions()
    again = shop.say(found, first, words[first])
    assert again.status_code == 200, "saying the same again changes nothing"
    for how in words.keys() - {first}:
        told = problem(shop.say(found, how, words[how]), 409, "conflict")
        assert f"{found['id']} was {again.json()['state']} already" in told["detail"]
    for other in (note(), note() | {"id": str(uuid4())}, message | {"body": {"amount": 8}}):
        told = problem(shop.say(found, "answer", other), 409, "conflict")
        assert f"was {again.json()['state']} already" in told["detail"]
    assert shop.since(before) == []


# --- at the same moment


@pytest.mark.parametrize("kind", ["parked", "refused"])
def test_of_different_words_at_the_same_moment_exactly_one_counts(shop: Shop, kind: str) -> None:
    for _ in range(5):
        found = getattr(shop, kind)()
        shop.mend(found)
        shop.settled(found["root"])
        answers = [note(), note()]
        words = [("skip", None), ("retry", None), ("answer", answers[0]), ("answer", answers[1])]

        def speak(number: int, found: Any = found, words: Any = words) -> httpx.Response:
            return shop.say(found, *words[number])

        told = together(speak, len(words))
        state = shop.state(found)
        assert sorted(each.status_code for each in told) == [200, 409, 409, 409], [each.text for each in told]
        (won,) = (each for each in told if each.status_code == 200)
        assert won.json()["state"] == state
        entries = [each["body"]["state"] for each in told_of(shop, found)]
        assert [each for each in entries if each != "open"] == [state]
        assert shop.settled(found["root"])["settled"]
        made = [shop.http.get(f"/shards/{CREDIT}/{each['actor']}?read=latest").status_code for each in answers]
        assert sorted(made) == ([200, 404] if state == "answered" else [404, 404])
        if state == "answered":
            assert made[told.index(won) - 2] == 200


@pytest.mark.parametrize("kind", ["parked", "refused"])
@pytest.mark.parametrize("how", ["retry", "skip", "answer"])
def test_the_same_word_at_the_same_moment_is_heard_once(shop: Shop, kind: str, how: str) -> None:
    found = getattr(shop, kind)()
    message = note(id=str(uuid4())) if how == "answer" else None
    shop.mend(found)
    told = together(lambda number: shop.say(found, how, message), 6)
    assert shop.settled(found["root"])["settled"]
    becomes = {"retry": "retried", "skip": "skipped", "answer": "answered"}[how]
    assert [(each.status_code, each.json().get("state")) for each in told] == [(200, becomes)] * 6
    assert [each["body"]["state"] for each in told_of(shop, found)].count(becomes) == 1


@pytest.mark.parametrize("kind", ["parked", "refused"])
def test_retries_in_vain_at_the_same_moment_harm_nobody(shop: Shop, kind: str) -> None:
    found = getattr(shop, kind)()
    told = together(lambda number: shop.say(found, "retry"), 6)
    assert [(each.status_code, each.json().get("state")) for each in told] == [(200, "open")] * 6
    attempts = [each["body"]["attempt"] for each in told_of(shop, found) if "asked" not in each["body"]]
    assert attempts == list(range(1, len(attempts) + 1))
    assert 2 <= len(attempts) <= 7
    shop.resolve(found, "skip")


def test_many_exceptions_are_resolved_at_the_same_moment(shop: Shop) -> None:
    found = [shop.parked() for _ in range(4)] + [shop.refused() for _ in range(4)]
    for each in found[::2]:
        shop.mend(each)
    told = together(lambda number: shop.say(found[number], "retry" if number % 2 == 0 else "skip"), len(found))
    assert [each.json()["state"] for each in told] == ["retried", "skipped"] * 4
    assert all(shop.settled(each["root"])["settled"] for each in found)


# --- bad words


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("how", ["", "/retry", "/skip", "/answer"])
def test_an_exception_that_is_not_there_is_not_found(shop: Shop, how: str) -> None:
    path = f"/exceptions/{uuid4()}{how}"
    answer = shop.http.post(path, json=note()) if how else shop.http.get(path)
    assert "GET /exceptions lists those that there are" in problem(answer, 404, "not-found")["detail"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("how", ["", "/retry", "/skip", "/answer"])
@pytest.mark.parametrize("key", ["x", "1", "not-a-uuid", "%20", "{}", "0" * 36, "a" * 5_000, "%F0%9F%98%80"])
def test_an_id_that_is_none_is_refused(shop: Shop, how: str, key: str) -> None:
    path = f"/exceptions/{key}{how}"
    answer = shop.http.post(path, json=note()) if how else shop.http.get(path)
    told = problem(answer, 422, "invalid")
    assert pointers(told) == {"id"}
    assert "is not a UUID" in told["detail"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("method", "how", "allowed"),
    [
        ("POST", "", "GET, HEAD"),
        ("DELETE", "", "GET, HEAD"),
        ("PUT", "", "GET, HEAD"),
        ("GET", "/retry", "POST"),
        ("PUT", "/skip", "POST"),
        ("DELETE", "/answer", "POST"),
        ("PATCH", "/answer", "POST"),
    ],
)
def test_another_method_is_refused_and_told_which_there_are(
    shop: Shop, stuck: dict[str, Any], method: str, how: str, allowed: str
) -> None:
    answer = shop.http.request(method, f"/exceptions/{stuck['id']}{how}")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.usefixtures("unchanged")
def test_another_word_is_not_there(shop: Shop, stuck: dict[str, Any]) -> None:
    problem(shop.say(stuck, "ignore"), 404, "not-found")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("how", ["retry", "skip", "answer"])
@pytest.mark.parametrize(
    ("query", "place"),
    [("timeout=soon", "timeout"), ("timeout=-1", "timeout"), ("timeout=1h", "timeout"), ("concern=most", "concern")],
)
def test_a_word_with_a_parameter_that_is_none_is_refused(
    shop: Shop, stuck: dict[str, Any], how: str, query: str, place: str
) -> None:
    answer = shop.http.post(f"/exceptions/{stuck['id']}/{how}?{query}", json=note())
    assert pointers(problem(answer, 422, "invalid")) == {place}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("how", ["retry", "skip", "answer"])
@pytest.mark.parametrize("name", [b"a\x01b", b"\xff", b"x" * 256])
def test_a_word_from_nobody_is_refused(shop: Shop, stuck: dict[str, Any], how: str, name: bytes) -> None:
    answer = shop.http.post(
        f"/exceptions/{stuck['id']}/{how}",
        json=note(),
        headers={"Peaceriver-Principal": name},  # type: ignore[dict-item]  # httpx takes bytes as well
    )
    if b"\x01" in name:
        assert answer.status_code == 400  # no header at all, says the parser
    else:
        assert pointers(problem(answer, 422, "invalid")) == {"Peaceriver-Principal"}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("text", "status", "slug"),
    [
        ("", 400, "malformed"),
        ("   ", 400, "malformed"),
        ("{", 400, "malformed"),
        ("to: 110", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        ('{"to": 110, "to": 110, "actor": "Check/x", "action": "create"}', 400, "malformed"),
        ('{"to": 110, "actor": "Check/x", "action": "create", "body": {"amount": NaN}}', 400, "malformed"),
        ('{"to": 110, "actor": "Check/x", "action": "create", "body": {"amount": "\\ud800"}}', 400, "malformed"),
        ('{"to": 110, "actor": "Check/\\ud800", "action": "create"}', 400, "malformed"),
        ('{"to": 110, "actor": "Check/x", "action": "create", "body": ' + "[" * 1_000 + "}", 400, "malformed"),
        ("null", 422, "invalid"),
        ("[]", 422, "invalid"),
        ('"retry"', 422, "invalid"),
        ("7", 422, "invalid"),
    ],
)
def test_an_answer_that_is_no_message_is_refused(
    shop: Shop, stuck: dict[str, Any], text: str | bytes, status: int, slug: str
) -> None:
    assert problem(shop.say(stuck, "answer", text), status, slug)["detail"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("members", "places"),
    [
        ({"to": "110"}, {"/to"}),
        ({"to": None}, {"/to"}),
        ({"to": -1}, {"/to"}),
        ({"actor": 7}, {"/actor"}),
        ({"actor": "Check/"}, {"/actor"}),
        ({"action": "answer"}, {"/action"}),
        ({"action": "modify", "actor": "Check"}, {"/actor"}),
        ({"id": "x"}, {"/id"}),
        ({"body": []}, {"/body"}),
        ({"body": None}, {"/body"}),
        ({"body": {"amount": "\x00"}}, {"/body/amount"}),
        ({"due": "tomorrow"}, {"/due"}),
        ({"valid_at": 7}, {"/valid_at"}),
        ({"if_version": 1}, {"/if_version"}),
        ({"correlation": ""}, {"/correlation"}),
        ({"colour": "red"}, {"/colour"}),
        ({"from": SALES}, {"/from"}),
        ({"from": 7_000_000}, {"/from"}),
        ({"cause": "0001935a4f6e21c00007.100"}, {"/cause"}),
        ({"to": "x", "colour": "red"}, {"/to", "/colour"}),
        # What its model does not take, wherever it goes: here, and where it is only sent on.
        ({"body": {"amount": "much"}}, {"/body/amount"}),
        ({"body": {}}, {"/body/amount"}),
        ({"to": SALES, "body": {"amount": "much"}}, {"/body/amount"}),
        ({"to": SALES, "actor": "Order/x", "body": {"total": -1}}, {"/body/total"}),
        ({"to": SALES, "actor": "Order/x", "body": {"total": 1, "state": 7}}, {"/body/state"}),
        ({"actor": "Order/x", "body": {"total": "x", "state": 7}}, {"/body/total", "/body/state"}),
    ],
)
def test_an_answer_that_no_department_takes_is_refused_and_says_where(
    shop: Shop, stuck: dict[str, Any], members: dict[str, Any], places: set[str]
) -> None:
    told = problem(shop.say(stuck, "answer", note(**members)), 422, "invalid")
    assert pointers(told) == places
    assert "atomic batch" not in told["detail"], "the client sent no batch"


@pytest.mark.usefixtures("unchanged")
def test_an_answer_without_a_message_or_its_members_names_them(shop: Shop, stuck: dict[str, Any]) -> None:
    assert pointers(problem(shop.say(stuck, "answer", {}), 422, "invalid")) == {"/to", "/actor", "/action"}
    problem(shop.say(stuck, "answer"), 400, "malformed")


@pytest.mark.usefixtures("unchanged")
def test_an_answer_to_a_department_that_is_not_there_is_refused(shop: Shop, stuck: dict[str, Any]) -> None:
    told = problem(shop.say(stuck, "answer", note(7_000_000)), 404, "not-found")
    assert pointers(told) == {"/to"}


def test_an_answer_that_conflicts_leaves_the_exception_open_and_names_the_message(shop: Shop) -> None:
    found, there = shop.parked(), shop.order(total=1)["actor"]
    before = shop.positions()
    key = str(uuid4())
    for members in (
        {"to": SALES, "actor": there, "body": {"total": 1}, "id": key},
        {"to": SALES, "actor": "Order/nobody", "action": "modify", "id": key},
        {"to": SALES, "actor": there, "action": "modify", "if_version": 7, "id": key},
    ):
        answer = shop.say(found, "answer", note(**members))
        told = problem(answer, 409, "version-conflict" if "if_version" in members else "conflict")
        assert told["id"] == key
        assert "atomic batch" not in told["detail"]
    assert shop.since(before) == []
    assert shop.resolve(found, "answer", note(SALES, id=key))["state"] == "answered"


def test_an_answer_under_the_id_of_another_message_is_refused(shop: Shop) -> None:
    found, taken = shop.parked(), shop.order(total=1)
    told = problem(shop.say(found, "answer", note(SALES, id=taken["id"])), 409, "conflict")
    assert "recorded before with other content" in told["detail"]
    assert shop.state(found) == "open"
    shop.resolve(found, "skip")


@pytest.mark.usefixtures("unchanged")
def test_an_answer_may_be_so_large_and_no_larger(shop: Shop, stuck: dict[str, Any]) -> None:
    problem(shop.say(stuck, "answer", b" " * (MESSAGE_BYTES_MAX + 1)), 413, "too-large")
    problem(shop.say(stuck, "answer", note(body={"a": "x" * BODY_BYTES_MAX})), 413, "too-large")

    def endless() -> Iterator[bytes]:
        for _ in range(MESSAGE_BYTES_MAX // 65_536 + 2):
            yield b" " * 65_536

    problem(shop.http.post(f"/exceptions/{stuck['id']}/answer", content=endless()), 413, "too-large")
    assert shop.http.get("/healthz").status_code == 200


def test_an_answer_is_json_whatever_it_says_it_is(shop: Shop) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "nonsense", ""):
        found = shop.parked()
        path = f"/exceptions/{found['id']}/answer"
        answer = shop.http.post(path, content=json.dumps(note()), headers={"Content-Type": kind})
        assert answer.json()["state"] == "answered", kind
        shop.settled(found["root"])
    found = shop.parked()
    packed = shop.http.post(f"/exceptions/{found['id']}/answer", json=note(), headers={"Content-Encoding": "gzip"})
    assert "without a Content-Encoding" in problem(packed, 400, "malformed")["detail"]
    assert shop.state(found) == "open"
    shop.resolve(found, "skip")


def test_below_the_floor_an_answer_is_refused_like_any_message(shop: Shop, stuck: dict[str, Any]) -> None:
    room, before = shop.served.node.room, shop.positions()
    floor, room.free_bytes_min = room.free_bytes_min, 2**62
    try:
        answer = shop.say(stuck, "answer", note())
    finally:
        room.free_bytes_min = floor
    assert "bytes left" in problem(answer, 507, "disk-full")["detail"]
    assert answer.headers["Retry-After"]
    assert shop.since(before) == []


# --- GET /messages/{id}/settled


def test_a_message_is_settled_once_all_that_follows_is_done(shop: Shop) -> None:
    receipt = shop.order()
    told = shop.settled(receipt["id"])
    assert (told["settled"], told["records"], told["exceptions"]) == (True, 5, [])
    assert set(told["positions"]) == {str(SALES), str(CREDIT)}
    vector = ",".join(f"{code}:{position}" for code, position in told["positions"].items())
    shown = shop.get(f"/shards/{SALES}/{receipt['actor']}", after=vector)
    assert shown["document"]["state"] == "approved"
    assert shop.settled(receipt["id"], timeout="0")["settled"], "it takes no time to say what is known"


def test_a_part_of_a_chain_is_settled_as_well(shop: Shop) -> None:
    receipt = shop.order()
    shop.settled(receipt["id"])
    (check,) = shop.get(f"/shards/{CREDIT}/{receipt['actor'].replace('Order', 'Check')}/records", read="latest")[
        "records"
    ]
    told = shop.settled(check["id"])
    assert told["settled"]
    assert told["records"] < 5


@pytest.mark.parametrize("kind", ["parked", "refused"])
def test_a_message_is_not_settled_while_an_exception_waits_and_is_when_it_does_not(shop: Shop, kind: str) -> None:
    found = getattr(shop, kind)()
    told = shop.settled(found["root"], timeout="60s")  # at once: nobody retries it by himself
    assert not told["settled"]
    assert [each["id"] for each in told["exceptions"]] == [found["id"]]
    shop.mend(found)
    shop.resolve(found, "retry")
    assert shop.settled(found["root"])["settled"]


@pytest.mark.parametrize("timeout", ["0", "0ms", "10s"])
def test_a_message_that_nobody_has_seen_is_not_found(shop: Shop, timeout: str) -> None:
    answer = shop.http.get(f"/messages/{uuid4()}/settled", params={"timeout": timeout})
    assert "no node that answers has seen message" in problem(answer, 404, "not-found")["detail"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "query", ["timeout=soon", "timeout=-1s", "timeout=61s", "timeout=1e3", "timeout=", "timeout=1&timeout=1", "wait=1s"]
)
def test_a_wait_that_is_none_is_refused(shop: Shop, stuck: dict[str, Any], query: str) -> None:
    answer = shop.http.get(f"/messages/{stuck['root']}/settled?{query}")
    assert pointers(problem(answer, 422, "invalid")) == {query.partition("=")[0]}


@pytest.mark.usefixtures("unchanged")
def test_what_is_no_message_id_is_refused(shop: Shop, stuck: dict[str, Any]) -> None:
    assert pointers(problem(shop.http.get("/messages/17/settled"), 422, "invalid")) == {"id"}
    problem(shop.http.post(f"/messages/{stuck['root']}/settled"), 405, "method-not-allowed")


# --- GET /explain/{stamp}


def test_a_record_from_outside_is_explained_by_what_it_led_to(shop: Shop) -> None:
    receipt = shop.order()
    shop.settled(receipt["id"])
    told = shop.get(f"/explain/{receipt['stamp']}")
    assert told["record"]["stamp"] == told["root"]["stamp"] == receipt["stamp"]
    assert told["cause"] is None
    assert told["record"]["rule"] is None
    assert [each["rule"] for each in told["consequences"]] == ["ask"]
    assert [each["rule"] for each in told["records"]] == [None, "ask", "ask", "agree", "agree"]


def test_a_record_that_a_rule_made_is_explained_by_its_cause_and_its_rule(shop: Shop) -> None:
    receipt = shop.order()
    shop.settled(receipt["id"])
    made = shop.get(f"/explain/{receipt['stamp']}")["records"][2]
    told = shop.get(f"/explain/{made['stamp']}")
    assert (told["record"]["rule"], told["record"]["rule_version"], told["record"]["shard"]) == ("ask", 1, CREDIT)
    assert told["cause"]["kind"] == "sent"
    assert told["root"]["stamp"] == receipt["stamp"]
    assert [each["rule"] for each in told["consequences"]] == ["agree"]


def test_an_exception_and_its_answer_are_explained(shop: Shop) -> None:
    found = shop.parked()
    shop.resolve(found, "answer", note())
    shop.settled(found["root"])
    told = shop.get(f"/explain/{found['stamp']}")
    assert told["cause"]["id"] == found["root"]
    assert {each["kind"] for each in told["consequences"]} == {"exception", "sent"}


def test_a_record_of_the_system_has_no_story(shop: Shop) -> None:
    mark = next(each for each in shop.get(f"/shards/{SALES}/journal")["records"] if each["kind"] == "mark")
    told = shop.get(f"/explain/{mark['stamp']}")
    assert (told["cause"], told["consequences"]) == (None, [])
    assert told["records"] == [told["record"]] == [told["root"]]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("stamp", ["x", "1", "now", "0" * 20, "z" * 20 + ".100", "0" * 20 + ".x", "%00", "1" * 5_000])
def test_what_is_no_stamp_is_refused(shop: Shop, stamp: str) -> None:
    assert pointers(problem(shop.http.get(f"/explain/{stamp}"), 422, "invalid")) == {"stamp"}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("code", [SALES, 7_000_000])
def test_a_stamp_that_no_record_has_is_not_found(shop: Shop, stuck: dict[str, Any], code: int) -> None:
    before_all = f"{1:020x}.{code}"
    told = problem(shop.http.get(f"/explain/{before_all}"), 404, "not-found")
    assert before_all in told["detail"]
    time = stuck["stamp"].partition(".")[0]
    problem(shop.http.get(f"/explain/{time}.{CREDIT}"), 404, "not-found")


# --- POST /directory/rules/{key}/replay


@pytest.mark.parametrize("start", ["start", "now", 0, 3, 2**31, 10**30])
def test_a_rule_acts_anew_and_makes_nothing_twice(shop: Shop, start: Any) -> None:
    receipt = shop.order()
    shop.settled(receipt["id"])
    before = shop.history(SALES)
    answer = shop.http.post("/directory/rules/ask/replay", json={"from": start})
    end = shop.get(f"/shards/{SALES}/journal")["complete"]
    assert answer.status_code == 200
    assert answer.json()["rule"] == "ask"
    assert 0 <= answer.json()["from"] <= end
    assert answer.json()["from"] == {"start": 0, 0: 0, 3: 3}.get(start, answer.json()["from"])
    later = shop.order()
    assert shop.settled(later["id"])["settled"]
    roots = {each["root"] for each in shop.history(SALES) if each not in before}
    # What it could not do then and nobody let it try again, it does now, where it can.
    undone = [each for state in ("skipped", "answered") for each in shop.get("/exceptions", state=state)["items"]]
    assert later["id"] in roots
    assert roots <= {later["id"]} | {each["root"] for each in undone}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("key", ["nobody", "positive", "x" * 500, "%20", "%F0%9F%98%80"])
def test_a_rule_that_does_not_act_here_cannot_act_anew(shop: Shop, key: str) -> None:
    answer = shop.http.post(f"/directory/rules/{key}/replay", json={"from": "start"})
    assert "GET /directory/rules lists those that there are" in problem(answer, 404, "not-found")["detail"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from": None},
        {"from": -1},
        {"from": 1.5},
        {"from": "yesterday"},
        {"from": ""},
        {"from": True},
        {"from": [0]},
        {"from": "start", "to": 7},
        {"start": 0},
    ],
)
def test_a_start_that_is_none_is_refused(shop: Shop, body: Any) -> None:
    told = problem(shop.http.post("/directory/rules/ask/replay", json=body), 422, "invalid")
    assert pointers(told) == {"/from"}
    assert '{"from": "start"}' in told["detail"]


@pytest.mark.usefixtures("unchanged")
def test_a_replay_of_what_is_no_json_object_is_refused(shop: Shop) -> None:
    for content, status in (
        (b"", 400),
        (b"{", 400),
        (b"[]", 422),
        (b'"start"', 422),
        (b" " * (BODY_BYTES_MAX + 1), 413),
    ):
        answer = shop.http.post("/directory/rules/ask/replay", content=content)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), content
    problem(shop.http.get("/directory/rules/ask/replay"), 405, "method-not-allowed")


def test_a_replay_that_nobody_waits_for_leaves_the_rule_acting(shop: Shop) -> None:
    for timeout in ("0", "1ms", "2ms", "5ms", "0"):
        answer = shop.http.post(f"/directory/rules/ask/replay?timeout={timeout}", json={"from": "start"})
        assert answer.status_code in (200, 504), answer.text
        assert shop.settled(shop.order()["id"])["settled"]


def test_replays_at_the_same_moment_leave_the_rule_acting(shop: Shop) -> None:
    told = together(lambda number: shop.http.post("/directory/rules/ask/replay", json={"from": number}), 6)
    assert [(each.status_code, each.json()["from"]) for each in told] == [(200, number) for number in range(6)]
    assert shop.settled(shop.order()["id"])["settled"]


# --- validation rules


@pytest.mark.usefixtures("unchanged")
def test_a_validation_rule_refuses_with_its_reason_and_pointer(shop: Shop) -> None:
    key = str(uuid4())
    bad = {"id": key, "to": SALES, "actor": "Order/no", "action": "create", "body": {"total": -1}}
    told = problem(shop.send(bad), 422, "invalid")
    assert told["errors"] == [{"pointer": "/body/total", "detail": "an order is worth something"}]
    assert "an order is worth something" in told["detail"]
    assert told["id"] == key
    problem(shop.http.get(f"/messages/{key}"), 404, "not-found")
    assert pointers(problem(shop.send([bad, bad], atomic="true"), 422, "invalid")) == {"/0/body/total"}
    as_resource = shop.http.post(f"/shards/{SALES}/Order", json={"total": -1})
    assert pointers(problem(as_resource, 422, "invalid")) == {"/body/total"}


def test_a_validation_rule_spoils_no_neighbour(shop: Shop) -> None:
    listed = [
        {"to": SALES, "actor": f"Order/{next(names)}", "action": "create", "body": {"total": n}} for n in (1, -1, 1)
    ]
    outcomes = shop.send(listed).json()
    assert [each.get("error", {}).get("status") for each in outcomes] == [None, 422, None]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("state", "why"),
    [("unheard of", "raised ValueError: nobody can judge this"), ("deadly", "its process with status 3")],
)
def test_what_a_validation_rule_cannot_judge_is_not_taken(shop: Shop, state: str, why: str) -> None:
    answer = shop.send({"to": SALES, "actor": "Order/no", "action": "create", "body": {"total": 1, "state": state}})
    told = problem(answer, 503, "unavailable")
    assert "Order.create cannot be judged: positive " in told["detail"]
    assert why in told["detail"]
    assert answer.headers["Retry-After"] == "1"


def test_where_no_rule_can_be_asked_only_what_it_would_judge_is_not_taken(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError("no more processes")

    name, other = f"Order/{next(names)}", f"Check/{next(names)}"
    wanted = [
        {"to": SALES, "actor": each, "action": "create", "body": {"total": 1, "amount": 1}} for each in (name, other)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", full)
        for pid in shop.served.node.agents.processes:
            os.kill(pid, signal.SIGKILL)
        refused, taken = shop.send(wanted).json()
        assert refused["error"]["status"] == 503
        assert "no room for a process" in refused["error"]["detail"]
        assert taken["actor"] == other
    assert shop.send(wanted[0]).status_code == 201


def test_what_comes_from_another_department_and_is_refused_by_a_rule_is_an_exception(shop: Shop) -> None:
    sent = shop.receipt(note(SALES, actor=f"Order/{next(names)}", body={"total": -1}) | {"from": CREDIT})
    found = shop.waiting_for(sent)
    assert (found["shard"], found["problem"]["status"]) == (SALES, 422)
    assert found["problem"]["errors"] == [{"pointer": "/body/total", "detail": "an order is worth something"}]
    shop.resolve(found, "skip")


def test_in_the_end_everything_is_sound(shop: Shop) -> None:
    answer = shop.http.post("/cluster/verify")
    assert answer.status_code == 200, answer.text
    assert answer.json()["ok"], answer.text
