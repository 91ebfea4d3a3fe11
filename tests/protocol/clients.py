"""Who uses the shard in the simulation: clients that send until they know, and readers who ask as of a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.protocol.disk import Group, Message

if TYPE_CHECKING:
    from tests.protocol.simulation import Simulation

_ACTORS = ("ada", "bob", "eve")
_TRIES = 8


class Client:
    """Sends one group after the other, to whoever it believes leads; asks again under the same ids."""

    def __init__(self, sim: Simulation, name: str, *, every_s: float) -> None:
        self.sim = sim
        self.name = name
        self._every_s = every_s
        self._sent = 0
        self._attempt = 0
        self._tries = 0
        self._believes = sim.first
        self._group: Group = ()
        self._quorum = True
        sim.at(sim.random.random() * every_s, self.send)

    @property
    def idle(self) -> bool:
        return not self._group

    def send(self) -> None:
        """A new wish."""
        if self.sim.ending:
            return
        random = self.sim.random
        self._sent += 1
        count = 1 if random.random() < 0.7 else random.randint(2, 3)
        ids = [f"{self.name}{self._sent}.{each}" for each in range(count)]
        self._group = tuple(Message(each, random.choice(_ACTORS)) for each in ids)
        self._quorum, self._tries = random.random() < 0.7, 0
        self._try()

    def _try(self) -> None:
        self._attempt += 1
        self._tries += 1
        if self._tries > _TRIES:
            self._next()
            return
        machine, network = self.sim.machines[self._believes], self.sim.network
        attempt = self._attempt

        def receipt(position: int | None) -> None:
            if self.sim.random.random() >= network.weather.lost:
                self.sim.at(network.delay_s(), self._answered, attempt, position)

        if self.sim.random.random() >= network.weather.lost:
            self.sim.at(network.delay_s(), machine.arrives, machine.offered, self._group, self._quorum, receipt)
        self.sim.at(1.5, self._answered, attempt, None)

    def _answered(self, attempt: int, position: int | None) -> None:
        """Known, or unknown: then it is asked again, somewhere else."""
        if attempt != self._attempt:
            return
        self._attempt += 1
        if position is not None:
            self._next()
            return
        leading = [each.node for each in self.sim.machines.values() if each.up and each.replica.leads is not None]
        nodes = leading if leading and self.sim.random.random() < 0.7 else list(self.sim.machines)
        self._believes = self.sim.random.choice(nodes)
        self.sim.at(0.3, self._try)

    def _next(self) -> None:
        self._group = ()
        self.sim.at(self._every_s * (0.5 + self.sim.random.random()), self.send)


class Reader:
    """Takes what is complete at some replica, up to the end of some group."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self._read()

    def _read(self) -> None:
        sim = self.sim
        machine = sim.random.choice(list(sim.machines.values()))
        if machine.up:
            complete = machine.replica.state.complete
            asked = sim.random.randint(max(0, complete - 20), complete)
            sim.checkers.answers_never_change(machine.node, machine.disk.chunk_end(asked - 1, 1) if asked else 0)
            sim.checkers.answers_never_change(machine.node, complete)
        sim.at(0.7, self._read)
