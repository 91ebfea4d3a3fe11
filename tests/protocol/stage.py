"""A simulation without chance, for stories: the test says who leads, who is cut off, and what arrives when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peaceriver.protocol import electing
from peaceriver.protocol.messages import Place
from tests.protocol.disk import Group, Message
from tests.protocol.machine import LEASE_S, Machine
from tests.protocol.network import Network, Weather
from tests.protocol.simulation import Simulation

_HOP_S = 0.001


class HeldNetwork(Network):
    """Every link takes a millisecond; what is sent over a held one waits until the test lets it arrive."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.random, stage.at, Weather(least_s=_HOP_S, most_s=_HOP_S))
        self.held: set[tuple[str, str]] = set()
        self.waiting: list[tuple[str, str, str, Callable[..., None], tuple[Any, ...]]] = []

    def send(self, sender: str, receiver: str, call: Callable[..., None], *args: Any) -> None:
        if (sender, receiver) in self.held and (sender, receiver) not in self.cut:
            what = next(each.__name__ for each in args if callable(each))
            self.waiting.append((sender, receiver, what, call, args))
        else:
            super().send(sender, receiver, call, *args)


class Stage(Simulation):
    """``nodes`` replicas that were founded together; ``a`` leads epoch 1 when the curtain rises."""

    network: HeldNetwork

    def __init__(self, nodes: int, *, spares: int = 0, chunk_records: int = 100, knowing: bool = True) -> None:
        super().__init__(0, nodes=nodes, spares=spares, founded_knowing=knowing, story=[])
        self.network = HeldNetwork(self)
        self.chunk_records = chunk_records
        self.agent_rests = True

    def opening(self) -> Stage:
        """Start everybody, until ``a`` leads and all are equal."""
        self.start(delayed_s=dict.fromkeys(self.founded.voters, 0.0))
        self.until(lambda: self.leads("a") is not None, 5 * LEASE_S)
        self.until(lambda: self.lacks([]) is None, 5 * LEASE_S)
        return self

    def until(self, condition: Callable[[], bool], at_most_s: float = 1.0) -> None:
        """Let time pass until something is so, event by event."""
        deadline = self.t + at_most_s
        while not condition():
            assert self.t < deadline, "\n".join(self.story or [])
            self.run(self._queue[0][0] + 1e-9)

    def wait(self, seconds: float) -> None:
        self.run(self.t + seconds)

    # --- who hears whom

    def split(self, *sides: str) -> None:
        """Only those on one side hear each other: ``split("ab", "cde")``."""
        self.network.cut.clear()
        for side in sides:
            for one in side:
                self.network.cut.update((one, other) for other in self.machines if other not in side)

    def mend(self) -> None:
        self.network.cut.clear()

    def hold(self, *links: str) -> None:
        """What is sent from ``a`` to ``b`` waits: ``hold("ab")``."""
        self.network.held = {(link[0], link[1]) for link in links}

    def deliver(self, link: str, what: str) -> None:
        """The first message of a kind (``asked``, ``replied``, ``fetched``, ``answered``) on a held link arrives."""
        for index, (sender, receiver, kind, call, args) in enumerate(self.network.waiting):
            if (sender, receiver, kind) == (link[0], link[1], what):
                del self.network.waiting[index]
                self.at(0, call, *args)
                self.wait(_HOP_S / 2)
                return
        raise AssertionError(f"nothing of that kind waits on {link}: {[each[:3] for each in self.network.waiting]}")

    def let_go(self) -> None:
        """Whatever was held arrives, in order."""
        self.network.held = set()
        waiting, self.network.waiting = self.network.waiting, []
        for _, _, _, call, args in waiting:
            self.at(_HOP_S, call, *args)

    # --- what happens to nodes

    def campaign(self, node: str) -> None:
        """A node tries to lead, at a moment when nobody else believes that somebody does."""
        self.wait(3 * _HOP_S)
        for each in self.machines.values():
            if each.up and each.replica.leads is None:
                each.replica.state.leave()
        machine = self.machines[node]
        self.at(0, machine.happens, machine.process, self._campaign, machine)
        self.wait(_HOP_S / 2)

    def _campaign(self, machine: Machine) -> None:
        machine.perform(electing.start(machine.replica.state, machine.now()))

    def elect(self, node: str) -> None:
        """A node tries to lead, and does."""
        self.campaign(node)
        self.until(lambda: self.leads(node) is not None)

    def crash(self, *nodes: str) -> None:
        for node in nodes:
            self.machines[node].crash()

    def start_again(self, *nodes: str) -> None:
        for node in nodes:
            self.machines[node].start()

    def wipe(self, node: str) -> None:
        """A node loses its disk, and starts again."""
        self.machines[node].crash()
        self.new_disk(node)
        self.machines[node].start()

    def send(self, node: str, *names: str, actor: str = "ada", quorum: bool = False) -> list[int | None]:
        """A group of messages to whoever should lead on a node; what is answered is put in the list."""
        answers: list[int | None] = []
        group: Group = tuple(Message(name, actor) for name in names)
        machine = self.machines[node]
        self.at(0, machine.arrives, machine.offered, group, quorum, answers.append)
        return answers

    def record(self, node: str, *names: str, actor: str = "ada") -> None:
        """A group is recorded on a node, complete or not."""
        answers = self.send(node, *names, actor=actor)
        self.until(lambda: bool(answers))
        assert answers[0] is not None

    # --- how they stand

    def end(self, node: str) -> Place:
        return self.disks[node].end

    def complete(self, node: str) -> int:
        return self.machines[node].replica.state.complete

    def leads(self, node: str) -> int | None:
        return self.machines[node].replica.leads if self.machines[node].up else None

    def matched(self, node: str) -> dict[str, int]:
        """What a leader knows of its followers."""
        reign = self.machines[node].replica.state.reign
        assert reign is not None
        return reign.matched

    def waits(self) -> list[tuple[str, str, str]]:
        """What is held: from whom, to whom, of which kind."""
        return [each[:3] for each in self.network.waiting]

    def equal(self) -> None:
        """Everything works again, and all become equal; nothing was lost."""
        self.let_go()
        self.heal()
        self.converge([])
