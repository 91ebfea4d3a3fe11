"""Appends in one process: in bulk, and message by message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bench import names
from bench.cases import eventsourcing
from bench.place import Place
from bench.product import Product
from bench.raw import Raw
from bench.rounds import Contestant

_CLIENTS = (1, 32, 128)


@asynccontextmanager
async def bulk(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Arrays of the product beside raw COPY and batches of events."""
    async with (
        Product.on(place, "bulk") as product,
        Raw.beside(place, "bulk") as raw,
        eventsourcing.store(place, "bulk_events") as store,
    ):
        large = partial(Contestant, least=10_000, most=100_000)
        yield [
            large(name=names.RAW_COPY, measure=raw.copy),
            large(name=names.ARRAYS, measure=partial(product.arrays, size=10_000)),
            large(name=names.ARRAYS_FOLDED, measure=partial(product.arrays, size=10_000, until_folded=True)),
            Contestant(name=names.SMALL_ARRAYS, measure=partial(product.arrays, size=100), least=1_000),
            *eventsourcing.batches(store),
        ]


@asynccontextmanager
async def singles(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Single messages of the product beside raw INSERT and single events."""
    async with (
        Product.on(place, "singles") as product,
        Raw.beside(place, "singles") as raw,
        eventsourcing.store(place, "singles_events") as store,
    ):
        yield [
            Contestant(name=names.RAW_INSERT, measure=raw.insert),
            *(
                Contestant(name=names.singles(clients), measure=partial(product.singles, clients=clients), least=512)
                for clients in _CLIENTS
            ),
            *eventsourcing.singles(store),
        ]
