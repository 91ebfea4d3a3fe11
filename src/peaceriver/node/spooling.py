"""The door for messages that may wait: kept durably at this node where nobody records them for good in a short time.

Messages are wishes, and a wish can wait. What is spooled is sent by the node itself, in the order in which it came
here, as soon as its department has a leader with a majority (see ``offering``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from peaceriver.errors import Behind, LedElsewhere, OutcomeUnknown, Refused
from peaceriver.limits import PART_MESSAGES_MAX, SPOOL_AFTER_S
from peaceriver.message import Envelope
from peaceriver.node.identity import new_id
from peaceriver.node.pending import Pending
from peaceriver.node.sending import Sender, Sending
from peaceriver.postgres import Unreachable
from peaceriver.shard.pending import Kept
from peaceriver.shard.proposal import Sent

#: Nobody has refused it: there is no leader, no majority, or its cause is not known here yet.
_MAY_WAIT = (LedElsewhere, OutcomeUnknown, Behind)


class Spooling:
    """Sends, and keeps what its sender lets wait. ``kept`` is called with a department that something was kept for."""

    def __init__(self, sending: Sending, pending: Pending, kept: Callable[[int], None]) -> None:
        self._sending = sending
        self._pending = pending
        self._kept = kept

    async def send(
        self, messages: Sequence[Envelope | Refused], sender: Sender, *, promoted: tuple[UUID, ...] = ()
    ) -> list[Sent]:
        """Send messages on their own, as ``Sending.send`` does; with ``sender.spool`` an outcome may be Spooled.

        Then no message overtakes one that is spooled for the same department here, whoever sent that.
        """
        if not sender.spool:
            return list(await self._sending.send(messages, sender, promoted=promoted))
        named = [each if isinstance(each, Refused) else _named(each) for each in messages]
        sent: list[Sent] = []
        for start in range(0, len(named), PART_MESSAGES_MAX):
            # One part after the other: where the first has to wait, the next waits behind it.
            sent += await self._send_part(named[start : start + PART_MESSAGES_MAX], sender, promoted)
        return sent

    async def send_atomic(self, messages: Sequence[Envelope], sender: Sender) -> list[Sent]:
        """Send messages that one department records all, or none; they are spooled as one unit. Raises Refused."""
        if not sender.spool or not messages:
            return list(await self._sending.send_atomic(messages, sender))
        named = [_named(each) for each in messages]
        code = named[0].recorded_in
        doubt: OutcomeUnknown | None = None
        if not self._pending.spooled_for(code) or any(each.recorded_in != code for each in named):
            try:
                return list(await self._sending.send_atomic(named, _impatient(sender)))
            except _MAY_WAIT as error:
                doubt = error if isinstance(error, OutcomeUnknown) else None  # it waits, then
        for index, each in enumerate(named):
            try:
                self._sending.checked(each)
            except Refused as refusal:
                refusal.message_id = str(each.id)
                raise doubt or refusal.of_batch(index) from None
        try:
            return list(await self._keep(code, named, sender, atomic=True))
        except Refused as refusal:
            # What may be recorded is never told to be refused.
            raise doubt or refusal from None

    async def _send_part(
        self, messages: Sequence[Envelope | Refused], sender: Sender, promoted: tuple[UUID, ...]
    ) -> list[Sent]:
        behind = {index for index, each in enumerate(messages) if self._waits(each)}
        direct = [index for index in range(len(messages)) if index not in behind]
        outcomes: dict[int, Sent] = {}
        if direct:
            sent = await self._sending.send(
                [messages[index] for index in direct], _impatient(sender), promoted=promoted
            )
            outcomes.update(zip(direct, sent, strict=True))
        waiting: dict[int, list[tuple[int, Envelope]]] = defaultdict(list)
        for index, each in enumerate(messages):
            if isinstance(each, Envelope) and (index in behind or isinstance(outcomes[index], _MAY_WAIT)):
                try:
                    self._sending.checked(each)
                    waiting[each.recorded_in].append((index, each))
                except Refused as refusal:
                    _refuse(outcomes, index, each, refusal)
        for code, lane in waiting.items():
            await self._spool(code, lane, sender, outcomes)
        return [outcomes[index] for index in range(len(messages))]

    def _waits(self, message: Envelope | Refused) -> bool:
        return isinstance(message, Envelope) and self._pending.spooled_for(message.recorded_in) > 0

    async def _spool(
        self, code: int, lane: Sequence[tuple[int, Envelope]], sender: Sender, outcomes: dict[int, Sent]
    ) -> None:
        """Keep one department's messages in their order; what becomes of each is put into ``outcomes``."""
        try:
            spooled = await self._keep(code, [each for _, each in lane], sender, atomic=False)
        except Refused as refusal:
            for index, each in lane:
                _refuse(outcomes, index, each, refusal)
            return
        outcomes.update({index: outcome for (index, _), outcome in zip(lane, spooled, strict=True)})

    async def _keep(self, code: int, messages: Sequence[Envelope], sender: Sender, *, atomic: bool) -> Sequence[Sent]:
        """Keep messages of one department durably; raises Refused, also where this node's database is away."""
        try:
            spooled = await self._pending.keep(code, [_kept(each, sender) for each in messages], atomic=atomic)
        except Unreachable as error:
            raise OutcomeUnknown(
                f"nobody records messages for department {code} now, and whether this node keeps them is not known: "
                f"its database does not answer ({error}); send them again under the same ids"
            ) from error
        self._kept(code)
        return spooled


def _refuse(outcomes: dict[int, Sent], index: int, message: Envelope, refusal: Refused) -> None:
    """What may be recorded is never told to be refused."""
    if not isinstance(outcomes.get(index), OutcomeUnknown):
        outcomes[index] = type(refusal)(
            refusal.detail, errors=refusal.errors, message_id=str(message.id), retry_after_s=refusal.retry_after_s
        )


def _named(envelope: Envelope) -> Envelope:
    return envelope if envelope.id is not None else msgspec.structs.replace(envelope, id=new_id())


def _impatient(sender: Sender) -> Sender:
    return msgspec.structs.replace(sender, timeout_s=min(sender.timeout_s, SPOOL_AFTER_S))


def _kept(envelope: Envelope, sender: Sender) -> Kept:
    written_out = msgspec.structs.replace(envelope, actor_id=envelope.actor_id or str(envelope.id))
    return Kept(envelope=written_out, principal=sender.principal, trace=sender.trace)
