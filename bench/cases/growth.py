"""Growth: the same appends to a short journal and to a long one, in two nodes side by side.

Measuring both in turn, and not one hours of load after the other, keeps the machine's moods out of the ratio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bench import names
from bench.history import prolong
from bench.load import ACTORS, Load
from bench.place import Place
from bench.product import Product
from bench.rounds import Contestant

SHORT_RECORDS = 100_000
LONG_RECORDS = 2_000_000


@asynccontextmanager
async def growth(place: Place, *, long_records: int) -> AsyncIterator[Sequence[Contestant]]:
    """Appends in arrays, at two lengths of the journal."""
    async with (
        _grown(place, "short", SHORT_RECORDS) as short,
        _grown(place, "long", long_records) as long,
    ):
        yield [
            Contestant(name=name, measure=partial(each.arrays, size=1_000), least=5_000, most=20_000)
            for name, each in ((names.SHORT_JOURNAL, short), (names.LONG_JOURNAL, long))
        ]


@asynccontextmanager
async def _grown(place: Place, database: str, records: int) -> AsyncIterator[Product]:
    """A product with so many records."""
    connection, load = await place.database(database), Load()
    async with Product.opened(connection, load) as product:
        await product.grow(ACTORS)
    await prolong(connection, load.numbers(records - ACTORS))
    async with Product.opened(connection, load) as product:
        yield product
