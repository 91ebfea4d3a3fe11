"""Validation rules: asked about each message at admission, with the document that it would make.

Rules run in processes of their own, and admission waits for nothing. So a batch is judged as if what no rule was asked
about were welcome; where something of that kind turns up, the rules are asked about all of it at once, and the batch is
judged again with their answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from peaceriver.errors import Offence, Unavailable
from peaceriver.event import Trigger
from peaceriver.limits import STEP_RECORDS_MAX
from peaceriver.rule import Subscription
from peaceriver.shard.asks import Asks
from peaceriver.shard.journal import ActorState
from peaceriver.shard.proposal import Wish
from peaceriver.verdict import Failure, Verdict

_RETRY_AFTER_S = 1.0


class Validating(msgspec.Struct, frozen=True):
    """A validation rule that is active in a department."""

    name: str
    version: int
    on: Subscription
    #: Whether this node has its code; without it, what the rule would have to judge is refused.
    runs: bool


#: A message and the document that it would make: the same pair is judged the same way.
_Judged = tuple[UUID, str]


class Validations:
    """What a department's validation rules say, as far as they were asked while a batch is judged."""

    def __init__(self, shard: int, active: Callable[[], Sequence[Validating]], asks: Asks) -> None:
        self._shard = shard
        self._active = active
        self._asks = asks
        self._verdicts: dict[tuple[str, _Judged], Verdict] = {}
        self._unknown: dict[Validating, dict[_Judged, Trigger]] = {}

    def offences(self, wish: Wish, before: ActorState | None, document: str, wall: int) -> tuple[Offence, ...]:
        """Why the rules refuse a message, as far as they were asked; raises Unavailable where one cannot judge."""
        active = self._active()
        if not active:
            return ()
        envelope = wish.envelope
        judged = (wish.id, document)
        found: list[Offence] = []
        for rule in active:
            if not rule.on.covers(envelope.actor_type, envelope.action, envelope.message_type):
                continue
            if not rule.runs:
                detail = f"the validation rule {rule.name} is Python code that this node was not started with"
                raise Unavailable(detail, retry_after_s=_RETRY_AFTER_S)
            verdict = self._verdicts.get((rule.name, judged))
            if verdict is None:
                self._unknown.setdefault(rule, {})[judged] = self._candidate(wish, before, document, wall)
            elif verdict.failure is not None:
                detail = f"{envelope.message_type} cannot be judged: {verdict.failure.detail}"
                raise Unavailable(detail, retry_after_s=_RETRY_AFTER_S)
            else:
                found.extend(verdict.offences)
        return tuple(found)

    @property
    def are_active(self) -> bool:
        """Whether there is a rule to be asked."""
        return bool(self._active())

    async def learn(self) -> bool:
        """Ask the rules about what turned up since; True where there was something, so the batch is judged again."""
        unknown, self._unknown = self._unknown, {}
        for rule, candidates in unknown.items():
            waiting = list(candidates.items())
            while waiting:
                asked = waiting[:STEP_RECORDS_MAX]
                verdicts = await self._ask(rule, [each for _, each in asked])
                for (judged, _), verdict in zip(asked, verdicts, strict=False):
                    self._verdicts[rule.name, judged] = verdict
                waiting = waiting[len(verdicts) :]
        return bool(unknown)

    async def _ask(self, rule: Validating, triggers: Sequence[Trigger]) -> list[Verdict]:
        """The rule's verdicts about the first of them; where it cannot be asked, that none can be judged."""
        try:
            return await self._asks.verdicts(rule.name, rule.version, triggers)
        except Unavailable as refusal:
            # Messages that no rule judges go on all the same.
            return [Verdict(failure=Failure(refusal.detail))] * len(triggers)

    def forget(self) -> None:
        """The batch is judged: nothing needs to be remembered."""
        self._verdicts.clear()

    def _candidate(self, wish: Wish, before: ActorState | None, document: str, wall: int) -> Trigger:
        envelope = wish.envelope
        actor_type, actor_id = wish.key
        return Trigger(
            shard=self._shard,
            position=0,
            stamp=wall,
            message_id=wish.id,
            actor_type=actor_type,
            actor_id=actor_id,
            action=envelope.action,
            message_type=envelope.message_type,
            version=1 if before is None else before.version + 1,
            sender=envelope.sender,
            correlation=envelope.correlation,
            principal=wish.principal,
            trace=wish.trace,
            cause_time=None if envelope.cause is None else envelope.cause.time,
            cause_shard=None if envelope.cause is None else envelope.cause.shard,
            root=wish.root,
            valid_at=envelope.valid_at,
            hops=wish.hops,
            body=envelope.body,
            before=None if before is None else before.document,
            document=document,
        )
