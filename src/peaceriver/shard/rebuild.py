"""Rebuilding a view: folded from nothing beside the live one, brought level, and switched to.

Records of one type are read one actor after the other, so one document at a time is in memory. What was folded into the
live view meanwhile is folded again here for the actors that it touched, in rounds; readers keep the old table until the
switch, which happens after the last round, while no shard folds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from peaceriver.postgres import Database, Transaction
from peaceriver.record import Record, from_row
from peaceriver.shard import journal, kept_tables, view_tables
from peaceriver.shard.beside import Beside
from peaceriver.shard.catching_up import touched, until_little_is_left
from peaceriver.shard.documents import ModelAt, document_after
from peaceriver.shard.folding import interval
from peaceriver.shard.former import drop_made
from peaceriver.shard.view_tables import Interval, ViewTable
from peaceriver.shard.views import Folder, Views, all_still

_ROWS_AT_A_TIME = 2_000
#: Actors that are folded again at a time: their records are in memory.
_ACTORS_AT_A_TIME = 200


class Folded(msgspec.Struct, frozen=True):
    """How far a rebuild is in one shard: so many of its records, but for those that come meanwhile."""

    shard: int
    folded: int
    records: int


#: Is told how far a rebuild is: once of every shard before it begins, then after each part.
Tell: TypeAlias = Callable[[Folded], None]


def untold(_: Folded) -> None:
    """Nobody asks how far it is."""


async def rebuild(
    database: Database, views: Views, folders: Mapping[int, Folder], actor_type: str, tell: Tell = untold
) -> ViewTable:
    """Fold one type's view anew in every shard and switch to it; answers the new table.

    Reads go on and are answered from the old table; folding pauses only while the last difference is made up. Raises
    Withheld where a journal is damaged.
    """
    async with views.rebuilding:
        await views.settle(database)
        for folder in folders.values():
            folder.check_journal()
        positions = {code: folder.position for code, folder in folders.items()}
        async with database.transaction() as tx:
            table = await view_tables.create(tx, actor_type, views.model_at.versions(actor_type))
        beside = Beside()
        try:
            await _fill(database, views, folders, table, beside, positions, tell)
        except BaseException:
            await drop_made(database, table, *beside.tables)
            raise
        await drop_made(database, *(each for each in beside.tables if each not in beside.kept))
        return table


async def _fill(
    database: Database,
    views: Views,
    folders: Mapping[int, Folder],
    table: ViewTable,
    beside: Beside,
    positions: dict[int, int],
    tell: Tell,
) -> None:
    """Fold the records up to some positions, make up what came meanwhile, and switch."""
    async with database.connection() as tx:
        ahead = [Folded(code, 0, await _many(tx, table, code, position)) for code, position in positions.items()]
    for each in ahead:
        tell(each)
    for each in ahead:
        async with database.transaction() as tx:
            await _fold_all(tx, table, each, positions[each.shard], views.model_at, tell)
    await _keep_beside(database, table, beside, list(positions))

    async def make_up() -> int:
        many = 0
        for code, folder in list(folders.items()):
            until = folder.position
            async with database.transaction() as tx:
                many += await _catch_up(tx, table, code, positions.get(code, 0), until, views.model_at, beside)
            positions[code] = until
        return many

    await until_little_is_left(make_up)
    async with all_still(views, folders):
        with views.changing():
            async with database.transaction() as tx:
                for code, folder in folders.items():
                    await _catch_up(tx, table, code, positions.get(code, 0), folder.position, views.model_at, beside)
                await view_tables.switch(tx, table)
                await beside.switch(tx)
            views.become(table, beside.kept)


async def _keep_beside(database: Database, table: ViewTable, beside: Beside, codes: Iterable[int]) -> None:
    """Compute the kept views of a type over a table that is to be its view, those that could not be kept among them."""
    async with database.connection() as tx:
        tables, not_kept = await kept_tables.catalog(tx)
    for kept in [*(each.kept for each in tables), *(each.kept for each in not_kept)]:
        if kept.actor_type == table.actor_type:
            async with database.transaction() as tx:
                await beside.make(tx, kept, table, codes)


async def _many(tx: Transaction, table: ViewTable, shard: int, until: int) -> int:
    many: int = await journal.sql.many_of_type.value(tx, shard=shard, actor_type=table.actor_type, until=until)
    return many


async def _fold_all(tx: Transaction, table: ViewTable, ahead: Folded, until: int, models: ModelAt, tell: Tell) -> None:
    shard, done = ahead.shard, 0
    rows: list[tuple[Any, ...]] = []
    async for each in intervals(journal.of_type(tx, shard, table.actor_type, until), models):
        rows.append(each.row(table))
        if len(rows) >= _ROWS_AT_A_TIME:
            await view_tables.add(tx, table, rows)
            done += len(rows)
            tell(Folded(shard, done, ahead.records))
            rows = []
    await view_tables.add(tx, table, rows)
    tell(Folded(shard, done + len(rows), ahead.records))


async def _catch_up(
    tx: Transaction, table: ViewTable, shard: int, after: int, until: int, models: ModelAt, beside: Beside
) -> int:
    """Fold again whatever the live view learnt since the rebuild read the shard; answers how many actors that were."""
    many = 0
    async for ids in touched(tx, shard, table.actor_type, after, until, at_a_time=_ACTORS_AT_A_TIME):
        async with beside.changed(tx, table, shard, ids):
            await _fold_again(tx, table, shard, ids, until, models)
        many += len(ids)
    return many


async def fold_again(database: Database, views: Views, folder: Folder, actor_type: str, ids: Iterable[str]) -> None:
    """Fold some actors of one shard anew, in the live view; raises Withheld where their records are damaged.

    The shard waits while its kept views are computed anew, and not for long: those that take longer are lost.
    """
    async with views.rebuilding, folder.still:
        await folder.settle()
        folder.check_journal()
        table, wanted = views.tables[actor_type], sorted(ids)
        beside = Beside(views.kept.get(actor_type, ()))
        views.repairs[actor_type] += 1
        with views.changing():
            async with database.transaction() as tx:
                for start in range(0, len(wanted), _ACTORS_AT_A_TIME):
                    some = wanted[start : start + _ACTORS_AT_A_TIME]
                    await _fold_again(tx, table, folder.shard, some, folder.position, views.model_at)
                # What these actors counted for is not known: the view was not as it must be.
                await beside.refill(tx, table, folder.shard)
                lost = await beside.lose(tx)
            views.let_go(each.kept.name for each in lost)


async def _fold_again(
    tx: Transaction, table: ViewTable, shard: int, ids: Sequence[str], until: int, models: ModelAt
) -> None:
    await view_tables.forget(tx, table, shard, ids)
    rows = await view_tables.sql.of_actors.rows(
        tx, shard=shard, actor_type=table.actor_type, ids=list(ids), until=until
    )
    folded_again = intervals(_each([from_row(row) for row in rows]), models)
    await view_tables.add(tx, table, [each.row(table) async for each in folded_again])


async def _each(records: Sequence[Record]) -> AsyncIterator[Record]:
    for record in records:
        yield record


async def intervals(records: AsyncIterator[Record], models: ModelAt) -> AsyncIterator[Interval]:
    """The interval rows of actors whose records come one actor after the other, oldest first."""
    last: Record | None = None
    document: str | None = None
    async for record in records:
        if last is not None and document is not None:
            is_same = record.actor_id == last.actor_id
            yield interval(last, document, record.stamp) if is_same else interval(last, document)
            document = document if is_same else None
        document = document_after(record, document, models)
        last = record
    if last is not None and document is not None:
        yield interval(last, document)
