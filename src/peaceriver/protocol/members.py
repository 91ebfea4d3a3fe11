"""Who holds a shard: its voters, who decide by majority, and its learners, who only copy. A value, without I/O.

Membership changes by one replica at a time, so that any majority before a change meets any majority after it
(Ongaro 2014, chapter 4). A change counts from the record on that says so, complete or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec


class Members(msgspec.Struct, frozen=True):
    """The replicas of a shard by the names of their nodes, as of the record at ``position`` (0: as it was founded)."""

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    position: int = 0

    @property
    def all(self) -> tuple[str, ...]:
        return self.voters + self.learners

    @property
    def majority(self) -> int:
        """How many voters decide."""
        return len(self.voters) // 2 + 1

    def has_majority(self, nodes: Iterable[str]) -> bool:
        """Whether the voters among ``nodes`` decide."""
        return len(set(self.voters).intersection(nodes)) >= self.majority

    def others(self, node: str) -> tuple[str, ...]:
        """The voters beside one node."""
        return tuple(each for each in self.voters if each != node)

    def rank(self, node: str, first: str | None) -> int:
        """Where a voter stands in the order in which voters try to lead: 0 for ``first``, if that is one of them."""
        start = self.voters.index(first) if first in self.voters else 0
        return (self.voters.index(node) - start) % len(self.voters)


def next_change(members: Members, wanted: Collection[str], level: Collection[str], leader: str) -> Members | None:
    """The next single step from ``members`` to ``wanted`` voters; None where there is nothing to do yet.

    A new replica learns until it is ``level`` with the leader, and only then votes; one that is wanted no longer leaves
    when all that are wanted vote. The leader removes itself never: leadership is transferred first.
    """
    missing = [each for each in wanted if each not in members.all]
    if missing:
        return Members(members.voters, (*members.learners, missing[0]))
    ready = [each for each in members.learners if each in wanted and each in level]
    if ready:
        learners = tuple(each for each in members.learners if each != ready[0])
        return Members((*members.voters, ready[0]), learners)
    unwanted = [each for each in members.learners if each not in wanted]
    if unwanted:
        return Members(members.voters, tuple(each for each in members.learners if each != unwanted[0]))
    if any(each in wanted for each in members.learners):
        return None
    # Those who lag behind leave first, and nobody leaves a membership behind that could not decide at once.
    leaving = [each for each in members.voters if each not in wanted and each != leader]
    for each in sorted(leaving, key=lambda node: node in level):
        remaining = Members(tuple(voter for voter in members.voters if voter != each), members.learners)
        if remaining.has_majority(level):
            return remaining
    return None
