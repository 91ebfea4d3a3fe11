"""Folding the next changes of one type into its view, and into the kept views over it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from peaceriver.postgres import Transaction
from peaceriver.record import Record
from peaceriver.shard import kept_tables, view_tables
from peaceriver.shard.beside import Beside
from peaceriver.shard.documents import Change, status_after
from peaceriver.shard.kept_tables import Lost
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.view_tables import Interval, ViewTable
from peaceriver.stamp import OPEN_END

_ID = [name for name, _ in view_tables.SYSTEM_COLUMNS].index("actor_id")


def interval(record: Record, document: str, until: int = OPEN_END) -> Interval:
    """What an actor was from a record of it until another, or still is."""
    assert record.actor_id is not None
    assert record.actor_version is not None
    return Interval(
        record.shard,
        record.actor_id,
        record.stamp,
        until,
        record.actor_version,
        status_after(record),
        record.model_version,
        record.position,
        document,
    )


class _Rows(NamedTuple):
    """What changes of one type make of a view that holds everything before them."""

    #: Actors whose last row there ends: id and until.
    ended: list[tuple[str, int]]
    closed: list[tuple[Any, ...]]
    still_open: list[tuple[Any, ...]]


def _rows(table: ViewTable, changes: Iterable[Change]) -> _Rows:
    last: dict[str, Change] = {}
    ended: list[tuple[str, int]] = []
    closed: list[tuple[Any, ...]] = []
    for change in changes:
        record = change[0]
        assert record.actor_id is not None
        assert record.actor_version is not None
        before = last.get(record.actor_id)
        if before is not None:
            closed.append(_row(table, before, record.stamp))
        elif record.actor_version > 1:
            ended.append((record.actor_id, record.stamp))
        last[record.actor_id] = change
    return _Rows(ended, closed, [_row(table, each, OPEN_END) for each in last.values()])


async def fold_into(
    tx: Transaction, table: ViewTable, shard: int, changes: Iterable[Change], kept: Sequence[KeptTable] = ()
) -> None:
    """Write the next changes of one type into a table that holds everything before them, and into its kept views."""
    ended, closed, still_open = _rows(table, changes)
    if not kept:
        await view_tables.end(tx, table, shard, ended)
        await view_tables.add(tx, table, closed + still_open)
        return
    touched = await kept_tables.end(tx, table, kept, shard, ended, still_open)
    await view_tables.add(tx, table, closed + still_open)
    await kept_tables.mend(tx, table, shard, touched)


async def fold_apart(
    tx: Transaction, table: ViewTable, shard: int, changes: Iterable[Change], kept: Sequence[KeptTable]
) -> list[Lost]:
    """The same where some kept view cannot be computed for the changes, or not in time: all else goes on without it."""
    ended, closed, still_open = _rows(table, changes)
    beside = Beside(kept)
    async with beside.changed(tx, table, shard, [row[_ID] for row in still_open]):
        await view_tables.end(tx, table, shard, ended)
        await view_tables.add(tx, table, closed + still_open)
    return await beside.lose(tx)


def _row(table: ViewTable, change: Change, until: int) -> tuple[Any, ...]:
    record, folded = change
    assert folded.after is not None
    return interval(record, folded.after, until).row(table, folded.value)
