"""Views go on where the answer to the commit of a step was lost: the step was made, and is not made again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from peaceriver.message import Envelope
from peaceriver.node.cutoffs import Freshness
from peaceriver.postgres import Database, Transaction
from tests.scenario.world import World


class Forgetful:
    """A database whose server dies right after the first commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.deaths = 0

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._database.transaction() if self.deaths else self._dying()

    @asynccontextmanager
    async def _dying(self) -> AsyncIterator[Transaction]:
        async with self._database.transaction() as tx:
            yield tx
        self.deaths += 1
        raise ConnectionResetError("the server is gone")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


async def test_a_step_whose_commit_was_not_answered_is_not_made_twice(world: World) -> None:
    code = await world.department()
    folder, shard = world.node.folders[code], world.node.shards[code]
    forgetful = Forgetful(shard.database)
    # The type's table is there already, so the next transaction is a step's.
    await world.receipt(Envelope(to=code, actor_type="Item", actor_id="1", action="create"))
    await shard.folded.reached(shard.complete.value)
    async with folder.still:
        shard.database = forgetful  # type: ignore[assignment]  # the same but for its death
    last = await world.receipt(Envelope(to=code, actor_type="Item", actor_id="2", action="create"))
    _, found = await world.node.reading.actor(code, "Item", "2", Freshness(after=(last.stamp,), timeout_s=4))
    assert found.version == 1
    assert forgetful.deaths == 1
    # Nothing was left to do in the step after that: whoever takes it for a failure takes a long rest.
    next_one = await world.receipt(Envelope(to=code, actor_type="Item", actor_id="3", action="create"))
    _, found = await world.node.reading.actor(code, "Item", "3", Freshness(after=(next_one.stamp,), timeout_s=4))
    assert found.version == 1
