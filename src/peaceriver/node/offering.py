"""Offering: what is pending at this node is sent to whoever leads, in order, until it is heard what became of it.

First what was taken back with an earlier leader's tail, then what is spooled: that came later. One task per department
that has anything pending, so that a department without a leader holds up no other. A row goes only once its message,
or the exception that answers it, is complete; whoever dies in between offers it once more, and its id keeps it from
being recorded twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

from peaceriver.errors import Behind
from peaceriver.limits import OFFER_TIMEOUT_S
from peaceriver.node.departments import Departments
from peaceriver.node.pending import Pending
from peaceriver.node.routing import Routing
from peaceriver.node.sending import Sending
from peaceriver.postgres import DatabaseError, Unreachable
from peaceriver.shard.keeper import Keeper
from peaceriver.shard.pending import Kept
from peaceriver.shard.proposal import Proposal, Receipt

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.2
_FAILED_PAUSE_S = 5.0


class Offering:
    """Offers a node's pending messages."""

    def __init__(
        self,
        shards: Departments,
        keepers: Mapping[int, Keeper],
        pending: Pending,
        routing: Routing,
        sending: Sending,
    ) -> None:
        self._shards = shards
        self._keepers = keepers
        self._pending = pending
        self._routing = routing
        self._sending = sending
        self._tasks: dict[int, asyncio.Task[None]] = {}
        #: Departments that something came for since their tasks last looked.
        self._woken: set[int] = set()
        self._stopped = False

    def wake(self, code: int) -> None:
        """There may be something pending for a department; a node that stops leaves it for its next start."""
        self._woken.add(code)
        if code not in self._tasks and not self._stopped:
            self._tasks[code] = asyncio.create_task(self._run(code), name=f"offer to {code}")

    async def stop(self) -> None:
        self._stopped = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, code: int) -> None:
        try:
            while code in self._woken:
                self._woken.discard(code)
                while await self._tried(code):
                    pass
        finally:
            del self._tasks[code]

    async def _tried(self, code: int) -> bool:
        """Offer what comes first; False where nothing is pending."""
        try:
            return await self._round(code)
        except (*Unreachable, DatabaseError, Behind) as error:
            log.info("pending messages wait", shard=code, reason=str(error))
            await asyncio.sleep(_RETRY_PAUSE_S)
        except Exception:  # outermost: what is pending was promised to somebody, so it is tried again, loudly
            log.exception("pending messages could not be offered", shard=code)
            await asyncio.sleep(_FAILED_PAUSE_S)
        return True

    async def _round(self, code: int) -> bool:
        if code not in self._shards:
            await asyncio.sleep(_RETRY_PAUSE_S)  # it is being brought up
            return True
        proposals = await self._pending.stranded(code)
        if not proposals:
            if not self._keepers[code].replica.agrees and self._pending.spooled_for(code):
                # What the leader does not have of this journal comes first: it is about to be taken back.
                await self._pause(code)
                return True
            units = await self._pending.spooled(code)
            if not units:
                return False
            proposals = await self._proposals(units)
        await self._offer(code, proposals)
        return True

    async def _proposals(self, units: Sequence[Sequence[Kept]]) -> list[Proposal]:
        """Spooled messages as they come to the door; raises Behind where the first one's cause is not known yet."""
        proposals: list[Proposal] = []
        for unit in units:
            try:
                proposals.append(Proposal(wishes=await self._sending.spooled(unit), offered="spooled"))
            except Behind:
                if not proposals:
                    raise
                break
        return proposals

    async def _offer(self, code: int, proposals: Sequence[Proposal]) -> None:
        results = await self._routing.send(code, proposals, concern="quorum", timeout_s=OFFER_TIMEOUT_S)
        heard = [
            wish.id
            for proposal, outcomes in zip(proposals, results, strict=True)
            for wish, outcome in zip(proposal.wishes, outcomes, strict=True)
            if isinstance(outcome, Receipt)
        ]
        if heard:
            await self._pending.heard(code, heard)
            log.info("pending messages were heard", shard=code, messages=len(heard))
        left = [each for outcomes in results for each in outcomes if not isinstance(each, Receipt)]
        if left:
            log.info("pending messages wait", shard=code, messages=len(left), reason=str(left[0]))
            await self._pause(code)

    async def _pause(self, code: int) -> None:
        """A moment, or until somebody leads."""
        turns = self._shards[code].turns
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_PAUSE_S):
                await turns.passed(turns.value)
