"""Catching up: a follower that was stopped for a while pulls what it lacks, beside raw COPY between the two servers.

The journal grows by real appends to the other two nodes. What the follower pulls is timed from the first rows that it
takes, as a start takes as long however much it lacks; its views are brought level afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bench import names
from bench.cases.pull import DATABASE, Pair, make_journal
from bench.nodes import Nodes, nodes
from bench.orders import sales
from bench.place import ROLE, Place
from bench.rounds import Contestant
from bench.senders import Senders, senders
from peaceriver import postgres
from peaceriver.errors import StartFailed
from peaceriver.postgres import Statements, Transaction

sql = Statements("bench", "catchup")
#: What a follower lacks, for each second of a round.
RECORDS = 500_000
_WARM_UP = 20_000
#: Appends during a catch-up are sent in parts, and only those count that have ended before it does.
_PART_MESSAGES = 256
_LOOK_PAUSE_S = 0.01
_CONNECT_PAUSE_S = 0.05
_TIMEOUT_S = 600.0


@asynccontextmanager
async def catchup(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Rows per second into a follower, and messages per second into its leader meanwhile."""
    async with nodes(place.directory / "catchup", 3) as cluster, senders(cluster) as sending:
        lagging = _Lagging(cluster, sending, await cluster.follower())
        await make_journal(partial(cluster.connection, lagging.name))
        rows = partial(Contestant, least=_WARM_UP, most=10 * RECORDS, per_second=RECORDS)
        yield [
            rows(name=names.CATCH_UP, measure=lagging.catch_up),
            Contestant(name=names.CATCH_UP_FOLDED, measure=lagging.views, least=1, most=1),
            rows(name=names.RAW_CATCH_UP, measure=lagging.raw),
            Contestant(name=names.APPENDS_LEVEL, measure=sending.to_leader, least=512),
            rows(name=names.APPENDS_CATCH_UP, measure=lagging.appends),
        ]


class _Lagging:
    """A follower that is stopped again and again."""

    def __init__(self, cluster: Nodes, sending: Senders, name: str) -> None:
        self._cluster = cluster
        self._sending = sending
        self.name = name
        self._views = 0.0

    async def catch_up(self, count: int) -> float:
        """Rows per second, of so many that it lacks, until its journal is level."""
        start, end = await self._leave_behind(count)
        async with self._starting() as tx:
            first, began = await _reached(tx, start + 1), time.perf_counter()
            if first >= end:
                raise RuntimeError(f"{self.name} was level before anybody saw it start: let it lack more (--seconds)")
            await _reached(tx, end)
            took = time.perf_counter() - began
        self._views = await self._brought_level(end)
        return (end - first) / took

    async def views(self, _count: int) -> float:
        """Records per second that its views then folded, of those that they still lacked."""
        return self._views

    async def raw(self, count: int) -> float:
        """Rows per second of the same journal by raw COPY into a table like it on the follower's server."""
        leader = await postgres.connect(self._cluster.connection(await self._cluster.leader()))
        follower = await postgres.connect(self._cluster.connection(self.name, ROLE, DATABASE))
        try:
            return await Pair(leader, follower).raw(count)
        finally:
            await leader.close()
            await follower.close()

    async def appends(self, count: int) -> float:
        """Single messages per second to the leader, for as long as the follower pulls so many rows."""
        start, end = await self._leave_behind(count)
        leader = await self._cluster.leader()
        sent, took_s = 0, 0.0
        async with self._starting() as tx:
            await _reached(tx, start + 1)
            while True:
                rate = await self._sending.singles(leader, _PART_MESSAGES)
                if await _position(tx) >= end and sent:
                    break  # this part has ended after the catch-up; where it is the only one, it has to do
                sent, took_s = sent + _PART_MESSAGES, took_s + _PART_MESSAGES / rate
        await self._brought_level(end)
        return sent / took_s

    async def _leave_behind(self, count: int) -> tuple[int, int]:
        """Stop the follower and let the journal grow; answers where it ends there, and where it ends by now."""
        start = await self._cluster.level()
        await self._cluster.stop(self.name)
        await self._sending.arrays(count)
        return start, await self._cluster.level(without=[self.name])

    @asynccontextmanager
    async def _starting(self) -> AsyncIterator[Transaction]:
        """Start the follower; its own database, to look into, for the block."""
        starting = asyncio.ensure_future(self._cluster.start(self.name))
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                tx = await self._connected()
                try:
                    yield tx
                finally:
                    await tx.close()
                await starting
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    async def _connected(self) -> Transaction:
        while True:
            try:
                return await postgres.connect(self._cluster.connection(self.name))
            except StartFailed:  # its server is not up yet
                await asyncio.sleep(_CONNECT_PAUSE_S)

    async def _brought_level(self, end: int) -> float:
        """Have somebody wait for the follower's views; answers how many records per second these still folded."""
        behind = end - await self._cluster.folded(self.name)
        began = time.perf_counter()
        await self._sending.shown(self.name)
        took = time.perf_counter() - began
        await self._cluster.level()
        return behind / took


async def _position(tx: Transaction) -> int:
    return int(await sql.position.value(tx, shard=sales.code))


async def _reached(tx: Transaction, position: int) -> int:
    """Wait until a replica's journal has come so far; answers how far it has come."""
    while (at := await _position(tx)) < position:  # noqa: ASYNC110 - another process moves it and tells nobody
        await asyncio.sleep(_LOOK_PAUSE_S)
    return at
