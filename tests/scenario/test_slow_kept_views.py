"""However long a kept view takes, its view goes on: what takes too long in a step is lost, and a large one is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from peaceriver.errors import Invalid
from peaceriver.postgres import database as database_module
from peaceriver.query.kept import Kept
from peaceriver.shard import beside, keeping, view_tables, views
from peaceriver.stamp import OPEN_END
from tests.scenario.damaging import checked, told
from tests.scenario.test_kept_views import check, folded, kept, only_what_tests_keep, sent, with_history
from tests.scenario.words import create
from tests.scenario.world import Restart, World

__all__ = ["only_what_tests_keep"]  # it is for these as well

_SLOW = '{"slow":"yes"}'


def slow(actor_type: str, each_s: float) -> Kept:
    """It takes so long for each actor that says so; no text of a query may do that, so it is put in afterwards."""
    usual = kept(f"{actor_type}_slow", f"select sum(length(document->>'slow')) as s from \"{actor_type}\"")
    (total,) = usual.aggregates
    takes_long = f"case when document->>'slow' = 'yes' then length(pg_sleep({each_s})::text) else 1 end"
    return msgspec.structs.replace(usual, aggregates=(total._replace(argument=takes_long),))


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take no kept view along for longer than a moment."""
    for module in (beside, keeping, views):
        monkeypatch.setattr(module, "KEPT_STEP_TIMEOUT_S", 0.5)


async def reasons(world: World) -> dict[str, str]:
    return {each.kept.name: each.reason for each in (await world.node.kept.keeping.known())[1]}


async def test_a_view_goes_on_without_what_takes_too_long_to_keep(
    own_world: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The driver's own limit is not what a step waits for.
    monkeypatch.setattr(database_module, "COMMAND_TIMEOUT_S", 2.0)
    impatient(monkeypatch)
    world = await own_world()
    codes, history, names = await with_history(world, "Slow", 53)
    await world.node.kept.keeping.keep(slow("Slow", 5.0))
    await sent(world, [create(codes[0], "Slow/slow", _SLOW), *history.messages()])
    async with asyncio.timeout(20):
        await folded(world, *codes)
    assert list(await reasons(world)) == ["Slow_slow"]
    assert (await reasons(world))["Slow_slow"].startswith("it takes too long: ")
    await check(world.node, names, codes)
    await sent(world, history.messages())
    await folded(world, *codes)
    await check(world.node, names, codes)


async def test_what_takes_long_to_compute_is_computed_as_long_as_that_takes_and_no_longer(
    own_world: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "COMMAND_TIMEOUT_S", 1.0)
    world = await own_world()
    codes, _, names = await with_history(world, "Large", 59)
    await sent(world, [create(codes[0], f"Large/slow-{n}", _SLOW) for n in range(4)])
    await folded(world, *codes)
    large = slow("Large", 0.4)
    await world.node.kept.keeping.keep(large)
    await world.node.rebuild("Large")
    assert {each.kept for each in world.node.views.kept["Large"]} >= {large}
    monkeypatch.setattr(keeping, "KEPT_FILL_TIMEOUT_S", 0.2)
    with pytest.raises(Invalid, match="Large_slow cannot be kept: it takes too long"):
        await world.node.kept.keeping.keep(large)
    monkeypatch.setattr(beside, "KEPT_FILL_TIMEOUT_S", 0.2)
    await world.node.rebuild("Large")
    assert list(await reasons(world)) == ["Large_slow"]
    await check(world.node, names, codes)


async def damaged(world: World, actor_type: str, codes: Sequence[int]) -> list[tuple[str, str, bool]]:
    """What is found, and repaired, where a view was altered."""
    async with world.node.database.connection() as tx:
        (view,) = [each for each in (await view_tables.catalog(tx)).values() if each.actor_type == actor_type]
        await tx.execute(f"update {view.relation} set total = 7 where actor_until = $1 and actor_id = '0'", OPEN_END)
    return [each for code in codes for each in told(await checked(world.node, code))]


async def test_a_repaired_view_does_not_wait_for_what_takes_long_to_compute_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, _, names = await with_history(world, "Mended", 61)
    for code in codes:
        await sent(world, [create(code, f"Mended/slow-{n}", _SLOW) for n in range(4)])
    await folded(world, *codes)
    large = slow("Mended", 0.2)
    await world.node.kept.keeping.keep(large)
    impatient(monkeypatch)
    assert await damaged(world, "Mended", codes)
    # It is tried again by itself, beside all else: see test_lost_kept_views.
    assert "Mended_slow" in await reasons(world)
    await check(world.node, names, codes)
