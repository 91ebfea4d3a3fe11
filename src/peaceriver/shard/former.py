"""Tables that nothing is folded into any more: each is dropped once nobody can be reading it, never while all wait.

What cannot go then, for the database is away perhaps, goes later; where the node stops before that, when it starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeAlias

import structlog

from peaceriver.limits import STREAM_TIMEOUT_S, TIMEOUT_MAX_S
from peaceriver.postgres import Database, DatabaseError, Unreachable
from peaceriver.shard import kept_tables, view_tables
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.view_tables import ViewTable

log = structlog.get_logger()

#: The table of a view, or of a kept one.
Table: TypeAlias = ViewTable | KeptTable

#: How long after the switch a reader may still read the old table: it may have waited before it began.
_READ_FOR_S = STREAM_TIMEOUT_S + 2 * TIMEOUT_MAX_S


async def drop_later(database: Database, tables: Iterable[Table]) -> None:
    """Drop tables that were switched from, once nobody can be reading them; what cannot be dropped then, later."""
    left = list(tables)
    while left:
        await asyncio.sleep(_READ_FOR_S)
        left = [each for each in left if not await _is_dropped(database, each)]


async def _is_dropped(database: Database, table: Table) -> bool:
    """Whether a table is gone, or is not to go; not where the database is away, or it is still being read."""
    try:
        await _drop_unless_live(database, table)
    except (*Unreachable, DatabaseError) as error:
        log.warning("a former table waits to be dropped", table=table.relation, reason=str(error) or repr(error))
        return False
    return True


async def drop_made(database: Database, *tables: Table) -> None:
    """Drop tables that were made in vain; where the database is away they stay."""
    with suppress(*Unreachable, DatabaseError):
        for each in tables:
            await _drop_unless_live(database, each)


async def _drop_unless_live(database: Database, table: Table) -> None:
    """Drop a table, unless it is a live one: a switch to it that nobody saw the end of may have been made after all."""
    async with database.transaction() as tx:
        await view_tables.sql.hold.run(tx)
        live: list[Table] = [*(await view_tables.catalog(tx)).values(), *(await kept_tables.catalog(tx))[0]]
    if table.relation in {each.relation for each in live}:
        return
    # Nobody switches to it any more; and while this waits for a reader all the same, nobody is to wait for this.
    async with database.connection() as tx:
        if isinstance(table, ViewTable):
            await view_tables.drop(tx, table.name)
        else:
            await kept_tables.drop(tx, table)
