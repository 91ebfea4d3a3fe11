"""Queries: one actor and a TOP-10 as it is and as it was, and what it costs to check a statement before it runs."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from bench import names
from bench.load import ACTORS, actor_id
from bench.orders import Order, sales
from bench.place import Place
from bench.product import Product
from bench.rounds import Contestant
from peaceriver import Stamp, bindparam, col, select
from peaceriver.query.guard import checked
from peaceriver.query.select import compiled
from peaceriver.query.statement import Relation, stated

_VERSIONS = 10
#: Coprime to the number of actors, so that one read after the other finds another actor.
_STRIDE = 7_919

POINT = select(Order.customer, Order.total, Order.state).where(col(Order.actor_id) == bindparam("id"))
TOP = (
    select(Order.actor_id, Order.total)
    .where(col(Order.state) == bindparam("state"))
    .order_by(col(Order.total).desc())
    .limit(bindparam("top"))
)


@asynccontextmanager
async def queries(place: Place) -> AsyncIterator[Sequence[Contestant]]:
    """Latest queries beside as-of queries of the same, and the guard, for statements that it knows and others."""
    async with Product.on(place, "queries") as product:
        moments = [await _stamp(product)]
        for _ in range(1, _VERSIONS):
            await product.grow(ACTORS)
            moments.append(await _stamp(product))
        point, top = partial(_point, product), partial(_top, product)
        yield [
            Contestant(name=names.POINT_LATEST, measure=partial(_asked, point, [None])),
            Contestant(name=names.POINT_AS_OF, measure=partial(_asked, point, moments)),
            Contestant(name=names.TOP_LATEST, measure=partial(_asked, top, [None]), least=20),
            Contestant(name=names.TOP_AS_OF, measure=partial(_asked, top, moments), least=20),
            Contestant(name=names.GUARD_KNOWN, measure=_guard_known, unit="ms", least=20),
            Contestant(name=names.GUARD_NEW, measure=_guard_new, unit="ms", least=20),
        ]


async def _stamp(product: Product) -> Stamp:
    """The stamp of the last record so far: that of the last actor."""
    return (await product.cluster.get(Order, actor_id(ACTORS - 1), at=sales)).stamp


async def _point(product: Product, number: int, as_of: Stamp | None) -> None:
    wanted = {"id": actor_id(number * _STRIDE)}
    assert len(await product.cluster.query(POINT, wanted, shards=[sales.code], as_of=as_of)) == 1


async def _top(product: Product, number: int, as_of: Stamp | None) -> None:
    wanted = {"state": "open", "top": 10}
    assert len(await product.cluster.query(TOP, wanted, shards=[sales.code], as_of=as_of)) == 10


async def _asked(
    ask: Callable[[int, Stamp | None], Awaitable[None]], moments: Sequence[Stamp | None], count: int
) -> float:
    began = time.perf_counter()
    for number in range(count):
        await ask(number, moments[number % len(moments)])
    return count / (time.perf_counter() - began)


_COLUMNS = (("customer", "text"), ("total", "numeric"), ("state", "text"))
_RELATION = Relation('"view"."Order_1"', tuple((name, kind, name) for name, kind in _COLUMNS))
_SQL = compiled(TOP, {"state": "open", "top": 10}).sql
_numbers = itertools.count()


async def _guard_known(count: int) -> float:
    """Milliseconds for a statement that was asked before; the node remembers what runs for it as well."""
    began = time.perf_counter()
    for _ in range(count):
        checked(_SQL)
    return 1000 * (time.perf_counter() - began) / count


async def _guard_new(count: int) -> float:
    """Milliseconds for one that is new: parsed, checked, made repeatable, and written with the cutoff in it."""
    began = time.perf_counter()
    for _ in range(count):
        query = checked(f"{_SQL} -- {next(_numbers)}")
        stated(query, dict.fromkeys(query.models, _RELATION), single=True, kinds={})
    return 1000 * (time.perf_counter() - began) / count
