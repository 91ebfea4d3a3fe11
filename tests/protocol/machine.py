"""A node in the simulation: one replica that runs as in production, on a disk that survives it.

It carries effects out in order and tells the replica at once what came of each; it may crash between any two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from peaceriver.protocol import effects as do
from peaceriver.protocol.effects import Effect
from peaceriver.protocol.messages import Answer, Ask, Fetch, NotLeading, Question, Reply, Rows
from peaceriver.protocol.replica import Replica
from tests.protocol.appender import Appender, Receipt, Unit
from tests.protocol.disk import Disk, Group, Refused, Row

if TYPE_CHECKING:
    from tests.protocol.simulation import Simulation

LEASE_S = 1.5
TICK_S = 0.25
#: A fetch is asked again after so long; an answer with nothing new is kept back for less than that.
FETCH_S = 0.8
PARK_S = 0.45
POLL_S = 0.5


class Crash(Exception):
    """The process ends here."""


class Machine:
    """A node: what is up, and what it runs."""

    replica: Replica
    appender: Appender

    def __init__(self, sim: Simulation, node: str, disk: Disk, *, ahead_s: float, rate: float) -> None:
        self.sim = sim
        self.node = node
        self.disk = disk
        self._ahead_s = ahead_s
        self._rate = rate
        self.up = False
        #: Counts processes: what one has begun does not concern the next.
        self.process = 0
        self.paused_until = 0.0
        #: Crash after so many effects.
        self.fuse: int | None = None

    def now(self) -> float:
        """Its own clock, which is ahead or behind, and fast or slow."""
        return self._ahead_s + self._rate * self.sim.t

    def start(self) -> None:
        """A process starts on the disk as it is."""
        self.process += 1
        self.up, self.paused_until, self.fuse = True, 0.0, None
        self.disk.boot()
        self.replica = Replica(self.node, self.disk.stored(), first=self.sim.first, lease_s=LEASE_S, now=self.now())
        self.appender = Appender(self)
        self._quiet_until = 0.0
        self._pulling: str | None = None
        self._pull = 0
        self._arriving: Sequence[Row] = ()
        self._parked: dict[str, tuple[int, Fetch]] = {}
        self._told: dict[str, int] = {}
        self._offered: Group | None = None
        if self.sim.story is not None:
            self.sim.tell(self.node, f"starts at {self.disk.end}, promised {self.disk.promised}")
        self.later(self.sim.random.random() * TICK_S, self._tick)
        self.later(self.sim.random.random() * POLL_S, self._poll)

    def crash(self) -> None:
        """The process ends; what waited for it finds out by time-outs."""
        if self.up and self.sim.story is not None:
            self.sim.tell(self.node, "crashes")
        self.up = False

    # --- events

    def later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Something that this process does later, if it still runs then."""
        self.sim.at(delay_s, self.happens, self.process, call, *args)

    def arrives(self, call: Callable[..., None], *args: Any) -> None:
        """Something that was sent to whatever process runs here."""
        if self.up:
            self.happens(self.process, call, *args)

    def happens(self, process: int, call: Callable[..., None], *args: Any) -> None:
        """Something happens to a process: at once, or when it is no longer paused."""
        if process != self.process or not self.up:
            return
        if self.paused_until > self.sim.t:
            wakes = self.paused_until - self.sim.t + self.sim.random.random() * 0.01
            self.sim.at(wakes, self.happens, process, call, *args)
            return
        try:
            call(*args)
            self._quiet_until = self.replica.quiet_until(self.now())
            source = self.replica.source
            if source != self._pulling:
                self._pulling = source
                self._fetch()
        except Crash:
            self.crash()

    def _tick(self) -> None:
        effects = self.replica.tick(self.now())
        assert not effects or self.now() >= self._quiet_until, f"it said that it would be quiet: {effects}"
        self.perform(effects)
        if self.replica.leads is not None:
            self.appender.change_members(self.sim.wanted)
            self.appender.go_on()
        if self.disk.pending and self._offered is None:
            self._offer_again()
        self.later(TICK_S, self._tick)

    # --- carrying effects out

    def perform(self, effects: Sequence[Effect]) -> None:
        """In order; what comes of one is carried out before the next or after the last, as the schedule has it."""
        if not effects:
            return
        todo = list(effects)
        while todo:
            effect = todo.pop(0)
            if self.fuse is not None:
                self._burn()
            more = self._CARRY_OUT[type(effect)](self, effect)
            if more:
                todo = [*more, *todo] if self.sim.depth_first else [*todo, *more]

    def _burn(self) -> None:
        assert self.fuse is not None
        self.fuse -= 1
        if self.fuse < 0:
            raise Crash

    def _saved(self) -> list[Effect]:
        disk = self.disk
        return self.replica.saved(disk.promised, disk.promised_to, disk.end, self.now())

    def _say(self, effect: do.Say) -> None:
        other = self.sim.machines[effect.to]
        self.sim.network.send(
            self.node, effect.to, other.arrives, other.asked, self.node, self.process, effect.question
        )

    def _save_promise(self, effect: do.SavePromise) -> list[Effect]:
        if self.sim.story is not None:
            self.sim.tell(self.node, f"promises {effect.epoch} to {effect.to}")
        self.disk.save_promise(effect.epoch, effect.to)
        if self.sim.promised is not None:
            self.sim.promised(self.node, effect.to)
        return self._saved()

    def _apply(self, effect: do.Apply) -> list[Effect]:
        if not self.disk.apply(effect.rows, self._arriving):
            return self._saved()
        self.sim.checkers.a_promise_fences(self.disk, effect.rows.epoch)
        self.sim.checkers.groups_are_whole("a chunk", self.disk, len(self.disk.rows))
        return self.replica.applied(effect.rows, self.disk.members, self.now())

    def _strand(self, effect: do.Strand) -> list[Effect]:
        disk = self.disk
        if disk.last_not_beyond(effect.after) == effect.after:
            self.sim.checkers.complete_is_never_taken_back(disk, effect.after)
        try:
            nearer = disk.strand(effect.after)
        except Refused as refused:
            self.sim.checkers.refused(str(refused))
        if nearer is not None:
            self.replica.probed(nearer)
            return []
        if self.sim.story is not None:
            self.sim.tell(self.node, f"takes back what follows {effect.after}")
        return self.replica.stranded(disk.end, disk.members, self.now())

    def _open(self, effect: do.Open) -> list[Effect]:
        disk, end = self.disk, self.replica.state.end
        if disk.promised != effect.epoch or not disk.open(effect.epoch, self.appender.opening(effect.epoch), end):
            return self.replica.opened(effect.epoch, None, self.now())
        journal = disk.rows[:-1]
        self.sim.checkers.groups_are_whole("an election", disk, len(journal))
        self.sim.checkers.one_writer_per_epoch(self.node, effect.epoch, journal)
        self.sim.opened += 1
        if self.sim.story is not None:
            self.sim.tell(self.node, f"begins epoch {effect.epoch} at {disk.end.position}")
        more = self.replica.opened(effect.epoch, disk.end, self.now())
        self._parked.clear()
        self._told.clear()
        for other in self.sim.machines.values():
            if other is not self:
                self._announce(other)
        return more

    def _step_down(self, effect: do.StepDown) -> None:
        if self.sim.story is not None:
            self.sim.tell(self.node, f"steps down: {effect.reason}")
        self.appender.stop_waiting()
        for node, (process, fetch) in self._parked.items():
            self._answer(node, process, fetch, NotLeading(self.replica.state.promised), ())
        self._parked.clear()

    def _hold(self, effect: do.Hold) -> None:
        self.appender.hold = self.appender.says_when_held = effect.on
        self.later(0, self.appender.go_on)

    def _complete(self, effect: do.Complete) -> None:
        disk, checkers, position = self.disk, self.sim.checkers, effect.position
        epoch = self.replica.leads
        if epoch is not None and position > len(checkers.complete):
            checkers.a_majority_has_it(self.node, position, self.replica.state.members)
        checkers.complete_stays(disk, position, epoch)
        checkers.groups_are_whole("what is complete", disk, position)
        disk.complete = max(disk.complete, position)
        if epoch is not None:
            self.sim.completed(self.node, position)
            self.appender.completed(position)
            self.later(0, self.serve_parked)

    def _save_recovered(self, effect: do.SaveRecovered) -> None:
        if self.sim.story is not None:
            self.sim.tell(self.node, f"remembers again, with promise {effect.promised}")
        self.disk.save_recovered(effect.promised)
        self.replica.recovered(effect.promised)

    def _forget(self, effect: do.Forget) -> None:
        if self.sim.story is not None:
            self.sim.tell(self.node, f"knows that it has forgotten: {effect.reason}")
        self.disk.forget()
        self.replica.forgot()

    _CARRY_OUT: dict[type, Callable[[Machine, Any], list[Effect] | None]] = {  # noqa: RUF012  # a table, never changed
        do.Say: _say,
        do.SavePromise: _save_promise,
        do.Apply: _apply,
        do.Strand: _strand,
        do.Open: _open,
        do.StepDown: _step_down,
        do.Hold: _hold,
        do.Complete: _complete,
        do.SaveRecovered: _save_recovered,
        do.Forget: _forget,
    }

    # --- questions

    def asked(self, node: str, process: int, question: Question) -> None:
        """A question of a process on another node."""
        reply, effects = self.replica.asked(node, question, self.now())
        self.perform(effects)
        if reply is None and isinstance(question, Ask):
            reply = self.replica.promise_to(node, question)
        if reply is not None:
            self.sim.checkers.promises_never_decrease(self.node, reply)
            self._send(node, process, "replied", reply, self.replica.leads)

    def replied(self, node: str, reply: Reply, leads: int | None) -> None:
        """A reply, and what the other node leads."""
        self.announced(node, leads)
        self.perform(self.replica.replied(node, reply, self.now()))

    def announced(self, node: str, leads: int | None) -> None:
        """With whatever a node answers, it says what it leads."""
        if leads is not None:
            self.perform(self.replica.announced(node, leads, self.now()))

    def _send(self, node: str, process: int, call: str, *args: Any) -> None:
        """Answer a process of another node: the connection ends with that."""
        other = self.sim.machines[node]
        self.sim.network.send(self.node, node, other.happens, process, getattr(other, call), self.node, *args)

    def _poll(self) -> None:
        """Ask who leads: simulated for the nodes that do, as the others have nothing to say."""
        for other in self.sim.machines.values():
            if other is not self and other.up and other.replica.leads is not None:
                follows = other.replica.leads if self.replica.source == other.node else None
                self.sim.network.send(self.node, other.node, other.arrives, other.polled, self.node, follows)
        self.later(POLL_S, self._poll)

    def polled(self, node: str, follows: int | None) -> None:
        """A node asks who leads; ``follows``: it follows this one, in that epoch."""
        if self.replica.leads is not None:
            if follows == self.replica.leads:
                self.replica.polled(node, self.now())
            self._announce(self.sim.machines[node])

    def _announce(self, other: Machine) -> None:
        """Answer a poll that is under way, so both directions must work."""
        if (other.node, self.node) not in self.sim.network.cut:
            self.sim.network.send(self.node, other.node, other.arrives, other.announced, self.node, self.replica.leads)

    # --- pulling and serving

    def _fetch(self) -> None:
        """Ask the source for more, and ask again if no answer comes."""
        source = self._pulling
        if source is None:
            return
        other, fetch = self.sim.machines[source], self.replica.fetch()
        self._pull = fetch.number
        self.sim.network.send(self.node, source, other.arrives, other.fetched, self.node, self.process, fetch)
        self.later(FETCH_S, self._fetch_again, fetch.number)

    def _fetch_again(self, pull: int) -> None:
        if pull == self._pull:
            self._fetch()

    def fetched(self, node: str, process: int, fetch: Fetch) -> None:
        """Another process asks for what comes after its place."""
        at = self.disk.last_not_beyond(fetch.after)
        answer, effects = self.replica.fetched(node, fetch, at, self.now())
        self.perform(effects)
        if answer is not None:
            self._answer(node, process, fetch, answer, ())
        elif (
            self.replica.leads is not None
            and fetch.after == self.replica.state.end
            and self._told.get(node) == self.replica.state.complete
        ):
            self._parked[node] = (process, fetch)
            self.later(PARK_S, self._unpark, node, fetch)
        else:
            self._serve(node, process, fetch)

    def _serve(self, node: str, process: int, fetch: Fetch) -> None:
        disk, after = self.disk, fetch.after
        to = disk.chunk_end(after.position, self.sim.random.randint(1, self.sim.chunk_records))
        rows = self.replica.rows(after, disk.place(to))
        self._told[node] = rows.complete
        self._answer(node, process, fetch, rows, disk.rows[after.position : to])

    def _answer(self, node: str, process: int, fetch: Fetch, answer: Answer, rows: Sequence[Row]) -> None:
        self._send(node, process, "answered", fetch.number, answer, rows, self.replica.leads)

    def _unpark(self, node: str, fetch: Fetch) -> None:
        parked = self._parked.get(node)
        if parked is not None and parked[1] is fetch:
            del self._parked[node]
            self._serve(node, parked[0], fetch)

    def serve_parked(self) -> None:
        """There is something new to tell."""
        if self._parked and self.replica.leads is not None:
            parked, self._parked = self._parked, {}
            for node, (process, fetch) in parked.items():
                self._serve(node, process, fetch)

    def answered(self, node: str, pull: int, answer: Answer, rows: Sequence[Row], leads: int | None) -> None:
        """An answer to a fetch, perhaps an old one."""
        self.announced(node, leads)
        self._arriving = rows
        self.perform(self.replica.answered(node, answer, self.now()))
        if pull == self._pull and self._pulling == self.replica.source:
            if isinstance(answer, Rows):
                self._fetch()
            else:
                self.later(0.05, self._fetch_again, pull)

    # --- wishes

    def transfer(self, to: str) -> None:
        """An operator wishes that another one leads."""
        if self.replica.leads is not None and to in self.replica.state.members.voters:
            self.sim.tell(self.node, f"is to hand over to {to}")
            self.perform(self.replica.transfer(to, self.now()))

    def offered(self, group: Group, quorum: bool, receipt: Receipt) -> None:
        """Somebody's wish: recorded here if this leads, else not known."""
        if self.replica.leads is None:
            receipt(None)
        else:
            self.appender.offer(Unit(group=group, quorum=quorum, receipt=receipt))

    def _offer_again(self) -> None:
        """Offer the first stranded group to the leader: the next one only when that one's fate is complete."""
        leader = self.node if self.replica.leads is not None else self.replica.source
        if leader is None:
            return
        group, process = self.disk.pending[0], self.process
        self._offered = group
        other = self.sim.machines[leader]

        def receipt(position: int | None) -> None:
            self.sim.network.send(leader, self.node, self.happens, process, self._offer_answered, group, position)

        self.sim.network.send(self.node, leader, other.arrives, other.offered, group, True, receipt)
        self.later(2.0, self._offer_answered, group, None)

    def _offer_answered(self, group: Group, position: int | None) -> None:
        if position is not None and group in self.disk.pending:
            self.disk.pending.remove(group)
            if self.sim.story is not None:
                self.sim.tell(self.node, f"has {group[0].id} dealt with at {position}")
        if self._offered is group:
            self._offered = None
