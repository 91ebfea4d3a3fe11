"""A view is switched to whole, or not at all, also where nobody sees the end of the commit that does it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, get_args

import pytest

from peaceriver.postgres import DATABASE, Unreachable, connect
from peaceriver.shard import kept_tables, view_tables, views
from peaceriver.shard import rebuild as rebuild_module
from peaceriver.shard.verify import verify
from tests.scenario.test_kept_views import (
    History,
    changing_keys,
    folded,
    kept,
    only_what_tests_keep,
    sales_by_region,
    sent,
    with_history,
)
from tests.scenario.trio import until
from tests.scenario.unanswered import How, Unanswered
from tests.scenario.words import create, modify
from tests.scenario.world import Restart, World

__all__ = ["only_what_tests_keep"]  # it is for these as well

#: What happens at the commit of a switch, and every change of the catalogue that ends with one.
HOWS: Sequence[How] = get_args(How)
CHANGES = ("keep", "keep anew", "discard", "rebuild", "lose")
WRITING = [
    (view_tables, "switch"),
    (kept_tables, "switch"),
    (kept_tables, "lose"),
    (kept_tables, "remove"),
]


async def changed(world: World, change: str, actor_type: str, codes: Sequence[int]) -> None:
    """Change the catalogue; the end of the commit is not seen."""
    keeping = world.node.kept.keeping
    match change:
        case "keep":
            await keeping.keep(kept(f"{actor_type}_more", f'select count(*) as n from "{actor_type}"'))
        case "keep anew":
            await keeping.keep(sales_by_region(actor_type))
        case "discard":
            await keeping.discard(changing_keys(actor_type).name)
        case "rebuild":
            await world.node.rebuild(actor_type)
        case "lose":
            await sent(world, [create(codes[0], f"{actor_type}/loose", '{"loose":"none"}')])


async def sound(world: World, actor_type: str, codes: Sequence[int]) -> None:
    """What the node goes by is what its database says, and that is what a fold from nothing would make."""
    node = world.node
    async with node.database.snapshot() as tx:
        tables, _ = await kept_tables.catalog(tx)
        wanted = {each for each in tables if each.kept.actor_type == actor_type}
        assert set(node.views.kept[actor_type]) == wanted
        assert node.views.tables[actor_type] == (await view_tables.catalog(tx))[actor_type]
        assert node.views.editions == await view_tables.editions(tx)
        for table in wanted:
            for code in codes:
                assert await kept_tables.differences(tx, table, node.views.tables[actor_type], code) == []
    for verdict in await verify(node.database, node.views, codes):
        assert verdict.findings == ()


async def go_on(world: World, history: History, codes: Sequence[int]) -> None:
    for _ in range(5):
        await sent(world, history.messages())
        await folded(world, *codes)


@pytest.mark.parametrize(
    ("change", "how"),
    # A step is cancelled only where its node stops.
    [(change, how) for change in CHANGES for how in HOWS if change != "lose" or "cancelled" not in how],
)
async def test_nobody_goes_on_with_a_table_that_may_not_be_live_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str, how: How
) -> None:
    actor_type = f"Cut{CHANGES.index(change)}{HOWS.index(how)}"
    codes, history, _ = await with_history(world, actor_type, 31)
    await world.node.kept.keeping.keep(
        kept(f"{actor_type}_risky", f"select sum((document->>'loose')::numeric) as s from \"{actor_type}\"")
    )
    unanswered = Unanswered(monkeypatch, how, *WRITING)
    with suppress(*Unreachable, asyncio.CancelledError):
        await changed(world, change, actor_type, codes)
    await unanswered.has_happened()
    if how == "made later":
        # Whoever changes the catalogue next waits for that.
        await world.node.rebuild(actor_type)
        assert not unanswered.is_under_way
    await go_on(world, history, codes)
    await unanswered.over()
    await sound(world, actor_type, codes)


@pytest.mark.parametrize("how", ["made", "made later", "not made"])
@pytest.mark.parametrize("change", ["rebuild", "keep anew", "fold again"])
async def test_a_switch_finds_out_whether_the_last_step_was_made(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str, how: How
) -> None:
    actor_type = f"Step{len(change)}{HOWS.index(how)}"
    codes, history, _ = await with_history(world, actor_type, 37)
    await sent(world, [create(codes[0], f"{actor_type}/mine", '{"total":1}')])
    await folded(world, *codes)
    # Long enough for what comes in between.
    monkeypatch.setattr(views, "_RETRY_PAUSE_S", 1.5)
    unanswered = Unanswered(monkeypatch, how, (views, "fold_into"))
    begun, fill = asyncio.Event(), kept_tables.fill

    async def filled(*args: Any) -> Any:
        # A table is filled before the step that nobody knows of, or after it.
        found = await fill(*args)
        if args[-1] == codes[0]:
            begun.set()
            await unanswered.has_happened()
        return found

    monkeypatch.setattr(kept_tables, "fill", filled)
    changing = asyncio.create_task(changed(world, change, actor_type, codes)) if change == "keep anew" else None
    if changing is not None:
        await begun.wait()
    await sent(world, [modify(codes[0], f"{actor_type}/mine", '{"total":2,"region":"there"}')])
    await unanswered.has_happened()
    if changing is not None:
        await changing
    elif change == "rebuild":
        await world.node.rebuild(actor_type)
    else:
        folder = world.node.folders[codes[0]]
        await rebuild_module.fold_again(world.node.database, world.node.views, folder, actor_type, ["mine"])
    await unanswered.over()
    await go_on(world, history, codes)
    await sound(world, actor_type, codes)


async def test_a_step_that_loses_one_view_does_not_take_another_for_kept_that_is_lost(world: World) -> None:
    codes, history, _ = await with_history(world, "Both", 41)
    for name in ("first", "second"):
        text = f"select sum((document->>'{name}')::numeric) as s from \"Both\""
        await world.node.kept.keeping.keep(kept(f"Both_{name}", text))
    (first,) = (each for each in world.node.views.kept["Both"] if each.kept.name == "Both_first")
    await sent(world, [create(codes[0], "Both/a", '{"first":"none"}')])
    await folded(world, *codes)
    # The step of another department may have begun while it was kept.
    await world.node.views.settle(world.node.database)
    world.node.views.keep(first)
    await sent(world, [create(codes[1], "Both/b", '{"second":"none"}')])
    await folded(world, *codes)
    lost = {each.kept.name for each in (await world.node.kept.keeping.known())[1]}
    assert lost >= {"Both_first", "Both_second"}
    world.node.views.let_go(["Both_first"])
    await go_on(world, history, codes)
    await sound(world, "Both", codes)


async def test_a_start_waits_for_a_switch_that_a_killed_node_has_begun(own_world: Restart) -> None:
    world = await own_world()
    codes, history, names = await with_history(world, "Killed", 43)
    killed = await connect(world.server.connection("postgres", DATABASE))
    try:
        await killed.execute("begin")
        await killed.execute("delete from kept_catalog where name = $1", names[0])
        starting = asyncio.create_task(own_world())
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(starting), 1.0)
        await killed.execute("commit")
        world = await starting
    finally:
        await killed.close()
    assert names[0] not in {each.kept.name for each in world.node.views.kept["Killed"]}
    await go_on(world, history, codes)
    await sound(world, "Killed", codes)


async def test_readers_of_journals_see_the_tables_that_are_read_again(world: World) -> None:
    before = world.node.views.tables
    await with_history(world, "Held", 47)
    world.node.views.unsure = True
    await world.node.views.settle(world.node.database)
    assert world.node.views.tables is before
    assert not world.node.views.unsure
    await until(lambda: "Held" in before, "table")
