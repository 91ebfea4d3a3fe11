"""Rebuilding a view: folded from nothing beside the live one, brought level, and switched to.

Records of one type are read one actor after the other, so one document at a time is in memory. Readers keep the old
table until the switch, which happens while no shard folds; what was folded into the live view meanwhile is folded
again here for the actors that it touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack

from peaceriver.postgres import Database, Transaction
from peaceriver.record import Record, from_row
from peaceriver.shard import journal, view_tables
from peaceriver.shard.view_tables import Interval, ViewTable
from peaceriver.shard.views import Folder, ModelAt, State, Views, folded, interval
from peaceriver.stamp import OPEN_END

_ROWS_AT_A_TIME = 2_000


async def rebuild(database: Database, views: Views, folders: Mapping[int, Folder], actor_type: str) -> ViewTable:
    """Fold one type's view anew in every shard and switch to it; answers the new table.

    Reads go on and are answered from the old table; folding pauses only while the last difference is made up.
    """
    positions = {code: folder.position for code, folder in folders.items()}
    async with database.transaction() as tx:
        table = await view_tables.create(tx, actor_type, views.model_at.newest(actor_type))
    for code, position in positions.items():
        async with database.transaction() as tx:
            await _fold_all(tx, table, code, position, views.model_at)
    async with AsyncExitStack() as stack:
        for code in sorted(folders):
            await stack.enter_async_context(folders[code].still)
        async with database.transaction() as tx:
            for code, folder in folders.items():
                await _catch_up(tx, table, code, positions.get(code, 0), folder.position, views.model_at)
            await view_tables.switch(tx, table)
        views.tables[actor_type] = table
    return table


async def _fold_all(tx: Transaction, table: ViewTable, shard: int, until: int, models: ModelAt) -> None:
    pending: list[Interval] = []
    async for row in intervals(shard, journal.of_type(tx, shard, table.actor_type, until), models):
        pending.append(row)
        if len(pending) >= _ROWS_AT_A_TIME:
            await view_tables.write(tx, table, shard, (), pending)
            pending = []
    await view_tables.write(tx, table, shard, (), pending)


async def _catch_up(tx: Transaction, table: ViewTable, shard: int, after: int, until: int, models: ModelAt) -> None:
    """Fold again whatever the live view learnt since the rebuild read the shard."""
    touched = await view_tables.sql.touched.rows(tx, shard=shard, actor_type=table.actor_type, after=after, until=until)
    ids: Sequence[str] = [row["actor_id"] for row in touched]
    if not ids:
        return
    await view_tables.forget(tx, table, shard, ids)
    rows = await view_tables.sql.of_actors.rows(
        tx, shard=shard, actor_type=table.actor_type, ids=list(ids), until=until
    )
    folded_again = intervals(shard, _each([from_row(row) for row in rows]), models)
    await view_tables.write(tx, table, shard, (), [each async for each in folded_again])


async def _each(records: Sequence[Record]) -> AsyncIterator[Record]:
    for record in records:
        yield record


async def intervals(shard: int, records: AsyncIterator[Record], models: ModelAt) -> AsyncIterator[Interval]:
    """The interval rows of actors whose records come one actor after the other, oldest first."""
    actor_id: str | None = None
    state: State | None = None
    async for record in records:
        assert record.actor_id is not None
        if record.actor_id != actor_id:
            if state is not None and actor_id is not None:
                yield interval(shard, actor_id, state, OPEN_END)
            actor_id, state = record.actor_id, None
        elif state is not None:
            yield interval(shard, actor_id, state, record.stamp)
        state = folded(state, record, models)
    if state is not None and actor_id is not None:
        yield interval(shard, actor_id, state, OPEN_END)
