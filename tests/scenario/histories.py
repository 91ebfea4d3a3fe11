"""Two histories with everything in them that a standing is folded from, each made once; tests work on copies of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

from peaceriver import Actor, Cluster, Department, Envelope, Event, Receipt, order_to_cash, rule
from peaceriver.directory.directory import Directory
from peaceriver.embedded import Server
from peaceriver.jsontext import write
from peaceriver.migrating import migrate
from peaceriver.node.sending import Sender
from peaceriver.order_to_cash.load import generate
from peaceriver.postgres import DATABASE, OWNER, RUNNER, Database, Row, Transaction, connect
from peaceriver.record import Record, from_row

#: The standing: what is folded from the journal, and by which rows are told apart.
TABLES = {"actor": "type, id", "mark": "reader, source_shard", "timer": "position", "exception": "id"}
_numbers = itertools.count()


class Claim(Actor):
    text: str = ""


class Note(Actor):
    text: str


claims = Department(100, "Claims")
notes = Department(110, "Notes")


class History:
    """A server with the records of a node that has stopped, and the models that they were folded with."""

    def __init__(self, server: Server, directory: Directory, codes: list[int]) -> None:
        self.server = server
        self.directory = directory
        self.codes = codes

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[Copy]:
        """A copy of the whole database."""
        name = f"copy_{next(_numbers)}"
        await self._make(f"create database {name} template {DATABASE} owner {OWNER}")
        async with Copy(self, name).opened() as copy:
            yield copy

    @asynccontextmanager
    async def journals_alone(self) -> AsyncIterator[Copy]:
        """A database that got the journals' rows and nothing else."""
        name = f"copy_{next(_numbers)}"
        await self._make(f"create database {name} template template0 encoding 'UTF8' owner {OWNER}")
        await migrate(self.server.connection(OWNER, name))
        source = await connect(self.server.connection(RUNNER, DATABASE))
        async with Copy(self, name).opened() as copy:
            for code in self.codes:
                await copy.admin.execute("select open_shard($1, false)", code)
                rows = await source.fetch("select * from journal where shard = $1 order by position", code)
                await copy.admin.copy_records_to_table(
                    "journal",
                    schema_name="public",
                    columns=list(rows[0].keys()),
                    records=[tuple(each.values()) for each in rows],
                )
                await copy.admin.execute(
                    "update shard_state set last_position = $2, last_epoch = $3, last_stamp = $4, last_chain = $5"
                    " where shard = $1",
                    *(code, rows[-1]["position"], rows[-1]["epoch"], rows[-1]["stamp"], rows[-1]["chain"]),
                )
            yield copy
        await source.close()

    async def _make(self, statement: str) -> None:
        admin = await connect(self.server.connection("postgres"))
        await admin.execute(statement)
        await admin.close()


class Copy:
    """A database with such a history, as the running role and as a superuser."""

    database: Database
    admin: Transaction

    def __init__(self, history: History, name: str) -> None:
        self.history = history
        self.name = name

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Copy]:
        self.database = await Database.open(self.history.server.connection(RUNNER, self.name))
        self.admin = await connect(self.history.server.connection("postgres", self.name))
        try:
            yield self
        finally:
            await self.database.close()
            await self.admin.close()

    async def standing(self, code: int) -> dict[str, list[dict[str, Any]]]:
        """All rows of a department's standing."""
        return {
            table: [dict(row) for row in await self.admin.fetch(_rows_of(table, order), code)]
            for table, order in TABLES.items()
        }

    async def empty(self, code: int) -> None:
        """As if nothing had ever been folded."""
        for table in TABLES:
            await self.admin.execute(f"delete from {table} where shard = $1", code)
        await self.admin.execute("update shard_state set standing_position = 0 where shard = $1", code)

    async def state(self, code: int) -> Row:
        row = await self.admin.fetchrow("select * from shard_state where shard = $1", code)
        assert row is not None
        return row

    async def records(self, code: int) -> list[Record]:
        rows = await self.admin.fetch("select * from journal where shard = $1 order by position", code)
        return [from_row(row) for row in rows]


def _rows_of(table: str, order: str) -> str:
    return f"select * from {table} where shard = $1 order by {order}"


def telling(flag: Path) -> Any:
    """A rule that notes what is said of claims; what is bad only once its flag is there."""

    @rule(on="Claim.modify", at=claims)
    def tell(event: Event) -> Iterator[Envelope]:
        text = event.document.text
        if text.startswith("bad") and not flag.exists():
            raise ValueError(f"cannot note {text}")
        if text.startswith("later"):
            yield notes.create(Note(text=text), due=datetime.now(UTC) + timedelta(days=1))
        # Those that say the same have one note: the second one is refused where it arrives.
        yield notes.create(Note(text=text), id=text)

    return tell


