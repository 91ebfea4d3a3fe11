"""Making a kept view beside whatever there is, and giving one up.

It is computed from its view while all else goes on, a rebuild and repairs of that view among it: where the view is not
what it was then, it is computed again. What is folded meanwhile is made up in rounds; folding pauses for the last one.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from peaceriver.errors import Invalid, Offence
from peaceriver.limits import KEPT_FILL_TIMEOUT_S, KEPT_STEP_TIMEOUT_S
from peaceriver.postgres import Database, Transaction, bounded
from peaceriver.query.kept import Kept
from peaceriver.shard import kept_tables
from peaceriver.shard.catching_up import touched, until_little_is_left
from peaceriver.shard.former import drop_made
from peaceriver.shard.kept_tables import Place, Touched
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.view_tables import ViewTable
from peaceriver.shard.views import Folder, Source, Views, all_still

log = structlog.get_logger()

#: Before everything.
_START = Place(0, 0)
#: Actors that are brought along by one statement.
_ACTORS_AT_A_TIME = 1_000


async def keep(database: Database, views: Views, folders: Mapping[int, Folder], kept: Kept) -> KeptTable:
    """Compute a kept view in every shard and switch to it.

    Folding goes on meanwhile, and pauses only while the last of what it changed is made up. Raises Invalid where the
    view cannot be computed, or not in time.
    """
    while True:
        source, table = await _begin(database, views, kept)
        try:
            places = await _fill(database, folders, table, source.view)
            async with views.rebuilding:
                await views.settle(database)
                if views.source(kept.actor_type) == source:
                    await _switch(database, views, folders, table, source.view, places)
                    return table
        except BaseException as error:
            await drop_made(database, table)
            if not isinstance(error, kept_tables.Unkeepable):
                raise
            if views.source(kept.actor_type) == source:
                why = kept_tables.reason(error)
                raise Invalid(f"{kept.name} cannot be kept: {why}", errors=(Offence("", why),)) from error
        else:
            await drop_made(database, table)
        log.info("a view that is to be kept is computed again", view=kept.name, reason="its view was made anew")


async def _begin(database: Database, views: Views, kept: Kept) -> tuple[Source, KeptTable]:
    """What a view is computed from, while nobody makes that anew, and an empty table for it."""
    async with views.rebuilding:
        await views.settle(database)
        await views.ensure(database, [kept.actor_type])
        source = views.source(kept.actor_type)
        async with database.transaction() as tx:
            return source, await kept_tables.create(tx, kept, source.view)


async def _fill(
    database: Database, folders: Mapping[int, Folder], table: KeptTable, view: ViewTable
) -> Mapping[int, Place]:
    """Compute every shard, and make up most of what was folded meanwhile; answers what they are level with."""
    places: dict[int, Place] = {}
    for code in list(folders):
        async with database.transaction() as tx, bounded(tx, KEPT_FILL_TIMEOUT_S):
            places[code] = await kept_tables.fill(tx, table, view, code)

    async def make_up() -> int:
        many = 0
        for code in list(folders):
            # In one snapshot: the view is folded on meanwhile.
            async with (
                database.connection() as tx,
                tx.transaction(isolation="repeatable_read"),
                bounded(tx, KEPT_STEP_TIMEOUT_S),
            ):
                place, actors = await _catch_up(tx, table, view, code, places.get(code, _START))
            places[code] = place
            many += actors
        return many

    await until_little_is_left(make_up)
    return places


async def _switch(
    database: Database,
    views: Views,
    folders: Mapping[int, Folder],
    table: KeptTable,
    view: ViewTable,
    places: Mapping[int, Place],
) -> None:
    """Make up the rest, and make a table the live one."""
    async with all_still(views, folders):
        with views.changing():
            # Everything waits for it.
            async with database.transaction() as tx, bounded(tx, KEPT_STEP_TIMEOUT_S):
                for code in folders:
                    await _catch_up(tx, table, view, code, places.get(code, _START))
                await kept_tables.switch(tx, table)
            views.keep(table)


async def _catch_up(tx: Transaction, table: KeptTable, view: ViewTable, shard: int, since: Place) -> tuple[Place, int]:
    """Bring what was computed at a place along with what the view learnt since; the view stands still meanwhile.

    Answers where it is then, and how many actors that were.
    """
    until = (await kept_tables.places(tx, [shard]))[shard]
    groups, many = Touched(), 0
    async for ids in touched(tx, shard, view.actor_type, since.position, until.position, at_a_time=_ACTORS_AT_A_TIME):
        await kept_tables.shift(tx, view, [table], shard, ids, groups, sign=-1, at=since.stamp)
        await kept_tables.shift(tx, view, [table], shard, ids, groups, sign=1)
        many += len(ids)
    # Once all are in it: a group that is computed anew has all of them already.
    await kept_tables.mend(tx, view, shard, groups)
    return until, many


async def discard(database: Database, views: Views, folders: Mapping[int, Folder], name: str) -> None:
    """Keep a view no longer; raises NotFound where there is none."""
    async with views.rebuilding, all_still(views, folders):
        with views.changing():
            async with database.transaction() as tx:
                await kept_tables.remove(tx, name)
            views.let_go([name])
