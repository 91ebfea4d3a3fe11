"""The tables of kept views: made, brought along with the view that they are over, computed anew, and dropped.

Everything here is done in the transaction of whoever changes the view, so that both are true at the same mark.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from peaceriver.errors import Invalid, NotFound, Offence
from peaceriver.limits import FAILURE_LETTERS_MAX, KEPT_FILL_TIMEOUT_S
from peaceriver.postgres import (
    COMMAND_TIMEOUT_S,
    Row,
    Statements,
    StatementTimeout,
    Transaction,
    Uncomputable,
    bounded,
)
from peaceriver.query.kept import Kept
from peaceriver.shard import kept_fill, kept_text, kept_upkeep, view_tables
from peaceriver.shard.kept_text import KeptTable, Shape
from peaceriver.shard.kept_upkeep import Left
from peaceriver.shard.view_tables import ViewTable
from peaceriver.stamp import OPEN_END

sql = Statements("peaceriver.shard", "kept")

#: What a kept view ends with, for its view goes on without it: it cannot be computed, or takes too long.
Unkeepable = (*Uncomputable, StatementTimeout)
#: The driver's, where the server ends it before that.
_FILL_TIMEOUT_S = KEPT_FILL_TIMEOUT_S + COMMAND_TIMEOUT_S

#: What a table is called after is for people: the number tells it apart.
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_]")
_NAME_LETTERS_MAX = 32


class Place(NamedTuple):
    """How far the views of a shard are folded, and the stamp there."""

    position: int
    stamp: int


class Lost(msgspec.Struct, frozen=True):
    """A kept view that is not kept any more, and why."""

    kept: Kept
    reason: str


class Touched:
    """Groups of a shard that are not yet what they must be, by table and what is left to do."""

    def __init__(self) -> None:
        self.groups: dict[KeptTable, dict[str, set[bytes]]] = {}

    def add(self, tables: Sequence[KeptTable], rows: Iterable[Row]) -> None:
        for row in rows:
            self.groups.setdefault(tables[row["place"]], {}).setdefault(row["left"], set()).add(row["hash"])


# --- the catalogue


async def catalog(tx: Transaction) -> tuple[list[KeptTable], list[Lost]]:
    """The kept views, and those that are not kept any more."""
    tables, lost = [], []
    for row in await sql.catalog.rows(tx):
        kept = msgspec.json.decode(row["definition"], type=Kept)
        if row["table_name"] is None:
            lost.append(Lost(kept, row["failure"]))
        else:
            tables.append(_table(row))
    return tables, lost


async def live(tx: Transaction, name: str) -> KeptTable:
    """The table of a kept view as this snapshot sees it.

    Raises NotFound where there is none, and Invalid where it is not kept any more.
    """
    row = await sql.one.row(tx, name=name)
    if row is None:
        raise NotFound(f"no view is kept under the name {name}")
    if row["table_name"] is None:
        raise Invalid(
            f"{name} is not kept any more: {row['failure']}; it is tried again by itself",
            errors=(Offence("", row["failure"]),),
        )
    return _table(row)


def _table(row: Row) -> KeptTable:
    return KeptTable(
        msgspec.json.decode(row["definition"], type=Kept),
        row["table_name"],
        msgspec.json.decode(row["shape"], type=Shape),
    )


async def places(tx: Transaction, shards: Sequence[int]) -> Mapping[int, Place]:
    """Where shards are folded to in this snapshot: what kept views answer in it is true there."""
    rows = await view_tables.sql.marks.rows(tx, shards=list(shards))
    return {row["shard"]: Place(row["position"], row["stamp"]) for row in rows}


async def shape(tx: Transaction, kept: Kept, of: Mapping[str, str]) -> Shape:
    """The types in a definition, over what has the types ``of``; raises Invalid where they cannot be kept."""
    text = kept_text.probe(kept, of)
    try:
        *kinds, condition = await tx.fetchval(text)
    except Uncomputable as error:
        raise _unfit(kept, str(error)) from error
    trimmed = tuple(each for each in kept.fields if kept.alike and of[each] == "numeric")
    found = Shape(tuple(kinds[: len(kept.keys)]), tuple(kinds[len(kept.keys) :]), trimmed)
    for key, kind in zip(kept.keys, found.keys, strict=True):
        if kind not in kept_text.KEYS:
            raise _unfit(kept, f"{key.name} is of the type {kind}, which nothing can be grouped by")
    by_argument = dict(zip(kept.arguments, found.arguments, strict=True))
    for expression, kind in by_argument.items():
        if kind in kept_text.FLOATS:
            raise _unfit(kept, f"{expression} is floating point, whose sums depend on their order; make it numeric")
    taken = {"sum": kept_text.NUMBERS, "avg": kept_text.NUMBERS, "min": kept_text.ORDERED, "max": kept_text.ORDERED}
    for each in kept.aggregates:
        kind = by_argument.get(each.argument or "", "")
        if each.function in taken and kind not in taken[each.function]:
            raise _unfit(kept, f"{each.name} is the {each.function} of what is of the type {kind}")
    if condition != "boolean":
        raise _unfit(kept, f"its condition is of the type {condition}")
    return found


def _unfit(kept: Kept, why: str) -> Invalid:
    return Invalid(f"{kept.name} cannot be kept: {why}", errors=(Offence("", why),))


async def create(tx: Transaction, kept: Kept, view: ViewTable) -> KeptTable:
    """Make a new, empty table for a kept view over a view; it is not live until it is switched to."""
    async with tx.transaction():  # whoever makes others besides goes on where this one cannot be
        kinds = await shape(tx, kept, kept_text.fields(view, kept))
    number = await view_tables.sql.next_number.value(tx)
    table = KeptTable(kept, f"{_NOT_PLAIN.sub('', kept.name)[:_NAME_LETTERS_MAX]}_{number}", kinds)
    for each in kept_fill.create(table):
        await tx.execute(each)
    return table


async def switch(tx: Transaction, table: KeptTable) -> None:
    """Make a table the live one of its kept view."""
    await _note(tx, table.kept, table_name=table.name, shape=msgspec.json.encode(table.shape).decode(), failure=None)


async def lose(tx: Transaction, lost: Lost) -> None:
    """Note that a view is not kept any more. Its table is left to who may be reading it."""
    await _note(tx, lost.kept, table_name=None, shape=None, failure=lost.reason)


async def _note(tx: Transaction, kept: Kept, **columns: Any) -> None:
    definition = msgspec.json.encode(kept).decode()
    await sql.switch.run(tx, name=kept.name, actor_type=kept.actor_type, definition=definition, **columns)


async def remove(tx: Transaction, name: str) -> None:
    """Keep a view no longer; raises NotFound where there is none. Its table is left to who may be reading it."""
    if await sql.remove.value(tx, name=name) is None:
        raise NotFound(f"no view is kept under the name {name}")


async def drop(tx: Transaction, table: KeptTable) -> None:
    await tx.execute(kept_fill.drop(_names(table)))


async def drop_leftovers(tx: Transaction, live_tables: Iterable[KeptTable]) -> None:
    names = {name for each in live_tables for name in _names(each)}
    for row in await sql.tables.rows(tx):
        if row["table_name"] not in names:
            await tx.execute(kept_fill.drop([row["table_name"]]))


def _names(table: KeptTable) -> list[str]:
    return [table.name, *(each.name for each in table.tallies)]


# --- upkeep


async def fill(tx: Transaction, table: KeptTable, view: ViewTable, shard: int) -> Place:
    """Compute a shard from the view as it is now; answers where that is, in the snapshot of the same statement.

    However long it takes: whoever may not wait for it bounds it.
    """
    row = await tx.fetchrow(kept_fill.fill(table, view), shard, timeout=_FILL_TIMEOUT_S)
    assert row is not None
    return Place(row["position"], row["stamp"])


async def refill(tx: Transaction, table: KeptTable, view: ViewTable, shard: int) -> None:
    """The same where there is something already."""
    await tx.execute(kept_fill.forget(table), shard)
    await fill(tx, table, view, shard)


async def end(
    tx: Transaction,
    view: ViewTable,
    tables: Sequence[KeptTable],
    shard: int,
    ended: Sequence[tuple[str, int]],
    rows: Sequence[tuple[Any, ...]],
) -> Touched:
    """End the last rows of actors (id, until), and bring kept views along with that, and with rows that stay open.

    Those rows are for the caller to add to the view, and what is ``Touched`` to ``mend`` after that.
    """
    wanted = kept_text.needed(view, [each.kept for each in tables])
    names = view.column_names
    arrays = [[row[at] for row in rows] for at in map(names.index, wanted)]
    ids, untils = [each[0] for each in ended], [each[1] for each in ended]
    touched = Touched()
    touched.add(tables, await tx.fetch(kept_upkeep.step(view, tuple(tables)), shard, ids, untils, *arrays))
    return touched


async def shift(
    tx: Transaction,
    view: ViewTable,
    tables: Sequence[KeptTable],
    shard: int,
    ids: Iterable[str],
    touched: Touched,
    *,
    sign: int,
    at: int = OPEN_END,
) -> None:
    """Take what actors were at a logical time, or are, out of kept views (``sign`` is -1), or into them (1)."""
    rows = await tx.fetch(kept_upkeep.shift(view, tuple(tables)), shard, list(ids), sign, at)
    touched.add(tables, rows)


async def mend(tx: Transaction, view: ViewTable, shard: int, touched: Touched) -> None:
    """Let empty groups go, and get what could not be brought along; the view is as it is to be."""
    for table, groups in touched.groups.items():
        if empty := groups.get(Left.EMPTY):
            await tx.execute(kept_fill.forget_empty(table), shard, list(empty))
        if wanted := groups.get(Left.LOOK_UP):
            await tx.execute(kept_fill.look_up(table), shard, list(wanted))
        if wanted := groups.get(Left.COMPUTE):
            await tx.execute(kept_fill.forget(table, some=True), shard, list(wanted))
            await tx.execute(kept_fill.fill(table, view, some=True), shard, list(wanted))


@asynccontextmanager
async def or_lost(tx: Transaction, kept: Kept, lost: dict[str, Lost], timeout_s: float) -> AsyncIterator[None]:
    """What is done in the block is done whole, no statement for longer than it may take, or the kept view is lost."""
    try:
        async with tx.transaction(), bounded(tx, timeout_s):
            yield
    except Unkeepable as error:
        lost[kept.name] = Lost(kept, reason(error))


def reason(error: Exception) -> str:
    """Why a view is not kept, for people."""
    is_slow = isinstance(error, StatementTimeout)
    return (f"it takes too long: {error}" if is_slow else str(error))[:FAILURE_LETTERS_MAX]


async def differences(tx: Transaction, table: KeptTable, view: ViewTable, shard: int) -> list[Row]:
    """Rows of a shard that are not what the view makes of them: as kept (``side``), and as the view has them."""
    return [row for each in kept_fill.differences(table, view) for row in await tx.fetch(each, shard)]
