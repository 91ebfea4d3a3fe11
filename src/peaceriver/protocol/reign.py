"""What a leader knows of its followers: how far each is, when it was heard of last, and so what is complete."""

from __future__ import annotations

import msgspec

from peaceriver.protocol.completeness import complete_position
from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import BOOT_BITS


class Transfer(msgspec.Struct):
    """Leadership is on its way to another node."""

    to: str
    until: float
    #: Nothing is being appended any more; and the other one was asked.
    held: bool = False
    asked: bool = False


class Reign:
    """An epoch of one leader, as that one sees it."""

    def __init__(self, node: str, epoch: int, start: int, now: float) -> None:
        self._node = node
        self.epoch = epoch
        #: The position of the epoch's first record: nothing of this reign is complete before that one is.
        self.start = start
        self.since = now
        #: How far each follower has acknowledged what is on its disk.
        self.matched: dict[str, int] = {}
        #: When each follower last asked for more.
        self.heard: dict[str, float] = {}
        self.transfer: Transfer | None = None
        self._numbers: dict[str, int] = {}

    def is_late(self, node: str, number: int) -> bool:
        """Whether a request was overtaken by a younger one of the same node."""
        if number <= self._numbers.get(node, -1):
            return True
        self._numbers[node] = number
        return False

    def is_last(self, node: str, number: int) -> bool:
        """Whether a request is the youngest of a node: it may be answered more than once."""
        return number == self._numbers.get(node)

    def knows_younger(self, node: str, number: int) -> bool:
        """Whether the node had been started more often than it says now.

        The process that is said to be older either exists no longer, and nobody hears the answer, or its disk is older.
        """
        return number >> BOOT_BITS < self._numbers.get(node, 0) >> BOOT_BITS

    def forget(self, node: str) -> None:
        """What a node acknowledged counts no more, and a new disk numbers its requests anew."""
        self.matched.pop(node, None)
        self._numbers.pop(node, None)

    def complete(self, members: Members, end: int, complete: int) -> int:
        """How far the journal is complete, with the leader's own at ``end`` (see completeness.complete_position)."""
        return complete_position(self._positions(members, end), self.start, complete)

    def held_by_all(self, members: Members, end: int) -> int:
        """How far every voter holds the journal."""
        return min(self._positions(members, end))

    def _positions(self, members: Members, end: int) -> list[int]:
        return [end if each == self._node else self.matched.get(each, 0) for each in members.voters]

    def hears_majority(self, members: Members, now: float, lease_s: float) -> bool:
        """Whether enough voters were heard of within the lease; a new leader is given that long."""
        if now - self.since < lease_s:
            return True
        heard = [node for node, at in self.heard.items() if now - at < lease_s]
        return members.has_majority([self._node, *heard])

    def heard_until(self, members: Members, lease_s: float) -> float:
        """Until when ``hears_majority`` holds, if nobody is heard of any more."""
        others = sorted((self.heard.get(each, self.since) for each in members.others(self._node)), reverse=True)
        needed = members.majority - (self._node in members.voters)
        return max(self.since, others[needed - 1] if needed else float("inf")) + lease_s

    def level(self, members: Members, complete: int, now: float, lease_s: float) -> list[str]:
        """The replicas that were heard of within the lease, and hold all that is complete."""
        heard = [node for node, at in self.heard.items() if now - at < lease_s]
        return [
            each
            for each in members.all
            if each == self._node or (each in heard and self.matched.get(each, -1) >= complete)
        ]
