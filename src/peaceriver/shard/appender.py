"""The one appender of a shard: natural batching with no timer.

While one batch commits, the next one is put together on top of it, and dropped and decided anew should the first one
fail. Alone, a proposal goes straight through. The transaction is one statement with the fence in it. What a batch would
change counts only after its commit, so a batch that fails leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import structlog

from peaceriver.errors import Busy, Fenced, LedElsewhere, OutcomeUnknown, Unavailable
from peaceriver.limits import QUEUE_MESSAGES_MAX
from peaceriver.postgres import Database, DatabaseError, UniqueViolation, Unreachable
from peaceriver.record import Tip
from peaceriver.shard import journal
from peaceriver.shard.admission import Rules, offered_ids
from peaceriver.shard.attempt import Attempt, Room, answer_all
from peaceriver.shard.cache import ActorCache
from peaceriver.shard.journal import Batch
from peaceriver.shard.ledger import Ledger
from peaceriver.shard.proposal import Proposal
from peaceriver.shard.waiting import Place, Waiting
from peaceriver.shard.watermark import Watermark

if TYPE_CHECKING:
    from uuid import UUID

    from peaceriver.record import Record

log = structlog.get_logger()
Clock = Callable[[], int]


class Stopped(Protocol):
    """Told that an appender had to stop: because the database refused an append, or because something went wrong."""

    def __call__(self, *, fenced: bool) -> None: ...


_RECONNECT_PAUSE_S = 0.2


class Appender:
    """Appends to one shard's journal in one epoch. Nobody else does: positions are given here."""

    def __init__(
        self,
        database: Database,
        shard: int,
        tip: Tip,
        marks: dict[tuple[str, int], int],
        complete: Watermark,
        rules: Rules,
        clock: Clock,
        appended: Callable[[Batch], None],
        stopped: Stopped,
    ) -> None:
        self.shard = shard
        #: Where the journal stands: exactly the committed state, never ahead of it.
        self.tip = tip
        self.rules = rules
        self._database = database
        self._clock = clock
        self._appended = appended
        self._stopped = stopped
        #: Nothing is appended while it is held; called once nothing is under way then.
        self._held = False
        self._emptied: Callable[[], None] | None = None
        self._marks = marks
        self._complete = complete
        self._actors = ActorCache()
        self._queue: deque[Place] = deque()
        #: Records that what is in the queue would make.
        self._queued = 0
        #: Out of the queue and not answered: whether it is recorded is known when its commit returns.
        self._under_way: list[Place] = []
        #: The batch that is being committed, and the one that builds on it meanwhile.
        self._committing: Attempt | None = None
        self._open: Attempt | None = None
        self._wake = asyncio.Event()
        #: Since when it waits for the database, by the steady clock; None where it does not.
        self._asking_since: float | None = None
        self._look_ids_up = False
        self._closed: LedElsewhere | None = None
        self._task = asyncio.create_task(self._run(), name=f"append {shard}")

    def propose(self, proposals: Sequence[Proposal], *, bounded: bool = True) -> Waiting:
        """Take proposals, each to be appended as a unit of its own, in order; they are answered once they are durable.

        Raises Busy where the queue is full and Unavailable where this shard has no leader here. The answer to a
        proposal is MarkMoved where a mark that it builds on has moved. A refused message is an outcome, no such answer.
        """
        if self._closed is not None:
            raise self._closed
        waiting = Waiting(proposals)
        places = waiting.places()
        records = sum([each.records for each in places])
        if bounded and self._queued + records > QUEUE_MESSAGES_MAX:
            raise Busy(
                f"department {self.shard} has {self._queued} messages waiting; send this one again in a moment",
                retry_after_s=1.0,
            )
        self._queue.extend(places)
        self._queued += records
        if self._committing is None:
            self._wake.set()
        elif len(self._queue) == len(proposals):
            # Nothing waits before them, so nothing is in the way that cannot be decided yet.
            self._put_together()
        return waiting

    @property
    def open(self) -> bool:
        """Whether it takes proposals."""
        return self._closed is None

    def stalled_for(self, now: float) -> float:
        """For how many seconds it has waited for the database to take one batch; ``now`` is by the steady clock."""
        return 0.0 if self._asking_since is None else now - self._asking_since

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self._asking_since = time.monotonic()
        try:
            yield
        finally:
            self._asking_since = None

    def hold(self, *, on: bool, emptied: Callable[[], None]) -> None:
        """Append nothing for a while, and say once nothing is under way; or go on. Proposals are taken all the same."""
        self._held = on
        self._emptied = emptied if on else None
        if on and self._committing is None and not self._under_way:
            self._say_emptied()
        elif not on:
            self._wake.set()

    def _say_emptied(self) -> None:
        emptied, self._emptied = self._emptied, None
        if emptied is not None:
            emptied()

    def end(self, refusal: LedElsewhere) -> None:
        """Take nothing more, and give everybody whose proposal is not under way this answer; see ``ended``."""
        self._close(refusal)
        self._wake.set()

    async def ended(self) -> None:
        """Wait until what is under way is answered."""
        await asyncio.gather(self._task, return_exceptions=True)

    def _close(self, refusal: LedElsewhere) -> None:
        self._closed = self._closed or refusal
        self._give_back()
        answer_all(self._queue, refusal)
        self._queue.clear()
        self._queued = 0

    async def _run(self) -> None:
        while self._closed is None:
            await self._wake.wait()
            self._wake.clear()
            while not self._held and (self._open is not None or self._queue):
                try:
                    await self._append(self._open or await self._next())
                    self._under_way = []
                except Fenced as error:
                    refusal = LedElsewhere(f"{error}; ask again in a moment")
                    self._close(refusal)
                    answer_all(self._under_way, refusal)
                    self._stopped(fenced=True)
                except (LedElsewhere, OutcomeUnknown) as answer:
                    # It was ended while its database did not answer.
                    answer_all(self._under_way, answer)
                except asyncio.CancelledError:
                    self._fail("is stopping")
                    raise
                except Exception as error:  # outermost: the shard is led anew, from what the journal says
                    log.exception("an appender had to stop", shard=self.shard)
                    self._fail(f"had to stop: {error!r}")
                    self._stopped(fenced=False)
            if self._held:
                self._say_emptied()
        # What was given back after the end, or waited on a hold.
        answer_all(self._queue, self._closed)

    def _fail(self, reason: str) -> None:
        """End with a batch under way: whether it is recorded is for its senders to ask, by their message ids."""
        detail = f"the appender of department {self.shard} {reason}"
        self._close(LedElsewhere(detail))
        unknown = OutcomeUnknown(f"{detail}; the message may or may not be recorded: send it again")
        answer_all(self._under_way, unknown)

    async def _next(self) -> Attempt:
        """The next batch from the queue, with everything looked up that it takes to decide about it."""
        taken = self._under_way = self._take()
        ids, validations = self._look_ids_up, self.rules.validations
        while True:
            known = await self._look_up(taken, ids=ids)
            attempt = Attempt(Ledger(self.shard, self.tip, self._actors, self._marks, known), looked_up=ids)
            is_decided = all(attempt.consider(each, self.rules, self._clock()) for each in taken)
            if validations is not None and await validations.learn():
                continue  # with what the rules answered
            if is_decided:
                if validations is not None:
                    validations.forget()
                # Clients that repeat themselves rarely do it once: look first as long as that finds something.
                self._look_ids_up = bool(known)
                return attempt
            ids = True

    def _take(self) -> list[Place]:
        taken: list[Place] = []
        room = Room()
        while self._queue and room.holds(self._queue[0]):
            room.take(self._queue[0])
            taken.append(self._pop())
        return taken

    def _pop(self) -> Place:
        place = self._queue.popleft()
        self._queued -= place.records
        return place

    def _put_together(self) -> None:
        """Decide about what waits while a batch is being committed, on top of that one, as far as memory suffices."""
        if self._committing is None or self._look_ids_up:
            return
        if self.rules.validations is not None and self.rules.validations.are_active:
            return  # rules must be asked first
        attempt = self._open or Attempt(
            Ledger(self.shard, self.tip, self._actors, self._marks, before=self._committing.ledger)
        )
        while self._queue:
            place = self._queue[0]
            if not attempt.has_room(place) or attempt.needs_more(place.proposal):
                break
            if not attempt.consider(place, self.rules, self._clock()):
                break
            self._pop()
            self._open = attempt

    def _give_back(self, *more: Place) -> None:
        """Put what the open batch has taken, after ``more``, to where it came from: what it builds on does not hold."""
        places = [*more, *(self._open.taken if self._open is not None else ())]
        self._open = None
        self._queue.extendleft(reversed(places))
        self._queued += sum(each.records for each in places)

    async def _append(self, attempt: Attempt) -> None:
        """Commit a batch and answer it, or give it back to be decided anew; raises Fenced where another leads."""
        self._under_way, self._open, self._committing = attempt.taken, None, attempt
        if self._queue:
            # Once the statement is on its way.
            asyncio.get_running_loop().call_soon(self._put_together)
        try:
            if attempt.batch.records:
                with self._asking():
                    await self._commit(attempt.batch)
        except UniqueViolation as error:
            if attempt.looked_up:
                raise
            # An id or an actor that we took for new is in the journal already: look before deciding again.
            log.debug("a batch is judged again", shard=self.shard, reason=str(error))
            self._look_ids_up = True
            self._give_back(*attempt.taken)
        except DatabaseError as error:
            # The transaction was aborted as a whole, so nothing of it is recorded and the tip has not moved.
            self._give_back()
            answer_all(attempt.taken, Unavailable(f"the database refused the append: {error}", retry_after_s=1.0))
        else:
            self._settle(attempt)
        finally:
            self._committing = None

    async def _look_up(self, taken: Sequence[Place], *, ids: bool) -> dict[UUID, Record]:
        """Bring what admission must know into memory; answer the messages that were recorded before."""
        wishes = [wish for each in taken for wish in each.proposal.wishes]
        # Without a look-up a create is taken for new: the actor's key refuses it if that was wrong.
        missing = {
            wish.key
            for wish in wishes
            if wish.kind == "received" and (ids or wish.envelope.action != "create") and wish.key not in self._actors
        }
        entries = [entry for each in taken for entry in each.proposal.exceptions]
        missing |= {key for entry in entries if (key := (entry.actor_type, entry.actor_id)) not in self._actors}
        given = [wish.id for wish in wishes] if ids else []
        for each in taken if ids else ():
            given += each.exception_ids
            if each.proposal.offered:
                given += offered_ids(each.proposal)
        if not missing and not given:
            return {}
        with self._asking():
            while self._closed is None:
                try:
                    async with self._database.connection() as tx:
                        if missing:
                            self._actors.update(await journal.actors_at(tx, self.shard, list(missing)))
                        return await journal.recorded(tx, self.shard, given) if given else {}
                except Unreachable:
                    await asyncio.sleep(_RECONNECT_PAUSE_S)
            raise self._closed

    async def _commit(self, batch: Batch) -> None:
        """Write a batch; raises Fenced where another epoch has begun."""
        try:
            if await self._write(batch):
                return
            raise Fenced(f"department {self.shard} has another leader since epoch {self.tip.epoch}")
        except Unreachable:
            pass
        while True:
            await asyncio.sleep(_RECONNECT_PAUSE_S)
            if self._closed is not None:
                raise OutcomeUnknown(
                    f"the database of department {self.shard} does not answer; the message may or may not be recorded: "
                    "send it again"
                )
            try:
                if await self._was_written(batch) or await self._write(batch):
                    return
                raise Fenced(f"department {self.shard} has another leader since epoch {self.tip.epoch}")
            except Unreachable:
                continue

    async def _write(self, batch: Batch) -> bool:
        place = self._database.transaction if batch.has_side_effects else self._database.connection
        async with place() as tx:
            return await journal.append(tx, batch, expected=self.tip.position, complete=self._complete.value)

    async def _was_written(self, batch: Batch) -> bool:
        """Whether the batch is in the journal although its answer was lost: the chain says so, without doubt."""
        async with self._database.transaction() as tx:
            state = await journal.sql.state.row(tx, shard=self.shard)
        assert state is not None
        return bool(state["last_chain"] == batch.tip.chain)

    def _settle(self, attempt: Attempt) -> None:
        """The batch is durable: remember what it made, and tell who follows and who waits."""
        batch = attempt.batch
        if batch.records:
            self.tip = batch.tip
            self._actors.update(batch.created)
            self._actors.update(batch.changed)
            for mark in batch.marks:
                if mark.ended:
                    self._marks.pop((mark.reader, mark.source), None)
                else:
                    self._marks[mark.reader, mark.source] = mark.position
            self._appended(batch)
        if self._open is not None:
            self._open.ledger.before = None
        self._actors.trim()
        attempt.answer()
