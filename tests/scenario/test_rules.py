"""Rules on a real node: what they see, what they may do, and what becomes of those that go wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from peaceriver import Actor, Cluster, Department, Envelope, Event, Message, Receipt, exceptions, rule
from peaceriver.cluster import JournalRecord
from peaceriver.errors import Conflict, Invalid, NotFound, Unavailable
from peaceriver.evaluation import worker
from peaceriver.node.publishing import Publishing
from peaceriver.shard import agent as agents
from peaceriver.shard import resolving, steps, triggers, validation
from peaceriver.shard.agent import Agent
from peaceriver.shard.attempt import Resolved
from peaceriver.shard.exceptions import entry_of
from peaceriver.shard.verify import verify


class Order(Actor):
    total: int
    state: str = "open"


class Check(Actor):
    amount: int


class Approve(Message[Order], action="modify"):
    state: str = "approved"


sales = Department(100, "Sales")
credit = Department(110, "Credit")
NAMES = {"Order": Order, "Check": Check, "sales": sales, "credit": credit}

Started = Callable[..., AbstractAsyncContextManager[Cluster]]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """Start a cluster with rules; called again, it goes on from the same records."""

    @asynccontextmanager
    async def start(*rules: Any) -> AsyncIterator[Cluster]:
        application = ModuleType("shop")
        vars(application).update(NAMES | {each.name: each for each in rules})
        async with Cluster.embedded(application, data=tmp_path / "data") as cluster:
            yield cluster

    return start


async def place(cluster: Cluster, name: str, total: int = 5) -> Receipt:
    return await cluster.send(sales.create(Order(total=total), id=name))


async def records(cluster: Cluster, code: int, **wanted: object) -> list[JournalRecord]:
    return [
        each
        async for each in cluster.journal(code)
        if all(getattr(each, name) == value for name, value in wanted.items())
    ]


async def checks(cluster: Cluster) -> list[tuple[str, int]]:
    """What credit was asked: which check, about how much, in order."""
    found = await records(cluster, 110, kind="received", type="Check.create")
    return [((each.actor or "").removeprefix("Check/"), each.body["amount"]) for each in found]


async def sound(cluster: Cluster) -> None:
    """Marks, actors, views and exceptions are what the journals say."""
    assert cluster.node is not None
    node = cluster.node
    assert [each.findings for each in await verify(node.database, node.views, list(node.shards)) if not each.ok] == []
    for code in (100, 110):
        told: dict[str, tuple[str, int]] = {}
        for each in await records(cluster, code, kind="exception"):
            told[each.body["exception"]] = (each.body["state"], each.body["attempt"])
        listed = {each["id"]: (each["state"], each["attempt"]) for each in await cluster.exceptions("all")}
        assert told.items() <= listed.items()


@rule(on=Order.created, at=sales, when=lambda event: event.document.total > 1)
def ask(event: Event) -> Iterator[Envelope]:
    yield credit.create(Check(amount=event.document.total), id=event.id)


@rule(on=Check.created, at=credit)
def agree(event: Event) -> Iterator[Envelope]:
    yield event.reply(Approve(), to=f"Order/{event.id}")


async def test_a_rule_waits_for_room_on_the_disk(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    @rule(on=Order.created, at=sales)
    def check(event: Event[Order]) -> Iterator[Envelope]:
        yield credit.create(Check(amount=event.document.total), id=event.id)

    async with started(check) as cluster:
        assert cluster.node is not None
        with monkeypatch.context() as full:
            full.setattr(cluster.node.shards[100], "lack", lambda: "there is no room")
            placed = await place(cluster, "SO-1")
            await asyncio.sleep(0.5)
            assert await records(cluster, 100, kind="sent") == []
        await cluster.settled(placed)
        assert len(await records(cluster, 110, kind="received")) == 1


async def test_a_rule_sends_to_another_department_and_gets_its_reply(started: Started) -> None:
    async with started(ask, agree) as cluster:
        receipt = await cluster.send(sales.create(Order(total=5), id="a", correlation="case 7"))
        settled = await cluster.settled(receipt)
        assert (settled.settled, settled.records, settled.exceptions) == (True, 5, ())
        assert (await cluster.get(Order, "a")).document == Order(total=5, state="approved")
        explained = await cluster.explain(receipt.stamp)
        told = [(each["shard"], each["kind"], each["rule"], each["rule_version"]) for each in explained.records]
        assert told == [
            (100, "received", None, None),
            (100, "sent", "ask", 1),
            (110, "received", "ask", 1),
            (110, "sent", "agree", 1),
            (100, "received", "agree", 1),
        ]
        assert [each["hops"] for each in explained.records] == [0, 1, 1, 2, 2]
        assert {each["correlation"] for each in explained.records} == {"case 7"}
        assert {each["root"] for each in explained.records} == {str(receipt.id)}
        stamps = [each["stamp"] for each in explained.records]
        assert stamps == sorted(stamps)
        assert [each["cause"] for each in explained.records] == [None, stamps[0], stamps[0], stamps[2], stamps[2]]
        last = await cluster.explain(stamps[4])
        assert last.cause is not None
        assert (last.cause["stamp"], last.root["stamp"], last.consequences) == (stamps[3], stamps[0], ())
        assert [each["stamp"] for each in explained.consequences] == [stamps[1]]


async def test_now_does_not_move_and_a_new_version_goes_on_where_the_old_one_was(started: Started) -> None:
    @rule(on=Order.created, at=sales, name="ask", start="start")
    def again(event: Event) -> Iterator[Envelope]:
        yield credit.create(Check(amount=-event.document.total), id=event.id)

    async with started() as cluster:
        await place(cluster, "before")
    async with started(ask) as cluster:
        await cluster.settled(await place(cluster, "small", total=1))
        await cluster.settled(await place(cluster, "first"))
    async with started() as cluster:
        await place(cluster, "while it was away")
    async with started(again) as cluster:
        await cluster.settled(await place(cluster, "second"))
        assert await checks(cluster) == [("first", 5), ("while it was away", -5), ("second", -5)]
        made = await records(cluster, 100, kind="sent")
        versions = [(await cluster.explain(each.stamp)).record["rule_version"] for each in made]
        # Retired while it was away, and then replaced by another one: two changes of its page.
        assert versions == [1, 3, 3]
        await sound(cluster)


async def test_a_rule_from_the_start_does_what_it_would_have_done_and_replayed_it_does_nothing_twice(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    @rule(on=Order.modified, at=sales, start="start")
    def difference(event: Event) -> Iterator[Envelope]:
        change = event.document.total - event.before.total
        yield credit.create(Check(amount=change), id=f"{event.id}-{event.version}")

    monkeypatch.setattr(triggers, "STEP_RECORDS_MAX", 7)
    async with started() as cluster:
        await place(cluster, "a", total=0)
        for total in range(1, 40):
            await cluster.send(sales.modify("Order/a", {"total": total * total}))
    async with started(difference) as cluster:
        assert cluster.node is not None
        expected = [(f"a-{version + 1}", 2 * version - 1) for version in range(1, 40)]
        receipt = await cluster.send(sales.modify("Order/a", {"total": 1600}))
        await cluster.settled(receipt)
        assert await checks(cluster) == [*expected, ("a-41", 79)], "documents are those at the record, not the newest"
        ends = [cluster.node.shards[code].tip.position for code in (100, 110)]
        assert await Publishing(cluster.node).replay("difference", "start") == 0
        agent = cluster.node.agents.of("difference")
        assert agent is not None
        await agent.acted.reached(receipt.position)
        new = [*await records(cluster, 100), *await records(cluster, 110)]
        marks = [each for each in new if each.position > ends[each.shard == 110]]
        assert {each.kind for each in marks} == {"mark"}
        assert len(await checks(cluster)) == 40
        await sound(cluster)


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("_READ_RECORDS", 2000),
        ("_READ_RECORDS", 7),
        ("STEP_RECORDS_MAX", 3),
        ("APPEND_BYTES_MAX", 40),
        ("RULE_QUESTION_BYTES_MAX", 100),
        ("_STRETCH_POSITIONS", 11),
    ],
)
async def test_far_behind_it_reads_from_the_journal_what_it_could_not_keep(
    started: Started, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(triggers, "TRIGGERS_KEPT_MAX", 5)
    monkeypatch.setattr(triggers, limit, value)

    @rule(on=Order.modified, at=sales)
    def seen(event: Event) -> Iterator[Envelope]:
        yield credit.create(Check(amount=event.document.total - event.before.total), id=f"{event.id}-{event.version}")

    async with started(seen) as cluster:
        await place(cluster, "a", total=0)
        changes = [sales.modify("Order/a", {"total": total * total}) for total in range(1, 200)]
        last = (await cluster.send(changes))[-1]
        assert isinstance(last, Receipt)
        await cluster.settled(last)
        assert await checks(cluster) == [(f"a-{version + 1}", 2 * version - 1) for version in range(1, 200)]


def poison(flag: Path) -> Any:
    """A rule that cannot act on what begins with "bad" until its flag is there."""

    @rule(on=Order.modified, at=sales)
    def tell(event: Event) -> Iterator[Envelope]:
        if event.id.startswith("bad") and not flag.exists():
            raise ValueError("nobody knows what this is")
        yield credit.create(Check(amount=event.document.total), id=f"{event.id}-{event.version}")

    return tell


async def waits_behind(cluster: Cluster, actor: str = "bad") -> UUID:
    """Three changes of a poisoned order, and one of another; the id of the exception once all were looked at."""
    for name in (actor, "good"):
        await place(cluster, name)
    for total in (1, 2, 3):
        last = await cluster.send(sales.modify(f"Order/{actor}", {"total": total}))
    other = await cluster.send(sales.modify("Order/good", {"total": 9}))
    assert (await cluster.settled(other)).settled, "others go on at once"
    waiting = await cluster.settled(last, timeout_s=0.2)
    assert not waiting.settled
    assert [each["actor"] for each in waiting.exceptions] == [f"Order/{actor}"]
    return UUID(waiting.exceptions[0]["id"])


async def test_what_fails_is_parked_and_goes_on_in_order_when_it_is_retried(started: Started, tmp_path: Path) -> None:
    flag = tmp_path / "mended"
    async with started(poison(flag)) as cluster:
        exception = await waits_behind(cluster)
        assert await checks(cluster) == [("good-2", 9)]
        again = await cluster.resolve(exception, "retry")
        assert (again["state"], again["attempt"] >= 2) == ("open", True)
        assert "nobody knows what this is" in again["detail"]
    async with started(poison(flag)) as cluster:
        await cluster.send(sales.modify("Order/bad", {"total": 4}))
        flag.touch()
        assert (await cluster.resolve(exception, "retry"))["state"] == "retried"
        assert (await cluster.resolve(exception, "retry"))["state"] == "retried", "saying it again changes nothing"
        last = await cluster.send(sales.modify("Order/bad", {"total": 5}))
        assert (await cluster.settled(last)).settled
        found = [each for each in await checks(cluster) if each[0].startswith("bad")]
        assert found == [("bad-2", 1), ("bad-3", 2), ("bad-4", 3), ("bad-5", 4), ("bad-6", 5)]
        with pytest.raises(Conflict):
            await cluster.resolve(exception, "skip")
        assert not await cluster.exceptions()
        await sound(cluster)


@pytest.mark.parametrize(("records_max", "bytes_max"), [(500, 100), (3, 2**20)], ids=["bytes", "records"])
async def test_more_than_a_step_holds_goes_on_in_order_behind_what_is_retried(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records_max: int, bytes_max: int
) -> None:
    for module in (triggers, agents):
        monkeypatch.setattr(module, "STEP_RECORDS_MAX", records_max)
    monkeypatch.setattr(triggers, "APPEND_BYTES_MAX", bytes_max)
    flag = tmp_path / "mended"
    async with started(poison(flag)) as cluster:
        exception = await waits_behind(cluster)
        for total in range(4, 40):
            last = await cluster.send(sales.modify("Order/bad", {"total": total}))
        flag.touch()
        await cluster.resolve(exception, "retry")
        assert (await cluster.settled(last)).settled
        found = [each for each in await checks(cluster) if each[0].startswith("bad")]
        assert found == [(f"bad-{total + 1}", total) for total in range(1, 40)]
        await sound(cluster)


@pytest.mark.parametrize("how", ["skip", "answer"])
async def test_what_is_skipped_or_answered_lets_the_rest_go_on_and_is_history(
    started: Started, tmp_path: Path, how: Any
) -> None:
    flag = tmp_path / "mended"
    async with started(poison(flag)) as cluster:
        exception = await waits_behind(cluster)
        flag.touch()
        message = credit.create(Check(amount=77), id="by hand") if how == "answer" else None
        state = {"skip": "skipped", "answer": "answered"}[how]
        assert (await cluster.resolve(exception, how, message))["state"] == state
        last = await cluster.send(sales.modify("Order/bad", {"total": 4}))
        assert (await cluster.settled(last)).settled
        by_hand = [("by hand", 77)] if how == "answer" else []
        expected = [*by_hand, ("bad-3", 2), ("bad-4", 3), ("bad-5", 4)]
        assert [each for each in await checks(cluster) if each[0] != "good-2"] == expected
        told = [each.body["state"] for each in await records(cluster, 100, kind="exception")]
        assert told[-1] == state
        assert set(told[:-1]) == {"open"}
        await sound(cluster)


async def test_an_answer_that_is_refused_leaves_the_exception_open(started: Started, tmp_path: Path) -> None:
    async with started(poison(tmp_path / "never")) as cluster:
        exception = await waits_behind(cluster)
        with pytest.raises(Conflict, match="exists"):
            await cluster.resolve(exception, "answer", sales.create(Order(total=1), id="good"))
        assert [each["state"] for each in await cluster.exceptions()] == ["open"]
        with pytest.raises(NotFound):
            await cluster.resolve(UUID(int=7), "skip")


async def test_it_is_tried_again_by_itself_at_growing_intervals_and_then_waits(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "RETRY_PAUSES_S", (0.05, 0.1))
    async with started(poison(tmp_path / "never")) as cluster:
        await waits_behind(cluster)
        async with asyncio.timeout(20):
            while (found := await cluster.exceptions())[0]["attempt"] < 3:  # noqa: ASYNC110  # what is recorded tells
                await asyncio.sleep(0.05)
        assert found[0]["retry_at"] is None
        assert [each.body["attempt"] for each in await records(cluster, 100, kind="exception")] == [1, 2, 3]


async def test_rules_resolve_what_others_could_not_do(started: Started, tmp_path: Path) -> None:
    @rule(on=exceptions(Order), at=sales)
    def give_up(event: Event) -> Iterator[Any]:
        assert event.exception is not None
        if event.id == "bad-skip":
            yield event.skip()
        else:
            yield event.answer(credit.create(Check(amount=1000), id=f"for {event.id} by {event.exception.rule}"))

    async with started(poison(tmp_path / "never"), give_up) as cluster:
        for name in ("bad-skip", "bad-answer"):
            await place(cluster, name)
            receipt = await cluster.send(sales.modify(f"Order/{name}", {"total": 6}))
            assert (await cluster.settled(receipt)).settled
        assert await checks(cluster) == [("for bad-answer by tell", 1000)]
        assert [each["state"] for each in await cluster.exceptions("all")] == ["skipped", "answered"]
        await sound(cluster)


async def test_a_rule_that_always_wants_another_attempt_ends_and_leaves_it_to_a_person(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @rule(on=exceptions(Order), at=sales)
    def again(event: Event) -> Iterator[Any]:
        yield event.retry()

    monkeypatch.setattr(steps, "RETRY_PAUSES_S", ())
    async with started(poison(tmp_path / "never"), again) as cluster:
        await place(cluster, "bad")
        receipt = await cluster.send(sales.modify("Order/bad", {"total": 6}))
        settled = await cluster.settled(receipt, timeout_s=60)
        assert {each["rule"]: each["attempt"] for each in settled.exceptions} == {"tell": 32, "again": 1}
        assert "leave it to a person" in settled.exceptions[-1]["detail"]
        for each in settled.exceptions:
            await cluster.resolve(each["id"], "skip")
        assert (await cluster.settled(receipt)).settled
        await sound(cluster)


async def test_answers_that_fail_in_turn_end_at_the_limit_of_rules_in_a_row(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @rule(on=exceptions(Order), at=sales)
    def instead(event: Event) -> Iterator[Any]:
        yield event.answer(sales.modify(f"Order/{event.id}", {"total": 6}))

    monkeypatch.setattr(steps, "RETRY_PAUSES_S", ())
    async with started(poison(tmp_path / "never"), instead) as cluster:
        await place(cluster, "bad")
        receipt = await cluster.send(sales.modify("Order/bad", {"total": 6}))
        settled = await cluster.settled(receipt, timeout_s=60)
        assert [each["rule"] for each in settled.exceptions] == ["tell", "instead"]
        assert "32 may follow each other" in settled.exceptions[-1]["detail"]
        await sound(cluster)


async def test_a_refused_follow_up_is_an_exception_where_it_was_refused_and_can_be_retried(started: Started) -> None:
    @rule(on=Order.created, at=sales)
    def change(event: Event) -> Iterator[Envelope]:
        yield credit.modify(f"Check/{event.id}", {"amount": 3})

    async with started(change) as cluster:
        receipt = await place(cluster, "a")
        settled = await cluster.settled(receipt)
        assert not settled.settled
        (found,) = settled.exceptions
        assert (found["shard"], found["state"], found["problem"]["status"]) == (110, "open", 409)
        assert (await cluster.resolve(found["id"], "retry"))["attempt"] == 2
        await cluster.send(credit.create(Check(amount=1), id="a"))
        assert (await cluster.resolve(found["id"], "retry"))["state"] == "retried"
        assert (await cluster.settled(receipt)).settled
        assert (await cluster.get(Check, "a")).document == Check(amount=3)
        await sound(cluster)


@pytest.mark.parametrize("admissible", [True, False])
async def test_a_rule_and_a_person_that_try_again_at_the_same_moment_do_it_once(
    started: Started, *, admissible: bool
) -> None:
    async with started() as cluster:
        receipt = await cluster.send(credit.modify("Check/late", {"amount": 7}, sender=sales))
        (opened,) = (await cluster.settled(receipt)).exceptions
        if admissible:
            await cluster.send(credit.create(Check(amount=1), id="late"))
        assert cluster.node is not None
        shard, epoch = cluster.node.shards[110], cluster.node.shards[110].epoch
        standing = await cluster.node.exceptions.at(UUID(opened["id"]))
        entry = entry_of(standing.opening, standing.state)
        by_rule = resolving.retry(entry, 110, shard.marks, datetime.now(UTC), "rule:mend")
        by_person = resolving.admission(entry, 110, "ada")
        again = resolving.refused_again(entry, Conflict("not yet"), "ada")
        answers = await shard.propose([by_rule, by_person if admissible else again, by_rule]).answered()
        assert [type(each) for each in answers] == [list, Resolved, Resolved]
        assert shard.epoch == epoch
        assert len(await records(cluster, 110, kind="received", type="Check.modify")) == admissible
        assert (await cluster.exceptions()) == () if admissible else (await cluster.exceptions())[0]["attempt"] == 2
        await sound(cluster)


async def test_a_replay_does_not_offer_again_what_was_refused(started: Started) -> None:
    @rule(on=Order.created, at=sales)
    def change(event: Event) -> Iterator[Envelope]:
        yield sales.modify(f"Check/{event.id}", {"amount": 3})
        yield sales.create(Check(amount=event.document.total), id=f"{event.id}2")

    async def replayed(cluster: Cluster, receipt: Receipt) -> None:
        assert cluster.node is not None
        assert await Publishing(cluster.node).replay("change", "start") == 0
        agent = cluster.node.agents.of("change")
        assert agent is not None
        await agent.acted.reached(receipt.position)

    async with started(change) as cluster:
        receipt = await place(cluster, "a")
        (found,) = (await cluster.settled(receipt)).exceptions
        await replayed(cluster, receipt)
        # Now it would be admitted: whether it still should be is for whoever resolves the exception.
        await cluster.send(sales.create(Check(amount=1), id="a"))
        await replayed(cluster, receipt)
    async with started(change) as cluster:
        await replayed(cluster, receipt)
        assert [each["id"] for each in await cluster.exceptions("all")] == [found["id"]]
        assert (await cluster.get(Check, "a")).document == Check(amount=1)
        assert (await cluster.resolve(found["id"], "retry"))["state"] == "retried"
        await replayed(cluster, receipt)
        assert (await cluster.get(Check, "a")).version == 2
        assert (await cluster.settled(await place(cluster, "b"))).records == 3
        await sound(cluster)


async def test_a_rule_that_is_replayed_again_and_again_while_it_acts_acts_on(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(ask) as cluster:
        assert cluster.node is not None
        placed = [sales.create(Order(total=5), id=f"{number}") for number in range(2_000)]
        await cluster.send(placed)
        for number in range(30):
            assert await Publishing(cluster.node).replay("ask", "start") == 0
            # A moment more each time, so that it is met at whatever it does.
            await asyncio.sleep(number / 1_000)

        async def failing(self: Agent, position: int) -> None:
            monkeypatch.undo()
            raise Unavailable("the server is away at this moment")

        # It leads to nothing, so the rule's mark is written when the rule stops.
        assert (await cluster.settled(await place(cluster, "small", total=1))).settled
        monkeypatch.setattr(Agent, "_write_mark", failing)
        with pytest.raises(Unavailable):
            await Publishing(cluster.node).replay("ask", "start")
        assert (await cluster.settled(await place(cluster, "last"))).settled
        assert sorted(name for name, _ in await checks(cluster)) == sorted(
            [*(each.actor_id for each in placed), "last"]
        )
        await sound(cluster)


async def test_rules_without_end_end_and_the_others_go_on(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    @rule(on=Order.created, at=sales)
    def hang(event: Event) -> None:
        while event.id == "endless":
            pass

    @rule(on=Order.created, at=sales)
    def flood(event: Event) -> Iterator[Envelope]:
        for number in range(1_000_000 if event.id == "many" else 0):
            yield credit.create(Check(amount=number))

    @rule(on="Ping.create", at=sales)
    def ping(event: Event) -> Iterator[Envelope]:
        yield Envelope(to=110, actor_type="Pong", actor_id=None, action="create")

    @rule(on="Pong.create", at=credit)
    def pong(event: Event) -> Iterator[Envelope]:
        yield Envelope(to=100, actor_type="Ping", actor_id=None, action="create")

    monkeypatch.setattr(steps, "RETRY_PAUSES_S", ())
    async with started(hang, flood, ping, pong, ask) as cluster:
        await place(cluster, "endless")
        await place(cluster, "many")
        await cluster.send(Envelope(to=100, actor_type="Ping", actor_id="first", action="create"))
        assert (await cluster.settled(await place(cluster, "last"), timeout_s=20)).settled
        async with asyncio.timeout(20):
            while len(found := await cluster.exceptions()) < 3:  # noqa: ASYNC110  # what is recorded tells
                await asyncio.sleep(0.05)
        told = {each["rule"]: each["detail"] for each in found}
        assert "took longer than 2 s" in told.pop("hang")
        assert "more than 10,000 messages" in told.pop("flood")
        ((_, detail),) = told.items()
        assert "32 may follow each other" in detail
        assert await checks(cluster) == [("endless", 5), ("many", 5), ("last", 5)], "nothing of the flood is there"
        balls = [*await records(cluster, 100, type="Ping.create"), *await records(cluster, 110, type="Pong.create")]
        assert sum(each.kind == "received" for each in balls) == 33
        await sound(cluster)


async def test_a_validation_refuses_with_a_reason_and_a_pointer_also_within_a_list(started: Started) -> None:
    @rule(on=Order.created, at=sales, kind="validation")
    def known(event: Event) -> Iterator[str]:
        if event.document.total < 0:
            yield "less than nothing"

    async with started(known, ask) as cluster:
        outcomes = await cluster.send([sales.create(Order(total=each), id=str(each)) for each in (3, -1, 4)])
        assert [type(each) for each in outcomes] == [Receipt, Invalid, Receipt]
        assert isinstance(outcomes[1], Invalid)
        assert [(each.pointer, each.detail) for each in outcomes[1].errors] == [("/body", "less than nothing")]
        with pytest.raises(Invalid) as refusal:
            await cluster.send([sales.create(Order(total=each), id=f"x{each}") for each in (5, -2)], atomic=True)
        assert [each.pointer for each in refusal.value.errors] == ["/1/body"]
        assert len(await records(cluster, 100, kind="received")) == 2


async def test_a_validation_that_hangs_holds_its_department_up_for_a_bounded_time(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    @rule(on=Order.created, at=sales, kind="validation")
    def ponder(event: Event) -> None:
        while event.id.startswith("endless"):
            pass

    monkeypatch.setattr(worker, "RULE_TIME_S", 0.1)
    monkeypatch.setattr(validation, "VALIDATION_TIME_S", 0.25)
    async with started(ponder) as cluster:
        outcomes = await cluster.send([sales.create(Order(total=1), id=f"endless{number}") for number in range(100)])
        details = [each.detail for each in outcomes if isinstance(each, Unavailable)]
        assert len(details) == 100
        assert 1 <= sum("took longer than" in each for each in details) <= 10
        assert "send it again" in details[-1]
        assert (await cluster.send(sales.create(Order(total=1), id="quick"))).version == 1
        assert len(await records(cluster, 100, kind="received")) == 1


async def test_what_another_department_sent_waits_while_no_rule_can_be_asked(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    @rule(on=Check.created, at=credit, kind="validation")
    def welcome(event: Event) -> None:
        return None

    forks: list[int] = []

    def full() -> int:
        forks.append(1)
        raise BlockingIOError("no more processes")

    async with started(welcome) as cluster:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", full)
            sent = Envelope(to=110, actor_type="Check", actor_id="a", action="create", body='{"amount":1}', sender=100)
            receipt = await cluster.send(sent)
            async with asyncio.timeout(20):
                while len(forks) < 2:  # noqa: ASYNC110  # each attempt to deliver it tries to start a process
                    await asyncio.sleep(0.02)
        assert (await cluster.settled(receipt)).settled
        assert not await cluster.exceptions("all"), "it is nobody's fault, and nobody has to do anything"
        assert await checks(cluster) == [("a", 1)]


async def test_marks_ticks_and_what_no_rule_waits_for_wake_nobody(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    steps_of = agents.Agent._steps

    async def counted(self: agents.Agent) -> None:
        asked.append(self.shard.code)
        await steps_of(self)

    async with started(ask, agree) as cluster:
        assert cluster.node is not None
        await cluster.settled(await place(cluster, "a"))
        monkeypatch.setattr(agents.Agent, "_steps", counted)
        for number in range(5):
            await cluster.node.shards[100].tick(0)
            await cluster.send(sales.modify("Order/a", {"total": number}))
        await cluster.settled(await place(cluster, "small", total=1))
        assert asked == [100]


async def test_a_department_led_again_loses_no_record_that_its_rules_wait_for(started: Started) -> None:
    async with started(ask) as cluster:
        assert cluster.node is not None
        shard, agent = cluster.node.shards[100], cluster.node.agents.of("ask")
        assert agent is not None
        # As if the batch had been committed and its appender had died before it told anybody.
        followers, shard.followers = shard.followers, []
        receipt = await place(cluster, "unheard")
        shard.followers = followers
        shard.died()
        await agent.changes.passed(agent.changes.value)  # another agent takes its place
        assert (await cluster.settled(receipt)).settled
        assert await checks(cluster) == [("unheard", 5)]


async def test_no_process_of_a_rule_outlives_its_node(started: Started) -> None:
    async with started(ask) as cluster:
        assert cluster.node is not None
        await cluster.settled(await place(cluster, "a"))
        pids = cluster.node.agents.processes
        assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
