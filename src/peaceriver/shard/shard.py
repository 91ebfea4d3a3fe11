"""One department's replica on this node: its journal's tip, and everything that follows the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from peaceriver import jsontext
from peaceriver.errors import PeaceRiverError, Unavailable
from peaceriver.postgres import Database
from peaceriver.protocol.completeness import complete_position
from peaceriver.record import Tip
from peaceriver.shard import journal
from peaceriver.shard.admission import Rules
from peaceriver.shard.appender import Appender, Clock
from peaceriver.shard.journal import Batch
from peaceriver.shard.proposal import Outcome, Proposal
from peaceriver.shard.waiting import Waiting
from peaceriver.shard.watermark import Watermark

log = structlog.get_logger()


class Shard:
    """A shard that this node leads: the one place that appends to its journal, and where its readers wait.

    Replicas: this version has one voter, so a record is complete when its append is committed.
    """

    def __init__(self, database: Database, code: int, rules: Rules, clock: Clock) -> None:
        self.code = code
        self.database = database
        self.rules = rules
        self._clock = clock
        self._appender: Appender | None = None
        self._epoch_start = 0
        #: complete.value <= tip.position: how far the journal is complete. Readers see nothing beyond it.
        self.complete = Watermark()
        #: The stamp at the complete position.
        self.complete_stamp = 0
        #: delivered[source] is how far this department has taken in what the source sent to it.
        self.delivered: dict[int, Watermark] = {}
        #: How far actors, marks, timers and exceptions are folded here: on a leader always as far as its journal goes.
        self.standing = 0
        #: folded.value <= complete.value: how far the views are.
        self.folded = Watermark()
        self.followers: list[Callable[[Shard, Batch], None]] = []
        #: Called where the appender ended without being asked: start the shard again.
        self.died: Callable[[Shard], None] = lambda shard: None
        self.marks: dict[tuple[str, int], int] = {}
        #: The chain where each mark stands, as it was read: a source that lost history no longer has it there.
        self.mark_chains: dict[tuple[str, int], bytes] = {}

    @property
    def tip(self) -> Tip:
        return self._serving.tip

    @property
    def epoch(self) -> int:
        return self._serving.tip.epoch

    @property
    def serving(self) -> bool:
        return self._appender is not None and self._appender.open

    @property
    def _serving(self) -> Appender:
        if self._appender is None:
            raise Unavailable(f"department {self.code} has no leader yet; ask again in a moment", retry_after_s=1.0)
        return self._appender

    async def start(self, later_than: int = 0) -> None:
        """Lead the shard in a new epoch; it serves once the epoch's own record is complete.

        Called again after its appender died, it goes on from what the journal says.
        ``later_than``: a logical time that the first stamp must exceed (of the directory record that made the
        department).
        """
        async with self.database.transaction() as tx:
            await journal.sql.open.run(tx, shard=self.code)
            row = await journal.sql.lead.row(tx, shard=self.code)
            marks = await journal.sql.marks.rows(tx, shard=self.code)
        assert row is not None
        # Started again, it forgets marks that have ended meanwhile.
        self.marks.clear()
        self.mark_chains.clear()
        tip = Tip(row["epoch"], row["last_position"], row["last_stamp"], row["last_chain"])
        for mark in marks:
            key = (mark["reader"], mark["source_shard"])
            self.marks[key], self.mark_chains[key] = mark["position"], mark["chain"]
            if mark["reader"] == DELIVERY:
                self.delivered_from(mark["source_shard"]).advance(mark["position"])
        self.standing = tip.position
        self._epoch_start = tip.position + 1
        self._appender = Appender(
            self.database, self.code, tip, self.marks, self.rules, self._clock, self._on_appended, self._on_died
        )
        opening = jsontext.write({"epoch": tip.epoch, "from": self._epoch_start})
        await self.append(Proposal(system=(("epoch", opening),), received_time=later_than))

    def propose(self, proposals: Sequence[Proposal], *, bounded: bool = True) -> Waiting:
        """Take proposals to be appended, each as a unit of its own; see Appender.propose."""
        return self._serving.propose(proposals, bounded=bounded)

    async def append(self, proposal: Proposal, *, bounded: bool = True) -> list[Outcome]:
        """Append one unit and answer its outcomes once they are durable, in order.

        Raises what Appender.propose raises, and MarkMoved.
        """
        answer = (await self.propose([proposal], bounded=bounded).answered())[0]
        assert answer is not None, "without a time limit there is an answer"
        if isinstance(answer, PeaceRiverError):
            raise answer
        return answer

    def delivered_from(self, source: int) -> Watermark:
        """How far what ``source`` sent to this department has arrived."""
        return self.delivered.setdefault(source, Watermark())

    def _on_appended(self, batch: Batch) -> None:
        position = complete_position((batch.tip.position,), self._epoch_start, self.complete.value)
        self.standing = batch.tip.position
        self.complete_stamp = batch.tip.stamp
        self.complete.advance(position)
        for mark in batch.marks:
            if mark.reader == DELIVERY:
                self.delivered_from(mark.source).advance(mark.position)
        for follower in self.followers:
            follower(self, batch)

    def _on_died(self) -> None:
        self.died(self)

    async def stop(self) -> None:
        """Stop appending and give up the lead, so that the next start need not fence this one."""
        if self._appender is None:
            return
        epoch = self._appender.tip.epoch
        await self._appender.close(f"department {self.code} is stopping; ask again in a moment")
        async with self.database.connection() as tx:
            await journal.sql.resign.run(tx, shard=self.code, epoch=epoch)

    async def tick(self, received_time: int) -> None:
        """Write a tick: a complete record later than ``received_time``, so that a cutoff there can be answered."""
        await self.append(Proposal(system=(("tick", "{}"),), received_time=received_time), bounded=False)


DELIVERY = "delivery"
