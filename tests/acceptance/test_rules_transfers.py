"""Rules move money while the node and its server are killed: every deposit is made once, and none is lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from peaceriver import Client
from peaceriver.message import Envelope
from tests.acceptance import bank_by_rule
from tests.acceptance.bank_by_rule import Account, Transfer, branches
from tests.acceptance.processes import running
from tests.acceptance.test_transfers import (
    CUTOFFS,
    KILLS,
    START,
    TRANSFERS,
    Record,
    Run,
    check_sums,
    everything_arrived,
    insist,
    look,
    torment,
)

ORDERS_A_RUN = 50
CLIENTS = 4


def orders(number: int, chance: random.Random) -> list[Envelope]:
    """Orders to pay, at one branch."""
    here = chance.choice(branches)
    made: list[Envelope] = []
    for transfer in range(number * ORDERS_A_RUN, (number + 1) * ORDERS_A_RUN):
        there = chance.choice([each for each in branches if each is not here])
        order = Transfer(to=there.code, amount=Decimal(chance.randrange(1, 500)) / 100)
        made.append(here.create(order, id=f"T-{transfer}", message_id=UUID(int=transfer + 1)))
    return made


async def order_all(url: str, run: Run) -> None:
    numbers, chance = iter(range(run.transfers // ORDERS_A_RUN)), random.Random(7)

    async def one(client: Client) -> None:
        for number in numbers:
            messages = orders(number, chance)
            await insist(client, messages)
            run.sent.extend(each.id for each in messages if each.id is not None)

    async with Client(url) as client:
        await asyncio.gather(*(one(client) for _ in range(CLIENTS)))


async def everything_paid(client: Client, transfers: int) -> dict[int, list[Record]]:
    """All journals, once every order has led to its deposit."""
    async with asyncio.timeout(120):
        while True:
            journals = await everything_arrived(client)
            deposits = sum(each["type"] == "Deposit" and each["kind"] == "received" for each in _all(journals))
            if deposits >= transfers:
                return journals
            await asyncio.sleep(0.5)


def _all(journals: dict[int, list[Record]]) -> list[Record]:
    return [each for records in journals.values() for each in records]


def check(journals: dict[int, list[Record]], transfers: int) -> None:
    """Every order has one debit and one credit, later than it, made by its rule; and nothing else was made."""
    ordered = {each["stamp"]: each for each in _all(journals) if each["type"] == "Transfer.create"}
    assert len(ordered) == transfers
    made = [each for each in _all(journals) if each["rule"] is not None and each["kind"] != "sent"]
    by_order = Counter((each["cause"], each["type"]) for each in made)
    assert by_order == {(stamp, kind): 1 for stamp in ordered for kind in ("Withdraw", "Deposit")}
    for each in made:
        order = ordered[each["cause"]]
        assert each["stamp"] > order["stamp"]
        assert each["root"] == order["id"]
        assert each["rule"] == f"pay_{order['shard']}"
        assert each["shard"] == (order["shard"] if each["type"] == "Withdraw" else order["body"]["to"])
    assert not [each for each in _all(journals) if each["kind"] == "exception"]


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("transfers", TRANSFERS)
async def test_rules_move_money_through_kills_and_none_is_lost_or_made(tmp_path: Path, transfers: int) -> None:
    run, done = Run(transfers), asyncio.Event()
    async with running(tmp_path / "data", Path(bank_by_rule.__file__)) as up, Client(up.url) as client:
        for branch in branches:
            await client.send(branch.create(Account(balance=START), id="main"))
        async with asyncio.TaskGroup() as group:
            group.create_task(look(up.url, run, done))
            tormenting = group.create_task(torment(up, run, done))
            await order_all(up.url, run)
            await tormenting
            done.set()
        journals = await everything_paid(client, transfers)
        check(journals, transfers)
        assert run.kills == KILLS
        assert len(run.samples) >= CUTOFFS
        check_sums(journals, run)
        assert (await client.verify())["ok"]
