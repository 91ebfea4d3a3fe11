"""A leader's appender in the simulation: one at a time, several groups in a transaction, and who waits for what."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import Place
from tests.protocol.disk import Disk, Group, Message, Row

if TYPE_CHECKING:
    from tests.protocol.machine import Machine

#: What becomes of a wish: the position at which it was recorded or answered, or None where that is not known.
Receipt = Callable[[int | None], None]

_BATCH = 3


class Unit(msgspec.Struct):
    """What is appended as one group: messages, a step of the agent, or a change of members."""

    group: Group = ()
    quorum: bool = False
    receipt: Receipt | None = None
    #: The agent's mark as the step was decided; it must still be there.
    step_from: int | None = None
    step_to: int = 0
    members: Members | None = None


class Appender:
    """Of one process; what it has not written when that ends is lost."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.disk = machine.disk
        self.queue: deque[Unit] = deque()
        self.writing: list[Unit] = []
        self.hold = False
        self.says_when_held = False
        #: What is recorded here, and waits to be complete.
        self.waiting: list[tuple[int, str, Receipt]] = []

    def offer(self, unit: Unit) -> None:
        """Queue a unit."""
        self.queue.append(unit)
        self.go_on()

    def go_on(self) -> None:
        """Begin a transaction, if there is something to write and none under way."""
        epoch = self.machine.replica.leads
        if self.writing or epoch is None:
            return
        if self.hold:
            if self.says_when_held:
                self.says_when_held = False
                self.machine.perform(self.machine.replica.held())
            return
        step = self._step()
        units = [] if step is None else [step]
        while self.queue and len(units) < _BATCH:
            units.append(self.queue.popleft())
        if units:
            self.writing = units
            self.machine.later(self.machine.sim.flush_s(), self._commit, epoch, self.disk.end)

    def stop_waiting(self) -> None:
        """The process leads no longer: what becomes of all this is not known."""
        waiting, self.waiting = self.waiting, []
        units = list(self.queue)
        self.queue.clear()
        self.hold = self.says_when_held = False
        for unit in units:
            if unit.receipt is not None:
                unit.receipt(None)
        for _, _, receipt in waiting:
            receipt(None)

    def completed(self, position: int) -> None:
        """Answer those who waited for it."""
        if self.waiting and self.waiting[0][0] <= position:
            ready = [each for each in self.waiting if each[0] <= position]
            self.waiting = [each for each in self.waiting if each[0] > position]
            for at, message_id, receipt in ready:
                self.machine.sim.checkers.acknowledged_when_complete(self.disk.node, message_id, at)
                receipt(at)

    def _step(self) -> Unit | None:
        """What the agent does about records after its mark; it need not wait until they are complete."""
        disk, random = self.disk, self.machine.sim.random
        if self.machine.sim.agent_rests or disk.mark >= len(disk.rows) or random.random() < 0.3:
            return None
        to = disk.chunk_end(disk.mark, random.randint(1, 6))
        if not any(row.kind == "received" for row in disk.rows[disk.mark : to]):
            to = len(disk.rows)
            if not any(row.kind == "received" for row in disk.rows[disk.mark : to]):
                return None
        return Unit(step_from=disk.mark, step_to=to)

    def _commit(self, epoch: int, expected: Place) -> None:
        """The transaction: refused as a whole where the epoch is not led any more."""
        units, self.writing = self.writing, []
        disk, machine = self.disk, self.machine
        if disk.fenced(epoch, expected):
            self._answer_unknown(units)
            machine.perform(machine.replica.saved(disk.promised, disk.promised_to, disk.end, machine.now()))
            return self.go_on()
        machine.sim.checkers.only_its_writer_appends(disk, epoch)
        answers: list[tuple[Unit, int]] = []
        before = len(disk.rows)
        for unit in units:
            rows = self.rows(unit, epoch)
            if rows:
                disk.append(rows)
            if unit.receipt is not None:
                receipt = disk.receipt(unit.group[0].id)
                assert receipt is not None
                answers.append((unit, receipt))
        if len(disk.rows) > before:
            if machine.sim.story is not None:
                machine.sim.tell(disk.node, "appends " + ", ".join(row.id for row in disk.rows[before:]))
            machine.perform(machine.replica.appended(disk.end, disk.members))
            machine.serve_parked()
        for unit, position in answers:
            self._answer(unit, position)
        return self.go_on()

    def rows(self, unit: Unit, epoch: int) -> list[Row]:
        """The records of a unit, as they would be appended now; none if they are there already."""
        if unit.members is not None:
            position = len(self.disk.rows) + 1
            members = msgspec.structs.replace(unit.members, position=position)
            return self._made(epoch, [("member", f"members/{epoch}/{position}", {"members": members})])
        if unit.step_from is not None:
            return self._made(epoch, step_rows(self.disk, unit))
        if self.disk.receipt(unit.group[0].id) is not None:
            return []
        return self._made(epoch, admitted(self.disk, unit.group))

    def _made(self, epoch: int, wishes: list[tuple[str, str, dict[str, object]]]) -> list[Row]:
        disk, made = self.disk, []
        position, chain = len(disk.rows), disk.chain(len(disk.rows))
        stamp = disk.rows[-1].stamp if disk.rows else 0
        end, wall = position + len(wishes), int(self.machine.now() * 1000)
        for kind, row_id, more in wishes:
            position, stamp = position + 1, max(stamp + 1, wall)
            chain = hash((chain, epoch, position, kind, row_id))
            made.append(Row(epoch, position, end, stamp, kind, row_id, chain, **more))
        return made

    def opening(self, epoch: int) -> Row:
        """The first record of an epoch."""
        return self._made(epoch, [("epoch", f"epoch/{epoch}", {})])[0]

    def _answer(self, unit: Unit, position: int) -> None:
        assert unit.receipt is not None
        if not unit.quorum:
            for message in unit.group:
                self.machine.sim.checkers.acknowledged_local[message.id] = self.disk.node
            unit.receipt(position)
        elif position <= self.machine.replica.state.complete:
            self.machine.sim.checkers.acknowledged_when_complete(self.disk.node, unit.group[0].id, position)
            unit.receipt(position)
        elif self.machine.replica.leads is None:
            unit.receipt(None)
        else:
            self.waiting.append((position, unit.group[0].id, unit.receipt))

    def _answer_unknown(self, units: list[Unit]) -> None:
        for unit in units:
            if unit.receipt is not None:
                unit.receipt(None)

    def change_members(self, wanted: tuple[str, ...]) -> None:
        """Propose the next step towards who is wanted, if members may be changed now."""
        change = self.machine.replica.next_members(wanted, (), self.machine.now())
        if change is not None and not any(unit.members for unit in (*self.queue, *self.writing)):
            self.offer(Unit(members=change))