@asynccontextmanager
async def everything(data: Path) -> AsyncIterator[History]:
    """Actors, batches, drafts, timers, deliveries, and exceptions that came to every end."""
    flag = data / "mended"
    application = ModuleType("claims")
    vars(application).update(Claim=Claim, Note=Note, claims=claims, notes=notes, tell=telling(flag))
    async with Cluster.embedded(application, data=data) as cluster:
        assert cluster.node is not None
        names = ["retried", "skipped", "answered", "waiting", "good"]
        await cluster.send([claims.create(Claim(), id=each) for each in names], atomic=True)
        await _timers(cluster)
        for text in ("one", "bad", "two", "one", "later"):
            last = await cluster.send([claims.modify(f"Claim/{each}", {"text": f"{text} {each}"}) for each in names])
        await cluster.send(claims.modify("Claim/good", {"text": "one good"}))
        assert isinstance(last[-1], Receipt)
        await cluster.settled(last[-1])
        await cluster.send(claims.cancel("Claim/good"))
        await _draft(cluster)
        flag.touch()
        await _resolve(cluster)
        await _quiet(cluster)
        directory, codes = cluster.node.directory, sorted(cluster.node.shards)
    async with _kept(data, directory, codes) as history:
        yield history


@asynccontextmanager
async def trade(data: Path) -> AsyncIterator[History]:
    """A day of order to cash: five departments, folds of its own, rules that answer each other."""
    load = generate(days=2, orders_per_day=20)
    async with Cluster.embedded(order_to_cash, data=data) as cluster:
        assert cluster.node is not None
        await cluster.send(load.opening)
        for day in load.days:
            for group in (*day.groups, day.cancellations, day.replenishments):
                if group:
                    await cluster.send(group)
            await _quiet(cluster)
        directory, codes = cluster.node.directory, sorted(cluster.node.shards)
    async with _kept(data, directory, codes) as history:
        yield history


@asynccontextmanager
async def _kept(data: Path, directory: Directory, codes: list[int]) -> AsyncIterator[History]:
    server = await Server.start(data / "postgres")
    try:
        yield History(server, directory, codes)
    finally:
        await server.stop()


async def _timers(cluster: Cluster) -> None:
    """One that stays, and some that are due: admitted, sent on, and refused."""
    now = datetime.now(UTC)
    await cluster.send(
        [
            claims.create(Claim(text="some day"), id="far", due=now + timedelta(days=9)),
            claims.create(Claim(text="soon"), id="near", due=now + timedelta(seconds=0.1)),
            claims.modify("Claim/nobody", {"text": "refused"}, due=now),
            Envelope(
                to=110, sender=100, actor_type="Note", actor_id="t", action="create", body='{"text":"t"}', due=now
            ),
        ]
    )


async def _draft(cluster: Cluster) -> None:
    node = cluster.node
    assert node is not None
    draft = uuid4()
    await node.drafts.put(draft, write({"to": 100, "actor": "Claim/draft", "action": "create"}).encode())
    await node.drafts.send(draft, Sender(principal="tester"))


async def _resolve(cluster: Cluster) -> None:
    """Each exception in the way that its claim's name says; what is refused is retried in vain."""
    for each in await cluster.exceptions():
        actor, exception = each["actor"], UUID(each["id"])
        if actor == "Claim/retried":
            await cluster.resolve(exception, "retry")
        elif actor == "Claim/skipped":
            await cluster.resolve(exception, "skip")
        elif actor == "Claim/answered":
            await cluster.resolve(exception, "answer", claims.modify("Claim/answered", {"text": "answered"}))
        elif actor == "Claim/nobody":
            await cluster.resolve(exception, "retry")
            await cluster.send(claims.create(Claim(), id="nobody"))
            await cluster.resolve(exception, "retry")
        elif actor.startswith("Note/"):
            await cluster.resolve(exception, "retry")


async def _quiet(cluster: Cluster) -> None:
    """Wait until nothing has been recorded for a while."""
    assert cluster.node is not None
    ends: list[int] = []
    async with asyncio.timeout(60):
        while (now := [each.tip.position for each in cluster.node.shards.values()]) != ends:
            ends = now
            await asyncio.sleep(1.5)
