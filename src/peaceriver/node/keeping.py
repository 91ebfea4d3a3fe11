"""The kept views of a node: made, listed, read and dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peaceriver.errors import Unavailable
from peaceriver.limits import KEPT_ROWS_MAX
from peaceriver.node.departments import Departments
from peaceriver.node.parts import gathered, parts
from peaceriver.postgres import Database, Transaction
from peaceriver.query.kept import Kept
from peaceriver.shard import kept_tables, kept_text
from peaceriver.shard.keeping import discard, keep
from peaceriver.shard.kept_tables import Lost, Place
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.views import Folder, Views

_RETRY_AFTER_S = 0.5


class Keeping:
    """What is kept on a node, by name."""

    def __init__(self, database: Database, views: Views, folders: Mapping[int, Folder], shards: Departments) -> None:
        self._database = database
        self._views = views
        self._folders = folders
        self._shards = shards

    async def keep(self, kept: Kept) -> KeptTable:
        """Keep a view from here on; one of this name is read until the new one is there, and then replaced.

        Raises Invalid where it cannot be computed, and Withheld where what it is made of is damaged.
        """
        for shard in list(self._shards.values()):
            shard.damage.check_view(kept.actor_type)
        return await keep(self._database, self._views, self._folders, kept)

    async def discard(self, name: str) -> None:
        """Keep a view no longer; raises NotFound where there is none."""
        await discard(self._database, self._views, self._folders, name)

    async def known(self) -> tuple[list[Kept], list[Lost]]:
        """What is kept, and what is not kept any more, and why."""
        async with self._database.reading() as tx:
            tables, lost = await kept_tables.catalog(tx)
        return [each.kept for each in tables], lost

    async def table(self, tx: Transaction, name: str) -> KeptTable:
        """The table of a kept view in a snapshot.

        Raises NotFound where there is none, Invalid where it is not kept any more, and Unavailable while it is switched
        to another one.
        """
        table = await kept_tables.live(tx, name)
        if table not in self._views.kept.get(table.kept.actor_type, ()):
            # What the snapshot sees, nobody may have brought along since.
            raise Unavailable(f"{name} is being made anew; ask again in a moment", retry_after_s=_RETRY_AFTER_S)
        return table

    async def at(self, tx: Transaction, name: str, shards: Sequence[int]) -> tuple[KeptTable, Mapping[int, Place]]:
        """The table of a kept view in a snapshot, and where shards are folded to: what it says of them is true there.

        Raises what ``table`` does, and Withheld where the view that it is made of is damaged in one of them.
        """
        table = await self.table(tx, name)
        for code in shards:
            self._shards.at(code).damage.check_view(table.kept.actor_type)
        return table, await kept_tables.places(tx, shards)


async def rows(
    tx: Transaction, table: KeptTable, shards: Sequence[int], rows_max: int = KEPT_ROWS_MAX
) -> list[tuple[Any, ...]]:
    """What a kept view says of shards in a snapshot; raises TooLarge."""
    return await gathered(parts(tx, kept_text.merged(table), [list(shards)], len(table.kept.columns)), rows_max)
