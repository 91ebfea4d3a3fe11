"""Bringing what is sent to whoever leads its department, and waiting until it is as safe as its sender wants it.

Leaders change. Whoever was about to record a message may lead no longer, and whether it is recorded may not be known:
then it goes to the next leader under the same id, which records it once, for as long as its sender waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from peaceriver.errors import LedElsewhere, OutcomeUnknown, PeaceRiverError, Refused, Unavailable
from peaceriver.limits import LEADER_WAIT_S
from peaceriver.node.departments import Departments
from peaceriver.node.peers import Away, NotReached, Peers
from peaceriver.node.room import Room
from peaceriver.node.unless import unless
from peaceriver.node.wire import Forwarded, Told, framed, told_of, unframed, unit_of
from peaceriver.shard.attempt import MarkMoved
from peaceriver.shard.proposal import Concern, Outcome, Proposal, Receipt
from peaceriver.shard.shard import Shard

PATH = "/replication/send"
TICK_PATH = "/replication/tick"
#: What a forwarded message may take longer on its way than its sender waits.
_ON_THE_WAY_S = 1.0
_RETRY_PAUSE_S = 0.05

#: What becomes of proposals that go together, each with an outcome per wish.
Results: TypeAlias = list[list[Outcome]]


class Routing:
    """The way from this node to the leader of any department."""

    def __init__(self, name: str, shards: Departments, peers: Peers, room: Room) -> None:
        self._name = name
        self._shards = shards
        self._peers = peers
        self._room = room

    async def send(
        self, code: int, proposals: Sequence[Proposal], *, concern: Concern, timeout_s: float, forwarded: bool = False
    ) -> Results:
        """Record proposals of wishes, each as a unit, wherever their department is led; in order, in ``timeout_s``.

        ``forwarded``: another node has sent them here, so they are recorded here or given back (LedElsewhere).
        """
        shard = self._shards.at(code)
        deadline = asyncio.get_running_loop().time() + timeout_s
        results: list[list[Outcome] | None] = [None] * len(proposals)
        #: Those that somebody may have recorded already.
        uncertain: set[int] = set()
        left = list(range(len(proposals)))
        while True:
            if shard.serving:
                sent = await self._here(shard, [proposals[each] for each in left], concern, deadline)
            elif forwarded or shard.leader in (None, self._name):
                refusal = LedElsewhere(f"department {code} has no leader; ask again in a moment")
                sent = [[refusal] * _size(proposals[each]) for each in left]
            else:
                sent = await self._there(shard, [proposals[each] for each in left], concern, deadline)
            for index, outcomes in zip(left, sent, strict=True):
                results[index] = outcomes
                if any(isinstance(each, OutcomeUnknown) for each in outcomes):
                    uncertain.add(index)
            left = [each for each in left if _may_be_sent_again(results[each])]
            if not left or forwarded or not await self._may_go_on(shard, deadline):
                break
        return [_final(outcomes or [], proposals[index], index in uncertain) for index, outcomes in enumerate(results)]

    async def _may_go_on(self, shard: Shard, deadline: float) -> bool:
        """Wait until somebody leads a department; False where nobody does for too long."""
        loop = asyncio.get_running_loop()
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_RETRY_PAUSE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(deadline, loop.time() + LEADER_WAIT_S)):
                while not shard.serving and shard.leader in (None, self._name):
                    await shard.turns.passed(shard.turns.value)
        return shard.serving or shard.leader not in (None, self._name)

    async def _here(self, shard: Shard, proposals: Sequence[Proposal], concern: Concern, deadline: float) -> Results:
        loop = asyncio.get_running_loop()
        reign = shard.held_by_all if concern == "all" else shard.reign
        try:
            # Here and not at the door: whether there is room is for those who keep it to say.
            self._room.check()
            answers = await shard.propose(proposals).answered(deadline - loop.time())
        except Refused as refusal:
            return [[refusal] * _size(each) for each in proposals]
        results = [_outcomes(shard, each, answer) for each, answer in zip(proposals, answers, strict=True)]
        if concern == "local":
            return [[_provisional(each, shard) for each in outcomes] for outcomes in results]
        last = max((each.position for made in results for each in made if isinstance(each, Receipt)), default=0)
        if reign.value < last:
            await reign.reached_within(last, deadline - loop.time())
        return [[_safe(each, reign.value, shard, concern) for each in outcomes] for outcomes in results]

    async def _there(self, shard: Shard, proposals: Sequence[Proposal], concern: Concern, deadline: float) -> Results:
        leader = shard.leader
        assert leader is not None
        timeout_s = deadline - asyncio.get_running_loop().time()
        body = framed(
            Forwarded(self._peers.identity.node, shard.code, concern, timeout_s, [unit_of(each) for each in proposals])
        )
        try:
            answer = await _unless_turned(
                shard, leader, self._peers.post(leader, PATH, body, timeout_s=max(timeout_s, 0.0) + _ON_THE_WAY_S)
            )
            told, _ = unframed(answer, list[list[Told]])
            return [[each.outcome() for each in outcomes] for outcomes in told]
        except NotReached as error:
            detail = f"department {shard.code} was led by {leader}, which cannot be reached ({error!r})"
            return [[LedElsewhere(f"{detail}; ask again in a moment")] * _size(each) for each in proposals]
        except (*Away, Unavailable) as error:
            detail = f"department {shard.code} is led by {leader}, which does not answer ({error!r})"
            unknown = OutcomeUnknown(f"{detail}; the message may or may not be recorded: send it again")
            return [[unknown] * _size(each) for each in proposals]

    async def tick(self, code: int, at: int) -> None:
        """Have a department write a record that is later than a logical time, wherever it is led.

        Raises Unavailable where nobody leads it.
        """
        shard = self._shards.at(code)
        loop = asyncio.get_running_loop()
        if not shard.serving and not await self._may_go_on(shard, loop.time() + LEADER_WAIT_S):
            raise LedElsewhere(f"department {code} has no leader; ask again in a moment")
        if shard.serving:
            await shard.tick(received_time=at)
            return
        assert shard.leader is not None
        try:
            await self._peers.post(shard.leader, TICK_PATH, framed((code, at)))
        except Away as error:
            raise Unavailable(
                f"department {code} is led by {shard.leader}, which does not answer: {error!r}"
            ) from error

    async def answer_tick(self, code: int, at: int) -> None:
        """Another node wishes a department that is led here to write a later record."""
        shard = self._shards.at(code)
        if shard.tip.stamp < at:
            await shard.tick(received_time=at)

    async def answer(self, forwarded: Forwarded) -> list[list[Told]]:
        """Record what another node has sent here."""
        results = await self.send(
            forwarded.code,
            [each.proposal() for each in forwarded.units],
            concern=forwarded.concern,
            timeout_s=forwarded.timeout_s,
            forwarded=True,
        )
        return [[told_of(each) for each in outcomes] for outcomes in results]


async def _unless_turned(shard: Shard, leader: str, asking: Coroutine[Any, Any, bytes]) -> bytes:
    """A leader's answer; raises Unavailable as soon as somebody else leads: whoever hangs is not waited for."""

    async def turned() -> None:
        while shard.leader in (None, leader):
            await shard.turns.passed(shard.turns.value)

    answer = await unless(turned(), asking)
    if answer is None:
        raise Unavailable(f"department {shard.code} is led by {shard.leader} meanwhile")
    return answer


