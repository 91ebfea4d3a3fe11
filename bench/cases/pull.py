"""A pull: a journal's rows from one PostgreSQL server into another, with the chain checked, beside raw COPY.

Both go into an empty journal of the product's, with all its indexes, and both through one Python process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from asyncpg.protocol import NO_TIMEOUT

from bench import names, raw
from bench.orders import sales
from bench.place import ROLE, Place
from bench.rounds import Contestant
from peaceriver import migrating, postgres
from peaceriver.embedded import Server
from peaceriver.postgres import OWNER, Statements, Transaction
from peaceriver.record import CHAIN_START, COLUMNS, Record, Tip, chained
from peaceriver.shard import journal
from peaceriver.shard.rows import row_of, tip_of

sql = Statements("bench", "pull")
RECORDS = 100_000
#: Bytes of one pull; a follower that is far behind asks for so many at a time.
PULL_BYTES = 4 * 1024 * 1024
#: Not the one that a node would have on that server.
DATABASE = "pulled"
_FILLED_AT_A_TIME = 10_000
_PIECES_WAITING_MAX = 16
_START = Tip(1, 0, 0, CHAIN_START)


@asynccontextmanager
async def pull(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Rows per second from the place's server into a second one."""
    second = await Server.start(place.directory / "follower")
    try:
        for server in (place.server, second):
            await make_journal(server.connection)
        async with _opened(place.server) as leader, _opened(second) as follower:
            await _fill(leader)
            pair = Pair(leader, follower)
            yield [
                Contestant(name=names.RAW_PULL, measure=pair.raw, least=10_000, most=RECORDS),
                Contestant(name=names.PULL, measure=pair.checked, least=10_000, most=RECORDS),
            ]
    finally:
        await second.stop()


async def make_journal(connection: Callable[[str, str], dict[str, Any]]) -> None:
    """A new database on a server, with an empty journal. ``connection``: how to connect, by role and database."""
    await migrating.prepare(connection(ROLE, "postgres"), database=DATABASE)
    await migrating.migrate(connection(OWNER, DATABASE))
    tx = await postgres.connect(connection(ROLE, DATABASE))
    try:
        await journal.sql.open.run(tx, shard=sales.code, recovering=False)
    finally:
        await tx.close()


@asynccontextmanager
async def _opened(server: Server) -> AsyncIterator[Transaction]:
    tx = await postgres.connect(server.connection(ROLE, DATABASE))
    try:
        yield tx
    finally:
        await tx.close()


async def _fill(leader: Transaction) -> None:
    tip = _START
    chain = tip.chain
    for first in range(0, RECORDS, _FILLED_AT_A_TIME):
        rows = []
        for number in range(first, first + _FILLED_AT_A_TIME):
            record = _record(raw.row(number))
            chain = chained(chain, record)
            rows.append(row_of(record, chain))
        await journal.insert_rows(leader, sales.code, tip, rows)
        tip = tip_of(rows[-1])
    await sql.settle.run(leader)


def _record(row: Mapping[str, Any]) -> Record:
    return Record(*(row[name] for name in COLUMNS))


class Pair:
    """A journal that has rows, and one that gets them."""

    def __init__(self, leader: Transaction, follower: Transaction) -> None:
        self._leader = leader
        self._follower = follower

    async def raw(self, count: int) -> float:
        """Rows per second by one COPY out, piped into one COPY in, as they come."""
        await self._empty()
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES_WAITING_MAX)

        async def pieces() -> AsyncIterator[bytes]:
            while (piece := await waiting.get()) is not None:
                yield piece

        async def out() -> None:
            await journal.sql.rows_after.copy_out(
                self._leader, waiting.put, shard=sales.code, after=0, until=count, records=count
            )
            await waiting.put(None)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as both:
            both.create_task(out())
            both.create_task(
                self._follower.copy_to_table("journal", source=pieces(), format="binary", timeout=NO_TIMEOUT)
            )
        return count / (time.perf_counter() - began)

    async def checked(self, count: int) -> float:
        """Rows per second by pulls, each checked and brought in with where the journal stands, while the next comes."""
        await self._empty()
        tip = _START
        began = time.perf_counter()
        coming = self._after(tip.position, count)
        while rows := await coming:
            last = tip.position + len(rows)
            coming = self._after(last, count)
            async with self._follower.transaction():
                await journal.insert_rows(self._follower, sales.code, tip, rows)
                tip = tip_of(rows[-1])
                await sql.advance.run(
                    self._follower, shard=sales.code, position=tip.position, stamp=tip.stamp, chain=tip.chain
                )
        assert tip.position == count
        return count / (time.perf_counter() - began)

    def _after(self, position: int, until: int) -> asyncio.Task[list[bytes]]:
        pulled = journal.rows_after(self._leader, sales.code, position, until, PULL_BYTES)
        return asyncio.get_running_loop().create_task(pulled)

    async def _empty(self) -> None:
        """A new journal, in place of what the last round has left."""
        await sql.drop.run(self._follower)
        await journal.sql.open.run(self._follower, shard=sales.code, recovering=False)
        await sql.settle.run(self._follower)
