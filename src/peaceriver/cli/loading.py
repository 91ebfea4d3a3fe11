"""Loading a plan into a cluster through its API: in waves, patiently, and never twice.

A wave is the next event of every case: its messages are independent of each other, and name as their causes what was
recorded of the wave before. Every message has an id that follows from its event, so whatever happens to a request or to
the node, sending again is safe.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.cli.patience import PATIENCE_S, is_passing, patiently
from peaceriver.client import Client
from peaceriver.errors import Refused, Unavailable
from peaceriver.imports import ImportPlan, PlannedMessage
from peaceriver.limits import CONTROL
from peaceriver.message import Envelope, derived_id
from peaceriver.shard.exceptions import exception_id
from peaceriver.shard.proposal import Receipt
from peaceriver.shard.shard import DELIVERY

#: Messages and bytes of bodies in one request.
CHUNK_MESSAGES_MAX = 1_000
CHUNK_BYTES_MAX = 8 * 1024 * 1024
#: How long a request of so many messages may take.
SEND_TIMEOUT_S = 30.0
#: How long one look for deliveries waits for the next record.
ARRIVAL_WAIT_S = 1.0

#: Ids of the messages that make departments: whoever makes the same one sends the same message.
_DEPARTMENTS = UUID("2d1c9a3e-70f4-5a6b-8c1d-646570617274")
T = TypeVar("T")


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a load has done."""

    events: int
    cases: int
    departments: int
    hand_overs: int
    #: Events that were recorded before.
    recorded_before: int
    #: Hand-overs that the receiving department refused, and recorded as exceptions.
    exceptions: int
    seconds: float

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0

    def public(self) -> dict[str, Any]:
        numbers: dict[str, Any] = msgspec.structs.asdict(self)
        return numbers | {"seconds": round(self.seconds, 3), "events_per_s": round(self.events_per_s, 1)}


class Load:
    """One run of a plan."""

    def __init__(self, client: Client, plan: ImportPlan, *, patience_s: float = PATIENCE_S) -> None:
        self._client = client
        self._plan = plan
        self._patience_s = patience_s
        #: Events that have a receipt.
        self.recorded = 0
        self.recorded_before = 0
        #: Why it waits at the moment; None while it goes on.
        self.waiting_for: str | None = None
        #: Called after every step.
        self.on_progress: Callable[[], None] = lambda: None
        #: Called between two requests; may take its time.
        self.between: Callable[[], Awaitable[None]] | None = None
        #: The last position that was sent, by sender and receiver.
        self._sent: dict[tuple[int, int], int] = {}

    async def run(self) -> Summary:
        """Load everything; returns when every event is received. Raises the first refusal, or Unreachable."""
        started = time.monotonic()
        for name, code in self._plan.new_departments.items():
            await self._patiently(partial(self._make_department, code, name))
        receipts: dict[UUID, Receipt] = {}
        for wave in self._plan.waves:
            receipts = await self._send_wave(wave, receipts)
        await self._until_received()
        return Summary(
            events=self._plan.events,
            cases=self._plan.cases,
            departments=len(self._plan.departments),
            hand_overs=self._plan.hand_overs,
            recorded_before=self.recorded_before,
            exceptions=await self._patiently(self._count_exceptions),
            seconds=time.monotonic() - started,
        )

    async def _make_department(self, code: int, name: str) -> None:
        """Create a department; one that somebody else made under this code meanwhile is left alone. Raises Conflict."""
        page = {"name": name}
        await self._client.send(
            Envelope(
                to=CONTROL,
                actor_type="departments",
                actor_id=str(code),
                action="create",
                body=jsontext.write(page),
                id=derived_id(_DEPARTMENTS, str(code), name),
            )
        )
        # It says the same already, so nothing is recorded, and it answers when the department takes messages.
        await self._client.put_department(code, name)

    async def _send_wave(self, wave: Sequence[PlannedMessage], before: dict[UUID, Receipt]) -> dict[UUID, Receipt]:
        """Send one wave, caused by what the receipts of the one before tell of; answers its own receipts."""
        made: dict[UUID, Receipt] = {}
        for chunk in chunks(wave):
            await self._send_chunk(chunk, before, made)
            if self.between is not None:
                await self.between()
        return made

    async def _send_chunk(
        self, chunk: Sequence[PlannedMessage], before: dict[UUID, Receipt], made: dict[UUID, Receipt]
    ) -> None:
        """Send messages until each one has its receipt, which goes into ``made``."""

        async def rest() -> None:
            waiting = [each for each in chunk if each.message_id not in made]
            envelopes = [each.caused_by(before[each.previous].stamp if each.previous else None) for each in waiting]
            refusals: list[Refused] = []
            for outcome in await self._client.send(envelopes, timeout_s=SEND_TIMEOUT_S):
                if isinstance(outcome, Refused):
                    refusals.append(outcome)
                    continue
                made[outcome.id] = outcome
                self.recorded += 1
                self.recorded_before += outcome.duplicate
            self._note_hand_overs(waiting, made)
            self.on_progress()
            for refusal in sorted(refusals, key=is_passing):
                raise refusal

        await self._patiently(rest)

    def _note_hand_overs(self, sent: Iterable[PlannedMessage], made: dict[UUID, Receipt]) -> None:
        """Remember how far each receiver has to come with each sender."""
        for each in sent:
            sender, receipt = each.envelope.sender, made.get(each.message_id)
            if sender is not None and receipt is not None:
                way = (sender, each.envelope.to)
                self._sent[way] = max(receipt.position, self._sent.get(way, 0))

    async def _until_received(self) -> None:
        """Return once every receiver's mark has passed what was sent to it: then it is in its journal."""
        while late := await self._patiently(self._late):
            receiver, complete = late
            # A hint to look again: the next record of somebody who has not got everything yet.
            await self._patiently(
                partial(self._client.journal, receiver, after=complete, limit=1, wait_s=ARRIVAL_WAIT_S)
            )

    async def _late(self) -> tuple[int, int] | None:
        """A department that has not taken in everything, and how far its journal is complete."""
        shards = {each["shard"]: each for each in (await self._client.cluster())["shards"]}
        for (sender, receiver), position in self._sent.items():
            shard = shards.get(receiver)
            if shard is None:
                raise Unavailable(f"department {receiver} has no leader yet")
            if shard["marks"].get(DELIVERY, {}).get(str(sender), 0) < position:
                return receiver, shard["complete"]
        return None

    async def _count_exceptions(self) -> int:
        """How many of the hand-overs were answered by an exception."""
        answers = {
            str(exception_id(each.message_id, each.envelope.sender))
            for each in self._plan.messages
            if each.envelope.sender is not None
        }
        return sum(each["id"] in answers for each in await self._client.exceptions())

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await patiently(attempt, patience_s=self._patience_s, waits=self._note_wait)

    def _note_wait(self, reason: str | None) -> None:
        self.waiting_for = reason
        if reason is not None:
            self.on_progress()


def chunks(wave: Sequence[PlannedMessage]) -> Iterator[Sequence[PlannedMessage]]:
    """A wave in parts that one request may have."""
    start = size = 0
    for index, message in enumerate(wave):
        own = len(message.envelope.body.encode())
        if index > start and (index - start == CHUNK_MESSAGES_MAX or size + own > CHUNK_BYTES_MAX):
            yield wave[start:index]
            start, size = index, 0
        size += own
    if start < len(wave):
        yield wave[start:]
