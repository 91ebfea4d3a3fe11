"""Whole schedules under one seed: nodes with clocks of their own, a network, faults, clients, and every checker.

The replicas are the product's own; what surrounds them keeps the contract that the product's keeps (disk.py,
machine.py). The same seed gives the same story, event by event.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from random import Random
from typing import Any, NoReturn

import msgspec

from peaceriver.protocol.members import Members
from tests.protocol.checkers import Checkers, Violation
from tests.protocol.clients import Client, Reader
from tests.protocol.disk import Disk
from tests.protocol.machine import LEASE_S, Machine
from tests.protocol.nemesis import Nemesis
from tests.protocol.network import Network, Weather

NODES = "abcdefg"
#: All replicas are equal again so long after everything works again.
CONVERGENCE_S = 20 * LEASE_S
#: A link that works in one direction only disturbs for so long at first.
SETTLING_S = 5 * LEASE_S


class Outcome(msgspec.Struct, frozen=True):
    """What a schedule came to."""

    seed: int
    events: int
    records: int
    elections: int
    converged_s: float


class Simulation:
    """A shard of ``nodes`` replicas, and ``spares`` that may join."""

    def __init__(
        self, seed: int, *, nodes: int, spares: int = 0, founded_knowing: bool = False, story: list[str] | None = None
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.t = 0.0
        self.events = 0
        self.story = story
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0
        self.network = Network(self.random, self.at, Weather())
        self.first = NODES[0]
        self.founded = Members(tuple(NODES[:nodes]))
        self.wanted: tuple[str, ...] = self.founded.voters
        self.started = list(self.founded.voters)
        self.gone: list[str] = []
        self.backups: dict[str, Disk] = {}
        self.disks: dict[str, Disk] = {}
        self.checkers = Checkers(self.disks, self.gone, self.where)
        self.machines: dict[str, Machine] = {}
        self.depth_first = self.random.random() < 0.5
        self.chunk_records = self.random.choice((1, 3, 10, 100))
        self.ending = False
        self.agent_rests = False
        self.opened = 0
        #: Told of the next promise: who promised to whom.
        self.promised: Callable[[str, str], None] | None = None
        self.memory_lost_at = -math.inf
        #: When something new was first complete, of what is complete by now.
        self.completions: list[tuple[float, str]] = []
        for node in NODES[: nodes + spares]:
            knowing = founded_knowing and node in self.founded.voters
            self.disks[node] = self._disk(node, recovering=not knowing)
            ahead_s, rate = self.random.random() * 100 + 100, 0.95 + self.random.random() * 0.1
            self.machines[node] = Machine(self, node, self.disks[node], ahead_s=ahead_s, rate=rate)

    # --- time

    def at(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Do something after a delay."""
        self._scheduled += 1
        heapq.heappush(self._queue, (self.t + delay_s, self._scheduled, call, args))

    def run(self, until: float) -> None:
        """Let time pass."""
        queue, pop = self._queue, heapq.heappop
        while queue[0][0] < until:
            self.t, _, call, args = pop(queue)
            self.events += 1
            call(*args)
        self.t = until

    def run_while(self, wanted: Callable[[], bool], at_most_s: float) -> bool:
        """Let time pass as long as something holds; answers whether it holds no longer."""
        deadline = self.t + at_most_s
        while wanted() and self.t < deadline:
            self.run(self.t + 0.25)
        return not wanted()

    def flush_s(self) -> float:
        """How long a transaction of the appender takes."""
        return 0.002 + self.random.random() * 0.02

    # --- telling

    def where(self) -> str:
        return f"seed {self.seed}, after {self.t:.3f} s"

    def tell(self, who: str, what: str) -> None:
        if self.story is not None:
            self.story.append(f"{self.t:8.3f}  {who:8} {what}")

    def completed(self, node: str, position: int) -> None:
        """A leader has counted."""
        self.completions.append((self.t, node))
        if self.story is not None:
            self.tell(node, f"counts {position} as complete")

    # --- nodes

    def _disk(self, node: str, *, recovering: bool) -> Disk:
        changes = (row.members for row in reversed(self.checkers.complete) if row.members is not None)
        return Disk(node, next(changes, self.founded), recovering=recovering, watch=self._written)

    def _written(self, disk: Disk, row: Any) -> None:
        self.checkers.written(disk, row)

    def disk_lost(self, node: str) -> None:
        """What a node's disk holds is not to be had any more."""
        self.memory_lost_at = self.t
        self.checkers.disk_lost(self.disks[node])

    def new_disk(self, node: str) -> None:
        """A node's disk is lost; what its peers are is read from the directory, which knows what is complete."""
        self.disk_lost(node)
        self._replace_disk(node, self._disk(node, recovering=True))

    def restore(self, node: str, *, recovering: bool) -> None:
        """A node's disk is replaced by a backup of it; ``recovering``: that was noticed."""
        self.disk_lost(node)
        disk = self.backups[node].copy()
        disk.recovering = disk.recovering or recovering
        self._replace_disk(node, disk)

    def _replace_disk(self, node: str, disk: Disk) -> None:
        self.disks[node] = self.machines[node].disk = disk

    def want(self, voters: tuple[str, ...]) -> None:
        """An operator says who is to hold the shard."""
        self.wanted = voters
        self.tell("operator", f"wants {', '.join(voters)}")
        for node in voters:
            if node not in self.started:
                self.started.append(node)
                self._replace_disk(node, self._disk(node, recovering=True))
                self.machines[node].start()

    def start(self, *, delayed_s: dict[str, float] | None = None) -> None:
        """Start all nodes that the shard was founded with."""
        for node in self.founded.voters:
            self.at((delayed_s or {}).get(node, self.random.random() * 0.2), self.machines[node].start)

    def supervise(self, most_s: float = 4.0) -> None:
        """Start whatever is down, after a while."""
        for node in self.started:
            machine = self.machines[node]
            if not machine.up and machine.process and node not in self.gone and self.random.random() < 1.0 / most_s:
                machine.start()
        self.at(0.5, self.supervise, most_s)

    @property
    def leader(self) -> Machine | None:
        """Whoever leads the highest epoch."""
        leading = [each for each in self.machines.values() if each.up and each.replica.leads is not None]
        return max(leading, key=lambda each: each.replica.leads or 0, default=None)

    def alive(self) -> list[Machine]:
        return [self.machines[node] for node in self.started if node not in self.gone]

    def heal(self) -> None:
        """Everything works from now on, and nobody wishes anything new."""
        self.tell("world", "heals")
        self.ending = True
        self.network.cut.clear()
        self.network.weather = Weather()
        self.wanted = tuple(each for each in self.wanted if each not in self.gone) or self.wanted
        for machine in self.alive():
            machine.paused_until, machine.fuse = 0.0, None
            if not machine.up:
                machine.start()

    # --- the end

    def lacks(self, clients: list[Client]) -> str | None:
        """What is still missing from everything being equal; None where nothing is."""
        leader = self.leader
        if leader is None:
            return "a leader"
        journal = leader.disk
        if leader.replica.state.complete != len(journal.rows):
            return f"completeness of {leader.node}, {leader.replica.state.complete} of {len(journal.rows)}"
        for machine in self.alive():
            disk = machine.disk
            if not machine.up or disk.recovering:
                return f"{machine.node}, which is down or recovering"
            if len(disk.rows) != len(journal.rows) or disk.chain(len(disk.rows)) != journal.chain(len(journal.rows)):
                return f"the same journal at {machine.node} as at {leader.node}: {disk.end}, not {journal.end}"
            if disk.pending:
                return f"offers of {machine.node}"
        return None if all(each.idle for each in clients) else "answers to clients"

    def converge(self, clients: list[Client]) -> float:
        """All replicas become equal in bounded time, and nothing is lost; answers how long it took."""
        since = self.t
        if not self.run_while(lambda: self.lacks(clients) is not None, CONVERGENCE_S):
            self._fail("converges", f"{CONVERGENCE_S} s after everything works again it lacks {self.lacks(clients)}")
        leader = self.leader
        assert leader is not None
        nodes = [machine.node for machine in self.alive()]
        self.checkers.complete_stays(leader.disk, len(leader.disk.rows), None)
        self.checkers.acknowledged_is_kept(leader.disk, nodes)
        return self.t - since

    def settles(self) -> None:
        """Where one link fails in one direction and nothing else, elections end."""
        self.run(self.t + SETTLING_S)
        opened, promised = self.opened, max(disk.promised for disk in self.disks.values())
        self.run(self.t + SETTLING_S)
        elections = self.opened - opened
        promises = max(disk.promised for disk in self.disks.values()) - promised
        if elections > 1 or promises > 3:
            cut = sorted(self.network.cut)
            self._fail("elections_end", f"{elections} elections and {promises} promises in {SETTLING_S} s, with {cut}")

    def _fail(self, check: str, text: str) -> NoReturn:
        raise Violation(check, f"{text} ({self.where()})")


