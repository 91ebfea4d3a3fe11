"""Waiting: proposals in an appender's queue, and whoever waits for what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from peaceriver.shard.proposal import Answer, Proposal


class Waiting:
    """Proposals that were handed in together and are answered together, each with an answer of its own."""

    __slots__ = ("_done", "_unanswered", "answers", "proposals")

    def __init__(self, proposals: Sequence[Proposal]) -> None:
        self.proposals = proposals
        #: One per proposal, in order; None where it is not known yet.
        self.answers: list[Answer | None] = [None] * len(proposals)
        self._unanswered = len(proposals)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def places(self) -> list[Place]:
        """Each proposal as it stands in a queue."""
        return [Place(self, index) for index in range(len(self.proposals))]

    def answer(self, index: int, answer: Answer) -> None:
        """Answer one proposal, unless it was answered before; the last answer wakes whoever waits."""
        if self.answers[index] is not None:
            return
        self.answers[index] = answer
        self._unanswered -= 1
        if self._unanswered == 0:
            self._wake()

    async def answered(self, timeout_s: float | None = None) -> list[Answer | None]:
        """The answers once all are there, or as many as there are when the time has run out."""
        if timeout_s is None:
            await self._done
            return self.answers
        timer = asyncio.get_running_loop().call_later(timeout_s, self._wake)
        try:
            await self._done
        finally:
            timer.cancel()
        return self.answers

    def _wake(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


class Place:
    """One proposal in the queue: what it is, with whom it came, and how much it is."""

    __slots__ = ("_index", "_waiting", "bytes", "exception_ids", "proposal", "records")

    def __init__(self, waiting: Waiting, index: int) -> None:
        self._waiting = waiting
        self._index = index
        self.proposal = waiting.proposals[index]
        self.records = self.proposal.records
        self.bytes = self.proposal.bytes
        self.exception_ids = self.proposal.exception_ids

    def answer(self, answer: Answer) -> None:
        """Tell whoever waits."""
        self._waiting.answer(self._index, answer)
