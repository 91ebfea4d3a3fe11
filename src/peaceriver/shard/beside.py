"""Kept views over a view that is changed as a whole: what cannot be computed for it, or not in time, is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import structlog

from peaceriver.errors import Invalid
from peaceriver.limits import KEPT_FILL_TIMEOUT_S, KEPT_STEP_TIMEOUT_S
from peaceriver.postgres import Transaction
from peaceriver.query.kept import Kept
from peaceriver.shard import kept_tables
from peaceriver.shard.kept_tables import Lost, Touched
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.view_tables import ViewTable

log = structlog.get_logger()


class Beside:
    """The kept views of one type, and those of them that are lost on the way."""

    def __init__(self, tables: Iterable[KeptTable] = ()) -> None:
        self._tables = list(tables)
        self._lost: dict[str, Lost] = {}

    @property
    def kept(self) -> list[KeptTable]:
        return [each for each in self._tables if each.kept.name not in self._lost]

    @property
    def tables(self) -> list[KeptTable]:
        """The tables of all, also of those that are lost."""
        return list(self._tables)

    async def make(self, tx: Transaction, kept: Kept, view: ViewTable, shards: Iterable[int]) -> None:
        """Compute a kept view from a view, in a table of its own."""
        try:
            async with kept_tables.or_lost(tx, kept, self._lost, KEPT_FILL_TIMEOUT_S):
                table = await kept_tables.create(tx, kept, view)
                for shard in shards:
                    await kept_tables.fill(tx, table, view, shard)
                self._tables.append(table)
        except Invalid as error:
            self._lost[kept.name] = Lost(kept, error.detail)

    async def refill(self, tx: Transaction, view: ViewTable, shard: int) -> None:
        """Compute a shard anew."""
        for table in self.kept:
            async with kept_tables.or_lost(tx, table.kept, self._lost, KEPT_STEP_TIMEOUT_S):
                await kept_tables.refill(tx, table, view, shard)

    @asynccontextmanager
    async def changed(self, tx: Transaction, view: ViewTable, shard: int, ids: Sequence[str]) -> AsyncIterator[None]:
        """Some actors of a shard are changed in the view in the block: they are brought along with that."""
        touched = {each: Touched() for each in self.kept}
        for table in self.kept:
            async with kept_tables.or_lost(tx, table.kept, self._lost, KEPT_STEP_TIMEOUT_S):
                await kept_tables.shift(tx, view, [table], shard, ids, touched[table], sign=-1)
        yield
        for table in self.kept:
            async with kept_tables.or_lost(tx, table.kept, self._lost, KEPT_STEP_TIMEOUT_S):
                await kept_tables.shift(tx, view, [table], shard, ids, touched[table], sign=1)
                await kept_tables.mend(tx, view, shard, touched[table])

    async def switch(self, tx: Transaction) -> None:
        """Make these the live ones, each in the table that was made for it."""
        for table in self.kept:
            await kept_tables.switch(tx, table)
        await self.lose(tx)

    async def lose(self, tx: Transaction) -> list[Lost]:
        """Note what is lost, and answer it. The others are live as they are, unless somebody else has lost them."""
        for each in self._lost.values():
            log.warning("a view is not kept any more", view=each.kept.name, reason=each.reason)
            await kept_tables.lose(tx, each)
        return list(self._lost.values())