def run(seed: int, story: list[str] | None = None) -> Outcome:
    """One random schedule; raises Violation."""
    draw = Random(seed)
    nodes = draw.choices((1, 2, 3, 4, 5), (4, 6, 60, 8, 22))[0]
    spares = draw.choice((0, 0, 1, 2)) if nodes < 5 else draw.choice((0, 1))
    sim = Simulation(seed, nodes=nodes, spares=spares, founded_knowing=nodes == 1 or draw.random() < 0.3, story=story)
    sim.start(delayed_s={node: draw.random() * 4 for node in sim.founded.voters if draw.random() < 0.1})
    clients = [Client(sim, name, every_s=0.3 + draw.random()) for name in ("m", "n")[: draw.randint(1, 2)]]
    Reader(sim)
    sim.supervise()
    sim.run(2.0)
    nemesis = Nemesis(sim, every_s=draw.choice((0.3, 0.8, 2.0)))
    sim.run(2.0 + draw.choice((5, 10, 15)))
    nemesis.stopped = True
    if draw.random() < 0.1:
        sim.heal()
        sim.ending = False
        nemesis.cut_one_way()
        sim.settles()
    sim.heal()
    converged_s = sim.converge(clients)
    records = len(sim.checkers.complete)
    return Outcome(seed=seed, events=sim.events, records=records, elections=sim.opened, converged_s=converged_s)
