"""While money moves between departments, every query over all of them adds up, on every node, at every cutoff.

The long form, of as many transfers and cutoffs as were promised, is part of ``make faults``.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest

from peaceriver import Client
from peaceriver.answers import exact
from peaceriver.asking import Ask, question_body
from peaceriver.errors import Conflict, Unavailable
from tests.acceptance import bank
from tests.acceptance.processes import running
from tests.acceptance.test_transfers import CODES, START, Run, everything_arrived, in_flight, insist, payment_run

T = TypeVar("T")
#: Transfers, and cutoffs that are sampled meanwhile.
SIZES = [(1_000, 100), pytest.param((10_000, 1_000), marks=[pytest.mark.long, pytest.mark.timeout(900)])]
KEPT = 'select actor_shard as branch, sum(balance) as total, count(*) as n from "Account" group by 1'
READERS = 4
SENDERS = 4
SQL = (
    "select sum(balance), count(*), (select string_agg(actor_shard || ':' || balance, ',') from \"Account\")"
    ' from "Account" where actor_id = :main'
)


@dataclass
class Looks:
    """What was shown at sampled cutoffs: the vector, and the sum over all departments."""

    wanted: int
    sums: list[tuple[dict[int, int], Decimal]] = field(default_factory=list)

    @property
    def are_enough(self) -> bool:
        return len(self.sums) >= self.wanted


async def send(client: Client, run: Run, looks: Looks) -> None:
    """Move money as often as is wanted, and on until enough was looked at."""
    numbers, chance = itertools.count(), random.Random(7)

    async def one() -> None:
        while len(run.sent) < run.transfers or not looks.are_enough:
            messages = payment_run(next(numbers), chance)
            await insist(client, messages)
            run.sent.extend(each.id for each in messages[1::2] if each.id is not None)

    await asyncio.gather(*(one() for _ in range(SENDERS)))


async def asked(client: Client, as_of: dict[int, int] | None = None) -> bytes:
    """The answer as it came; the same vector is to give the same bytes."""
    return await client.request("POST", "/query", content=question_body(SQL, {"main": "main"}, Ask(as_of=as_of)))


async def look(clients: list[Client], looks: Looks) -> None:
    """Ask one node for the newest that it has, and then every node for the same."""
    for first in itertools.cycle(clients):
        if looks.are_enough:
            return
        looks.sums.append(await kept_sum(first))
        answer = await insisted(first)
        told: dict[str, Any] = exact(answer)
        vector = {int(code): position for code, position in told["cutoff"]["positions"].items()}
        for each in clients:
            assert await insisted(each, vector) == answer
        total, count, _ = told["rows"][0]
        assert count == len(CODES)
        looks.sums.append((vector, Decimal(total)))


async def kept_sum(client: Client) -> tuple[dict[int, int], Decimal]:
    """What a kept view says, which is what the query says at the same vector."""
    kept = await patient(lambda: client.view("by_branch", {}, Ask()))
    vector = kept.cutoff.positions
    asked_for = await patient(lambda: client.query(KEPT, {}, Ask(as_of=vector)))
    assert (kept.columns, kept.rows, kept.cutoff) == (asked_for.columns, asked_for.rows, asked_for.cutoff)
    return vector, Decimal(sum(row[1] for row in kept.rows))


async def patient(ask: Callable[[], Awaitable[T]]) -> T:
    """On a busy machine a node may be a moment behind another one."""
    for _ in range(50):
        try:
            return await ask()
        except (Conflict, Unavailable):
            await asyncio.sleep(0.05)
    return await ask()


async def insisted(client: Client, vector: dict[int, int] | None = None) -> bytes:
    return await patient(lambda: asked(client, vector))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_at_every_cutoff_all_money_is_in_an_account_or_on_its_way_as_every_node_says(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    run, looks = Run(size[0]), Looks(size[1])
    async with running(tmp_path / "data", Path(bank.__file__), nodes=3) as up, Client(up.url) as client:
        for branch in bank.branches:
            await client.send(branch.create(bank.Account(balance=START), id="main"))
        await client.put_view("by_branch", {"sql": KEPT, "kept": True})
        urls = [each["url"] for each in (await client.cluster())["nodes"]]
        assert len(urls) == 3
        clients = [Client(each) for each in urls]
        try:
            await asyncio.gather(send(client, run, looks), *(look(clients, looks) for _ in range(READERS)))
        finally:
            await asyncio.gather(*(each.close() for each in clients))
        journals = await everything_arrived(client)
        assert len(run.sent) >= run.transfers
        assert looks.are_enough
        assert len({tuple(sorted(vector.items())) for vector, _ in looks.sums}) > looks.wanted // 2
        for vector, total in looks.sums:
            assert total + in_flight(journals, vector) == START * len(CODES)
