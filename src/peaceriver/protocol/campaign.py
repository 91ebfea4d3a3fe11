"""One attempt to be elected: looking around, two rounds of promises, and pulling up to the longest journal among them.

The candidate's journal need not be the longest, since it takes over what it lacks before it leads. What is complete is
held by a majority, any two majorities meet, and the journal with the greatest place in a majority holds all of it.
"""

from __future__ import annotations

from typing import Literal

from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import Ask, Place, Promise, Standing

Phase = Literal["looking", "promising", "counting", "pulling", "opening"]


class Campaign:
    """The state of one attempt, of one candidate. Given up, it leaves nothing behind but promises."""

    def __init__(self, node: str, members: Members, *, until: float) -> None:
        self._node = node
        self.members = members
        self.phase: Phase = "looking"
        self.epoch = 0
        #: When the phase must have ended.
        self.until = until
        #: In phase pulling: from whom, and how far.
        self.source: str | None = None
        self.target = Place(0, 0)
        self._standings: dict[str, Standing] = {}
        self._granted: set[str] = set()
        self._ends: dict[str, Place] = {}

    def looked(self, node: str, standing: Standing) -> None:
        """A reply to a look."""
        self._standings[node] = standing

    def may_ask(self) -> bool:
        """The pre-vote: whether a majority would vote for somebody (Ongaro 2014, section 9.6)."""
        free = [node for node, each in self._standings.items() if each.free]
        return self.phase == "looking" and self.members.has_majority([self._node, *free])

    def promise(self, epoch: int, until: float) -> None:
        """The candidate has promised the epoch to itself."""
        self.phase, self.epoch, self.until = "promising", epoch, until
        self._granted = {self._node}

    def granted(self, node: str, promise: Promise, end: Place) -> list[tuple[str, Ask]]:
        """Take in a promise of its epoch; answers whom to ask what next. ``end``: of the candidate's own journal."""
        if promise.round == 2:
            if self.phase == "counting":
                self._ends[node] = promise.end
            return []
        self._granted.add(node)
        return self.count(end) if self.phase == "promising" else [(node, Ask(self.epoch, 2))]

    def count(self, end: Place) -> list[tuple[str, Ask]]:
        """Begin the second round, if a majority has promised."""
        if not self.members.has_majority(self._granted):
            return []
        self.phase = "counting"
        self._ends = {self._node: end}
        return [(each, Ask(self.epoch, 2)) for each in sorted(self._granted - {self._node})]

    def count_ends(self, until: float) -> None:
        """Once a majority has answered the second round: know from whom to pull, and how far."""
        if self.phase != "counting" or not self.members.has_majority(self._ends):
            return
        longest = max(self._ends, key=lambda each: (self._ends[each], each == self._node))
        self.phase, self.until = "pulling", until
        self.target = self._ends[longest]
        self.source = None if longest == self._node else longest

    def is_level(self, end: Place) -> bool:
        """Whether the candidate's own journal, which ends at ``end``, is the one to lead with."""
        return self.phase == "pulling" and end == self.target