def _size(proposal: Proposal) -> int:
    return len(proposal.wishes)


def _outcomes(shard: Shard, proposal: Proposal, answer: list[Outcome] | PeaceRiverError | None) -> list[Outcome]:
    if isinstance(answer, list):
        return answer
    if answer is None:
        late = OutcomeUnknown(f"department {shard.code} has not answered in time")
        return [late] * _size(proposal)
    if isinstance(answer, MarkMoved):
        raise answer
    assert isinstance(answer, Refused), answer
    return [answer] * _size(proposal)


def _provisional(outcome: Outcome, shard: Shard) -> Outcome:
    if isinstance(outcome, Receipt) and outcome.position > shard.complete.value:
        return msgspec.structs.replace(outcome, complete=False)
    return outcome


def _safe(outcome: Outcome, reached: int, shard: Shard, concern: Concern) -> Outcome:
    if isinstance(outcome, Refused) or outcome.position <= reached:
        return outcome
    holders = "all replicas" if concern == "all" else "a majority of the replicas"
    return OutcomeUnknown(f"department {shard.code} has recorded the message, and not yet in {holders}")


def _may_be_sent_again(outcomes: list[Outcome] | None) -> bool:
    """Whether nothing is decided for good: nobody leads, or nobody knows."""
    return outcomes is None or any(isinstance(each, LedElsewhere | OutcomeUnknown) for each in outcomes)


def _final(outcomes: list[Outcome], proposal: Proposal, is_uncertain: bool) -> list[Outcome]:
    """What the sender is told: of a message that may be recorded never that it is not.

    Whoever refuses it after that may lack it, and what it rests on, which are both about to be offered again.
    """
    final: list[Outcome] = []
    for outcome, wish in zip(outcomes, proposal.wishes, strict=True):
        if isinstance(outcome, Receipt):
            final.append(outcome)
        elif is_uncertain or isinstance(outcome, OutcomeUnknown):
            final.append(
                OutcomeUnknown(
                    f"{outcome.detail}; it may or may not be recorded for good: ask for {wish.id}, or send it again "
                    "under this id",
                    message_id=str(wish.id),
                )
            )
        elif outcome.message_id is None:
            # Many may have been given this very answer.
            final.append(
                type(outcome)(
                    outcome.detail,
                    errors=outcome.errors,
                    retry_after_s=outcome.retry_after_s,
                    message_id=str(wish.id),
                )
            )
        else:
            final.append(outcome)
    return final
