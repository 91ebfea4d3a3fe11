"""Mistakes in elections and replication."""

from __future__ import annotations

import asyncio
from typing import Any

from peaceriver.node import routing
from peaceriver.protocol import electing, following, leading
from peaceriver.protocol.campaign import Campaign
from peaceriver.protocol.effects import Effect
from peaceriver.protocol.messages import Fetch, Place
from peaceriver.protocol.state import State
from peaceriver.shard import journal, replicas, rows
from peaceriver.shard.keeper import Keeper
from peaceriver.shard.shard import Shard

#: How late a follower writes what it has acknowledged.
_LATE_S = 0.3


def acknowledge_at_once() -> None:
    async def reached(*_: object) -> None:
        """Nobody waits."""

    def safe(outcome: Any, *_: object) -> Any:
        return outcome

    routing._reached = reached
    routing._safe = safe


def shorter_may_lead() -> None:
    def count_ends(self: Campaign, until: float) -> None:
        if self.phase == "counting" and self.members.has_majority(self._ends):
            self.phase, self.until, self.target, self.source = "pulling", until, self._ends[self._node], None

    Campaign.count_ends = count_ends


def acknowledge_unwritten() -> None:
    async def apply(self: Keeper, effect: Any, taken: Any) -> list[Effect]:
        shard, fetched, before = self.shard, effect.rows, self.shard.tip
        after = rows.check(taken, shard.code, before)
        queue = self.__dict__.setdefault("_late", asyncio.Lock())

        async def write() -> None:
            async with queue:
                await asyncio.sleep(_LATE_S)
                async with shard.database.transaction() as tx:
                    await replicas.accept(tx, shard.code, fetched, taken, before, after)

        self._busy.add(task := asyncio.create_task(write()))
        task.add_done_callback(self._busy.discard)
        shard.copied(after, taken)
        return self.replica.applied(fetched, self.replica.members, self._steady())

    Keeper._apply = apply


def promise_not_kept() -> None:
    def may_promise(state: State, node: str, epoch: int) -> bool:
        return True

    def obeys(state: State, epoch: int) -> bool:
        return state.campaign is None or epoch == state.campaign.epoch

    electing.may_promise = may_promise
    following.obeys = obeys
    _without(replicas.sql.promise, "and (promised < ", "and ($1 is not null or promised < ")
    _without(replicas.sql.accept, "and promised <= ", "and 0 <= ")


def no_fence() -> None:
    _without(journal.sql.append, "and leads = ", "and 0 < ")
    _without(journal.sql.append, "and promised = ", "and 0 < ")
    step_down = State.step_down

    def stubborn(self: State, now: float, reason: str) -> list[Effect]:
        return [] if "was promised to" in reason or "has promised" in reason else step_down(self, now, reason)

    State.step_down = stubborn

    def serves(state: State, node: str, fetch: Fetch) -> bool:
        return state.reign is not None or fetch.promised == state.promised

    leading.serves = serves


def wiped_may_vote() -> None:
    run = journal.sql.open.run

    async def never_recovering(tx: Any, **values: Any) -> None:
        await run(tx, **(values | {"recovering": False}))

    # A statement has slots, so it is replaced as a whole.
    journal.sql._statements["open"] = _Replaced(journal.sql.open, run=never_recovering)


def divergence_unnoticed() -> None:
    fetched = leading.fetched

    def trusting(state: State, node: str, fetch: Fetch, at: Place, now: float) -> Any:
        return fetched(state, node, fetch, fetch.after, now)

    leading.fetched = trusting


def all_is_complete() -> None:
    copied, appended = Shard.copied, Shard._on_appended

    def shown(self: Shard, tip: Any, taken: Any) -> None:
        copied(self, tip, taken)
        self.complete.advance(tip.position)

    def shown_at_once(self: Shard, batch: Any) -> None:
        appended(self, batch)
        self.complete.advance(batch.tip.position)

    Shard.copied = shown
    Shard._on_appended = shown_at_once


class _Replaced:
    """A statement that does one thing otherwise."""

    def __init__(self, statement: Any, **instead: Any) -> None:
        self._statement, self._instead = statement, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead[name] if name in self._instead else getattr(self._statement, name)


def _without(statement: Any, condition: str, instead: str) -> None:
    """Change a statement's text; it must be as this was written for."""
    assert condition in statement.text, f"{statement.name} has no {condition!r}: {statement.text}"
    statement.text = statement.text.replace(condition, instead)
