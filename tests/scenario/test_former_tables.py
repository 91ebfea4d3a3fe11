"""Tables that nothing is folded into any more go by themselves, and nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from asyncpg.exceptions import LockNotAvailableError

from peaceriver.node.node import Node
from peaceriver.shard import former, kept_tables, view_tables
from tests.scenario.test_kept_views import (
    answered,
    changing_keys,
    check,
    folded,
    kept,
    only_what_tests_keep,
    overall,
    sales_by_region,
    sent,
    with_history,
)
from tests.scenario.words import create
from tests.scenario.world import Restart, World

__all__ = ["only_what_tests_keep"]  # it is for these as well


async def tables(node: Node, actor_type: str) -> set[str]:
    """All tables of a type's view and of the kept ones over it, live or not."""
    async with node.database.connection() as tx:
        rows = [*await view_tables.sql.tables.rows(tx), *await kept_tables.sql.tables.rows(tx)]
    return {row["table_name"] for row in rows if row["table_name"].startswith(actor_type)}


def live(node: Node, actor_type: str) -> set[str]:
    kept_ones = node.views.kept[actor_type]
    tallies = {tally.name for each in kept_ones for tally in each.tallies}
    return {node.views.tables[actor_type].name, *(each.name for each in kept_ones), *tallies}


async def only_live_ones_are_left(node: Node, actor_type: str) -> None:
    async with asyncio.timeout(30):
        while await tables(node, actor_type) != live(node, actor_type):  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.02)


async def lose(world: World, codes: Sequence[int], actor_type: str) -> None:
    risky = kept(f"{actor_type}_risky", f"select sum((document->>'loose')::numeric) as s from \"{actor_type}\"")
    await world.node.kept.keeping.keep(risky)
    await sent(world, [create(codes[0], f"{actor_type}/loose", '{"loose":"none"}')])
    await folded(world, *codes)


async def test_whatever_is_switched_from_goes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, history, names = await with_history(world, "Left", 67)
    monkeypatch.setattr(former, "_READ_FOR_S", 0.0)
    keeping = world.node.kept.keeping
    before = live(world.node, "Left")
    for change in (
        keeping.keep(sales_by_region("Left")),
        lose(world, codes, "Left"),
        keeping.discard(changing_keys("Left").name),
        world.node.rebuild("Left"),
    ):
        await change
        await only_live_ones_are_left(world.node, "Left")
    assert not before & live(world.node, "Left")
    await sent(world, history.messages())
    await folded(world, *codes)
    await check(world.node, names[:2], codes)


async def test_a_table_that_is_left_is_found_where_it_was_not_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_history(world, "Unseen", 71)
    monkeypatch.setattr(former, "_READ_FOR_S", 0.0)
    async with world.node.database.transaction() as tx:
        await kept_tables.remove(tx, overall("Unseen").name)
    world.node.views.unsure = True
    await world.node.views.settle(world.node.database)
    await only_live_ones_are_left(world.node, "Unseen")


async def test_nobody_waits_for_those_who_read_what_is_not_kept_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, history, names = await with_history(world, "Read", 73)
    monkeypatch.setattr(former, "_READ_FOR_S", 0.0)
    async with world.node.database.snapshot() as tx:
        table, before, _ = await answered(world.node, tx, names[0], codes)
        async with asyncio.timeout(20):
            await world.node.kept.keeping.discard(names[0])
            await sent(world, history.messages())
            await folded(world, *codes)
            await check(world.node, names[1:], codes)
            await world.node.kept.keeping.keep(sales_by_region("Read"))
        assert (await tx.fetchval(f"select count(*) from {table.relation}")) >= len(before)
    await only_live_ones_are_left(world.node, "Read")


def dropping() -> set[asyncio.Task[Any]]:
    """Who waits to drop tables, of any node in this process."""
    return {each for each in asyncio.all_tasks() if each.get_name() == "drop former tables"}


async def test_a_node_that_stops_before_leaves_nobody_waiting_and_drops_them_when_it_starts(own_world: Restart) -> None:
    others = dropping()
    world = await own_world()
    _, _, names = await with_history(world, "Stopped", 79)
    await world.node.rebuild("Stopped")
    await world.node.kept.keeping.discard(names[0])
    node = world.node
    assert await tables(node, "Stopped") > live(node, "Stopped")
    assert dropping() > others
    world = await own_world()
    # What is lost while a node stops is left as well.
    node.views.let_go(names)
    await asyncio.sleep(0)
    assert dropping() <= others
    assert await tables(world.node, "Stopped") == live(world.node, "Stopped")


async def test_a_table_that_cannot_be_dropped_goes_later_and_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_history(world, "Stuck", 83)
    monkeypatch.setattr(former, "_READ_FOR_S", 0.05)
    failures = iter([ConnectionResetError("gone"), LockNotAvailableError("still read")])
    drop = view_tables.drop

    async def failing(*args: Any) -> None:
        for error in failures:
            raise error
        await drop(*args)

    monkeypatch.setattr(view_tables, "drop", failing)
    # The view's own table is the first of those that are left.
    await world.node.rebuild("Stuck")
    await only_live_ones_are_left(world.node, "Stuck")
    assert next(failures, None) is None
