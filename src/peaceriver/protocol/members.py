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


def next_change(
    members: Members, voting: Collection[str], learning: Collection[str], level: Collection[str], leader: str
) -> Members | None:
    """The next single step to replicas that vote and others that learn; None where there is nothing to do yet.

    A new replica learns until it is ``level`` with the leader, and only then votes; a voter that is wanted no longer
    stops voting when all that are to vote do. The leader never takes its own vote: it hands over first.
    """
    missing = [each for each in (*voting, *learning) if each not in members.all]
    if missing:
        return _with(members, members.voters, (*members.learners, missing[0]))
    ready = [each for each in members.learners if each in voting and each in level]
    if ready:
        return _with(members, (*members.voters, ready[0]), _without(members.learners, ready[0]))
    if any(each in voting for each in members.learners):
        return None
    # Those who lag behind leave first, and nobody leaves a membership behind that could not decide at once.
    leaving = [each for each in members.voters if each not in voting and each != leader]
    for each in sorted(leaving, key=lambda node: node in level):
        learners = (*members.learners, each) if each in learning else members.learners
        remaining = _with(members, _without(members.voters, each), learners)
        if remaining.has_majority(level):
            return remaining
    unwanted = [each for each in members.learners if each not in learning]
    return _with(members, members.voters, _without(members.learners, unwanted[0])) if unwanted else None


def _with(members: Members, voters: tuple[str, ...], learners: tuple[str, ...]) -> Members:
    return msgspec.structs.replace(members, voters=voters, learners=learners)


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(each for each in names if each != name)


def placed(
    members: Members, active: Collection[str], leaving: Collection[str], voters: int
) -> tuple[list[str], list[str]]:
    """Who is to vote and who is to learn: voters stay unless they are ``leaving``, others take the place of those.

    ``active``: the nodes that may hold replicas. All that are not to vote learn, so that every node can answer reads of
    every department.
    """
    voting = [each for each in members.voters if each not in leaving]
    # Those that hold a copy come first, for they need not copy it.
    candidates = [*(each for each in members.learners if each in active), *sorted(set(active) - set(members.all))]
    voting += candidates[: max(voters - len(voting), 0)]
    return voting or list(members.voters), [each for each in sorted(active) if each not in voting]
