"""Reads of one actor, one after the other: as it is, and as it was at moments all along its history."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench import names
from bench.load import ACTORS, actor_id
from bench.orders import Order, sales
from bench.place import Place
from bench.product import Product
from bench.rounds import Contestant
from peaceriver import Stamp

_VERSIONS = 10
#: Coprime to the number of actors, so that one read after the other finds another actor.
_STRIDE = 7_919


@asynccontextmanager
async def reads(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Latest reads beside as-of reads of the same actors."""
    async with Product.on(place, "reads") as product:
        moments = [await _stamp(product)]
        for _ in range(1, _VERSIONS):
            await product.grow(ACTORS)
            moments.append(await _stamp(product))

        async def latest(count: int) -> float:
            return await _read(product, count, [None])

        async def as_of(count: int) -> float:
            return await _read(product, count, moments)

        yield [
            Contestant(name=names.READ_LATEST, measure=latest),
            Contestant(name=names.READ_AS_OF, measure=as_of),
        ]


async def _stamp(product: Product) -> Stamp:
    """The stamp of the last record so far: that of the last actor."""
    return (await product.cluster.get(Order, actor_id(ACTORS - 1), at=sales)).stamp


async def _read(product: Product, count: int, moments: Sequence[Stamp | None]) -> float:
    began = time.perf_counter()
    for number in range(count):
        await product.cluster.get(Order, actor_id(number * _STRIDE), at=sales, as_of=moments[number % len(moments)])
    return count / (time.perf_counter() - began)
