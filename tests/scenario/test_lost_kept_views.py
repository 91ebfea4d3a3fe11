"""What is not kept, or not any more, is kept again by itself once it can be, and says meanwhile that it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from peaceriver.node import kept as kept_module
from peaceriver.node import retrying
from peaceriver.node.keeping import Keeping
from peaceriver.node.publishing import Publishing
from peaceriver.query.kept import Kept
from peaceriver.query.named import View
from peaceriver.shard import kept_tables, views
from tests.scenario.test_kept_views import folded, sent
from tests.scenario.trio import until
from tests.scenario.words import create, modify
from tests.scenario.world import ME, Restart, World


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again in a moment."""
    monkeypatch.setattr(retrying, "KEPT_RETRY_PAUSE_S", 0.2)
    monkeypatch.setattr(retrying, "KEPT_WAIT_S", 0.2)
    monkeypatch.setattr(kept_module, "KEPT_WAIT_S", 0.2)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is not tried again before a test ends."""
    monkeypatch.setattr(retrying, "KEPT_RETRY_PAUSE_S", 600.0)


async def published(world: World, actor_type: str) -> tuple[int, View]:
    """A department with an actor of a type, and a view over it that is to be kept."""
    code = await world.department()
    await sent(world, [create(code, f"{actor_type}/first", '{"loose":"1"}')])
    await folded(world, code)
    text = f"select sum((document->>'loose')::numeric) as loose from \"{actor_type}\""
    view = View(name=f"{actor_type}_loose", sql=text, kept=True)
    await Publishing(world.node).view(view, "", ME)
    return code, view


async def kept_here(world: World, view: View) -> None:
    """Return once a view is kept."""
    await until(lambda: view.name in names(world), "kept view")
    assert (await world.node.kept.not_kept())[view.name] is None


def names(world: World) -> set[str]:
    return {each.kept.name for some in world.node.views.kept.values() for each in some}


async def lost(world: World, view: View, code: int, body: str) -> None:
    """Send what a view is lost by, and wait until it is."""
    actor_type = view.name.removesuffix("_loose")
    await sent(world, [create(code, f"{actor_type}/second", body)])
    await folded(world, code)
    await until(lambda: view.name not in names(world), "loss")


async def told(world: World, view: View, reason: str) -> None:
    """Return once it is said why a view is not kept."""

    async def is_said() -> bool:
        return reason in ((await world.node.kept.not_kept())[view.name] or "")

    await until(is_said, "reason")


class Stalled:
    """The disk stalls: the next step that brings kept views along takes too long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._mend = kept_tables.mend
        self.over = False
        monkeypatch.setattr(kept_tables, "mend", self._slow)
        monkeypatch.setattr(views, "KEPT_STEP_TIMEOUT_S", 0.1)
        monkeypatch.setattr("peaceriver.shard.beside.KEPT_STEP_TIMEOUT_S", 0.1)

    async def _slow(self, tx: kept_tables.Transaction, *args: Any) -> None:
        if not self.over:
            await tx.execute("select pg_sleep(5)")
        await self._mend(tx, *args)


async def test_a_view_that_a_stall_has_cost_is_kept_again_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    code, view = await published(world, "Stall")
    await kept_here(world, view)
    stalled = Stalled(monkeypatch)
    await lost(world, view, code, '{"loose":"2"}')
    stalled.over = True
    await kept_here(world, view)


async def test_a_view_that_a_stall_has_cost_is_kept_again_after_a_start(
    own_world: Restart, monkeypatch: pytest.MonkeyPatch, never: None
) -> None:
    world = await own_world()
    code, view = await published(world, "Stall")
    await kept_here(world, view)
    stalled = Stalled(monkeypatch)
    await lost(world, view, code, '{"loose":"2"}')
    stalled.over = True
    await asyncio.sleep(0.5)
    assert "it takes too long" in ((await world.node.kept.not_kept())[view.name] or "")
    monkeypatch.setattr(retrying, "KEPT_RETRY_PAUSE_S", 0.2)
    await kept_here(await own_world(), view)


async def test_a_view_that_could_not_be_computed_is_tried_again_when_it_is_published_again(
    world: World, never: None
) -> None:
    code, view = await published(world, "Mistaken")
    await kept_here(world, view)
    await lost(world, view, code, '{"loose":"none"}')
    reason = (await world.node.kept.not_kept())[view.name]
    assert reason is not None
    assert '"none"' in reason
    await sent(world, [modify(code, "Mistaken/second", '{"loose":"2"}')])
    await folded(world, code)
    assert (await Publishing(world.node).view(view, "", ME)).receipt is None
    await kept_here(world, view)


async def test_what_takes_too_long_to_compute_is_not_computed_again_at_each_publication(
    world: World, monkeypatch: pytest.MonkeyPatch, never: None
) -> None:
    fills: list[str] = []
    fill = kept_tables.fill

    async def slow(tx: kept_tables.Transaction, table: kept_tables.KeptTable, *args: Any) -> kept_tables.Place:
        if table.kept.actor_type == "Vast":
            fills.append(table.kept.name)
            await tx.execute("set local statement_timeout to 50; select pg_sleep(5)")
        return await fill(tx, table, *args)

    monkeypatch.setattr(kept_tables, "fill", slow)
    _, view = await published(world, "Vast")
    await until(lambda: bool(fills), "fill")
    await told(world, view, "it takes too long")
    many = len(fills)
    _, other = await published(world, "Small")
    await kept_here(world, other)
    assert len(fills) == many


class Away:
    """What fails when it is called the next times, for the database is away, or for any other reason."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self._failing: Iterator[Exception] = iter([ConnectionResetError("gone"), RuntimeError("odd")])
        called: Callable[..., Any] = getattr(Keeping, method)

        async def failing(*args: Any) -> object:
            for error in self._failing:
                raise error
            return await called(*args)

        monkeypatch.setattr(Keeping, method, failing)

    def is_over(self) -> bool:
        return next(self._failing, None) is None


@pytest.mark.parametrize("method", ["known", "discard"])
async def test_what_is_kept_is_brought_level_also_where_the_database_was_away(
    world: World, monkeypatch: pytest.MonkeyPatch, soon: None, method: str
) -> None:
    _, first = await published(world, f"Away{method}")
    await kept_here(world, first)
    away = Away(monkeypatch, method)
    await Publishing(world.node).remove_view(first.name, ME)
    await until(lambda: first.name not in names(world), "end of what is not to be kept")
    assert away.is_over()


async def test_a_view_that_is_being_computed_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(_: Keeping, kept: Kept) -> None:
        return

    monkeypatch.setattr(Keeping, "keep", keep)
    _, view = await published(world, "Coming")
    assert (await world.node.kept.not_kept())[view.name] == "it is being computed"
