"""Pulling: one long poll to each other node, for all departments that are followed from there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from uuid import UUID

import structlog

from peaceriver.errors import Unavailable
from peaceriver.node.background import Background
from peaceriver.node.peers import Away, Peers, in_words
from peaceriver.node.unless import unless
from peaceriver.node.wire import Poll, Polled, framed, unframed
from peaceriver.postgres import DatabaseError, Unreachable
from peaceriver.protocol.messages import Fetch
from peaceriver.record import written_time
from peaceriver.shard import rows
from peaceriver.shard.keeper import Keeper

log = structlog.get_logger()

PATH = "/replication/poll"
#: A node that does not answer is asked again so soon.
_RETRY_PAUSE_S = 0.2
#: A node that has nothing to tell says so as often in a lease.
_HEARTBEATS = 3
_SILENT_LEASES = 2


class Puller:
    """Pulls from one other node for as long as this one runs."""

    def __init__(
        self,
        node: str,
        peers: Peers,
        keepers: Mapping[int, Keeper],
        *,
        lease_s: float,
        restored: Callable[[UUID, int], Awaitable[None]],
    ) -> None:
        self._node = node
        self._peers = peers
        self._keepers = keepers
        #: How long the other node may wait for news before it says that there is none.
        self._wait_s = lease_s / _HEARTBEATS
        #: How long no byte of an answer may come before the line, or the other node, is taken for dead.
        self._silence_s = self._wait_s + _SILENT_LEASES * lease_s
        self._restored = restored
        #: The incarnation of this node that the last poll named.
        self._asked_as = peers.identity.incarnation
        self._number = 0
        #: The last poll whose answer came.
        self._seen = 0
        #: Departments that the other node remembers a fetch of, which it has not answered yet, as ``_followed`` was.
        self._pending: dict[int, bool] = {}
        #: What the other node leads, as it said last.
        self.leads: dict[int, int] = {}
        self._whole = True
        self._turned = asyncio.Event()
        #: The departments that are still taking in rows.
        self._late: dict[int, asyncio.Task[None]] = {}
        #: Why the other node does not answer, and since when.
        self._away: str | None = None
        self._away_since: datetime | None = None
        self._background = Background()
        self._background.begin(self._run(), name=f"pull from {node}")

    def turn(self) -> None:
        """What is followed from there may have changed: do not wait for the poll that is under way."""
        if self._followed() != self._pending:
            self._turned.set()

    def _followed(self) -> dict[int, bool]:
        """The departments to pull from there now, and whether each is recovering: then no fetch acknowledges anything.

        So one that counts again asks anew, for there may be no news for long that would have it do so.
        """
        return {
            code: each.replica.recovering
            for code, each in self._keepers.items()
            if each.source == self._node and code not in self._late
        }

    def trouble(self) -> dict[str, str]:
        """Why the other node does not answer, and since when; nothing where it does."""
        if self._away is None or self._away_since is None:
            return {}
        return {"since": written_time(self._away_since), "why": self._away}

    async def stop(self) -> None:
        await self._background.stop()

    async def _run(self) -> None:
        while True:
            try:
                try:
                    polled, taken = await self._poll()
                except (*Away, Unavailable) as error:
                    self._missed(error)
                    await asyncio.sleep(_RETRY_PAUSE_S)
                    continue
                if self._away is not None:
                    log.info("a node is back", node=self._node)
                self._away = None
                await self._take_in(polled, taken)
            except (*Unreachable, DatabaseError) as error:
                self._forget()
                log.warning("pulling waits for this node's database", node=self._node, reason=str(error))
                await asyncio.sleep(_RETRY_PAUSE_S)
            except Exception:  # outermost: without it this node would follow nobody any more
                self._forget()
                log.exception("pulling failed", node=self._node)
                await asyncio.sleep(_RETRY_PAUSE_S)

    def _missed(self, error: BaseException) -> None:
        self._forget()
        why = in_words(error)
        if self._away is None:
            self._away_since = datetime.now(UTC)
            log.warning("a node does not answer", node=self._node, reason=why)
        self._away = why

    def _forget(self) -> None:
        self._whole = True
        self._pending.clear()
        self._number += 1

    def _next(self) -> Poll:
        followed = self._followed()
        dropped = [] if self._whole else sorted(self._pending.keys() - followed.keys())
        fetches: dict[int, Fetch] = {
            code: self._keepers[code].replica.fetch() for code, _ in sorted(followed.items() - self._pending.items())
        }
        self._pending = followed
        self._number += 1
        self._asked_as = self._peers.identity.incarnation
        return Poll(
            self._peers.identity,
            self._number,
            self._seen,
            self._whole,
            fetches,
            dropped,
            self._wait_s,
            self._peers.founders,
        )

    async def _poll(self) -> tuple[Polled, list[bytes]]:
        """Ask, and wait for the answer; ask anew where what is followed has changed meanwhile."""
        while True:
            self._turned.clear()
            body = framed(self._next())
            self._whole = False
            asking = self._peers.post(self._node, PATH, body, timeout_s=None, silence_s=self._silence_s)
            answer = await unless(self._turned.wait(), asking)
            if answer is not None:
                polled, came = unframed(answer, Polled)
                self._seen = self._number
                return polled, rows.unpacked(came)

    async def _take_in(self, polled: Polled, taken: list[bytes]) -> None:
        if polled.restored is not None:
            await self._restored(self._asked_as, polled.restored)
            self._forget()
            return
        if polled.again:
            self._forget()
            return
        if polled.leads is not None:
            self._announced(polled.leads)
        for each in self._keepers.values():
            each.heard_leader(self._node)
        answering: list[Awaitable[None]] = []
        start = 0
        for code, answer, count in polled.answers:
            self._pending.pop(code, None)
            keeper = self._keepers.get(code)
            if keeper is not None:
                taking = keeper.answered(self._node, answer, taken[start : start + count])
                if keeper.busy:
                    # Others do not wait for what is being carried out there; nothing more of it is asked for before.
                    self._late[code] = self._tell(code, taking)
                else:
                    answering.append(taking)
            start += count
        if len(answering) == 1:
            await answering[0]
        elif answering:
            await asyncio.gather(*answering)

    def _announced(self, leads: dict[int, int]) -> None:
        """Tell the replicas, in order, each when it comes to that."""
        before, self.leads = self.leads, leads
        for code in before.keys() - leads.keys():
            if code in self._keepers:
                self._tell(code, self._keepers[code].left_by(self._node))
        for code, epoch in leads.items():
            if code in self._keepers:
                self._tell(code, self._keepers[code].announced(self._node, epoch))

    def _tell(self, code: int, telling: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._background.begin(telling, name=f"tell {code} of {self._node}")
        task.add_done_callback(self._told)
        return task

    def _told(self, task: asyncio.Task[None]) -> None:
        for code in [code for code, late in self._late.items() if late is task]:
            del self._late[code]
        self.turn()
