"""The cluster as it is now: who leads what, who lags, since when and why. Each node tells its part; anyone asks all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from peaceriver.directory.directory import Directory
from peaceriver.errors import Unavailable
from peaceriver.node.agents import Agents
from peaceriver.node.departments import Departments
from peaceriver.node.peers import Away, Peers
from peaceriver.node.pulling import Puller
from peaceriver.node.wire import framed, unframed
from peaceriver.record import written_time
from peaceriver.shard.keeper import Keeper
from peaceriver.shard.shard import Shard
from peaceriver.shard.steps import is_behind
from peaceriver.shard.trouble import Trouble

PATH = "/replication/standing"
_ASK_TIMEOUT_S = 1.0
_AT_ONCE_S = 0.25
#: So many records are folded in a moment.
_MOMENT_RECORDS = 2_000
#: How the fold of the live views is called among a department's marks.
VIEWS = "views"


class ReplicaStanding(msgspec.Struct, array_like=True):
    """One replica, as its node has it."""

    position: int
    complete: int
    folded: int
    epoch: int
    promised: int
    #: Whom it knows as the leader.
    leader: str | None
    #: leader, follower, learner, recovering, or waiting where it hears from no leader.
    state: str
    #: For so many seconds it has been in that state, or kept from going on.
    for_s: float
    #: What keeps it from going on, if anything does.
    why: str | None
    marks: dict[str, dict[str, int]]
    rules: list[dict[str, Any]]
    voters: list[str]
    learners: list[str]


class NodeStanding(msgspec.Struct, array_like=True):
    """What a node says of itself."""

    name: str
    url: str | None
    boots: int
    #: What keeps it from leading anything, if something does, and for how many seconds.
    why: str | None
    for_s: float
    shards: dict[int, ReplicaStanding]
    #: How far its directory is what it goes by: departments that came until there are taken up.
    applied: int = 0


class Overview:
    """Tells how things stand."""

    def __init__(
        self,
        name: str,
        peers: Peers,
        directory: Directory,
        shards: Departments,
        keepers: Mapping[int, Keeper],
        pullers: Mapping[str, Puller],
        agents: Agents,
        trouble: Callable[[], Trouble | None],
    ) -> None:
        self._name = name
        self._peers = peers
        self._directory = directory
        self._shards = shards
        self._keepers = keepers
        self._pullers = pullers
        self._agents = agents
        self._trouble = trouble
        self.url: str | None = None

    def own(self) -> NodeStanding:
        """This node's part."""
        trouble = self._trouble()
        return NodeStanding(
            self._name,
            self.url,
            self._peers.identity.boots,
            trouble.why if trouble else None,
            time.monotonic() - trouble.since if trouble else 0.0,
            {code: self._replica(shard, self._keepers[code]) for code, shard in self._shards.items()},
            self._directory.applied.value,
        )

    def _replica(self, shard: Shard, keeper: Keeper) -> ReplicaStanding:
        members, trouble = keeper.replica.members, keeper.trouble
        marks: dict[str, dict[str, int]] = {}
        for (reader, source), mark in sorted(shard.marks.items()):
            # Actors that wait behind an exception have marks of their own; they are counted with their rule.
            if not is_behind(reader):
                marks.setdefault(reader, {})[str(source)] = mark
        marks[VIEWS] = {str(shard.code): shard.folded.value}
        return ReplicaStanding(
            shard.tip.position,
            shard.complete.value,
            shard.folded.value,
            shard.epoch,
            keeper.replica.promised,
            shard.leader,
            keeper.state,
            time.monotonic() - (trouble.since if trouble else keeper.state_since),
            trouble.why if trouble else None,
            marks,
            [
                {
                    "rule": each.rule,
                    "version": each.version,
                    "acted": each.acted.value,
                    "waiting": each.waiting,
                    "parked": len(each.parked),
                }
                for each in self._agents.at(shard.code)
            ],
            list(members.voters),
            list(members.learners),
        )

    async def is_applied(self, position: int) -> bool:
        """Whether every other node that answers at once goes by the directory as it is at a position of shard 0."""
        return all(each.applied >= position for each in await self._others(_AT_ONCE_S))

    async def cluster(self, url: str) -> dict[str, Any]:
        """All nodes and all departments, as API.md has it; ``url``: by which this node was asked.

        Nodes that do not answer are not alive.
        """
        standings = {each.name: each for each in (self.own(), *await self._others(_ASK_TIMEOUT_S))}
        standings[self._name].url = url
        names = sorted({self._name, *self._peers.names})
        return {
            "nodes": [self._node(name, standings.get(name)) for name in names],
            "shards": [self._shard(code, standings) for code in sorted(self._shards)],
        }

    async def folded(self, name: str) -> set[int]:
        """The departments that a node could lead at once: what they go by is folded but for what a moment takes.

        None where something keeps it from leading any.
        """
        standing = await self._ask(name)
        shards = {} if standing is None or standing.why is not None else standing.shards
        return {code for code, each in shards.items() if each.position - each.folded <= _MOMENT_RECORDS}

    async def _others(self, timeout_s: float) -> list[NodeStanding]:
        """What the other nodes say of themselves that answer in time."""
        asked = await asyncio.gather(*(self._ask(name, timeout_s) for name in self._peers.names))
        return [each for each in asked if each is not None]

    async def _ask(self, name: str, timeout_s: float = _ASK_TIMEOUT_S) -> NodeStanding | None:
        try:
            answer = await self._peers.post(name, PATH, framed(None), timeout_s=timeout_s)
            return unframed(answer, NodeStanding)[0]
        except (*Away, Unavailable):
            return None  # which is the answer: it is not alive

    def _node(self, name: str, standing: NodeStanding | None) -> dict[str, Any]:
        page = self._directory.nodes.get(name)
        url = (standing.url if standing is not None else None) or (page.url if page else None) or self._peers.url(name)
        told: dict[str, Any] = {"name": name, "url": url, "alive": standing is not None}
        if standing is not None:
            told["starts"] = standing.boots
            told["leads"] = sorted(code for code, each in standing.shards.items() if each.state == "leader")
            if standing.why is not None:
                told |= {"since": _ago(standing.for_s), "why": standing.why}
        elif name in self._pullers:
            told |= self._pullers[name].trouble()
        if page is not None and page.leaving:
            told["leaving"] = True
        return told

    def _shard(self, code: int, standings: Mapping[str, NodeStanding]) -> dict[str, Any]:
        held = {name: each.shards[code] for name, each in standings.items() if code in each.shards}
        # Whoever leads the highest epoch knows best; where nobody does, whoever has come furthest.
        best = max(held.values(), key=lambda each: (each.state == "leader", each.epoch, each.position))
        leader = next((name for name, each in held.items() if each is best and each.state == "leader"), None)
        department = self._directory.departments.get(code)
        holders = [*best.voters, *best.learners]
        return {
            "shard": code,
            "name": "control" if department is None else department.name,
            "leader": leader,
            "epoch": best.epoch,
            "position": best.position,
            "complete": max(each.complete for each in held.values()),
            "replicas": [_shown(name, held.get(name), best, learns=name in best.learners) for name in holders],
            "marks": best.marks,
            "rules": best.rules,
        }


def _ago(seconds: float) -> str:
    return written_time(datetime.now(UTC) - timedelta(seconds=seconds))


def _shown(name: str, replica: ReplicaStanding | None, best: ReplicaStanding, *, learns: bool) -> dict[str, Any]:
    if replica is None:
        return {"node": name, "position": None, "lag": None, "state": "unreachable", "votes": not learns}
    return {
        "node": name,
        "position": replica.position,
        "lag": max(best.position - replica.position, 0),
        "state": replica.state,
        "votes": not learns,
        "since": _ago(replica.for_s),
        "folded": replica.folded,
        "why": replica.why,
    }
