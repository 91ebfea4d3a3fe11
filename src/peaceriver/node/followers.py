"""Those who follow this node: what each asks for, remembered between polls, and answered once there is news."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from uuid import UUID

import structlog

from peaceriver.errors import Damaged
from peaceriver.limits import CATCH_UP_SHARE, POLL_BYTES_MAX, PULL_RECORDS_MAX
from peaceriver.node.pace import Sparing
from peaceriver.node.wire import Poll, Polled
from peaceriver.postgres import DatabaseError, Unreachable
from peaceriver.protocol.messages import Answer, Fetch, NotLeading, Place, Rows
from peaceriver.shard.ahead import ReadAhead
from peaceriver.shard.keeper import Keeper

log = structlog.get_logger()
#: Before rows are read again that could not be.
_FAILED_PAUSE_S = 1.0


class _Session:
    """One other node's interests."""

    def __init__(self, run: UUID) -> None:
        self.run = run
        self.number = 0
        #: A poll has not come.
        self.has_gap = False
        self.fetches: dict[int, Fetch] = {}
        #: Departments about which there may be news.
        self.stirred: set[int] = set()
        #: Departments of which the follower was told something, and by the answer to which poll: it asks anew when it
        #: has taken that in.
        self.spent: dict[int, int] = {}
        #: The last poll that was answered with something of each department.
        self.served: dict[int, int] = {}
        #: How far each department was said to be complete.
        self.complete: dict[int, int] = {}
        self.leads_version = -1
        #: The poll that was answered with what this node leads.
        self.leads_told = 0
        self.news = asyncio.Event()
        self.ahead = ReadAhead()
        #: Departments of which the follower lacks much that is complete without it.
        self.sparing: defaultdict[int, Sparing] = defaultdict(lambda: Sparing(CATCH_UP_SHARE))
        #: Those of them that get no rows for a moment.
        self.resting: set[int] = set()

    def lost(self, is_lost: Callable[[int], bool]) -> None:
        """Answers to some polls do not arrive: what they told is told again."""
        lost = {code for code, number in self.spent.items() if is_lost(number)}
        for code in lost:
            del self.spent[code]
            self.complete.pop(code, None)
        self.stirred |= lost
        if is_lost(self.leads_told):
            self.leads_version = -1

    def untold(self, looked: set[int]) -> None:
        """What was to be told of some departments, and of what is led, was not."""
        self.stirred |= looked
        self.leads_version = -1
        self.news.set()


def _stir(session: _Session, code: int) -> None:
    if code in session.fetches:
        session.stirred.add(code)
        session.news.set()


def _rested(session: _Session, code: int) -> None:
    session.resting.discard(code)
    _stir(session, code)


