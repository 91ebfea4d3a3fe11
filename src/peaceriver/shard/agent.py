"""The agent of one rule in one department: follows the journal after its mark and appends what the rule makes of it.

A step reads the next records, asks the rule outside the database, and appends the follow-ups and the new mark as one
unit, on condition that the mark has not moved: acted on once, whatever crashes between. Where the rule fails, the
record's actor is parked behind an exception and everything else goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from peaceriver.errors import LedElsewhere, Refused
from peaceriver.event import Resolve, Trigger
from peaceriver.limits import MARK_PAUSE_S, MARK_RECORDS_MAX, STEP_RECORDS_MAX
from peaceriver.postgres import Unreachable
from peaceriver.record import Record
from peaceriver.rule import FAILED, Subscription
from peaceriver.shard import journal
from peaceriver.shard import resolving as resolution
from peaceriver.shard.asks import Asks
from peaceriver.shard.attempt import MarkMoved, Resolved
from peaceriver.shard.exceptions import entry_of, exception_id
from peaceriver.shard.journal import Batch, ExceptionState, Mark, type_and_id
from peaceriver.shard.parking import Parking
from peaceriver.shard.proposal import ExceptionEntry, Proposal
from peaceriver.shard.shard import Shard
from peaceriver.shard.steps import (
    Plan,
    Stand,
    empty_plan,
    go_on,
    not_looked_at,
    reader_behind,
    reader_of,
    step,
)
from peaceriver.shard.triggers import Triggers, wants
from peaceriver.shard.view_tables import ViewTable
from peaceriver.shard.watermark import Watermark
from peaceriver.verdict import Verdict, addressed

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5
_FAILED_PAUSE_S = 5.0


class Agent:
    """Follows one department for one rule. Its appends are folded back into what it knows, like everyone else's."""

    def __init__(
        self,
        shard: Shard,
        rule: str,
        version: int,
        subscription: Subscription,
        *,
        asks: Asks,
        tables: Mapping[str, ViewTable],
        departments: Container[int],
    ) -> None:
        self.shard = shard
        #: The reign that it acts in. It was not told what others have recorded since, and must not act in a later one.
        self.epoch = shard.epoch
        self.rule = rule
        #: A new version goes on from the old one's mark.
        self.version = version
        self.subscription = subscription
        self._asks = asks
        self._departments = departments
        self._triggers = Triggers(shard, tables, subscription)
        #: mark <= acted: the rule has nothing left to do up to here, but for parked actors.
        self.acted = Watermark()
        self.parked = Parking(rule)
        self._exceptions_heard = 0
        #: Since when there are records that nothing came of beyond the mark, by the loop's clock.
        self._unmarked_since: float | None = None
        #: Whether the department has ever refused a message that the rule made.
        self._was_refused = False
        #: Counts what became of parked actors: for those who wait for it.
        self.changes = Watermark()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_current(self) -> bool:
        """Whether this node still leads the department in the reign that the agent was made for."""
        return self.shard.serving and self.shard.epoch == self.epoch

    @property
    def mark(self) -> int:
        return self.shard.marks.get((reader_of(self.rule), self.shard.code), 0)

    @property
    def stand(self) -> Stand:
        mends = self.subscription.what == FAILED
        return Stand(shard=self.shard.code, rule=self.rule, version=self.version, mark=self.mark, mends=mends)

    @property
    def waiting(self) -> int:
        """How many records wait for the rule, as far as it keeps them in memory."""
        return self._triggers.count(self.acted.value)

    def looks_at(self, record: Record) -> bool:
        """Whether the rule waits for such records."""
        return wants(self.subscription, record)

    def waits_for_somebody(self, record: Record) -> bool:
        """Whether an exception holds a record up that is not tried again before somebody asks for it."""
        parked = self.parked.of(record)
        if record.position > self.acted.value or parked is None or parked.exception is None:
            return False
        return record.position > parked.position and parked.exception.retry_at is None

    def held_up_by(self, record: Record) -> UUID | None:
        """The exception that a record is, or waits behind; None where there is none."""
        parked = self.parked.of(record)
        if parked is None or parked.exception is None or record.position <= parked.position:
            return None
        return parked.exception.id

    async def progress(self, record: Record) -> None:
        """Wait until something has come of a record that was not acted on, or of what holds it up; or until another
        agent acts in this one's place: look again which one it is."""
        if record.position > self.acted.value:
            await self.acted.reached(record.position)
        else:
            await self.changes.passed(self.changes.value)

    def has_acted_on(self, record: Record) -> bool:
        """Whether the rule has nothing left to do for a record that it looks at."""
        if record.position > self.acted.value:
            return False
        parked = self.parked.of(record)
        return parked is None or record.position <= parked.position

    async def start(self) -> None:
        """Go on from the mark, which was recorded when the rule became active."""
        await self.load()
        self._task = asyncio.create_task(self._run(), name=f"rule {self.rule} at {self.shard.code}")

    async def load(self) -> None:
        """Take up what the journal says, also of records that this agent was not told of."""
        self._triggers.forget()
        self.acted.advance(self.mark)
        while True:
            heard = self._exceptions_heard
            async with self.shard.database.connection() as tx:
                rows = await journal.sql.open_of.rows(tx, shard=self.shard.code, rule=self.rule)
                self._was_refused = await journal.sql.was_refused.value(tx, shard=self.shard.code, rule=self.rule)
            if heard == self._exceptions_heard:
                break  # and nothing was recorded meanwhile that these rows do not know of
        self.parked.load(self.shard.marks, [journal.exception_state(row) for row in rows])
        self._wake.set()

    async def stop(self) -> None:
        """Stop acting, and write down how far the rule has come, so that another version does not look there again."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        while self.is_current and self.acted.value > self.mark:
            try:
                await self._write_mark(self.acted.value)
            except MarkMoved:
                continue  # an append that nobody waited for any more came through: look where the mark is now

    def replaced(self) -> None:
        """Another agent acts from now on, or none."""
        self.acted.give_up()
        self.changes.give_up()

    def offer(self, record: Record, documents: journal.Documents | None, chain: bytes) -> None:
        """A record was appended that may concern the rule."""
        if self._triggers.offer(record, documents, chain):
            self._wake.set()

    def follow(self, batch: Batch) -> None:
        """Everything of a batch was offered; fold what it says of parked actors."""
        self._triggers.heard(batch.tip.position)
        self._exceptions_heard += bool(batch.exceptions)
        if batch.exceptions and any(each.kind == "exception" and each.rule == self.rule for each in batch.records):
            self._was_refused = True
        if self.parked.follow(batch):
            self.changes.advance(self.changes.value + 1)
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.shard.has_room()
                await self._steps()
                for key in self.parked.due(datetime.now(UTC))[:STEP_RECORDS_MAX]:
                    await self._go_on(key)
                    self._wake.set()
                    # Whoever is not parked does not wait for those who are.
                    await self._steps()
                await self._sleep()
            except (*Unreachable, Refused, MarkMoved, Resolved) as error:
                # Nothing of the step was appended: it is made again, from the mark as it stands.
                self.acted.advance(self.mark)
                log.warning("a rule waits", rule=self.rule, shard=self.shard.code, reason=str(error))
                await asyncio.sleep(_RETRY_PAUSE_S)
                self._wake.set()
            except Exception:  # outermost: what was recorded must not be forgotten, so it is tried again, loudly
                log.exception("a step of a rule failed", rule=self.rule, shard=self.shard.code)
                await asyncio.sleep(_FAILED_PAUSE_S)
                self._wake.set()

    async def _sleep(self) -> None:
        """Until there is something to do: a record, somebody's word about an exception, or a retry that is due."""
        first = self.parked.first_due()
        pause_s = None if first is None else max((first - datetime.now(UTC)) / timedelta(seconds=1), 0.0)
        if self._unmarked_since is not None:
            pause_s = MARK_PAUSE_S if pause_s is None else min(pause_s, MARK_PAUSE_S)
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            await self._mark_in_time()

    async def _steps(self) -> None:
        """Act on everything that waits: the next records are asked about while a step is decided about and appended."""
        position, ahead = self.acted.value, None
        try:
            while self._triggers.waiting(position):
                await self.shard.has_room()
                triggers, passed, asked, verdicts = await (ahead[0] if ahead else self._ask(position))
                if ahead:
                    await ahead[1]
                if self.mark > position:
                    # An append that nobody waited for any more came through after all.
                    raise MarkMoved(f"{self.rule} has acted up to {self.mark} already, and not to {position}")
                plan = await self._plan(triggers, asked, verdicts, {})
                position = plan.reached(triggers, passed)
                appending = self._append_step(plan, position, triggers, asked, verdicts)
                if self._triggers.waiting(position):
                    # The question goes out first, so that the rule's process is at work meanwhile.
                    ahead = asyncio.ensure_future(self._ask(position)), asyncio.ensure_future(appending)
                else:
                    ahead = None
                    await appending
        finally:
            for each in ahead or ():
                each.cancel()
            await asyncio.gather(*(ahead or ()), return_exceptions=True)

    async def _ask(self, position: int) -> tuple[list[Trigger], int, list[Trigger], list[Verdict]]:
        """The next records after a position, up to where that is all there is; those that the rule was asked about."""
        triggers, passed = await self._triggers.next(position)
        asked = [each for each in triggers if each.key not in self.parked]
        return triggers, passed, asked, await self._verdicts(asked) if asked else []

    async def _verdicts(self, triggers: Sequence[Trigger], *, anew: bool = False) -> list[Verdict]:
        verdicts = await self._asks.verdicts(self.rule, self.version, triggers, anew=anew)
        return await self._unless_refused([addressed(each, self._departments, self.rule) for each in verdicts])

    async def _unless_refused(self, verdicts: list[Verdict]) -> list[Verdict]:
        """The verdicts without messages that were refused when the rule made them before.

        Each has its exception, and what becomes of it is for whoever resolves that: a replay does not offer it again.
        """
        if not self._was_refused:
            return verdicts
        made = [each for verdict in verdicts for each in verdict.follow_ups]
        ids = {each.id: exception_id(each.id, each.recorded_in) for each in made if each.id is not None}
        known = await self._states(list(ids.values()))
        refused = {message for message, exception in ids.items() if exception in known}
        return [
            msgspec.structs.replace(each, follow_ups=[made for made in each.follow_ups if made.id not in refused])
            for each in verdicts
        ]

    async def _plan(
        self,
        triggers: Sequence[Trigger],
        asked: Sequence[Trigger],
        verdicts: Sequence[Verdict],
        known: Mapping[UUID, ExceptionState],
    ) -> Plan:
        return step(
            self.stand,
            triggers,
            {each.position: verdict for each, verdict in zip(asked, verdicts, strict=False)},
            parked=self.parked.keys(),
            known=known,
            resolving=await self._resolving(verdicts),
            now=datetime.now(UTC),
        )

    async def _append_step(
        self, plan: Plan, position: int, triggers: Sequence[Trigger], asked: Sequence[Trigger], verdicts: list[Verdict]
    ) -> None:
        """Append what a step comes to, and know that everything up to ``position`` is acted on."""
        known: dict[UUID, ExceptionState] = {}
        while not plan.idle:
            try:
                await self._append(plan, (reader_of(self.rule), self.shard.code, self.mark))
                self._unmarked_since = None
                break
            except Resolved:
                # An earlier run over the same records opened an exception here, or somebody resolved one: look again.
                known |= await self._learnt(plan, known)
                plan = await self._plan(triggers, asked, verdicts, known)
        self.acted.advance(position)
        if triggers and plan.idle and self._unmarked_since is None:
            self._unmarked_since = asyncio.get_running_loop().time()
        await self._mark_in_time()

    async def _mark_in_time(self) -> None:
        """Write down how far the rule has come without any effect: a new version does not look there again."""
        now, since = asyncio.get_running_loop().time(), self._unmarked_since
        if self.acted.value - self.mark >= MARK_RECORDS_MAX or (since is not None and now - since >= MARK_PAUSE_S):
            await self._write_mark(self.acted.value)

    async def _learnt(self, plan: Plan, known: Mapping[UUID, ExceptionState]) -> dict[UUID, ExceptionState]:
        """What became of a plan's exceptions that are in the journal already; raises Resolved where that is no news."""
        found = await self._states([each.id for each in plan.exceptions])
        if found.keys() <= known.keys():
            raise Resolved(f"an exception of {self.rule} was resolved at this moment")
        return found

    async def _go_on(self, key: type_and_id) -> None:
        """Try again what an actor waits for, and go on with what waits behind it."""
        parked, until = self.parked[key], self.acted.value
        waiting, passed = await self._triggers.of_actor(key, parked.position, until)
        is_all = passed == until
        tried = None if parked.exception is None else await self._entry(parked.exception)
        own = reader_behind(self.rule, key), self.shard.code, parked.position
        if tried is not None and not (waiting and waiting[0].position == tried.source_position):
            await self._append(not_looked_at(self.stand, tried, datetime.now(UTC)), own)
            return
        asked = waiting if tried is None else waiting[:1]
        verdicts = await self._verdicts(asked, anew=parked.asked) if asked else []
        known: dict[UUID, ExceptionState] = {}
        while True:
            plan = go_on(
                self.stand,
                asked,
                verdicts,
                tried,
                known=known,
                is_all=is_all and len(asked) == len(waiting),
                resolving=await self._resolving(verdicts),
                now=datetime.now(UTC),
            )
            if not waiting:
                plan.marks.append(self.stand.behind(key, passed, ended=is_all))
            if any(each.ended for each in plan.marks) and until > self.mark:
                # Nothing but the rule's own mark keeps another version from acting on these records again.
                plan.marks.append(await self._mark_at(until))
                plan.expecting.append((reader_of(self.rule), self.shard.code, self.mark))
            try:
                await self._append(plan, own)
                break
            except Resolved:
                known |= await self._learnt(plan, known)
        if plan.behind is not None:
            # Met again after a replay: it is open still, and what comes after it waits for it.
            parked.exception = plan.behind

    async def _resolving(self, verdicts: Sequence[Verdict]) -> Callable[[Resolve, Trigger], Proposal | None]:
        """How the exceptions that verdicts resolve are resolved, as they stand now."""
        ids = {each.exception for verdict in verdicts for each in verdict.resolutions}
        states = await self._states(list(ids)) if ids else {}
        entries = {each.id: await self._entry(each) for each in states.values() if each.state == "open"}
        return resolution.by_rule(entries, self.stand, self.shard.marks, datetime.now(UTC))

    async def _append(self, plan: Plan, expecting: tuple[str, int, int]) -> None:
        if not self.is_current:
            raise LedElsewhere(f"{self.rule} acted in a reign that is over", shard=self.shard.code)
        await self.shard.append(plan.proposal(expecting), bounded=False)

    async def _mark_at(self, position: int) -> Mark:
        async with self.shard.database.connection() as tx:
            chain = await journal.sql.chain_at.value(tx, shard=self.shard.code, position=position)
        return Mark(reader_of(self.rule), self.shard.code, position, chain)

    async def _write_mark(self, position: int) -> None:
        plan = empty_plan()
        plan.marks.append(await self._mark_at(position))
        await self._append(plan, (reader_of(self.rule), self.shard.code, self.mark))
        self._unmarked_since = None

    async def _states(self, ids: Sequence[UUID]) -> dict[UUID, ExceptionState]:
        async with self.shard.database.connection() as tx:
            rows = await journal.sql.exception_states.rows(tx, shard=self.shard.code, ids=list(ids))
        return {row["id"]: journal.exception_state(row) for row in rows}

    async def _entry(self, state: ExceptionState) -> ExceptionEntry:
        async with self.shard.database.connection() as tx:
            opening = await journal.recorded(tx, self.shard.code, [state.id])
        return entry_of(opening[state.id], state)
