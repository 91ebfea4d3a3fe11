"""Rules on the command line: what could not be done, what to do about it, and what follows from what."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.acceptance.commands import peaceriver
from tests.acceptance.processes import running

SHOP = """
from pathlib import Path
from peaceriver import Actor, Department, Message, Refuse, rule

class Order(Actor):
    total: int
    state: str = "open"

class Check(Actor):
    amount: int

class Approve(Message[Order], action="modify"):
    state: str = "approved"

sales = Department(100, "Sales", receives=[Order])
credit = Department(110, "Credit", receives=[Check])

@rule(on=Order.created, at=sales)
def ask(event):
    if event.document.total == 13 and not Path({flag!r}).exists():
        raise ValueError("thirteen")
    yield credit.create(Check(amount=event.document.total), id=event.id)

@rule(on=Check.created, at=credit)
def agree(event):
    yield event.reply(Approve(), to=f"Order/{{event.id}}")

@rule(on=Order.created, at=sales, kind="validation")
def positive(event):
    if event.document.total <= 0:
        yield Refuse("an order is worth something", pointer="/body/total")
"""


async def command(url: str, *words: str) -> tuple[int, str, str]:
    said = await asyncio.to_thread(peaceriver, *words, "--url", url)
    return said.code, said.out, said.err


async def test_what_could_not_be_done_is_shown_resolved_and_explained(tmp_path: Path) -> None:
    flag, app = tmp_path / "mended", tmp_path / "shop.py"
    app.write_text(SHOP.format(flag=str(flag)))
    async with running(tmp_path / "data", app) as up:
        order = ("send", "--to", "100", "--action", "create")
        assert (await command(up.url, *order, "--actor", "Order/a", "--body", '{"total": 5}'))[0] == 0
        code, _, told = await command(up.url, *order, "--actor", "Order/no", "--body", '{"total": 0}')
        assert (code, "/body/total: an order is worth something" in told) == (1, True)
        assert (await command(up.url, *order, "--actor", "Order/b", "--body", '{"total": 13}'))[0] == 0

        shown = "[]"
        async with asyncio.timeout(20):
            while shown.strip() == "[]":  # the rule acts in its own time
                code, shown, _ = await command(up.url, "exceptions", "--json")
        (found,) = json.loads(shown)
        assert (code, found["actor"], found["rule"], found["state"]) == (0, "Order/b", "ask", "open")
        code, shown, _ = await command(up.url, "retry", found["id"])
        assert (code, "failed again" in shown, "thirteen" in shown) == (1, True, True)
        flag.touch()
        assert (await command(up.url, "retry", found["id"]))[:2] == (0, "Order/b is retried\n")
        code, _, told = await command(up.url, "skip", found["id"])
        assert (code, "retried already" in told) == (1, True)
        assert (await command(up.url, "exceptions"))[1] == "none is open\n"
        assert (await command(up.url, "retry", "nonsense"))[0] == 2

        settled, shown, _ = await command(up.url, "explain", "Order/b")
        assert settled == 0
        told_in_order = ["Order.create to Order/b in Sales", "Sales", "Credit", "ask failed", "ask retried", "Approve"]
        places = [shown.index(each) for each in told_in_order]
        assert places == sorted(places), shown
        assert "rules: agree (version 1), ask (version 1)" in shown
        code, shown, _ = await command(up.url, "explain", "Order/b", "--json")
        (explained,) = json.loads(shown)
        assert (code, explained["root"]["actor"]) == (0, "Order/b")
        assert (await command(up.url, "explain", "Order/nobody"))[0] == 1

        code, shown, _ = await command(up.url, "replay", "ask")
        assert (code, shown) == (0, "ask acts anew on what comes after position 0\n")
        assert (await command(up.url, "replay", "nobody"))[0] == 1
        assert (await command(up.url, "replay", "ask", "--from", "yesterday"))[0] == 1
        assert "parked" in (await command(up.url, "status"))[1]
        assert (await command(up.url, "verify"))[0] == 0
