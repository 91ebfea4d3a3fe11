"""One department's replica on this node: where its journal stands, and everything that follows the journal.

It leads or it follows. A leader appends, and what it appends may still be taken back until a majority holds it; a
follower copies. Either way readers are shown what is complete.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from peaceriver import jsontext
from peaceriver.errors import LedElsewhere, PeaceRiverError
from peaceriver.limits import ROOM_LOOK_S
from peaceriver.postgres import Database, Transaction
from peaceriver.protocol.messages import START, Place
from peaceriver.record import CHAIN_START, Record, Tip
from peaceriver.shard import journal, replicas, rows
from peaceriver.shard.admission import Rules
from peaceriver.shard.appender import Appender, Clock
from peaceriver.shard.damage import Damage, load
from peaceriver.shard.documents import ModelAt
from peaceriver.shard.fresh import Fresh
from peaceriver.shard.journal import Batch, Mark
from peaceriver.shard.proposal import Outcome, Proposal
from peaceriver.shard.replicas import Standing
from peaceriver.shard.standing import catch_up
from peaceriver.shard.standing import sql as standing_sql
from peaceriver.shard.trouble import Trouble
from peaceriver.shard.waiting import Waiting
from peaceriver.shard.watermark import Watermark

log = structlog.get_logger()

DELIVERY = "delivery"


class _Ahead(NamedTuple):
    """Where the journal stands beyond what is complete, and what becomes true once it is complete up to there."""

    position: int
    stamp: int
    #: The stamp of the last record before it that is more than a tick; 0 where there was none since the one before.
    newest: int
    #: To whom something was sent.
    receivers: frozenset[int]


class Shard:
    """A department's replica: where its readers wait and, while this node leads it, the one place that appends."""

    def __init__(self, database: Database, code: int, rules: Rules, models: ModelAt, clock: Clock) -> None:
        self.code = code
        self.database = database
        self.rules = rules
        self.models = models
        self._clock = clock
        #: Held while the standing is folded, and by whoever needs it to stand still.
        self.still = asyncio.Lock()
        #: What of this replica is not served, for it is not as it must be.
        self.damage = Damage(code)
        #: For how many seconds this node's database has not answered, by the steady clock.
        self.unanswered: Callable[[float], float] = lambda now: 0.0
        #: Says why nothing more may be written to this node's disk, if so.
        self.lack: Callable[[], Trouble | None] = lambda: None
        #: Where the journal stands on this node's disk.
        self.tip = Tip(0, 0, 0, CHAIN_START)
        #: Whether it lacks more of its leader's journal than it gets at a time.
        self.behind = False
        #: Whether it may lack what it once held: it copies, and what it has is not shown yet.
        self.recovering = False
        #: The node that leads, as far as it is known here; None for nobody.
        self.leader: str | None = None
        #: Counts how often that has changed: for those who wait for a leader.
        self.turns = Watermark()
        #: A logical time that the first stamp must exceed: of the directory record that made the department.
        self.later_than = 0
        self._appender: Appender | None = None
        self._serves = False
        #: complete.value <= tip.position: how far the journal is complete. Readers see nothing beyond it.
        self.complete = Watermark()
        #: The stamp at the complete position, or an earlier one.
        self.complete_stamp = 0
        #: The same as ``complete`` for those who wait for what this reign has appended; given up when it ends.
        self.reign = Watermark()
        #: How far all voters hold what this reign has appended; given up as well.
        self.held_by_all = Watermark()
        #: delivered[source] is how far this department has taken in what the source sent to it.
        self.delivered: dict[int, Watermark] = {}
        #: How far actors, marks, timers and exceptions are folded here: on a leader always as far as its journal goes.
        self.standing = 0
        #: folded.value <= complete.value: how far the views are.
        self.folded = Watermark()
        #: Told of every batch that this node appends.
        self.followers: list[Callable[[Shard, Batch], None]] = []
        #: Counts how often the journal may not have been what was appended here: what is kept in memory of it is void.
        self.voids = 0
        #: Told of that.
        self.voided: list[Callable[[], None]] = []
        #: Told which departments something was sent to, once that is complete.
        self.sent: Callable[[Shard, Iterable[int]], None] = lambda shard, receivers: None
        #: Told that messages were taken back and are pending: they are to be offered again.
        self.stranded: Callable[[int], None] = lambda code: None
        #: Told the stamp of the last record that is complete and more than a tick, when there is a new one.
        self.news: list[Callable[[int], None]] = []
        #: Whoever keeps the replica is told what was appended, that the database refused an append, that the appender
        #: ended without being asked, and that nothing is under way any more on a hold.
        self.appended: Callable[[Batch], None] = lambda batch: None
        self.fenced: Callable[[], None] = lambda: None
        self.died: Callable[[], None] = lambda: None
        self.emptied: Callable[[], None] = lambda: None
        self.marks: dict[tuple[str, int], int] = {}
        #: The chain where each mark stands, as it was read: a source that lost history no longer has it there.
        self.mark_chains: dict[tuple[str, int], bytes] = {}
        self._fresh = Fresh()
        #: What is not complete yet, or was not said to be.
        self._ahead: deque[_Ahead] = deque()

    @property
    def epoch(self) -> int:
        """Of the last record, or of this node's reign."""
        return self.tip.epoch

    @property
    def serving(self) -> bool:
        """Whether this node leads the department and takes messages for it."""
        return self._serves and self._appender is not None and self._appender.open

    def stalled_for(self, now: float) -> float:
        """For how many seconds this leader has waited for its database, by the steady clock."""
        return 0.0 if self._appender is None else max(self._appender.stalled_for(now), self.unanswered(now))

    async def has_room(self) -> None:
        """Return once this node's disk has room: for what no sender could be refused."""
        while self.lack() is not None:  # noqa: ASYNC110 - a disk tells nobody when there is room
            await asyncio.sleep(ROOM_LOOK_S)

    # --- the journal's own place

    async def take_up(self, there: Standing) -> None:
        """Go on from what the database says at start."""
        self.tip, self.standing = there.tip, there.folded
        self.complete.advance(there.stored.complete)
        async with self.database.connection() as tx:
            row = await journal.sql.stamp_at.row(tx, shard=self.code, position=there.stored.complete)
            self.complete_stamp = 0 if row is None else row["stamp"]
            self.damage.become(await load(tx, self.code))
            await self.load_marks(tx)
            await self._look_ahead(tx)

    async def load_marks(self, tx: Transaction) -> None:
        """Take up the marks of all readers; those that have ended meanwhile are forgotten."""
        marks = await journal.sql.marks.rows(tx, shard=self.code)
        self.marks.clear()
        self.mark_chains.clear()
        self.move_marks([Mark(each["reader"], each["source_shard"], each["position"], each["chain"]) for each in marks])
        for source, delivered in self.delivered.items():
            if delivered.value > (arrived := self.marks.get((DELIVERY, source), 0)):
                # It was taken back with a tail: it may arrive again, and until then it has not.
                self.delivered[source] = Watermark(arrived)
                delivered.give_up()

    async def look_at_standing(self, tx: Transaction) -> None:
        """Whoever folds the standing may not know whether it did: go on from what the database says."""
        if self._appender is not None:
            return  # what this leader appends moves the standing along, and says so itself
        row = await standing_sql.position.row(tx, shard=self.code)
        assert row is not None
        if row["standing_position"] > self.standing:
            await self.load_marks(tx)
            self.standing = row["standing_position"]

    def move_marks(self, marks: Iterable[Mark]) -> None:
        """Readers have moved on."""
        for mark in marks:
            key = (mark.reader, mark.source)
            if mark.ended:
                self.marks.pop(key, None)
                self.mark_chains.pop(key, None)
                continue
            self.marks[key], self.mark_chains[key] = mark.position, mark.chain
            if mark.reader == DELIVERY:
                self.delivered_from(mark.source).advance(mark.position)

    def stands_at(self, place: Place) -> bool:
        """Whether the journal is known to have a place, without asking the database."""
        return place in (START, (self.tip.epoch, self.tip.position)) or self._fresh.has(place)

    async def rows_after(self, place: Place, bytes_max: int) -> tuple[list[bytes], Place]:
        """The rows after a place that the journal has, whole groups, about so many bytes; and the place they end at.

        Nothing that is known to be damaged is among them.
        """
        if place == (self.tip.epoch, self.tip.position):
            return [], place
        fresh = self._fresh.after(place, bytes_max)
        if fresh is not None:
            return fresh
        until = self.damage.sound_until(place.position, self.tip.position)
        async with self.database.connection() as tx:
            found = await journal.rows_after(tx, self.code, place.position, until, bytes_max)
        if not found:
            return [], place
        last = rows.place_of(found[-1])
        return found, Place(last.epoch, last.position)

    def copied(self, tip: Tip, taken: Sequence[bytes], complete: int) -> None:
        """The journal has grown by rows of the leader's, which is complete up to a position."""
        self.tip = tip
        self._fall_behind(rows.fill_a_chunk(taken) and tip.position < complete)
        self._fresh.forget()
        newest = next((rows.place_of(row).stamp for row in reversed(taken) if rows.kind_of(row) != "tick"), 0)
        self._ahead.append(_Ahead(tip.position, tip.stamp, newest, rows.receivers(taken)))

    def _fall_behind(self, behind: bool) -> None:
        """It is behind from now on, or no longer."""
        if self.behind and not behind:
            self.folded.wanted.set()  # the views have waited for that
        self.behind = behind

    def _void(self) -> None:
        self.voids += 1
        self._fresh.forget()
        for forget in self.voided:
            forget()

    async def moved(self, tip: Tip) -> None:
        """The journal stands elsewhere than was known: part of it was taken back, or a commit went unnoticed."""
        self.tip = tip
        self._fall_behind(False)
        self.standing = min(self.standing, tip.position)
        self._void()
        async with self.database.connection() as tx:
            await self.load_marks(tx)
            await self._look_ahead(tx)

    async def _look_ahead(self, tx: Transaction) -> None:
        """Find out what waits for the journal's end to be complete; who was sent something there is told then."""
        found = await journal.sql.receivers_after.rows(tx, shard=self.code, after=self.complete.value)
        self._ahead.clear()
        receivers = frozenset(row["receiver_shard"] for row in found)
        self._ahead.append(_Ahead(self.tip.position, self.tip.stamp, self.tip.stamp, receivers))

    def completed(self, position: int) -> None:
        """The journal is complete up to a position: what waited for that may leave the department."""
        receivers: set[int] = set()
        newest = 0
        while self._ahead and self._ahead[0].position <= position:
            passed = self._ahead.popleft()
            self.complete_stamp = passed.stamp
            receivers |= passed.receivers
            newest = max(newest, passed.newest)
        self.complete.advance(position)
        self.reign.advance(position)
        if receivers:
            self.sent(self, receivers)
        if newest:
            for tell in self.news:
                tell(newest)

    def delivered_from(self, source: int) -> Watermark:
        """How far what ``source`` sent to this department has arrived."""
        return self.delivered.setdefault(source, Watermark())

    # --- leading

    def turn(self, leader: str | None) -> None:
        """Another node leads, or none."""
        if leader != self.leader:
            self.leader = leader
            self.turns.advance(self.turns.value + 1)

    async def lead(self, epoch: int, node: str, end: Place) -> Place | None:
        """Begin to append in an epoch: the place of its first record, or None where it is not this node's to lead.

        It takes no messages before ``serve``.
        """
        async with self.database.connection() as tx:
            tip = await replicas.lead(tx, self.code, epoch, node, end)
        if tip is None:
            return None
        async with self.still:
            self.standing = await catch_up(self.database, self.code, self.models)
            async with self.database.connection() as tx:
                await self.load_marks(tx)
        self.tip = tip
        self._fall_behind(False)
        self._void()
        self.reign, self.held_by_all = Watermark(self.complete.value), Watermark()
        self._appender = Appender(
            self.database,
            self.code,
            tip,
            self.marks,
            self.complete,
            self.rules,
            self._clock,
            self._on_appended,
            self._on_ended,
        )
        opening = jsontext.write({"epoch": epoch, "from": tip.position + 1})
        await self._append(Proposal(system=(("epoch", opening),), received_time=self.later_than))
        return Place(epoch, self.tip.position)

    def serve(self) -> None:
        """Take messages: this node leads."""
        self._serves = True

    def hold(self, *, on: bool) -> None:
        """Append nothing for a while, though messages are taken; or go on."""
        if self._appender is not None:
            self._appender.hold(on=on, emptied=self.emptied)

    def step_down(self, reason: str) -> None:
        """Take no messages any more, at once; ``stop_leading`` waits for what is under way."""
        self._serves = False
        if self._appender is not None:
            self._appender.end(
                LedElsewhere(f"department {self.code}: {reason}; ask again in a moment", shard=self.code)
            )

    async def stop_leading(self) -> None:
        """End the appender; those who wait for completeness learn that this reign will not bring it."""
        appender, self._appender = self._appender, None
        if appender is not None:
            await appender.ended()
        self.reign.give_up()
        self.held_by_all.give_up()

    def propose(self, proposals: Sequence[Proposal], *, bounded: bool = True) -> Waiting:
        """Take proposals to be appended, each as a unit of its own; see Appender.propose."""
        if not self.serving:
            raise LedElsewhere(
                f"department {self.code} is not led by this node; ask again in a moment", shard=self.code
            )
        assert self._appender is not None
        return self._appender.propose(proposals, bounded=bounded)

    async def append(self, proposal: Proposal, *, bounded: bool = True) -> list[Outcome]:
        """Append one unit and answer its outcomes once they are durable here, in order.

        Raises what Appender.propose raises, and MarkMoved.
        """
        if not self.serving:
            raise LedElsewhere(
                f"department {self.code} is not led by this node; ask again in a moment", shard=self.code
            )
        return await self._append(proposal, bounded=bounded)

    async def _append(self, proposal: Proposal, *, bounded: bool = True) -> list[Outcome]:
        assert self._appender is not None
        answer = (await self._appender.propose([proposal], bounded=bounded).answered())[0]
        assert answer is not None, "without a time limit there is an answer"
        if isinstance(answer, PeaceRiverError):
            raise answer
        return answer

    def _on_appended(self, batch: Batch) -> None:
        self.tip = batch.tip
        self.standing = batch.tip.position
        self._fresh.offer(batch.records, batch.chains)
        newest = next((each.stamp for each in reversed(batch.records) if each.kind != "tick"), 0)
        self._ahead.append(_Ahead(batch.tip.position, batch.tip.stamp, newest, _receivers(batch.records)))
        self.move_marks(batch.marks)
        self.appended(batch)
        for follower in self.followers:
            follower(self, batch)

    def _on_ended(self, *, fenced: bool) -> None:
        self._serves = False
        if fenced:
            self.fenced()
        else:
            self.died()

    async def tick(self, received_time: int) -> None:
        """Write a tick: a record later than ``received_time``, so that a cutoff there can be answered."""
        await self.append(Proposal(system=(("tick", "{}"),), received_time=received_time), bounded=False)


def _receivers(records: Iterable[Record]) -> frozenset[int]:
    """The departments that records are sent to."""
    sent = {each.receiver_shard for each in records if each.kind == "sent"}
    return frozenset(each for each in sent if each is not None)
