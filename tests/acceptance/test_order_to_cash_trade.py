"""The example's trade on a real node, quietly and through kills: the books balance, and both come to the same end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from peaceriver import Client, Department, order_to_cash
from peaceriver.cli.patience import patiently
from peaceriver.cli.trading import Tally, Trading, read_books
from peaceriver.order_to_cash import billing, credit, sales, shipping, warehouse
from peaceriver.order_to_cash.books import Books, faults
from peaceriver.order_to_cash.load import Load, generate
from peaceriver.order_to_cash.rules import ask_credit, decide, fetch, invoiced, settle
from peaceriver.rule import Rule
from peaceriver.shard.proposal import Receipt
from tests.acceptance.journals import Record, journals, looks_at, of_kind
from tests.acceptance.processes import Up, running
from tests.acceptance.replays import caught_up, check_nothing_new, replay

SEED = 7
RULES = [each for each in vars(order_to_cash).values() if isinstance(each, Rule)]
PATIENCE_S = 60
Victim = Literal["node", "server"]
#: After so many requests: the department whose next record is waited for, so that work is under way, and who is killed.
KILLS: Mapping[int, tuple[Department, Victim]] = {
    2: (sales, "node"),
    5: (credit, "server"),
    9: (warehouse, "node"),
    12: (shipping, "server"),
    16: (billing, "node"),
    19: (warehouse, "server"),
    22: (billing, "node"),
}


class Customers(Client):
    """Those who trade; they keep every receipt that they are given."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.receipts: list[Receipt] = []

    async def send(self, messages: Any, **how: Any) -> Any:
        outcomes = await super().send(messages, **how)
        self.receipts += [each for each in outcomes if isinstance(each, Receipt)]
        return outcomes


@dataclass
class Torment:
    """Kills in the midst of a trade."""

    up: Up
    kills: Mapping[int, tuple[Department, Victim]]
    requests: int = 0
    killing: list[asyncio.Task[None]] = field(default_factory=list)

    async def between(self) -> None:
        """The next request does not wait for the kill: it may be what the kill meets."""
        self.requests += 1
        if self.requests in self.kills:
            self.killing.append(asyncio.create_task(self._kill(*self.kills[self.requests])))

    async def _kill(self, department: Department, victim: Victim) -> None:
        async with Client(self.up.url) as client:
            at = (await patiently(partial(client.journal, department.code, limit=1))).complete
            following = partial(client.journal, department.code, after=at, limit=1, wait_s=PATIENCE_S)
            assert (await patiently(following)).records
        os.kill(self.up.node_pid if victim == "node" else self.up.server_pid, signal.SIGKILL)


@dataclass(frozen=True)
class Traded:
    """What a trade has come to."""

    load: Load
    tally: Tally
    books: Books
    journals: dict[int, list[Record]]
    receipts: list[Receipt]
    exceptions: tuple[dict[str, Any], ...]


async def trade(client: Client, load: Load, between: Callable[[], Any]) -> Tally:
    """What the demonstration does, by somebody with patience."""
    trading = Trading(client, load)
    trading.between = between
    *before, last = load.days
    await trading.open()
    for day in before:
        await trading.morning(day)
        await trading.evening(day)
    await trading.morning(last)
    poisoned = next(each.id for each in last.orders if each.actor_id == load.poison)
    assert poisoned is not None
    exception = trading.tally.held_up[poisoned]
    await patiently(partial(client.resolve, exception["id"], "answer", load.approval()))
    await trading.resolved()
    await trading.evening(last)
    return trading.tally


async def traded(data: Path, kills: Mapping[int, tuple[Department, Victim]]) -> Traded:
    """A trade on a node of its own; when it is over, all rules act on it anew, and nothing comes of that."""
    load = generate(seed=SEED)
    async with running(data, order_to_cash.__name__) as up, Customers(up.url) as client:
        torment = Torment(up, kills)
        tally = await trade(client, load, torment.between)
        await asyncio.gather(*torment.killing)
        assert len(torment.killing) == len(kills)
        _, books = await read_books(client)
        found = await journals(up.url)
        exceptions = await client.exceptions("all")
        await replay(up.url, RULES)
        check_nothing_new(await caught_up(up.url, RULES, found), found, RULES)
        assert await client.exceptions("all") == exceptions
        verdict = await client.verify()
    assert verdict["ok"], verdict
    return Traded(load, tally, books, found, client.receipts, exceptions)