def step_rows(disk: Disk, unit: Unit) -> list[tuple[str, str, dict[str, object]]]:
    """The agent's mark and what follows from the records that it passes: one group; none where the mark has moved."""
    start, end = unit.step_from, unit.step_to
    if start is None or start != disk.mark:
        return []
    wishes: list[tuple[str, str, dict[str, object]]] = [("mark", f"mark/{start}/{end}", {"span": (start, end)})]
    wishes += [("sent", f"{row.id}>", {"about": row.id}) for row in disk.rows[start:end] if row.kind == "received"]
    return wishes


def admitted(disk: Disk, group: Group) -> list[tuple[str, str, dict[str, object]]]:
    """A group as received, or, where an actor is not at what an offered message was based on, as exceptions."""
    at: dict[str, str | None] = {}
    wishes: list[tuple[str, str, dict[str, object]]] = []
    for message in group:
        current = at.get(message.actor, disk.actors.get(message.actor))
        if message.again and message.based_on != current:
            return [_exception(each) for each in group]
        wishes.append(("received", message.id, {"actor": message.actor, "based_on": current}))
        at[message.actor] = message.id
    return wishes


def _exception(message: Message) -> tuple[str, str, dict[str, object]]:
    more = {"actor": message.actor, "based_on": message.based_on, "about": message.id}
    return "exception", f"{message.id}!", more
