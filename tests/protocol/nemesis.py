"""Faults, and what operators do. Each schedule draws which of them it has, and how often.

Lost disks are never more at once than the protocol tolerates: in every membership that some disk knows of, those that
are gone for ever and those that do not remember yet are a minority together. All others may happen to anybody at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tests.protocol.machine import LEASE_S
from tests.protocol.network import Weather

if TYPE_CHECKING:
    from tests.protocol.machine import Machine
    from tests.protocol.simulation import Simulation


class Nemesis:
    """Does harm to one simulation, until it is told to stop."""

    def __init__(self, sim: Simulation, *, every_s: float, faults: list[str] | None = None) -> None:
        self.sim = sim
        self._every_s = every_s
        known = list(self._FAULTS)
        self.faults = faults if faults is not None else sim.random.sample(known, sim.random.randint(1, 6))
        self.stopped = False
        if self.faults:
            self._wait()

    def _wait(self) -> None:
        self.sim.at(self._every_s * self.sim.random.expovariate(1.0), self._act)

    def _act(self) -> None:
        if not self.stopped:
            fault = self.sim.random.choice(self.faults)
            self._FAULTS[fault](self)
            self._wait()

    def _some(self) -> Machine:
        """The leader rather often: most of what can go wrong goes wrong there."""
        sim = self.sim
        leading = [each for each in sim.machines.values() if each.up and each.replica.leads is not None]
        if leading and sim.random.random() < 0.4:
            return sim.random.choice(leading)
        return sim.machines[sim.random.choice([node for node in sim.started if node not in sim.gone])]

    # --- processes

    def _crash(self) -> None:
        machine, random = self._some(), self.sim.random
        if not machine.up:
            return
        if random.random() < 0.5:
            machine.fuse = random.randint(0, 4)
        else:
            machine.crash()

    def _pause(self) -> None:
        self._pause_it(self._some().node)

    def _ambush(self) -> None:
        """Strike in the middle of the next election, where a fault at any odd time hardly ever hits."""
        self.sim.promised = self._strike

    def _strike(self, node: str, candidate: str) -> None:
        sim, random = self.sim, self.sim.random
        sim.promised = None
        if self.stopped:
            return
        for strike in random.sample((self._cut_off, self._pause_it, self._wipe_it, self._crash_it), 2):
            sim.at(random.random() * 0.1, self._unless_stopped, strike, random.choice((node, candidate)))
        if random.random() < 0.5:
            sim.at(random.random() * 0.3, self._unless_stopped, self._wipe)

    def _unless_stopped(self, strike: Callable[..., None], *nodes: str) -> None:
        if not self.stopped:
            strike(*nodes)

    def _crash_it(self, node: str) -> None:
        self.sim.machines[node].crash()

    def _pause_it(self, node: str) -> None:
        sim, machine = self.sim, self.sim.machines[node]
        if machine.up:
            machine.paused_until = sim.t + sim.random.random() * 4
            sim.tell(node, f"is paused until {machine.paused_until:.3f}")

    def _cut_off(self, node: str) -> None:
        for other in self.sim.started:
            if other != node:
                self.sim.network.cut.update(((node, other), (other, node)))

    # --- disks

    def tolerates(self, node: str) -> bool:
        """Whether a node may lose its memory now."""
        for voters in self._memberships():
            if node in voters:
                without = [each for each in voters if each == node or self._forgetful(each)]
                if len(without) > (len(voters) - 1) // 2:
                    return False
        return True

    def _forgetful(self, node: str) -> bool:
        return node in self.sim.gone or self.sim.disks[node].recovering

    def _memberships(self) -> Iterator[tuple[str, ...]]:
        for node in self.sim.started:
            if node in self.sim.gone:
                continue
            machine = self.sim.machines[node]
            members = machine.disk.members
            yield members.voters
            # A change may be on its way by the time that this matters.
            for learner in members.learners:
                yield (*members.voters, learner)
            for leaving in members.voters:
                if leaving not in self.sim.wanted and len(members.voters) > 1:
                    yield tuple(each for each in members.voters if each != leaving)
            if machine.up:
                units = (*machine.appender.queue, *machine.appender.writing)
                yield from (unit.members.voters for unit in units if unit.members is not None)

    def _wipe(self) -> None:
        self._wipe_it(self._some().node)

    def _wipe_it(self, node: str) -> None:
        if node not in self.sim.gone and self.tolerates(node):
            self.sim.machines[node].crash()
            self.sim.tell(node, "loses its disk")
            self.sim.new_disk(node)

    def _back_up(self) -> None:
        node = self._some().node
        self.sim.backups[node] = self.sim.disks[node].copy()

    def _restore(self) -> None:
        sim = self.sim
        if not sim.backups or sim.random.random() < 0.3:
            return self._back_up()
        node = sim.random.choice(list(sim.backups))
        if sim.backups[node].rows and node not in sim.gone and self.tolerates(node):
            sim.machines[node].crash()
            sim.tell(node, "gets a backup for its disk")
            sim.restore(node, recovering=True)
        return None

    def _go_for_ever(self) -> None:
        machine, sim = self._some(), self.sim
        if self.tolerates(machine.node) and len(sim.started) - len(sim.gone) > 1:
            machine.crash()
            sim.tell(machine.node, "is gone for ever")
            sim.disk_lost(machine.node)
            sim.gone.append(machine.node)
            self._replace(machine.node)

    # --- links

    def _cut(self) -> None:
        sim, random = self.sim, self.sim.random
        cut = sim.network.cut
        nodes = sim.started
        how = random.random()
        if how < 0.3:
            cut.clear()
        elif how < 0.65:
            side = random.sample(nodes, random.randint(1, max(1, len(nodes) // 2)))
            for one in side:
                for other in nodes:
                    if other not in side:
                        cut.update(((one, other), (other, one)))
        else:
            self.cut_one_way()
        sim.tell("network", f"cut: {sorted(cut)}")

    def cut_one_way(self) -> None:
        """Cut a node off in one direction, from one or from all."""
        sim, random = self.sim, self.sim.random
        one = self._some().node
        others = [each for each in sim.started if each != one]
        if others:
            picked = others if random.random() < 0.3 else [random.choice(others)]
            outward = random.random() < 0.5
            sim.network.cut.update((one, each) if outward else (each, one) for each in picked)

    def _mend(self) -> None:
        self.sim.network.cut.clear()

    def _weather(self) -> None:
        random = self.sim.random
        self.sim.network.weather = Weather(
            lost=random.choice((0, 0, 0.02, 0.1, 0.25)),
            repeated=random.choice((0, 0, 0.05, 0.2)),
            slow=random.choice((0, 0, 0.05, 0.3)),
            most_s=random.choice((0.01, 0.03, 0.2)),
        )

    # --- operators

    def _transfer(self) -> None:
        sim = self.sim
        for machine in sim.machines.values():
            if machine.up and machine.paused_until <= sim.t and machine.replica.leads is not None:
                to = sim.random.choice(machine.replica.state.members.voters)
                machine.later(0, machine.transfer, to)

    def _change_members(self) -> None:
        sim, random = self.sim, self.sim.random
        if sim.t - sim.memory_lost_at < 2 * LEASE_S:
            # The leader may not know yet whom it cannot count on.
            return
        possible = [node for node in sim.machines if node not in sim.gone]
        count = min(len(possible), random.choice((1, 2, 3, 3, 3, 4, 5)))
        sim.want(tuple(sorted(random.sample(possible, count))))

    def _replace(self, node: str) -> None:
        sim = self.sim
        if sim.random.random() < 0.7:
            spare = [each for each in sim.machines if each not in sim.gone and each not in sim.wanted]
            sim.want((*(each for each in sim.wanted if each != node), *spare[:1]) or sim.wanted)

    _FAULTS: dict[str, Callable[[Nemesis], None]] = {  # noqa: RUF012  # a table, never changed
        "crash": _crash,
        "pause": _pause,
        "ambush": _ambush,
        "wipe": _wipe,
        "restore": _restore,
        "gone": _go_for_ever,
        "cut": _cut,
        "weather": _weather,
        "mend": _mend,
        "transfer": _transfer,
        "members": _change_members,
    }
