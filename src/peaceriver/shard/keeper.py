"""Keeping one replica: what the protocol decides is carried out, in the node's database and towards other nodes.

One thing at a time: nothing else happens to a replica between an effect and what came of it. Only what needs no
database happens at once, which is all that a leader does while nothing changes: append, hear, complete.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog

from peaceriver.errors import Damaged
from peaceriver.postgres import DatabaseError, Transaction, Unreachable
from peaceriver.protocol.effects import (
    Complete,
    Effect,
    Hold,
    Say,
    StepDown,
)
from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import Answer, Ask, Fetch, Look, Place, Question, Reply
from peaceriver.protocol.replica import Replica
from peaceriver.record import Tip
from peaceriver.shard import damage, replicas
from peaceriver.shard.ahead import ReadAhead
from peaceriver.shard.carrying import Carrying, Steady
from peaceriver.shard.journal import Batch
from peaceriver.shard.shard import Shard
from peaceriver.shard.trouble import Trouble

log = structlog.get_logger()

#: Sends a question about a shard to a node; the reply comes to ``Keeper.replied``.
SayTo = Callable[[str, int, Question], None]
#: Before rows are asked for again where the database did not take some.
_FAILED_PAUSE_S = 0.5
#: The same where there was no room for them, as a part of the lease.
_NO_ROOM_PAUSE = 0.3
#: Before rows are asked for again where some did not fit.
_DAMAGED_PAUSE_S = 1.0


class Keeper:
    """Keeps a shard's replica on this node."""

    def __init__(
        self,
        shard: Shard,
        replica: Replica,
        founders: Members,
        *,
        say: SayTo,
        turned: Callable[[Shard], None],
        stirred: Callable[[Shard], None],
        awake: Callable[[Keeper], None],
        recovered: Callable[[Transaction, Shard], Awaitable[None]],
        doubted: Callable[[Shard, str], None],
        steady: Steady = time.monotonic,
    ) -> None:
        self.shard = shard
        self.replica = replica
        self._carrying = Carrying(shard, replica, founders, recovered=recovered, steady=steady)
        self._say = say
        #: Called when somebody else leads, this node perhaps, or is pulled from.
        self._turned = turned
        #: Called when there is something new to tell those who follow.
        self._stirred = stirred
        #: Called when something has happened: time may bring more of it.
        self._awake = awake
        #: Called when rows from a node do not fit: one of the two journals is damaged.
        self._doubted = doubted
        self._steady = steady
        self._lock = asyncio.Lock()
        #: What came of something is not known: look before anything else is done.
        self._unsure = False
        self._pulls: tuple[str | None, bool] = (None, replica.recovering)
        #: What it was when it was looked at last, and since when, by the steady clock.
        self._state = ""
        self.state_since = steady()
        self._complaint: Trouble | None = None
        #: Why rows from another node were not taken, as long as none were since.
        self._misfit: Trouble | None = None
        #: Since when something is being carried out, by the steady clock.
        self._carrying_since: float | None = None
        #: Rows that came were not taken: nothing is pulled before that, by the steady clock.
        self._paused_until = float("-inf")
        self._busy: set[asyncio.Task[None]] = set()
        shard.recovering = replica.recovering
        shard.appended = self._on_appended
        shard.fenced = self._on_fenced
        shard.died = self._on_died
        shard.emptied = self._on_emptied

    # --- what happens

    def tick(self, now: float) -> float:
        """Time passes; ``now`` is by the steady clock. Answers until when it need not, if nothing happens meanwhile."""
        if self._lock.locked():
            return now
        effects = self.replica.tick(now, self.shard.stalled_for(now))
        if effects:
            self._soon(effects)
            return now
        if self.replica.known_leader(now) != self.shard.leader:
            self._look()
        return self.replica.quiet_until(now)

    @property
    def busy(self) -> bool:
        """Whether something is being carried out: whatever happens next to the replica waits for that."""
        return self._lock.locked()

    async def asked(self, node: str, question: Question) -> Reply | None:
        """Another node's question about this replica."""
        if isinstance(question, Look):
            # Answered at once, for it changes nothing: others must not wait for what is being carried out here.
            return self.replica.standing(self._steady())
        async with self._sure():
            reply, effects = self.replica.asked(node, question, self._steady())
            await self._carry_out(effects)
            if reply is None and isinstance(question, Ask):
                return self.replica.promise_to(node, question)
            return reply

    async def replied(self, node: str, reply: Reply) -> None:
        """The reply to something that was said."""
        async with self._sure():
            await self._carry_out(self.replica.replied(node, reply, self._steady()))

    async def announced(self, node: str, epoch: int) -> None:
        """A node says that it leads the shard."""
        async with self._sure():
            await self._carry_out(self.replica.announced(node, epoch, self._steady()))

    async def left_by(self, node: str) -> None:
        """A node says that it leads the shard no longer."""
        async with self._sure():
            self.replica.left_by(node, self._steady())

    def heard_leader(self, node: str) -> None:
        """A node that leads is alive."""
        if self.replica.leader == node:
            self.replica.heard(self._steady())

    def heard_follower(self, node: str) -> None:
        """A node that follows this one is alive."""
        self.replica.polled(node, self._steady())

    @property
    def source(self) -> str | None:
        """The node to pull from now."""
        if self._steady() < self._paused_until:
            return None
        return self.replica.source

    async def answered(self, node: str, answer: Answer, taken: Sequence[bytes]) -> None:
        """A node's answer to what was fetched from it, with its rows."""
        if taken and self.shard.lack() is not None:
            # It goes on asking within the lease: the other node must hear of it, and lead, though nothing can be taken.
            self._paused_until = self._steady() + self.replica.state.lease_s * _NO_ROOM_PAUSE
            return
        async with self._sure():
            try:
                await self._carry_out(self.replica.answered(node, answer, self._steady()), taken)
                if taken:
                    self._misfit = None
            except Damaged as error:
                # What was written stays as it was. Either side may be the damaged one: verification tells which.
                self._paused_until = self._steady() + _DAMAGED_PAUSE_S
                log.error("rows from another node do not fit", shard=self.shard.code, node=node, reason=str(error))
                why = f"rows from {node} do not fit what it has: one of the two is damaged, or of another history"
                self._misfit = Trouble(why, self._misfit.since if self._misfit else self._steady())
                self._doubted(self.shard, node)

    async def fetched(self, node: str, fetch: Fetch) -> Answer | None:
        """Another node's fetch, which acknowledges something; the answer, or None where ``following`` has it."""
        at = fetch.after if self.shard.stands_at(fetch.after) else await self._not_beyond(fetch.after)
        found, effects = self.replica.fetched(node, fetch, at, self._steady())
        self._soon(effects)
        return found

    async def following(self, after: Place, ahead: ReadAhead) -> tuple[Answer, list[bytes]]:
        """The rows after a place of this journal, for whoever is served; ``ahead`` reads them for that node."""
        taken, end = await ahead.rows_after(self.shard, after)
        return self.replica.rows(after, end), taken

    async def transfer(self, to: str) -> None:
        """Begin to hand leadership over."""
        async with self._sure():
            await self._carry_out(self.replica.transfer(to, self._steady()))

    async def forgot(self, boots: int) -> None:
        """It is on disk that this replica may have promised and acknowledged what it does not know of."""
        async with self._sure():
            self.replica.booted(boots)
            self.replica.forgot()

    async def realign(self, tip: Tip) -> None:
        """The state row was altered and the journal was not: it ends at ``tip``. Only where this node does not lead."""
        async with self._sure():
            async with self.shard.database.connection() as tx:
                await damage.sql.realign.run(
                    tx,
                    shard=self.shard.code,
                    position=tip.position,
                    epoch=tip.epoch,
                    stamp=tip.stamp,
                    chain=tip.chain,
                )
            await self._reread()

    # --- what is done about it

    def _soon(self, effects: Iterable[Effect]) -> None:
        """Do at once what needs no database, and the rest as soon as may be."""
        later: list[Effect] = []
        for effect in effects:
            if later or not self._done_at_once(effect):
                later.append(effect)
        if later:
            task = asyncio.create_task(self._later(later))
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)
        self._look()

    @property
    def state(self) -> str:
        """What the replica is now, in a word."""
        replica = self.replica
        if replica.reign is not None:
            return "leader"
        if replica.recovering:
            return "recovering"
        if replica.known_leader(self._steady()) is None:
            return "waiting"
        return "follower" if replica.node in replica.members.voters else "learner"

    @property
    def trouble(self) -> Trouble | None:
        """What keeps the replica from going on, if anything does."""
        if self.replica.reign is None and (lack := self.shard.lack()) is not None:
            return lack
        if self.shard.damage.known:
            found_at = min(each.found_at for each in self.shard.damage.known.values())
            ago_s = (datetime.now(UTC) - found_at).total_seconds()
            why = "it is damaged, and being repaired; its incidents say where"
            if self.shard.damage.foreign:
                why = f"its history is not that of the others: start {self.replica.node} with an empty directory"
            return Trouble(why, self._steady() - ago_s)
        if self._carrying_since is not None and self._steady() - self._carrying_since > self.replica.state.lease_s:
            why = "its database has not answered for a while, or it folds what it has not folded before it leads"
            return Trouble(why, self._carrying_since)
        if self._complaint is not None:
            return self._complaint
        if self._misfit is not None:
            return self._misfit
        if self.state == "recovering":
            why = "it copies, and has no vote before it holds all that it may have held before"
            return Trouble(why, self.state_since)
        return Trouble("it hears from no leader", self.state_since) if self.state == "waiting" else None

    def _look(self) -> None:
        """Let others know where leadership, or how it pulls, has changed, and how far all voters hold it."""
        self._awake(self)
        self.shard.recovering = self.replica.recovering
        if self.replica.leads is not None:
            self.shard.held_by_all.advance(min(self.replica.held_by_all(), self.shard.complete.value))
        if self.state != self._state:
            self._state, self.state_since = self.state, self._steady()
        leader, pulls = self.replica.known_leader(self._steady()), (self.replica.source, self.replica.recovering)
        if leader != self.shard.leader or pulls != self._pulls:
            self._pulls = pulls
            self.shard.turn(leader)
            self._turned(self.shard)

    def _done_at_once(self, effect: Effect) -> bool:
        match effect:
            case Say(to=to, question=question):
                self._say(to, self.shard.code, question)
            case Complete(position=position):
                self.shard.completed(position)
                # Others learn of it without waiting for the next record.
                self._stirred(self.shard)
            case Hold(on=on):
                self.shard.hold(on=on)
            case StepDown(reason=reason):
                # It takes nothing more from here on; the rest of stepping down needs the database.
                self.shard.step_down(reason)
                return False
            case _:
                return False
        return True

    async def _later(self, effects: Sequence[Effect]) -> None:
        try:
            async with self._sure():
                await self._carry_out(effects)
        except (*Unreachable, DatabaseError) as error:
            # How things stand cannot be looked up. They are decided about anew, once that can be done.
            self._complain(type(effects[0]).__name__, f"its database: {error}")

    @asynccontextmanager
    async def _sure(self) -> AsyncIterator[None]:
        """The replica's lock, with how things stand looked up first where that is not known."""
        try:
            async with self._lock:
                self._carrying_since = self._steady()
                try:
                    if self._unsure:
                        await self._reread()
                    yield
                finally:
                    self._carrying_since = None
        finally:
            self._look()

    async def _carry_out(self, effects: Iterable[Effect], taken: Sequence[bytes] = ()) -> None:
        """Carry effects out in order, and whatever follows from them; the caller holds the lock."""
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            if self._done_at_once(effect):
                continue
            try:
                waiting.extend(await self._carrying.out(effect, taken))
                self._complaint = None
            except (*Unreachable, DatabaseError) as error:
                # What is not done is decided about anew, from what stands on disk then.
                self._unsure = True
                self._paused_until = self._steady() + _FAILED_PAUSE_S
                self._complain(type(effect).__name__, f"its database: {error}")
                return

    def _complain(self, effect: str, reason: str) -> None:
        """Log what keeps a replica waiting, once while it is the same."""
        if self._complaint is None or reason != self._complaint.why:
            log.warning("a replica waits", shard=self.shard.code, effect=effect, reason=reason)
        self._complaint = Trouble(reason, self._complaint.since if self._complaint else self._steady())

    # --- the leader's own journal

    def _on_appended(self, batch: Batch) -> None:
        last = batch.records[-1]
        members = replicas.members_in(batch.records, self.replica.members)
        self._soon(self.replica.appended(Place(last.epoch, last.position), members))
        self._stirred(self.shard)

    def _on_fenced(self) -> None:
        self._soon(self.replica.resigned("another node was promised a later epoch", self._steady()))

    def _on_died(self) -> None:
        self._soon(self.replica.resigned("its appender had to stop", self._steady()))

    def _on_emptied(self) -> None:
        self._soon(self.replica.held())

    # --- when it is not known how things stand

    async def _reread(self) -> None:
        effects = await self._carrying.reread()
        self._unsure = False
        await self._carry_out(effects)

    async def _not_beyond(self, place: Place) -> Place:
        async with self.shard.database.connection() as tx:
            return await replicas.not_beyond(tx, self.shard.code, place)

    async def resign(self, reason: str) -> None:
        """Lead no longer."""
        async with self._sure():
            await self._carry_out(self.replica.resigned(reason, self._steady()))

    async def stop(self) -> None:
        """Do nothing more."""
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
