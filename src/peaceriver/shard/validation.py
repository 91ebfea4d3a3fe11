"""Validation rules: asked about each message at admission, with the document that it would make.

Rules run in processes of their own, and admission waits for nothing. So a batch is judged as if what no rule was asked
about were welcome; where something of that kind turns up, the rules are asked about all of it at once, and the batch is
judged again with their answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from peaceriver.errors import Offence, PeaceRiverError, Unavailable
from peaceriver.event import Trigger
from peaceriver.limits import STEP_RECORDS_MAX, VALIDATION_TIME_S
from peaceriver.rule import Subscription
from peaceriver.shard.asks import Asks
from peaceriver.shard.journal import ActorState
from peaceriver.shard.proposal import Wish
from peaceriver.verdict import Verdict

_RETRY_AFTER_S = 1.0


class Unasked(PeaceRiverError):
    """A rule could not be asked now about a message that no client waits for: whoever brings it tries again."""


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
        #: Unavailable where a rule could not be asked.
        self._verdicts: dict[tuple[str, _Judged], Verdict | Unavailable] = {}
        #: Those that no client waits for and would send again.
        self._unsent: set[_Judged] = set()
        self._unknown: dict[Validating, dict[_Judged, Trigger]] = {}

    def offences(self, wish: Wish, before: ActorState | None, document: str, wall: int) -> tuple[Offence, ...]:
        """Why the rules refuse a message, as far as they were asked; raises Unavailable where one cannot judge.

        And Unasked where one may judge later.
        """
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
                if wish.records_refusal:
                    self._unsent.add(judged)
            elif isinstance(verdict, Unavailable):
                if wish.records_refusal:
                    raise Unasked(verdict.detail)
                raise Unavailable(verdict.detail, retry_after_s=_RETRY_AFTER_S)
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
        """Ask the rules about what turned up since; True where there was something, so the batch is judged again.

        Where rules take too long, the rest is not judged: a department cannot wait for each message of a batch.
        """
        unknown, self._unknown = self._unknown, {}
        until = asyncio.get_running_loop().time() + VALIDATION_TIME_S
        for rule, candidates in unknown.items():
            waiting = list(candidates.items())
            while waiting:
                if asyncio.get_running_loop().time() > until:
                    waiting = self._without_clients(rule, waiting)
                waiting = waiting[await self._ask(rule, waiting) :]
        return bool(unknown)

    async def _ask(self, rule: Validating, waiting: Sequence[tuple[_Judged, Trigger]]) -> int:
        """Learn what a rule says of the first that wait; answers of how many."""
        asked = waiting[:STEP_RECORDS_MAX]
        verdicts: Sequence[Verdict | Unavailable] = ()
        if asked:
            try:
                verdicts = await self._asks.verdicts(rule.name, rule.version, [each for _, each in asked])
            except Unavailable as refusal:
                # Messages that no rule judges go on all the same.
                verdicts = [refusal] * len(asked)
        for (judged, _), verdict in zip(asked, verdicts, strict=False):
            self._verdicts[rule.name, judged] = verdict
        return len(verdicts)

    def _without_clients(
        self, rule: Validating, waiting: Sequence[tuple[_Judged, Trigger]]
    ) -> list[tuple[_Judged, Trigger]]:
        """The time is up: clients send again what was not judged. What nobody would send again is judged still."""
        late = Unavailable(f"{rule.name} has taken {VALIDATION_TIME_S:g} s for what was sent before; send it again")
        self._verdicts.update({(rule.name, judged): late for judged, _ in waiting if judged not in self._unsent})
        return [(judged, trigger) for judged, trigger in waiting if judged in self._unsent]

    def forget(self) -> None:
        """The batch is judged: nothing needs to be remembered."""
        self._verdicts.clear()
        self._unsent.clear()

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
