"""The `eventsourcing` package's contestants that several cases have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench import names
from bench.children import Peer, peer
from bench.load import ACTORS
from bench.peers.aggregates import BATCH
from bench.place import Place
from bench.rounds import Contestant

_THREADS = 32


@asynccontextmanager
async def store(place: Place, database: str) -> AsyncIterator[Peer]:
    """Its store of events in a new database, for the block."""
    connection = await place.database(database)
    keys = ("host", "port", "user", "database")
    async with peer("bench.peers.eventsourcing_store", *(str(connection[key]) for key in keys)) as started:
        yield started


def singles(store: Peer) -> list[Contestant]:
    """One event per save: in one thread and in many, without and with its functions in the database."""
    ways = [(functions, threads) for functions in (False, True) for threads in (1, _THREADS)]
    return [
        _contestant(store, name, least=200, functions=functions, threads=threads, batch=1)
        for name, (functions, threads) in zip(names.EVENTSOURCING_SINGLES, ways, strict=True)
    ]


def batches(store: Peer) -> list[Contestant]:
    """Many events per save, without and with its functions in the database."""
    return [
        _contestant(store, name, least=1_000, functions=functions, threads=1, batch=BATCH)
        for name, functions in zip(names.EVENTSOURCING_BATCHES, (False, True), strict=True)
    ]


def _contestant(store: Peer, name: str, *, least: int, functions: bool, threads: int, batch: int) -> Contestant:
    async def measure(count: int) -> float:
        return await store.ask(do="save", count=count, functions=functions, threads=threads, batch=batch)

    return Contestant(name=name, measure=measure, least=least, most=ACTORS)
