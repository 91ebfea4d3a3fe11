"""The one appender of a shard: natural batching with no timer.

While one batch commits, the next one queues; alone, a proposal goes straight through. The transaction is one
statement with the fence in it. What a batch would change is kept in memory only after its commit, so a batch that
fails leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from peaceriver.errors import Busy, Fenced, OutcomeUnknown, PeaceRiverError, Refused, Unavailable
from peaceriver.limits import APPEND_BYTES_MAX, APPEND_RECORDS_MAX, QUEUE_MESSAGES_MAX
from peaceriver.postgres import Database, DatabaseError, UniqueViolation, Unreachable
from peaceriver.shard import journal
from peaceriver.shard.admission import Rules, admit
from peaceriver.shard.cache import ActorCache
from peaceriver.shard.journal import Batch, Tip
from peaceriver.shard.ledger import Ledger
from peaceriver.shard.proposal import Outcome, Proposal

if TYPE_CHECKING:
    from uuid import UUID

    from peaceriver.record import Record

log = structlog.get_logger()
Clock = Callable[[], int]
_RECONNECT_PAUSE_S = 0.2


class MarkMoved(PeaceRiverError):
    """A reader's mark is not where its proposal expects it: somebody acted already, so this unit must not."""


class Resolved(PeaceRiverError):
    """An entry of an exception is in the journal already: somebody was faster."""


class _Queued:
    __slots__ = ("future", "proposal", "size")

    def __init__(self, proposal: Proposal, future: asyncio.Future[list[Outcome]]) -> None:
        self.proposal = proposal
        self.future = future
        self.size = len(proposal.wishes) + len(proposal.exceptions) + len(proposal.marks) + len(proposal.system)


