"""A view is kept beside all else: nobody waits while it is computed, and what changes meanwhile is in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from peaceriver.postgres import Transaction
from peaceriver.query.kept import Kept
from peaceriver.shard import catching_up, keeping, kept_tables
from peaceriver.shard import rebuild as rebuild_module
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.verify import verify
from peaceriver.shard.view_tables import ViewTable
from peaceriver.stamp import OPEN_END
from tests.scenario.test_kept_views import (
    History,
    changing_keys,
    check,
    folded,
    kept,
    only_what_tests_keep,
    sales_by_region,
    sent,
    with_history,
)
from tests.scenario.words import create
from tests.scenario.world import World

__all__ = ["only_what_tests_keep"]  # it is for these as well


async def goes_on(world: World, history: History, codes: Sequence[int], names: Sequence[str]) -> None:
    """Something happens, and what is kept is what the queries answer."""
    await sent(world, history.messages())
    await folded(world, *codes)
    await check(world.node, names, codes)


class Filling:
    """When a view is computed, whoever does it waits when the last department is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, last: int) -> None:
        self._fill = kept_tables.fill
        self._name = name
        self._last = last
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        #: The tables that it was computed into.
        self.tables: list[KeptTable] = []
        monkeypatch.setattr(kept_tables, "fill", self._filled)

    async def _filled(self, tx: Transaction, table: KeptTable, view: ViewTable, shard: int) -> Any:
        found = await self._fill(tx, table, view, shard)
        if (table.kept.name, shard) == (self._name, self._last):
            self.tables.append(table)
            self.begun.set()
            await self.go_on.wait()
        return found


@asynccontextmanager
async def being_kept(world: World, monkeypatch: pytest.MonkeyPatch, wanted: Kept) -> AsyncIterator[Filling]:
    """A view is computed in the block, and kept after it."""
    filling = Filling(monkeypatch, wanted.name, list(world.node.folders)[-1])
    made = asyncio.create_task(world.node.kept.keeping.keep(wanted))
    try:
        async with asyncio.timeout(20):
            await filling.begun.wait()
            yield filling
            filling.go_on.set()
            await made
    finally:
        made.cancel()


def another(actor_type: str) -> Kept:
    """One that is not kept yet."""
    return kept(f"{actor_type}_more", f'select region, count(*) as n, max(total) as m from "{actor_type}" group by 1')


async def test_a_rebuild_does_not_wait_while_a_view_is_computed_which_is_computed_from_the_new_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, history, names = await with_history(world, "Beside", 101)
    async with being_kept(world, monkeypatch, another("Beside")) as filling:
        await world.node.rebuild("Beside")
        await goes_on(world, history, codes, names)
    assert len(filling.tables) == 2
    await goes_on(world, history, codes, [*names, "Beside_more"])


async def test_a_repair_does_not_wait_while_a_view_is_computed_which_has_nothing_of_the_damage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, _, names = await with_history(world, "Harmed", 103)
    view = world.node.views.tables["Harmed"]
    async with world.node.database.connection() as tx:
        await tx.execute(f"update {view.relation} set total = 7, region = 'wrong' where actor_until = $1", OPEN_END)
        ids = await tx.fetch(f"select distinct actor_shard, actor_id from {view.relation}")
    async with being_kept(world, monkeypatch, another("Harmed")) as filling:
        for code in codes:
            wrong = {row["actor_id"] for row in ids if row["actor_shard"] == code}
            folder = world.node.folders[code]
            await rebuild_module.fold_again(world.node.database, world.node.views, folder, "Harmed", wrong)
    assert len(filling.tables) == 2
    await check(world.node, [*names, "Harmed_more"], codes)


