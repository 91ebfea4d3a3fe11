"""Who holds a department, and who leads it: brought level with what the directory wants, one step at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from peaceriver.directory.directory import Directory
from peaceriver.errors import Conflict, LedElsewhere, NotFound, Refused, Unavailable
from peaceriver.limits import BALANCE_AFTER_S, VOTERS
from peaceriver.node.room import Room
from peaceriver.postgres import DatabaseError, Unreachable
from peaceriver.protocol.members import Members, placed
from peaceriver.shard.keeper import Keeper
from peaceriver.shard.proposal import Proposal
from peaceriver.shard.replicas import member_body

log = structlog.get_logger()
_LOOK_AGAIN_S = 0.02
#: Changes are looked for so often within a lease while there are some, and after so many leases otherwise.
_LOOKS = 2
_REST = 2


class Membership:
    """Looks after the replicas of the departments that this node leads."""

    def __init__(
        self,
        name: str,
        directory: Directory,
        keepers: Mapping[int, Keeper],
        room: Room,
        *,
        folded: Callable[[str], Awaitable[set[int]]],
        lease_s: float,
    ) -> None:
        self._name = name
        #: Asks a node which departments it could lead at once; and what was answered in this look.
        self._folded = folded
        self._folded_at: dict[str, set[int]] = {}
        self._directory = directory
        self._keepers = keepers
        self._room = room
        self._lease_s = lease_s
        #: Whether the last look has found something to change.
        self._changed = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="membership")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            is_moving, self._changed = False, False
            self._folded_at.clear()
            pages = self._directory.nodes.values()
            nodes = [each.name for each in pages if not each.leaving]
            leaving = [*(each.name for each in pages if each.leaving), *self._directory.gone]
            for keeper in list(self._keepers.values()):
                try:
                    is_moving |= await self._look_after(keeper, nodes, leaving, may_move=not is_moving)
                except (*Unreachable, DatabaseError, Refused) as error:
                    # It is looked at again; somebody else may lead it by then.
                    log.debug("a department's replicas wait", shard=keeper.shard.code, reason=str(error))
                except Exception:  # outermost: without it no replica would be replaced any more
                    log.exception("a department's replicas could not be looked after", shard=keeper.shard.code)
            goes_on = self._changed or is_moving
            await asyncio.sleep(self._lease_s / _LOOKS if goes_on else self._lease_s * _REST)

    async def _look_after(self, keeper: Keeper, nodes: list[str], leaving: list[str], *, may_move: bool) -> bool:
        """Make the next change to who holds a department, if this node leads it; True where it is being handed over."""
        replica, now = keeper.replica, time.monotonic()
        reign, members = replica.reign, replica.members
        if reign is None or keeper.shard.complete.value < reign.start:
            return False
        if members.position == 0 and members.voters != (self._name,):
            # So that everybody knows from the journal alone who founded it.
            await self._change(keeper, members)
            return False
        voting, learning = placed(members, nodes, leaving, VOTERS)
        change = replica.next_members(voting, learning, now)
        if change is not None:
            await self._change(keeper, change)
            return False
        successor = self._successor(keeper, voting, now) if may_move else None
        if successor is None or not await self._could_lead(successor, keeper.shard.code):
            return False
        await keeper.transfer(successor)
        return True

    async def _could_lead(self, node: str, code: int) -> bool:
        """Whether a department would go on at once: who leads folds first what it has not, and all others wait."""
        if node not in self._folded_at:
            self._folded_at[node] = await self._folded(node)
        return code in self._folded_at[node]

    async def _change(self, keeper: Keeper, members: Members) -> None:
        self._changed = True
        log.info(
            "replicas change", shard=keeper.shard.code, voters=list(members.voters), learners=list(members.learners)
        )
        await keeper.shard.append(Proposal(system=(("member", member_body(members)),)), bounded=False)

    def _successor(self, keeper: Keeper, voting: list[str], now: float) -> str | None:
        """Who is to lead instead of this node: it is leaving, has no room, or stands in for who leads when it can."""
        replica = keeper.replica
        assert replica.reign is not None
        others = [each for each in replica.level(now) if each in voting and each != self._name]
        if self._name not in voting or self._room.lack is not None:
            return next(iter(others), None)
        if now - replica.reign.since < BALANCE_AFTER_S:
            return None
        return replica.first if replica.first in others else None

    async def transfer(self, code: int, to: str, timeout_s: float) -> None:
        """Hand the leadership of a department that is led here over to another node; returns when it is there.

        Nothing that is sent meanwhile is refused: it waits. Raises NotFound for a node without a vote there, Conflict
        where it is not level, LedElsewhere where this node does not lead, Unavailable where it has not come about.
        """
        keeper = self._keepers[code]
        shard, replica = keeper.shard, keeper.replica
        if replica.reign is None:
            raise LedElsewhere(f"department {code} is not led by this node; ask the one that leads it", shard=code)
        if to == self._name:
            return
        if to not in replica.members.voters:
            raise NotFound(f"{to} has no vote in department {code}; it is held by {', '.join(replica.members.voters)}")
        try:
            async with asyncio.timeout(timeout_s):
                await self._handed_over(keeper, to)
        except TimeoutError:
            if replica.leads is not None and not replica.hears(to, time.monotonic()):
                detail = f"{to} was not heard of lately, so it cannot lead department {code}"
                raise Conflict(f"{detail}; see to that node first") from None
            raise Unavailable(
                f"department {code} is led by {shard.leader or 'nobody'}, and not yet by {to}; look, and try again"
            ) from None

    async def _handed_over(self, keeper: Keeper, to: str) -> None:
        """Hand over, and again where an attempt was given up: the other one was not level in time, or lost its vote."""
        shard = keeper.shard
        while shard.leader != to:
            reign = keeper.replica.reign
            # Those who follow a new leader are heard of within moments.
            if reign is not None and reign.transfer is None and keeper.replica.hears(to, time.monotonic()):
                await keeper.transfer(to)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await shard.turns.passed(shard.turns.value)