class Appender:
    """Appends to one shard's journal in one epoch. Nobody else does: positions are given here."""

    def __init__(
        self,
        database: Database,
        shard: int,
        tip: Tip,
        marks: dict[tuple[str, int], int],
        rules: Rules,
        clock: Clock,
        appended: Callable[[Batch], None],
        died: Callable[[], None],
    ) -> None:
        self.shard = shard
        #: Where the journal stands: exactly the committed state, never ahead of it.
        self.tip = tip
        self.rules = rules
        self._database = database
        self._clock = clock
        self._appended = appended
        self._died = died
        self._marks = marks
        self._actors = ActorCache()
        self._queue: deque[_Queued] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._look_ids_up = False
        self._closed: Refused | None = None
        self._task = asyncio.create_task(self._run(), name=f"append {shard}")

    async def append(self, proposal: Proposal, *, bounded: bool = True) -> list[Outcome]:
        """Append one unit and answer its outcomes once they are durable, in order.

        Raises Busy where the queue is full, Unavailable where this shard has no leader here, MarkMoved where a mark
        that the proposal builds on has moved. A refused message is an outcome and not an error.
        """
        if self._closed is not None:
            raise self._closed
        if bounded and self._queued + len(proposal.wishes) > QUEUE_MESSAGES_MAX:
            raise Busy(
                f"department {self.shard} has {self._queued} messages waiting; send this one again in a moment",
                retry_after_s=1.0,
            )
        queued = _Queued(proposal, asyncio.get_running_loop().create_future())
        self._queue.append(queued)
        self._queued += queued.size
        self._wake.set()
        return await queued.future

    @property
    def open(self) -> bool:
        """Whether it takes proposals."""
        return self._closed is None

    async def close(self, reason: str) -> None:
        """Finish what has been taken, refuse the rest, and take nothing more."""
        self._close(Unavailable(reason, retry_after_s=1.0))
        self._wake.set()
        await asyncio.gather(self._task, return_exceptions=True)

    def _close(self, refusal: Refused) -> None:
        self._closed = self._closed or refusal
        while self._queue:
            self._answer(self._queue.popleft(), refusal)
        self._queued = 0

    @staticmethod
    def _answer(queued: _Queued, answer: list[Outcome] | PeaceRiverError) -> None:
        if queued.future.done():
            return
        if isinstance(answer, PeaceRiverError):
            queued.future.set_exception(answer)
        else:
            queued.future.set_result(answer)

    async def _run(self) -> None:
        while self._closed is None:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                taken = self._take()
                try:
                    await self._append(taken)
                except Fenced as error:
                    refusal = Unavailable(f"{error}; ask again in a moment", retry_after_s=1.0)
                    self._close(refusal)
                    for each in taken:
                        self._answer(each, refusal)
                except asyncio.CancelledError:
                    self._fail(taken, "is stopping")
                    raise
                except Exception as error:  # outermost: the shard is led anew, from what the journal says
                    log.exception("an appender had to stop", shard=self.shard)
                    self._fail(taken, f"had to stop: {error!r}")
                    self._died()

    def _fail(self, taken: list[_Queued], reason: str) -> None:
        """End with a batch under way: whether it is recorded is for its senders to ask, by their message ids."""
        detail = f"the appender of department {self.shard} {reason}"
        self._close(Unavailable(detail, retry_after_s=1.0))
        for each in taken:
            self._answer(each, OutcomeUnknown(f"{detail}; the message may or may not be recorded: send it again"))

    def _take(self) -> list[_Queued]:
        """The next batch: whole proposals, up to a size; one that is larger than the limit goes alone."""
        taken: list[_Queued] = []
        records = size = 0
        while self._queue:
            following = self._queue[0]
            records += following.size
            size += following.proposal.bytes()
            if taken and (records > APPEND_RECORDS_MAX or size > APPEND_BYTES_MAX):
                break
            taken.append(self._queue.popleft())
            self._queued -= following.size
        return taken

    async def _append(self, taken: list[_Queued]) -> None:
        look_ids_up = self._look_ids_up
        validations = self.rules.validations
        while True:
            known = await self._look_up(taken, ids=look_ids_up)
            ledger = Ledger(self.shard, self.tip, self._actors, known)
            answers = [self._judge(each, ledger) for each in taken]
            if validations is not None and await validations.learn():
                continue  # with what the rules answered
            if not look_ids_up and any(_refuses(each) for each in answers):
                # What looks like a conflict may be a message that was recorded before: look before refusing.
                look_ids_up = True
                continue
            batch = ledger.finish()
            try:
                if batch.records:
                    await self._commit(batch)
                break
            except UniqueViolation as error:
                if look_ids_up:
                    raise
                # An id or an actor that we took for new is in the journal already: look before deciding again.
                log.debug("a batch is judged again", shard=self.shard, reason=str(error))
                look_ids_up = True
            except DatabaseError as error:
                # The transaction was aborted as a whole, so nothing of it is recorded and the tip has not moved.
                refusal = Unavailable(f"the database refused the append: {error}", retry_after_s=1.0)
                for each in taken:
                    self._answer(each, refusal)
                return
        # Clients that repeat themselves rarely do it once: look first as long as that finds something.
        self._look_ids_up = bool(known)
        if validations is not None:
            validations.forget()
        self._settle(batch)
        for each, answer in zip(taken, answers, strict=True):
            self._answer(each, answer)

    def _judge(self, queued: _Queued, ledger: Ledger) -> list[Outcome] | PeaceRiverError:
        for reader, source, position in queued.proposal.expecting:
            at = self._marks.get((reader, source), 0)
            if at != position:
                return MarkMoved(f"{reader} of {self.shard} has acted on {source} up to {at}, not {position}")
        for entry in queued.proposal.exceptions:
            if ledger.seen(entry.record_id) is not None:
                return Resolved(f"exception {entry.id} of department {self.shard} was {entry.state} before")
        try:
            return admit(queued.proposal, ledger, self.rules, self._clock())
        except Exception as error:  # outermost: a bug that one message meets must not stop the department
            log.exception("a proposal could not be judged", shard=self.shard)
            return Unavailable(f"department {self.shard} could not judge the message: {error!r}")

    async def _look_up(self, taken: list[_Queued], *, ids: bool) -> dict[UUID, Record]:
        """Bring what admission must know into memory; answer the messages that were recorded before."""
        wishes = [wish for each in taken for wish in each.proposal.wishes]
        # Without a look-up a create is taken for new: the actor's key refuses it if that was wrong.
        missing = {
            wish.key
            for wish in wishes
            if wish.kind == "received" and (ids or wish.envelope.action != "create") and wish.key not in self._actors
        }
        given: list[UUID] = []
        if ids:
            entries = [entry for each in taken for entry in each.proposal.exceptions]
            given = [*(wish.id for wish in wishes), *(entry.record_id for entry in entries)]
        if not missing and not given:
            return {}
        while True:
            try:
                async with self._database.connection() as tx:
                    if missing:
                        self._actors.update(await journal.actors_at(tx, self.shard, list(missing)))
                    return await journal.recorded(tx, self.shard, given) if given else {}
            except Unreachable:
                await asyncio.sleep(_RECONNECT_PAUSE_S)

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
            try:
                if await self._was_written(batch) or await self._write(batch):
                    return
                raise Fenced(f"department {self.shard} has another leader since epoch {self.tip.epoch}")
            except Unreachable:
                continue

    async def _write(self, batch: Batch) -> bool:
        place = self._database.transaction if batch.has_side_effects else self._database.connection
        async with place() as tx:
            return await journal.append(tx, batch, expected=self.tip.position, complete=batch.tip.position)

    async def _was_written(self, batch: Batch) -> bool:
        """Whether the batch is in the journal although its answer was lost: the chain says so, without doubt."""
        async with self._database.transaction() as tx:
            state = await journal.sql.state.row(tx, shard=self.shard)
        assert state is not None
        return bool(state["last_chain"] == batch.tip.chain)

    def _settle(self, batch: Batch) -> None:
        """The batch is durable: remember what it made, and tell who follows."""
        self._actors.trim()
        if not batch.records:
            return
        self.tip = batch.tip
        self._actors.update(batch.created)
        self._actors.update(batch.changed)
        for mark in batch.marks:
            if mark.ended:
                self._marks.pop((mark.reader, mark.source), None)
            else:
                self._marks[mark.reader, mark.source] = mark.position
        self._appended(batch)


def _refuses(answer: list[Outcome] | PeaceRiverError) -> bool:
    return not isinstance(answer, PeaceRiverError) and any(isinstance(each, Refused) for each in answer)
