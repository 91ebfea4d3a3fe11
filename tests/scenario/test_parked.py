"""Actors that are parked behind an exception: what was dealt with stays so, through replays and new versions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peaceriver import Actor, Cluster, Department, Envelope, Event, Receipt, exceptions, rule
from peaceriver.errors import Conflict
from peaceriver.evaluation import evaluator, worker
from peaceriver.node.publishing import Publishing
from peaceriver.rule import Start
from peaceriver.shard import steps
from peaceriver.shard.agent import Agent
from peaceriver.shard.verify import verify
from tests.scenario.trio import until


class Claim(Actor):
    text: str = ""


class Note(Actor):
    text: str


claims = Department(100, "Claims")
notes = Department(110, "Notes")
Started = Callable[..., AbstractAsyncContextManager[Cluster]]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """Start a cluster with rules; called again, it goes on from the same records."""

    @asynccontextmanager
    async def start(*rules: Any) -> AsyncIterator[Cluster]:
        application = ModuleType("claims")
        vars(application).update(Claim=Claim, Note=Note, claims=claims, notes=notes, rules=rules)
        async with Cluster.embedded(application, data=tmp_path / "data") as cluster:
            yield cluster
            assert cluster.node is not None
            node = cluster.node
            assert all(each.ok for each in await verify(node.database, node.views, list(node.shards)))

    return start


@pytest.fixture(autouse=True)
def _nothing_is_tried_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "RETRY_PAUSES_S", ())


async def say(cluster: Cluster, name: str, text: str) -> Receipt:
    return await cluster.send(claims.modify(f"Claim/{name}", {"text": text}))


async def noted(cluster: Cluster) -> list[str]:
    return [each.body["text"] async for each in cluster.journal(110) if each.kind == "received"]


async def resolved(cluster: Cluster, how: Any) -> None:
    found = await until(cluster.exceptions, "exception")
    assert len(found) == 1
    await cluster.resolve(found[0]["id"], how)


async def replayed(cluster: Cluster, start: Start = "start") -> None:
    assert cluster.node is not None
    await Publishing(cluster.node).replay("tell", start)


def does_not_go_on(cluster: Cluster) -> None:
    """The agent that acts now is too slow to go on with what waited, as on a machine that has much else to do."""

    async def slowly(key: tuple[str, str]) -> None:
        await asyncio.Event().wait()

    assert cluster.node is not None
    agent = cluster.node.agents.of("tell")
    assert agent is not None
    agent._go_on = slowly  # type: ignore[method-assign]  # only this agent's, not that of the one that takes its place


def telling(fails: Callable[[str], bool], prefix: str = "") -> Any:
    """A rule that notes what is said, and cannot note some of it."""

    @rule(on="Claim.modify", at=claims)
    def tell(event: Event) -> Iterator[Envelope]:
        text = event.document.text
        if fails(text):
            raise ValueError(f"cannot note {text}")
        yield notes.create(Note(text=prefix + text))

    return tell


def two_fails(flag: Path) -> Any:
    """It cannot note "two", nor "one" while its flag is there."""
    return telling(lambda text: text == "two" or (text == "one" and flag.exists()))


async def one_and_two(cluster: Cluster) -> Receipt:
    """Both said of one claim, and looked at; answers the receipt of the second."""
    await cluster.send(claims.create(Claim(), id="a"))
    await say(cluster, "a", "one")
    last = await say(cluster, "a", "two")
    await cluster.settled(last)
    return last


async def test_whatever_was_skipped_is_passed_over_when_the_rule_acts_anew(started: Started) -> None:
    async with started(telling(lambda text: text == "bad")) as cluster:
        await cluster.send(claims.create(Claim(), id="a"))
        for _ in range(3):
            last = await say(cluster, "a", "bad")
            await cluster.settled(last)
            await resolved(cluster, "skip")
            assert (await cluster.settled(last)).settled
        await replayed(cluster)
        await cluster.send(claims.create(Claim(), id="b"))
        assert (await cluster.settled(await say(cluster, "b", "good"))).settled
        assert (await cluster.settled(await say(cluster, "a", "fine"))).settled
        assert await noted(cluster) == ["good", "fine"]
        assert not await cluster.exceptions()


async def test_whatever_was_skipped_is_passed_over_behind_what_is_retried(started: Started, tmp_path: Path) -> None:
    flag = tmp_path / "away"
    async with started(two_fails(flag)) as cluster:
        last = await one_and_two(cluster)
        await resolved(cluster, "skip")
        assert (await cluster.settled(last)).settled
        flag.touch()
        await replayed(cluster)
        await cluster.settled(last)
        flag.unlink()
        await resolved(cluster, "retry")
        assert (await cluster.settled(await say(cluster, "a", "three"))).settled
        assert await noted(cluster) == ["one", "three"]
        assert not await cluster.exceptions()


async def test_an_actor_whose_exception_is_resolved_acts_anew_though_the_rule_had_not_gone_on_with_it(
    started: Started, tmp_path: Path
) -> None:
    flag = tmp_path / "away"
    async with started(two_fails(flag)) as cluster:
        await one_and_two(cluster)
        last = await say(cluster, "a", "three")
        does_not_go_on(cluster)
        await resolved(cluster, "skip")
        flag.touch()
        await replayed(cluster)
        await cluster.settled(last)
        flag.unlink()
        await resolved(cluster, "retry")
        assert (await cluster.settled(last)).settled
        assert await noted(cluster) == ["one", "three"]
        assert not await cluster.exceptions()


async def test_what_waited_before_where_a_rule_acts_from_now_on_is_gone_on_with(started: Started) -> None:
    async with started(telling(lambda text: text == "two")) as cluster:
        await one_and_two(cluster)
        waiting = await say(cluster, "a", "three")
        does_not_go_on(cluster)
        await resolved(cluster, "skip")
        await replayed(cluster, "now")
        assert (await cluster.settled(waiting)).settled
        assert await noted(cluster) == ["one", "three"]


async def test_an_open_exception_that_is_met_again_behind_another_waits_for_somebody(
    started: Started, tmp_path: Path
) -> None:
    flag = tmp_path / "away"
    async with started(two_fails(flag)) as cluster:
        await one_and_two(cluster)
        (two,) = await cluster.exceptions()
        await cluster.resolve(two["id"], "retry")
        assert (await cluster.exceptions())[0]["id"] == two["id"]
        await replayed(cluster)
        third = await say(cluster, "a", "three")
        await cluster.settled(third)
        await resolved(cluster, "skip")
        assert (await cluster.settled(third)).settled
        assert await noted(cluster) == ["one", "three"]


async def test_a_new_version_does_not_act_on_what_waited_and_was_acted_on_before_a_crash(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "away"
    flag.touch()

    async def crashed(self: Agent, position: int) -> None:
        """A node that is killed writes no mark when it stops."""

    monkeypatch.setattr(Agent, "_write_mark", crashed)
    async with started(telling(lambda text: text == "one" and flag.exists())) as cluster:
        await cluster.send(claims.create(Claim(), id="a"))
        for text in ("one", "two", "three"):
            last = await say(cluster, "a", text)
        await cluster.settled(last)
        flag.unlink()
        await resolved(cluster, "retry")
        assert (await cluster.settled(last)).settled
    async with started(telling(lambda text: False, prefix="again ")) as cluster:
        assert (await cluster.settled(await say(cluster, "a", "four"))).settled
        assert await noted(cluster) == ["one", "two", "three", "again four"]


async def test_records_without_an_effect_are_marked_soon(started: Started) -> None:
    @rule(on="Claim.modify", at=claims, when=lambda event: event.document.text == "wanted")
    def tell(event: Event) -> Iterator[Envelope]:
        yield notes.create(Note(text=event.document.text))

    async with started(tell) as cluster:
        await cluster.send(claims.create(Claim(), id="a"))
        last = await say(cluster, "a", "unwanted")
        assert cluster.node is not None
        agent = cluster.node.agents.of("tell")
        assert agent is not None
        async with asyncio.timeout(10):
            async for record in cluster.journal(100, follow=True):
                if record.kind == "mark" and record.position > last.position:
                    break
        assert agent.mark >= last.position


async def test_those_who_hang_do_not_hold_up_the_others(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (worker, evaluator):
        monkeypatch.setattr(module, "RULE_TIME_S", 0.5)
    monkeypatch.setattr(steps, "RETRY_PAUSES_S", (0.01,) * 100)

    @rule(on="Claim.modify", at=claims)
    def tell(event: Event) -> Iterator[Envelope]:
        if event.document.text == "hang":
            time.sleep(60)
        yield notes.create(Note(text=event.document.text))

    async with started(tell) as cluster:
        names = [f"bad{number}" for number in range(8)]
        await cluster.send([claims.create(Claim(), id=name) for name in [*names, "good"]])
        await cluster.send([claims.modify(f"Claim/{name}", {"text": "hang"}) for name in names])
        opened = 0
        async with asyncio.timeout(30):
            async for record in cluster.journal(100, follow=True):
                opened += record.kind == "exception"
                if opened == len(names):
                    break
        began = time.monotonic()
        assert (await cluster.settled(await say(cluster, "good", "fine"))).settled
        assert time.monotonic() - began < 3, "one attempt may be under way, and not one for each of those that hang"


async def test_an_exception_of_an_event_that_the_rule_has_left_is_never_called_done(started: Started) -> None:
    @rule(on=Claim.created, at=claims)
    def tell(event: Event) -> Iterator[Envelope]:
        raise ValueError("not yet")

    async with started(tell) as cluster:
        created = await cluster.send(claims.create(Claim(), id="a"))
        await cluster.settled(created)
        last = await say(cluster, "a", "two")
        (found,) = await cluster.exceptions()
    async with started(telling(lambda text: False)) as cluster:
        shown = await cluster.resolve(found["id"], "retry")
        assert shown["state"] == "open"
        assert "does not look at this one" in shown["detail"]
        await cluster.resolve(found["id"], "skip")
        assert (await cluster.settled(last)).settled
        assert await noted(cluster) == ["two"]


async def test_rules_that_fail_at_exceptions_do_not_wake_each_other(started: Started) -> None:
    @rule(on="Claim.modify", at=claims)
    def tell(event: Event) -> None:
        raise ValueError("cannot")

    @rule(on=exceptions(), at=claims)
    def mend(event: Event) -> None:
        raise ValueError("cannot mend")

    @rule(on=exceptions(Claim), at=claims)
    def mend_claims(event: Event) -> None:
        raise ValueError("cannot mend claims")

    async with started(tell, mend, mend_claims) as cluster:
        await cluster.send(claims.create(Claim(), id="a"))
        last = await say(cluster, "a", "one")
        settled = await cluster.settled(last)
        assert not settled.settled
        assert sorted(each["rule"] for each in await cluster.exceptions()) == ["mend", "mend_claims", "tell"]
        for _ in range(3):
            await cluster.resolve((await cluster.exceptions())[0]["id"], "skip")
        assert (await cluster.settled(last)).settled
        assert len(await cluster.exceptions("all")) == 3


async def test_what_no_rule_tries_again_any_more_is_not_said_to_have_been_tried(started: Started) -> None:
    async with started(telling(lambda text: True)) as cluster:
        await cluster.send(claims.create(Claim(), id="a"))
        last = await say(cluster, "a", "one")
        await cluster.settled(last)
        (found,) = await cluster.exceptions()
    async with started() as cluster:
        with pytest.raises(Conflict, match="the rule tell is not active here"):
            await cluster.resolve(found["id"], "retry")
        await cluster.resolve(found["id"], "skip")
        assert not await cluster.exceptions()
