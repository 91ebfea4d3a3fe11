"""Money moves between departments while the node and its server are killed: nothing is lost, nothing is doubled.

The long form, of as many transfers as were promised, is part of ``make faults``; the short one has as many kills.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from peaceriver import Client
from peaceriver.answers import exact
from peaceriver.errors import Busy, Conflict, OutcomeUnknown, Unavailable, Unreachable
from peaceriver.message import Envelope
from tests.acceptance import bank
from tests.acceptance.bank import Deposit, Withdraw
from tests.acceptance.processes import Up, running

TRANSFERS = [4_000, pytest.param(20_000, marks=pytest.mark.long)]
CLIENTS = 16
TRANSFERS_A_RUN = 5
CUTOFFS = 100
KILLS = 6
START = Decimal(1_000_000)
CODES = [each.code for each in bank.branches]

Record = dict[str, Any]


@dataclass
class Sample:
    """What a read over all departments showed, and the vector that it was shown at."""

    vector: dict[int, int]
    balances: dict[int, Decimal]


@dataclass
class Run:
    """What happened while the money moved."""

    transfers: int
    sent: list[UUID] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    kills: int = 0


def payment_run(number: int, chance: random.Random) -> list[Envelope]:
    """Debits here and credits sent elsewhere, recorded here as one group."""
    here = chance.choice(bank.branches)
    messages: list[Envelope] = []
    for transfer in range(number * TRANSFERS_A_RUN, (number + 1) * TRANSFERS_A_RUN):
        there = chance.choice([each for each in bank.branches if each is not here])
        amount = Decimal(chance.randrange(1, 500)) / 100
        withdraw, deposit = Withdraw(amount=amount), Deposit(amount=amount)
        messages += [
            here.send(withdraw, "Account/main", message_id=UUID(int=2 * transfer + 1), sender=here),
            there.send(deposit, "Account/main", message_id=UUID(int=2 * transfer + 2), sender=here),
        ]
    return messages


async def insist(client: Client, messages: list[Envelope]) -> None:
    """Send until there is an answer: whoever is in doubt sends again under the same ids."""
    while True:
        try:
            await client.send(messages, atomic=True, timeout_s=10)
        except (Unreachable, Unavailable, OutcomeUnknown, Busy):
            await asyncio.sleep(0.1)
        else:
            return


async def send_all(url: str, run: Run) -> None:
    numbers = iter(range(run.transfers // TRANSFERS_A_RUN))
    chance = random.Random(7)

    async def one(client: Client) -> None:
        for number in numbers:
            messages = payment_run(number, chance)
            await insist(client, messages)
            run.sent.extend(each.id for each in messages[1::2] if each.id is not None)

    async with Client(url) as client:
        await asyncio.gather(*(one(client) for _ in range(CLIENTS)))


async def look(url: str, run: Run, done: asyncio.Event) -> None:
    """Read all balances again and again, each time at one cutoff over all departments."""
    async with Client(url) as client:
        while not (done.is_set() and len(run.samples) >= CUTOFFS):
            try:
                page = await client.list("Account", limit=100)
            except (Unreachable, Unavailable, OutcomeUnknown, Conflict):
                await asyncio.sleep(0.1)
                continue
            if page.items:
                balances = {each.shard: Decimal(exact(each.text)["balance"]) for each in page.items}
                run.samples.append(Sample(page.cutoff.positions, balances))
            await asyncio.sleep(0.15 if not done.is_set() else 0)


async def torment(up: Up, run: Run, done: asyncio.Event) -> None:
    """Kill the node and its server, in turn, as often as was promised and as long as money moves."""
    while run.kills < KILLS:
        progress = (run.kills + 1) * run.transfers // (KILLS + 1)
        while len(run.sent) < progress and not done.is_set():  # noqa: ASYNC110  # a count is looked at: that is cheap
            await asyncio.sleep(0.02)
        (up.kill_node if run.kills % 2 == 0 else up.kill_server)()
        run.kills += 1


async def whole_journal(client: Client, code: int) -> list[Record]:
    records: list[Record] = []
    while True:
        page = await client.journal(code, after=len(records))
        records += page.records
        if len(records) >= page.complete:
            return records


async def everything_arrived(client: Client) -> dict[int, list[Record]]:
    """All journals, once every sent message has been received."""
    async with asyncio.timeout(60):
        while True:
            journals = {code: await whole_journal(client, code) for code in CODES}
            sent = sum(each["kind"] == "sent" for records in journals.values() for each in records)
            received = sum(
                each["kind"] == "received" and each["from"] not in (None, each["shard"])
                for records in journals.values()
                for each in records
            )
            if sent == received:
                return journals
            await asyncio.sleep(0.5)


def check_journals(journals: dict[int, list[Record]], run: Run) -> None:
    arrived: dict[str, int] = defaultdict(int)
    for code, records in journals.items():
        assert [each["position"] for each in records] == list(range(1, len(records) + 1))
        stamps = [each["stamp"] for each in records]
        assert stamps == sorted(set(stamps))
        for sender in CODES:
            sent = [each for each in journals[sender] if each["kind"] == "sent" and each["to"] == code]
            received = [
                each for each in records if each["kind"] == "received" and each["from"] == sender and sender != code
            ]
            assert [each["id"] for each in received] == [each["id"] for each in sent], "in order, each once"
            assert all(one["stamp"] < other["stamp"] for one, other in zip(sent, received, strict=True))
            for each in received:
                arrived[each["id"]] += 1
        assert not [each for each in records if each["kind"] == "exception"]
    assert len(run.sent) == run.transfers
    assert arrived == {str(each): 1 for each in run.sent}


def in_flight(journals: dict[int, list[Record]], vector: dict[int, int]) -> Decimal:
    """What was debited and not yet credited at a vector of positions."""
    credited = {
        each["id"]
        for code in CODES
        for each in journals[code][: vector[code]]
        if each["kind"] == "received" and each["type"] == "Deposit"
    }
    total = Decimal(0)
    for code in CODES:
        for each in journals[code][: vector[code]]:
            if each["kind"] == "sent" and each["id"] not in credited:
                total += Decimal(each["body"]["amount"])
    return total


def check_sums(journals: dict[int, list[Record]], run: Run) -> None:
    """At every sampled cutoff, all the money is in an account or on its way."""
    for sample in run.samples[:: max(1, len(run.samples) // CUTOFFS)]:
        assert sum(sample.balances.values()) + in_flight(journals, sample.vector) == START * len(CODES)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("transfers", TRANSFERS)
async def test_money_moves_through_kills_and_none_is_lost_or_made(tmp_path: Path, transfers: int) -> None:
    run, done = Run(transfers), asyncio.Event()
    async with running(tmp_path / "data", Path(bank.__file__)) as up, Client(up.url) as client:
        for branch in bank.branches:
            await client.send(branch.create(bank.Account(balance=START), id="main"))
        async with asyncio.TaskGroup() as group:
            group.create_task(look(up.url, run, done))
            tormenting = group.create_task(torment(up, run, done))
            await send_all(up.url, run)
            await tormenting
            done.set()
        journals = await everything_arrived(client)
        check_journals(journals, run)
        assert run.kills == KILLS
        assert len(run.samples) >= CUTOFFS
        check_sums(journals, run)
        verdict = await client.verify()
        assert verdict["ok"], verdict