async def test_of_two_who_keep_one_view_at_once_both_are_right(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, history, names = await with_history(world, "Twice", 107)
    async with being_kept(world, monkeypatch, another("Twice")) as filling:
        second = asyncio.create_task(world.node.kept.keeping.keep(another("Twice")))
        await sent(world, history.messages())
        await folded(world, *codes)
        filling.go_on.set()
        await second
    assert len(filling.tables) == 2
    assert len([each for each in world.node.views.kept["Twice"] if each.kept.name == "Twice_more"]) == 1
    await goes_on(world, history, codes, [*names, "Twice_more"])


class Catching:
    """How many actors are made up for at a time, and whether folding pauses meanwhile."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        #: (how many, whether nobody folds)
        self.parts: list[tuple[int, bool]] = []
        self._touched = catching_up.touched
        self._is_still = world.node.views.switching.locked
        monkeypatch.setattr(catching_up, "_FEW", 4)
        for module in (keeping, rebuild_module):
            monkeypatch.setattr(module, "_ACTORS_AT_A_TIME", 3)
            monkeypatch.setattr(module, "touched", self._parts)

    async def _parts(self, *args: Any, **more: Any) -> AsyncIterator[list[str]]:
        async for ids in self._touched(*args, **more):
            self.parts.append((len(ids), self._is_still()))
            yield ids

    def check(self, most: int) -> None:
        """Many actors were made up for, few of them while nobody folds."""
        assert all(many <= 3 for many, _ in self.parts)
        assert sum(many for many, is_still in self.parts if not is_still) >= most
        assert sum(many for many, is_still in self.parts if is_still) <= 4


def crowd(codes: Sequence[int], actor_type: str) -> list[Any]:
    return [create(code, f"{actor_type}/new-{n}", f'{{"total":{n},"region":"r"}}') for code in codes for n in range(30)]


async def test_what_is_folded_while_a_view_is_computed_is_made_up_in_parts_while_folding_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, history, names = await with_history(world, "Crowd", 109)
    catching = Catching(world, monkeypatch)
    async with being_kept(world, monkeypatch, another("Crowd")):
        await sent(world, crowd(codes, "Crowd"))
        await folded(world, *codes)
    catching.check(30)
    await check(world.node, [*names, "Crowd_more"], codes)
    await goes_on(world, history, codes, [*names, "Crowd_more"])


async def test_what_is_folded_while_a_view_is_rebuilt_is_made_up_in_parts_while_folding_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, history, names = await with_history(world, "Again", 127)
    catching = Catching(world, monkeypatch)
    # A kept view is computed over the new table when all of that is folded.
    filling = Filling(monkeypatch, names[-1], list(world.node.folders)[-1])
    rebuilt = asyncio.create_task(world.node.rebuild("Again"))
    async with asyncio.timeout(20):
        await filling.begun.wait()
        await sent(world, crowd(codes, "Again"))
        await folded(world, *codes)
        filling.go_on.set()
        await rebuilt
    catching.check(30)
    await check(world.node, names, codes)
    await goes_on(world, history, codes, names)
    assert all(each.ok for each in await verify(world.node.database, world.node.views, codes))


@asynccontextmanager
async def writing(world: World, history: History, pause_s: float) -> AsyncIterator[None]:
    """Messages come for as long as the block lasts."""
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            await sent(world, history.messages())
            await asyncio.sleep(pause_s)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        yield
        done.set()


async def test_what_is_made_up_in_parts_is_right_whatever_is_folded_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, history, names = await with_history(world, "Parts", 113)
    Catching(world, monkeypatch)
    monkeypatch.setattr(catching_up, "_FEW", 0)
    async with writing(world, history, 0.0):
        for _ in range(4):
            for each in (sales_by_region("Parts"), changing_keys("Parts")):
                await world.node.kept.keeping.keep(each)
                await check(world.node, [each.name], codes)
    await folded(world, *codes)
    await check(world.node, names, codes)


async def test_what_a_rebuild_makes_up_in_parts_is_right_whatever_is_folded_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, history, names = await with_history(world, "Rebuilt", 131)
    Catching(world, monkeypatch)
    monkeypatch.setattr(catching_up, "_FEW", 0)
    async with writing(world, history, 0.02):
        for _ in range(3):
            await world.node.rebuild("Rebuilt")
            await check(world.node, names, codes)
    await folded(world, *codes)
    await check(world.node, names, codes)
    assert all(each.ok for each in await verify(world.node.database, world.node.views, codes))
