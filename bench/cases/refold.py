"""Folding a history again: a view rebuilt from nothing, beside aggregates got from their repository."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bench import names
from bench.cases import eventsourcing
from bench.load import fields, written
from bench.orders import Claim, claims
from bench.place import Place
from bench.product import Product
from bench.rounds import Contestant
from peaceriver import Envelope

#: Every history is equally long on both sides.
ACTORS = 2_000
RECORDS = 20


@asynccontextmanager
async def refold(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Records and events per second, of histories of equal length."""
    async with (
        Product.on(place, "refold") as product,
        eventsourcing.store(place, "refold_events") as store,
    ):
        await _fill(product)
        await store.ask(do="fill", actors=ACTORS, events=RECORDS)

        async def rebuild(count: int) -> float:
            return await store.ask(do="rebuild", events=count)

        whole = ACTORS * RECORDS
        yield [
            Contestant(name=names.REFOLD, measure=partial(_rebuild, product), least=whole, most=whole),
            Contestant(name=names.EVENTSOURCING_REBUILD, measure=rebuild, least=1_000, most=whole),
        ]


async def _fill(product: Product) -> None:
    for version in range(RECORDS):
        await product.send(
            [
                Envelope(
                    to=claims.code,
                    actor_type=Claim.__name__,
                    actor_id=f"CL-{number:06}",
                    action="create" if version == 0 else "modify",
                    body=written(fields(version * ACTORS + number)),
                )
                for number in range(ACTORS)
            ]
        )
    await product.folded(claims)


async def _rebuild(product: Product, count: int) -> float:
    """Rebuild the claims' view, all of it; the type has ``count`` records."""
    assert product.cluster.node is not None
    began = time.perf_counter()
    await product.cluster.node.rebuild(Claim.__name__)
    return count / (time.perf_counter() - began)
