"""What a rule is to act on next: from memory while it is fresh, from the journal when the rule is far behind."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from peaceriver import jsontext
from peaceriver.event import Trigger
from peaceriver.limits import APPEND_BYTES_MAX, RULE_QUESTION_BYTES_MAX, STEP_RECORDS_MAX, TRIGGERS_KEPT_MAX
from peaceriver.postgres import Statement, Transaction
from peaceriver.record import Record, from_row
from peaceriver.rule import FAILED, Subscription
from peaceriver.shard import journal, view_tables
from peaceriver.shard.journal import NO_DOCUMENTS, Documents

if TYPE_CHECKING:
    from peaceriver.shard.shard import Shard
    from peaceriver.shard.view_tables import ViewTable

#: How many positions one look into the journal passes, however few of them concern the rule.
_STRETCH_POSITIONS = 20_000
_KEPT_BYTES_MAX = 32 * 1024 * 1024
#: How many records are read from the journal at a time: enough for some steps, so that few of them wait for that.
_READ_RECORDS = 4 * STEP_RECORDS_MAX


class _Read(NamedTuple):
    """What was read from the journal: all there is after a position, up to another one."""

    after: int
    until: int
    triggers: list[Trigger]

    def next(self, after: int) -> tuple[list[Trigger], int]:
        """What comes after a position, so much as a step takes; and the position up to which that is all there is."""
        first = bisect_right(self.triggers, after, key=attrgetter("position"))
        taken = self.triggers[first : first + STEP_RECORDS_MAX]
        return taken, self.until if first + len(taken) == len(self.triggers) else taken[-1].position


_NOTHING = _Read(0, 0, [])


class Triggers:
    """The records of one department that one rule looks at, in order."""

    def __init__(self, shard: Shard, tables: Mapping[str, ViewTable], subscription: Subscription) -> None:
        self._shard = shard
        self._tables = tables
        self._subscription = subscription
        self._kept: deque[Trigger] = deque()
        self._kept_bytes = 0
        #: What is kept is all there is after this position, up to ``_heard``; what is before it, the journal knows.
        self._complete_from = 0
        #: The last position that was offered.
        self._heard = 0
        self._read = _NOTHING
        self.forget()

    def forget(self) -> None:
        """Records may have been appended that were not offered: read up to the journal's end from there."""
        self._kept.clear()
        self._kept_bytes = 0
        self._complete_from = self._heard = self._shard.tip.position
        self._read = _NOTHING

    def offer(self, record: Record, documents: Documents | None, chain: bytes) -> bool:
        """A record was appended; True where the rule looks at such records."""
        if not wants(self._subscription, record):
            return False
        trigger = trigger_of(record, documents or NO_DOCUMENTS, chain)
        self._kept.append(trigger)
        self._kept_bytes += trigger.size()
        if len(self._kept) > TRIGGERS_KEPT_MAX or self._kept_bytes > _KEPT_BYTES_MAX:
            # The rule is far behind: it reads what it missed from the journal.
            self._kept.clear()
            self._kept_bytes = 0
            self._complete_from = record.position
        return True

    def heard(self, position: int) -> None:
        """Everything up to a position was offered."""
        self._heard = position

    def waiting(self, after: int) -> bool:
        """Whether there may be something after a position."""
        return after < self._complete_from or (bool(self._kept) and self._kept[-1].position > after)

    def count(self, after: int) -> int:
        """How many are kept after a position."""
        return sum(each.position > after for each in self._kept)

    async def next(self, after: int) -> tuple[list[Trigger], int]:
        """What comes after a position, so much as a step takes; and the position up to which that is all there is."""
        if after < self._complete_from:
            if not self._read.after <= after < self._read.until:
                self._read = await self._from_journal(after)
            return self._read.next(after)
        taken: list[Trigger] = []
        size = 0
        while self._kept and self._kept[0].position <= after:
            passed = self._kept.popleft()
            self._kept_bytes -= passed.size()
            # Whoever goes back to before it finds it in the journal.
            self._complete_from = passed.position
        for trigger in self._kept:
            size += trigger.size()
            if taken and (len(taken) >= STEP_RECORDS_MAX or size > APPEND_BYTES_MAX):
                return taken, taken[-1].position
            taken.append(trigger)
        return taken, max(after, self._heard)

    async def _from_journal(self, after: int) -> _Read:
        until = min(after + _STRETCH_POSITIONS, self._complete_from)
        actor_type, what = self._subscription.actor_type, self._what
        return await self._look(journal.sql.triggers, after, until, _READ_RECORDS, actor_type=actor_type, what=what)

    async def of_actor(self, key: tuple[str, str], after: int, until: int) -> tuple[list[Trigger], int]:
        """The same as ``next`` for one actor, from the journal and no further than ``until``."""
        statement, what = journal.sql.triggers_of, self._what
        return (
            await self._look(statement, after, until, STEP_RECORDS_MAX, actor_type=key[0], actor_id=key[1], what=what)
        ).next(after)

    async def _look(self, statement: Statement, after: int, until: int, records: int, **wanted: str | None) -> _Read:
        # The documents come from the views, so these must have passed what is read.
        await self._shard.folded.reached(until)
        self._shard.damage.check(after, until)
        async with self._shard.database.connection() as tx:
            rows = await statement.rows(
                tx,
                shard=self._shard.code,
                after=after,
                until=until,
                kind=self._subscription.kind,
                records=records,
                bytes=APPEND_BYTES_MAX,
                **wanted,
            )
            found = [from_row(row) for row in rows]
            documents = await self._documents(tx, found)
        taken = list(takewhile(lambda record: record.position in documents, found))
        is_all = len(taken) == len(rows) < records and (not rows or rows[-1]["size"] < APPEND_BYTES_MAX)
        triggers = [
            trigger_of(record, documents[record.position], row["chain"])
            for record, row in zip(taken, rows, strict=False)
            if record.kind == "received" or _tells_of_failure(record)
        ]
        return _Read(after, until if is_all else taken[-1].position, triggers)

    async def _documents(self, tx: Transaction, records: Sequence[Record]) -> dict[int, Documents]:
        """The documents at records, by position, of the first ones: as many as may be asked about at a time."""
        documents: dict[int, Documents] = {}
        for actor_type in {each.actor_type for each in records}:
            of_type = [each for each in records if each.actor_type == actor_type]
            table = None if actor_type is None else self._tables.get(actor_type)
            if table is None:
                documents |= {each.position: NO_DOCUMENTS for each in of_type}
            else:
                self._shard.damage.check_view(table.actor_type)
                moments = [(each.actor_id or "", each.stamp) for each in of_type]
                found = await view_tables.documents_at(
                    tx, table, self._shard.code, moments, bytes_max=RULE_QUESTION_BYTES_MAX
                )
                documents |= {each.position: pair for each, pair in zip(of_type, found, strict=False)}
        return documents

    @property
    def _what(self) -> str | None:
        return None if self._subscription.what == FAILED else self._subscription.what


