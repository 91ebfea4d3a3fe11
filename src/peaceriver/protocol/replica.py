"""One replica of one shard, as far as it decides: told what happened, it answers what to do about it.

This is Raft's commit rule with the pull replication of KIP-595: followers ask for what comes after their place, and the
request acknowledges everything up to it. There is no clock here (``now`` comes in, in seconds of any steady clock), no
socket and no database: whoever runs a replica carries effects out in order, tells what came of each before anything
else happens to this replica, and keeps in one transaction what an effect says belongs together. The database's row is
the truth, and this decides how to change it.
"""

from __future__ import annotations

from collections.abc import Collection

from peaceriver.protocol import electing, following, leading, recovering
from peaceriver.protocol.effects import Effect, SavePromise
from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import (
    Answer,
    Ask,
    Fetch,
    Look,
    Place,
    Promise,
    Question,
    Reply,
    Rows,
    Standing,
    TakeOver,
)
from peaceriver.protocol.reign import Reign
from peaceriver.protocol.state import State, Stored


class Replica:
    """A replica of one shard on ``node``. ``first``: the node that leads when it can; ``lease_s``: in seconds."""

    def __init__(self, node: str, stored: Stored, *, first: str | None, lease_s: float, now: float) -> None:
        self.state = State(node, stored, first=first, lease_s=lease_s, now=now)

    @property
    def node(self) -> str:
        """Where the replica is."""
        return self.state.node

    @property
    def end(self) -> Place:
        """Where its journal stands."""
        return self.state.end

    @property
    def promised(self) -> int:
        """The epoch before which nobody is followed any more."""
        return self.state.promised

    @property
    def members(self) -> Members:
        """Who holds the shard."""
        return self.state.members

    @property
    def recovering(self) -> bool:
        """Whether it copies only, and does not count."""
        return self.state.recovering

    @property
    def leader(self) -> str | None:
        """The node that leads, as far as this one knows."""
        return self.state.leader if self.state.reign is None else self.state.node

    def known_leader(self, now: float) -> str | None:
        """The node that leads, if this one has heard of it within the lease."""
        if self.state.reign is not None:
            return self.state.node
        return self.state.leader if self.state.hears_leader(now) else None

    @property
    def reign(self) -> Reign | None:
        """What it knows of its followers while it leads."""
        return self.state.reign

    @property
    def first(self) -> str | None:
        """The node that leads when it can."""
        return self.state.first

    def hears(self, node: str, now: float) -> bool:
        """Whether this leader has heard of a follower within the lease."""
        reign = self.state.reign
        return reign is not None and now - reign.heard.get(node, float("-inf")) < self.state.lease_s

    @property
    def leads(self) -> int | None:
        """The epoch that it leads now."""
        return None if self.state.reign is None else self.state.reign.epoch

    @property
    def agrees(self) -> bool:
        """Whether it leads, or its journal is known to begin as the leader's does."""
        state = self.state
        return state.reign is not None or (state.leader is not None and state.agrees_with == state.leader_epoch)

    @property
    def source(self) -> str | None:
        """The node that it pulls from now."""
        return following.source(self.state)

    def tick(self, now: float, stalled_s: float = 0.0) -> list[Effect]:
        """Time passes: called often within a lease. ``stalled_s``: for how long this leader's disk has not answered."""
        if self.state.reign is not None:
            return leading.go_on(self.state, self.state.reign, now, stalled_s)
        if self.state.recovering:
            return recovering.look_around(self.state, now) + recovering.try_to_recover(self.state)
        return electing.go_on(self.state, now)

    def quiet_until(self, now: float) -> float:
        """Until when no tick does anything, if all that happens is that others are heard of."""
        state = self.state
        if state.reign is not None:
            return now if state.reign.transfer is not None else state.reign.heard_until(state.members, state.lease_s)
        if state.campaign is None and not state.recovering and state.hears_leader(now):
            return state.heard_at + state.lease_s
        return now

    # --- questions

    def standing(self, now: float) -> Standing:
        """How it stands."""
        state = self.state
        # Whoever asks may know of a membership in which this one votes, and this one not yet: that is theirs to count.
        free = not state.recovering and state.reign is None and not state.hears_leader(now)
        return Standing(
            promised=state.promised, end=state.end, leads=self.leads, recovering=state.recovering, free=free
        )

    def asked(self, node: str, question: Question, now: float) -> tuple[Reply | None, list[Effect]]:
        """A node's question: the reply, or None after a promise must be put on disk: then ``promise_to`` replies."""
        match question:
            case Look():
                return self.standing(now), []
            case Ask(epoch=epoch):
                if electing.may_promise(self.state, node, epoch):
                    return None, [SavePromise(epoch, node)]
                return self.promise_to(node, question), []
            case TakeOver():
                return None, electing.take_over(self.state, node, question, now)

    def promise_to(self, node: str, ask: Ask) -> Promise:
        """The reply to an Ask, from what is on disk by now."""
        return electing.promise_to(self.state, node, ask)

    def saved(self, promised: int, to: str | None, end: Place, now: float) -> list[Effect]:
        """What the database says of promises and the journal's end: after SavePromise, or where it fenced an append."""
        return electing.saved(self.state, promised, to, end, now)

    def reread(self, stored: Stored, now: float) -> list[Effect]:
        """What stands on disk, where it was not known what came of something."""
        self.state.members, self.state.recovering = stored.members, stored.recovering
        return self.saved(stored.promised, stored.promised_to, stored.end, now)

    def resigned(self, reason: str, now: float) -> list[Effect]:
        """This node cannot lead any longer."""
        return [] if self.state.reign is None else self.state.step_down(now, reason)

    def replied(self, node: str, reply: Reply, now: float) -> list[Effect]:
        """A reply to something that was said."""
        self.state.know_of(reply.promised)
        match reply:
            case Promise():
                return electing.promised(self.state, node, reply, now)
            case Standing():
                effects = [] if reply.leads is None else self.announced(node, reply.leads, now)
                if self.state.recovering:
                    self.state.standings[node] = reply
                    return effects + recovering.try_to_recover(self.state)
                return effects + electing.looked(self.state, node, reply)

    def opened(self, epoch: int, end: Place | None, now: float) -> list[Effect]:
        """What came of Open: the place of the epoch's first record; None where more was promised to somebody else."""
        effects = electing.opened(self.state, epoch, end, now)
        return effects if self.state.reign is None else effects + leading.completed(self.state, self.state.reign)

    # --- following

    def fetch(self) -> Fetch:
        """What to ask the source for."""
        return following.fetch(self.state)

    def heard(self, now: float) -> None:
        """The leader that is followed is alive, and leads still."""
        if self.state.campaign is None and self.state.leader_epoch >= self.state.promised:
            self.state.heard_at = now

    def announced(self, node: str, epoch: int, now: float) -> list[Effect]:
        """A node says that it leads an epoch."""
        return following.announced(self.state, node, epoch, now)

    def left_by(self, node: str, now: float) -> None:
        """A node says that it leads no longer: others need not wait until they miss it."""
        if node == self.state.leader and self.state.reign is None:
            self.state.leave()
            self.state.heard_at = now - self.state.lease_s

    def answered(self, node: str, answer: Answer, now: float) -> list[Effect]:
        """A node's answer to a fetch."""
        if node != self.source:
            return []
        return following.answered(self.state, answer, now) + recovering.try_to_recover(self.state)

    def applied(self, rows: Rows, members: Members, now: float) -> list[Effect]:
        """Rows are on disk, with the promise of their epoch; ``members`` as the journal says now."""
        self.state.end, self.state.members = rows.end, members
        self.state.raise_promise(rows.epoch)
        effects = following.agreed(self.state, rows)
        return effects + electing.pulled(self.state, now) + recovering.try_to_recover(self.state)

    def probed(self, place: Place) -> None:
        """Nothing was stranded: the journal does not have that place; ``place`` is its last one that is not beyond."""
        self.state.probe = place

    def stranded(self, end: Place, members: Members, now: float) -> list[Effect]:
        """What followed ``end`` was taken back; ``members`` as the journal says now."""
        self.state.end, self.state.members, self.state.probe = end, members, None
        return electing.pulled(self.state, now)

    # --- leading

    def fetched(self, node: str, fetch: Fetch, at: Place, now: float) -> tuple[Answer | None, list[Effect]]:
        """A node's fetch: the answer, or None where it is ``rows`` from the place that was named.

        ``at``: the last place in this journal that is not beyond ``fetch.after``, neither in epoch nor in position.
        """
        return leading.fetched(self.state, node, fetch, at, now)

    def lags(self) -> dict[str, int]:
        """How many records each follower is behind this leader, by what it has acknowledged."""
        reign, state = self.state.reign, self.state
        if reign is None:
            return {}
        others = (each for each in state.members.all if each != state.node)
        return {each: state.end.position - reign.matched.get(each, 0) for each in others}

    def held_by_all(self) -> int:
        """How far every voter holds what this leader has."""
        reign = self.state.reign
        return 0 if reign is None else reign.held_by_all(self.state.members, self.state.end.position)

    def rows(self, after: Place, end: Place) -> Rows:
        """What goes with the records from ``after`` to ``end``, for whoever is served."""
        epoch = self.state.promised if self.state.reign is None else self.state.reign.epoch
        return Rows(epoch=epoch, after=after, end=end, complete=self.state.complete)

    def level(self, now: float) -> list[str]:
        """The replicas that this leader has heard of lately, and that hold all that is complete."""
        reign, state = self.state.reign, self.state
        return [] if reign is None else reign.level(state.members, state.complete, now, state.lease_s)

    def polled(self, node: str, now: float) -> None:
        """A follower of this leader is alive, and follows it still."""
        if self.state.reign is not None:
            self.state.reign.heard[node] = now

    def appended(self, end: Place, members: Members) -> list[Effect]:
        """This leader's journal has grown, on its own disk; ``members`` as the journal says now."""
        reign = self.state.reign
        if reign is None:
            # It was under way when this stepped down, and no promise had been made since that would have refused it.
            self.state.end, self.state.members = end, members
            return []
        return leading.appended(self.state, reign, end, members)

    def next_members(self, voting: Collection[str], learning: Collection[str], now: float) -> Members | None:
        """The change of members that this leader may append now, on the way to ``wanted`` voters; None: not now."""
        reign = self.state.reign
        return None if reign is None else leading.next_members(self.state, reign, voting, learning, now)

    def transfer(self, to: str, now: float) -> list[Effect]:
        """Hand leadership over to a voter, once nothing is being appended (``held``) and that one has everything."""
        reign = self.state.reign
        return [] if reign is None else leading.transfer(self.state, reign, to, now)

    def held(self) -> list[Effect]:
        """What was being appended when Hold was said is on disk."""
        reign = self.state.reign
        return [] if reign is None else leading.held(self.state, reign)

    @property
    def barred(self) -> bool:
        """Whether it does not try to lead, for it is damaged."""
        return self.state.barred

    def bar(self, *, on: bool) -> None:
        """Whether what this replica has is damaged: then it does not try to lead, and takes over from nobody."""
        self.state.barred = on
        if on:
            self.state.drop_campaign()

    # --- lost memory

    def forgot(self) -> None:
        """It is on disk that this replica does not know what it has promised."""
        recovering.forgot(self.state)

    def booted(self, boots: int) -> None:
        """It turns out that the replica was started more often than its disk said."""
        self.state.fetches = max(self.state.fetches, boots << 32)

    def recovered(self, promised: int) -> None:
        """It is on disk that this replica knows again what it must."""
        recovering.recovered(self.state, promised)
