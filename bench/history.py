"""A long history in a short time: records made and chained by the product's own code, brought in by COPY.

The journal, what is folded from it and the marks are as if the product had appended every single one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec

from bench.load import ACTORS, actor_id, fields, written
from bench.orders import Order, sales
from peaceriver import postgres
from peaceriver.model import Column
from peaceriver.postgres import Statements, Transaction, copy_in
from peaceriver.record import COLUMNS, Record, chained
from peaceriver.shard import view_tables
from peaceriver.stamp import OPEN_END, TICKS_PER_MICROSECOND

sql = Statements("bench", "history")
_TRANSACTION_RECORDS = 50_000


async def prolong(connection: Mapping[str, Any], numbers: range) -> None:
    """Record the load's messages ``numbers`` in the journal of a node that is not running, as its database's owner.

    They modify actors that are there. Afterwards nothing is left to be tidied up by the server in the background.
    """
    # Not through the product's own door: its statements may take a minute at most, and these fold millions of records.
    tx = await asyncpg.connect(**connection)
    try:
        await tx.execute("set work_mem = '256MB'")
        # No statistics know of the new records yet, and a plan made for a handful of them would not end.
        await tx.execute("set enable_nestloop = off")
        start = await sql.tip.row(tx, shard=sales.code)
        for each in _chunks(numbers):
            await _append(tx, each)
        await _fold(tx, start["last_position"])
        await tx.execute("vacuum (analyze)")
        await tx.execute("checkpoint")
    finally:
        await tx.close()


def _chunks(numbers: range) -> Iterator[range]:
    for first in range(numbers.start, numbers.stop, _TRANSACTION_RECORDS):
        yield range(first, min(first + _TRANSACTION_RECORDS, numbers.stop))


async def _append(tx: Transaction, numbers: range) -> None:
    tip = await sql.tip.row(tx, shard=sales.code)
    assert tip is not None
    records = [_record(number, tip, offset) for offset, number in enumerate(numbers, start=1)]
    chains = list(itertools.accumulate(records, chained, initial=tip["last_chain"]))[1:]
    rows = ((*msgspec.structs.astuple(record), chain) for record, chain in zip(records, chains, strict=True))
    async with tx.transaction():
        await copy_in(tx, "journal", (*COLUMNS, "chain"), rows)
        last = {"shard": sales.code, "position": records[-1].position, "stamp": records[-1].stamp}
        await sql.move_tip.run(tx, **last, chain=chains[-1])


def _record(number: int, tip: Mapping[str, Any], offset: int) -> Record:
    position, message_id = tip["last_position"] + offset, uuid4()
    return Record(
        shard=sales.code,
        position=position,
        group_end=position,
        epoch=tip["last_epoch"],
        stamp=tip["last_stamp"] + offset * TICKS_PER_MICROSECOND,
        kind="received",
        message_id=message_id,
        actor_type=Order.__name__,
        actor_id=actor_id(number),
        action="modify",
        message_type=f"{Order.__name__}.modify",
        actor_version=number // ACTORS + 1,
        model_version=1,
        receiver_shard=sales.code,
        root=message_id,
        hops=0,
        body=written(fields(number)),
    )


async def _fold(tx: Transaction, after: int) -> None:
    """Fold what comes after a position into admission's actors and into the view."""
    await sql.fold_actors.run(tx, shard=sales.code, actor_type=Order.__name__, after=after)
    table = (await view_tables.catalog(tx))[Order.__name__]
    await tx.execute(
        f"update {table.relation} as v set actor_until = next.stamp"
        f" from (select actor_id, min(stamp) as stamp from journal"
        f"  where shard = $1 and position > $2 and kind = 'received' group by actor_id) as next"
        f" where v.actor_shard = $1 and v.actor_id = next.actor_id and v.actor_until = $3",
        sales.code,
        after,
        OPEN_END,
    )
    await tx.execute(
        f"insert into {table.relation} ({', '.join(map(postgres.quoted, table.column_names))})"
        f" select shard, actor_id, stamp, lead(stamp, 1, $3) over (partition by actor_id order by position),"
        f"  actor_version, 'active', model_version, position, body::json, {_typed(table.columns)}"
        f" from journal where shard = $1 and position > $2 and kind = 'received'",
        sales.code,
        after,
        OPEN_END,
    )
    await sql.move_views.run(tx, shard=sales.code)


def _typed(columns: Sequence[Column]) -> str:
    """The model's own columns, as expressions over the body."""
    return ", ".join(f"(body::json ->> '{each.name}')::{view_tables.SQL_TYPES[each.kind]}" for each in columns)