def wants(subscription: Subscription, record: Record) -> bool:
    """Whether a rule with a subscription looks at a record."""
    if record.kind != subscription.kind:
        return False
    if not subscription.covers(record.actor_type, record.action, record.message_type):
        return False
    return subscription.what != FAILED or _tells_of_failure(record)


def trigger_of(record: Record, documents: Documents, chain: bytes) -> Trigger:
    """A record as a rule is asked about it."""
    assert record.message_id is not None
    assert record.actor_type is not None
    assert record.actor_id is not None
    assert record.root is not None
    return Trigger(
        shard=record.shard,
        position=record.position,
        stamp=record.stamp,
        message_id=record.message_id,
        actor_type=record.actor_type,
        actor_id=record.actor_id,
        action=record.action or "",
        message_type=record.message_type or "",
        version=record.actor_version,
        sender=record.sender_shard,
        correlation=record.correlation,
        principal=record.principal,
        trace=record.trace,
        cause_time=record.cause_time,
        cause_shard=record.cause_shard,
        root=record.root,
        valid_at=record.valid_at,
        hops=record.hops,
        body=record.body,
        before=documents.before,
        document=documents.after,
        chain=chain,
    )


def _tells_of_failure(record: Record) -> bool:
    """Whether a record of an exception says that something failed, and not what became of it.

    What failed at an exception is for a person: rules that mend what others left would wake each other for ever.
    """
    body = jsontext.read(record.body.encode())
    return "problem" in body and not body.get("at_exception")
