"""When what is kept answers, and when its query is run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from peaceriver.errors import TooLarge
from peaceriver.limits import STREAM_ROWS_MAX
from peaceriver.node import kept as kept_module
from peaceriver.node.publishing import Publishing
from peaceriver.node.questions import Answer, Question
from peaceriver.query.named import View
from tests.scenario.test_kept_views import folded, sent
from tests.scenario.trio import until
from tests.scenario.words import create
from tests.scenario.world import ME, World

GROUPS = 5


async def published(world: World, actor_type: str) -> tuple[View, Sequence[int]]:
    """A kept view of so many groups, once it is kept."""
    code = await world.department()
    await sent(world, [create(code, f"{actor_type}/{number}", f'{{"n":{number}}}') for number in range(GROUPS)])
    await folded(world, code)
    view = View(
        name=f"{actor_type}_groups",
        sql=f"select document->>'n' as n, count(*) as many from \"{actor_type}\" group by 1",
        kept=True,
    )
    await Publishing(world.node).view(view, "", ME)

    async def is_kept() -> bool:
        return (await world.node.kept.not_kept())[view.name] is None

    await until(is_kept, "kept view")
    return view, (code,)


async def asked(world: World, view: View, codes: Sequence[int], rows_max: int) -> Answer | None:
    return await world.node.kept.ask(view, Question(sql=view.sql, shards=tuple(codes), rows_max=rows_max))


async def test_more_groups_than_are_wanted_are_refused_and_not_counted_once_more(world: World) -> None:
    view, codes = await published(world, "Wanted")
    found = await asked(world, view, codes, GROUPS)
    assert found is not None
    assert len(found.rows) == GROUPS
    with pytest.raises(TooLarge):
        await asked(world, view, codes, GROUPS - 1)


async def test_more_groups_than_are_read_at_once_are_computed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    view, codes = await published(world, "Read")
    monkeypatch.setattr(kept_module, "KEPT_ROWS_MAX", GROUPS - 1)
    assert await asked(world, view, codes, STREAM_ROWS_MAX) is None


async def test_what_is_kept_by_another_definition_refuses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, codes = await published(world, "Other")
    other = View(name=view.name, sql='select count(*) as many from "Other"', kept=True)
    assert await asked(world, other, codes, 1) is None
