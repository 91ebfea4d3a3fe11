"""Making a kept view beside whatever there is, and giving one up."""

from __future__ import annotations

from collections.abc import Mapping

from peaceriver.errors import Invalid, Offence
from peaceriver.limits import KEPT_FILL_TIMEOUT_S, KEPT_STEP_TIMEOUT_S
from peaceriver.postgres import Database, Transaction, bounded
from peaceriver.query.kept import Kept
from peaceriver.shard import kept_tables, view_tables
from peaceriver.shard.former import drop_made
from peaceriver.shard.kept_tables import Place, Touched
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.view_tables import ViewTable
from peaceriver.shard.views import Folder, Views, all_still

#: Before everything.
_START = Place(0, 0)


async def keep(database: Database, views: Views, folders: Mapping[int, Folder], kept: Kept) -> KeptTable:
    """Compute a kept view in every shard and switch to it.

    Folding goes on meanwhile, and pauses only while what it changed is made up. Raises Invalid where the view cannot be
    computed, or not in time.
    """
    async with views.rebuilding:
        await views.settle(database)
        await views.ensure(database, [kept.actor_type])
        view = views.tables[kept.actor_type]
        async with database.transaction() as tx:
            table = await kept_tables.create(tx, kept, view)
        try:
            await _fill(database, views, folders, table, view)
        except BaseException as error:
            await drop_made(database, table)
            if isinstance(error, kept_tables.Unkeepable):
                why = kept_tables.reason(error)
                raise Invalid(f"{kept.name} cannot be kept: {why}", errors=(Offence("", why),)) from error
            raise
        return table


async def _fill(
    database: Database, views: Views, folders: Mapping[int, Folder], table: KeptTable, view: ViewTable
) -> None:
    places: dict[int, Place] = {}
    for code in list(folders):
        async with database.transaction() as tx, bounded(tx, KEPT_FILL_TIMEOUT_S):
            places[code] = await kept_tables.fill(tx, table, view, code)
    async with all_still(views, folders):
        with views.changing():
            # Everything waits for it.
            async with database.transaction() as tx, bounded(tx, KEPT_STEP_TIMEOUT_S):
                for code, folder in folders.items():
                    await _catch_up(tx, table, view, code, places.get(code, _START), folder.position)
                await kept_tables.switch(tx, table)
            views.keep(table)


async def _catch_up(tx: Transaction, table: KeptTable, view: ViewTable, shard: int, since: Place, until: int) -> None:
    """Bring what was computed at a place along with what the view learnt since."""
    rows = await view_tables.sql.touched.rows(
        tx, shard=shard, actor_type=view.actor_type, after=since.position, until=until
    )
    ids = [row["actor_id"] for row in rows]
    if ids:
        touched = Touched()
        await kept_tables.shift(tx, view, [table], shard, ids, touched, sign=-1, at=since.stamp)
        await kept_tables.shift(tx, view, [table], shard, ids, touched, sign=1)
        await kept_tables.mend(tx, view, shard, touched)


async def discard(database: Database, views: Views, folders: Mapping[int, Folder], name: str) -> None:
    """Keep a view no longer; raises NotFound where there is none."""
    async with views.rebuilding, all_still(views, folders):
        with views.changing():
            async with database.transaction() as tx:
                await kept_tables.remove(tx, name)
            views.let_go([name])