def check(done: Traded) -> None:
    """The books balance; what was acknowledged is there; every rule acted once on everything that it looks at."""
    assert faults(done.books) == []
    (answered,) = done.exceptions
    assert (answered["rule"], answered["state"]) == (decide.name, "answered")
    assert done.tally.held_up == {}
    check_acknowledged(done)
    check_once(done.journals)
    check_acted(done.journals, skipped=[answered["cause"]])


def check_acknowledged(done: Traded) -> None:
    for records in done.journals.values():
        assert [each["position"] for each in records] == list(range(1, len(records) + 1))
    assert len({each.id for each in done.receipts}) == done.tally.sent
    for each in done.receipts:
        record = done.journals[each.shard][each.position - 1]
        told = (record["kind"], record["id"], record["stamp"], record["actor"])
        assert told == ("received", str(each.id), str(each.stamp), each.actor)


def check_once(found: dict[int, list[Record]]) -> None:
    """What is sent arrives once, later, and nothing else does; a rule makes one message of a type of one record."""
    received, sent = of_kind(found, "received"), of_kind(found, "sent")
    arrived = {each["id"]: each for each in received}
    assert len(arrived) == len(received)
    assert sorted(each["id"] for each in sent) == sorted(each["id"] for each in received if each["from"] is not None)
    assert all(arrived[each["id"]]["stamp"] > each["stamp"] for each in sent)
    made = Counter((each["rule"], each["cause"], each["type"], each["actor"]) for each in received if each["rule"])
    assert set(made.values()) == {1}


def check_acted(found: dict[int, list[Record]], skipped: list[str]) -> None:
    """Five rules have something to say to every record that they look at: each has said it, once."""
    received = of_kind(found, "received")
    for rule in (ask_credit, decide, fetch, invoiced, settle):
        causes = [each["cause"] for each in received if each["rule"] == rule.name]
        looked_at = {each["stamp"] for each in received if looks_at(rule, each)}
        assert sorted(causes) == sorted(looked_at.difference(skipped))


def end_of(books: Books) -> dict[str, Any]:
    """What follows from the seed alone, however fast which department was.

    That is how every order ends; who owes how much, and what of his credit is used; which goods lie where, and who
    waits for them in which order. Departments take messages in the order in which they were sent, the credit that is
    asked for does not hang on what is cancelled meanwhile, and whoever waits for goods gets them in turn: for those
    behind him it is the same whether a cancelled order had goods for a while, or never asked for them.

    Not so how far an order had come when its cancellation overtook it, for these two race: whether it was approved
    (``days``) and its goods were called off or taken back (its shipment), and whether it was invoiced before that (an
    invoice that is credited, and was never paid). An order that was paid had been settled before: what is refunded
    follows from the seed again.
    """
    return {
        "orders": {
            key: order.replace(days=0) if order.state == "cancelled" else order for key, order in books.orders.items()
        },
        "accounts": dict(books.accounts),
        "stocks": dict(books.stocks),
        "shipped": {key: each for key, each in books.shipments.items() if each.state == "shipped"},
        "invoices": {key: each for key, each in books.invoices.items() if each.state != "credited" or each.paid},
    }


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_trade_through_kills_loses_and_doubles_nothing_and_ends_as_the_quiet_one(tmp_path: Path) -> None:
    quiet = await traded(tmp_path / "quiet", kills={})
    check(quiet)
    killed = await traded(tmp_path / "killed", kills=KILLS)
    check(killed)
    # The first epoch, and one for each node that came after.
    epochs = [each for each in of_kind(killed.journals, "epoch") if each["shard"] == sales.code]
    assert len(epochs) > sum(victim == "node" for _, victim in KILLS.values())
    assert end_of(killed.books) == end_of(quiet.books)
    assert msgspec.structs.asdict(killed.tally) == msgspec.structs.asdict(quiet.tally)