class Followers:
    """Answers the polls of other nodes."""

    def __init__(self, keepers: Mapping[int, Keeper]) -> None:
        self._keepers = keepers
        self._sessions: dict[str, _Session] = {}
        self._leads_version = 0
        #: How often there was news: somebody was waiting for most of it.
        self._stirs = 0

    def stirred(self, code: int) -> None:
        """There may be news of a department."""
        self._stirs += 1
        for session in self._sessions.values():
            _stir(session, code)

    def led(self) -> None:
        """What this node leads has changed."""
        self._leads_version += 1
        for session in self._sessions.values():
            session.news.set()

    async def poll(self, poll: Poll) -> tuple[Polled, list[bytes]]:
        """Answer a poll once there is something to tell, or its time is up."""
        node = poll.identity.node
        session = self._sessions.get(node)
        is_known = session is not None and session.run == poll.identity.run
        if session is not None and is_known and poll.number <= session.number:
            # It was overtaken, on a bad line perhaps: also one that is whole says nothing any more.
            return Polled(), []
        if poll.whole:
            if session is not None:
                session.ahead.close()
            session = self._sessions[node] = _Session(poll.identity.run)
        elif session is None or not is_known or session.has_gap or poll.number != session.number + 1:
            # What the one before asked for has not come, and may never: it was given up on its way. Also this answer
            # may be given up: every later poll is answered like that, until one tells everything.
            if session is not None and is_known:
                session.number, session.has_gap = poll.number, True
            return Polled(again=True), []
        session.number = poll.number
        session.news.set()  # an older poll that still waits has nothing more to wait for
        asked = self._take_in(session, node, poll)
        deadline = asyncio.get_running_loop().time() + poll.wait_s
        while True:
            session.news.clear()
            looked, session.stirred = session.stirred | asked, set()
            try:
                polled, taken = await self._news(session, node, poll.number, looked)
            except BaseException:
                # A younger poll may be waiting for what this one has taken upon itself to tell.
                session.untold(looked)
                raise
            if session.number != poll.number:
                # Nobody waits for this answer any more; the younger poll is there already and is told instead.
                session.lost(poll.number.__eq__)
                session.news.set()
                return Polled(), []
            if polled.answers or polled.leads is not None:
                return polled, taken
            asked = set()
            try:
                async with asyncio.timeout_at(deadline):
                    await session.news.wait()
            except TimeoutError:
                return polled, taken

    def _take_in(self, session: _Session, node: str, poll: Poll) -> set[int]:
        session.lost(lambda number: number > poll.seen)
        for code in poll.dropped:
            session.fetches.pop(code, None)
            session.sparing.pop(code, None)
        for code in session.fetches:
            keeper = self._keepers.get(code)
            if keeper is not None:
                keeper.heard_follower(node)
        session.fetches |= poll.fetches
        now = asyncio.get_running_loop().time()
        for code in poll.fetches:
            session.spent.pop(code, None)
            if code in session.sparing:
                session.sparing[code].asked(now)
        return set(poll.fetches)

    async def _news(self, session: _Session, node: str, number: int, looked: set[int]) -> tuple[Polled, list[bytes]]:
        """What there is to tell now of departments of which there may be news, or whose fetch has just come."""
        polled, taken, size = Polled(answers=[]), list[bytes](), 0
        if session.leads_version != self._leads_version:
            session.leads_version, session.leads_told = self._leads_version, number
            polled.leads = {code: epoch for code, each in self._keepers.items() if (epoch := each.replica.leads)}
        # Who has waited longest comes first: departments that lack much must not keep the others from their majority.
        for code in sorted(looked, key=lambda each: session.served.get(each, 0)):
            fetch = session.fetches.get(code)
            if fetch is None or code in session.spent or code in session.resting:
                continue
            try:
                answer, rows = await self._answer(session, node, code, fetch, is_full=size >= POLL_BYTES_MAX)
            except Unreachable:
                raise
            except (DatabaseError, Damaged) as error:
                # Of this department it gets nothing for a while; the others go on.
                log.warning("rows cannot be given to a node", shard=code, node=node, reason=str(error))
                asyncio.get_running_loop().call_later(_FAILED_PAUSE_S, _stir, session, code)
                continue
            if answer is None:
                if code not in session.resting:
                    _stir(session, code)
                continue
            if isinstance(answer, Rows):
                if not rows and session.complete.get(code, -1) >= answer.complete and answer.end == fetch.after:
                    continue
                session.complete[code] = answer.complete
            session.spent[code] = session.served[code] = number
            if isinstance(answer, Rows) and self._lacks_much(code, answer.end):
                session.sparing[code].given(asyncio.get_running_loop().time(), self._stirs)
            else:
                session.sparing.pop(code, None)
            polled.answers.append((code, answer, len(rows)))
            taken += rows
            size += sum(map(len, rows))
        return polled, taken

    def _lacks_much(self, code: int, end: Place) -> bool:
        """Whether who has a department up to a place lacks many records that are complete without it."""
        return self._keepers[code].shard.complete.value - end.position > PULL_RECORDS_MAX

    def _rests(self, session: _Session, code: int) -> bool:
        """Whether the follower gets no rows of a department for a moment: those who wait for appends come first."""
        if code in session.sparing:
            loop = asyncio.get_running_loop()
            rest_s = session.sparing[code].rest_s(loop.time(), self._stirs)
            if rest_s > 0:
                session.resting.add(code)
                loop.call_later(rest_s, _rested, session, code)
        return code in session.resting

    async def _answer(
        self, session: _Session, node: str, code: int, fetch: Fetch, *, is_full: bool
    ) -> tuple[Answer | None, list[bytes]]:
        """The answer as of now: a fetch may be answered long after it came, or again, and the journal be another.

        None where there are rows to give, and the answer to the poll is full, or the follower is to rest: what it
        acknowledges counts already.
        """
        keeper = self._keepers.get(code)
        if keeper is None:
            return NotLeading(0), []
        answer = await keeper.fetched(node, fetch)
        if answer is not None or is_full or self._rests(session, code):
            return answer, []
        return await keeper.following(fetch.after, session.ahead)

    def close(self) -> None:
        """Read for nobody any further."""
        for session in self._sessions.values():
            session.ahead.close()
