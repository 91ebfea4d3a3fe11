"""Mistakes in elections and replication."""

from __future__ import annotations

from typing import Any

from peaceriver.embedded import lifetime
from peaceriver.node import routing
from peaceriver.protocol import electing, leading
from peaceriver.protocol.campaign import Campaign
from peaceriver.protocol.messages import Fetch, Place
from peaceriver.protocol.state import State
from peaceriver.shard import journal, replicas
from peaceriver.shard.shard import Shard
from tests.faults.mutations.planting import plant, without


def acknowledge_at_once() -> None:
    here = routing.Routing._here

    async def at_once(self: Any, shard: Any, proposals: Any, _concern: Any, deadline: float) -> Any:
        return await here(self, shard, proposals, "local", deadline)

    plant(routing.Routing, "_here", at_once)
    plant(routing, "_provisional", lambda outcome, _shard: outcome)


def shorter_may_lead() -> None:
    def count_ends(self: Campaign, until: float) -> None:
        if self.phase == "counting" and self.members.has_majority(self._ends):
            self.phase, self.until, self.target, self.source = "pulling", until, self._ends[self._node], None

    plant(Campaign, "count_ends", count_ends)


def acknowledge_unwritten() -> None:
    # Nothing is written before somebody else needs the room.
    _configured(synchronous_commit="off", wal_writer_delay="10s", wal_writer_flush_after="1GB")


def never_flushed() -> None:
    _configured(fsync="off")


def _configured(**careless: str) -> None:
    """Let servers be started with settings that they must not have."""
    configure = lifetime.configure

    def carelessly(place: Any, account: Any, sockets: Any, settings: Any) -> None:
        configure(place, account, sockets, {**settings, **careless})

    plant(lifetime, "configure", carelessly)


def promise_not_kept() -> None:
    def may_promise(state: State, node: str, epoch: int) -> bool:
        return not state.recovering and epoch >= state.promised

    plant(electing, "may_promise", may_promise)
    without(replicas.sql.promise, "and promised_to = ", "and '' <> ")


def old_reign_acknowledges() -> None:
    async def stop_leading(self: Shard) -> None:
        appender, self._appender = self._appender, None
        if appender is not None:
            await appender.ended()

    plant(Shard, "stop_leading", stop_leading)


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

    plant(leading, "fetched", trusting)


def all_is_complete() -> None:
    copied, appended = Shard.copied, Shard._on_appended

    def shown(self: Shard, tip: Any, taken: Any) -> None:
        copied(self, tip, taken)
        self.complete.advance(tip.position)

    def shown_at_once(self: Shard, batch: Any) -> None:
        appended(self, batch)
        self.complete.advance(batch.tip.position)

    plant(Shard, "copied", shown)
    plant(Shard, "_on_appended", shown_at_once)


class _Replaced:
    """A statement that does one thing otherwise."""

    def __init__(self, statement: Any, **instead: Any) -> None:
        self._statement, self._instead = statement, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead[name] if name in self._instead else getattr(self._statement, name)
