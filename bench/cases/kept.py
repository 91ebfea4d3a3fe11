"""Kept views: reading one beside computing the same answer, and what its upkeep takes of the time of appends."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bench import names
from bench.load import fields, written
from bench.orders import Claim, Order, claims, sales
from bench.place import Place
from bench.product import Product
from bench.rounds import Contestant
from peaceriver import Envelope
from peaceriver.cluster import How
from peaceriver.node.node import Node
from peaceriver.query.guard import checked
from peaceriver.query.kept import definition
from peaceriver.query.named import View

#: What is aggregated when nothing is kept.
ACTORS = 500_000
_ARRAY_MESSAGES = 10_000
_GROUPS = 200
_KEPT_S = 60.0
_LOOK_S = 0.05
_KEPT_IN_TURN = (False, True, True, False) * 3


@asynccontextmanager
async def kept(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Reads of an aggregate over many actors, kept and computed; and the upkeep of such an aggregate."""
    async with Product.on(place, "kept") as product:
        node = product.cluster.node
        assert node is not None
        await _fill(product)
        sql = _by_customer(Claim.__name__)
        await product.cluster.put_view(View(name="claims", sql=sql, kept=True))
        async with asyncio.timeout(_KEPT_S):
            while not (await node.kept.keeping.known())[0]:  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(_LOOK_S)
        how = How(shards=[claims.code])
        yield [
            Contestant(name=names.KEPT_READ, measure=partial(_read, partial(product.cluster.view, "claims", **how))),
            Contestant(
                name=names.COMPUTED_READ,
                measure=partial(_read, partial(product.cluster.query, sql, **how)),
                least=2,
                most=20,
            ),
            Contestant(
                name=names.KEPT_UPKEEP,
                measure=partial(_upkeep, product, node),
                unit="%",
                least=_ARRAY_MESSAGES,
                most=_ARRAY_MESSAGES,
            ),
        ]


def _by_customer(actor_type: str) -> str:
    """Count, sum and average of customers by the end of their number."""
    customer = f"substr(customer, 10)::int % {_GROUPS}"
    return f'select {customer} as customer, count(*), sum(total), avg(total) from "{actor_type}" group by 1'


async def _fill(product: Product) -> None:
    for first in range(0, ACTORS, _ARRAY_MESSAGES):
        await product.send(
            [
                Envelope(
                    to=claims.code,
                    actor_type=Claim.__name__,
                    actor_id=f"CL-{number:06}",
                    action="create",
                    body=written(fields(number)),
                )
                for number in range(first, first + _ARRAY_MESSAGES)
            ]
        )
    await product.folded(claims)


async def _read(ask: Callable[[], Awaitable[Sequence[object]]], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        assert len(await ask()) == _GROUPS
    return count / (time.perf_counter() - began)


async def _upkeep(product: Product, node: Node, count: int) -> float:
    """How much longer it takes to fold messages that a view is kept of, in percent of the time they took to append.

    A fold takes half a second, and now and then something else goes on in it: the medians of several count.
    """
    appends: list[float] = []
    folds: dict[bool, list[float]] = {True: [], False: []}
    for is_kept in _KEPT_IN_TURN:
        if is_kept:
            await node.kept.keeping.keep(definition("orders", checked(_by_customer(Order.__name__)).tree))
        append, fold = await _folded_after(product, node, count)
        appends.append(append)
        folds[is_kept].append(fold)
        if is_kept:
            await node.kept.keeping.discard("orders")
    more = statistics.median(folds[True]) - statistics.median(folds[False])
    return 100 * more / statistics.median(appends)


async def _folded_after(product: Product, node: Node, count: int) -> tuple[float, float]:
    """How long it takes to append messages while nothing is folded, and how long to fold them then."""
    messages, shard = product.load.messages(count), node.shards[sales.code]
    async with shard.still:
        began = time.perf_counter()
        await product.send(messages)
        append = time.perf_counter() - began
    began = time.perf_counter()
    await shard.folded.reached(shard.complete.value)
    return append, time.perf_counter() - began
