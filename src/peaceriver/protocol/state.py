"""What one replica of one shard goes by when it decides: what is on its disk, and what it has heard since."""

from __future__ import annotations

import msgspec

from peaceriver.protocol.campaign import Campaign
from peaceriver.protocol.effects import Effect, StepDown
from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import BOOT_BITS, START, Place, Standing
from peaceriver.protocol.reign import Reign


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica's database says when it starts."""

    promised: int = 0
    promised_to: str | None = None
    end: Place = START
    #: A hint that may lag: what is known to be complete, is.
    complete: int = 0
    #: It may have forgotten promises and records: its disk is new, or older than it was.
    recovering: bool = False
    members: Members
    #: How often this replica was started, counted on its disk. A peer that has heard of as many at an earlier start, or
    #: of more, knows that the disk is older than it was: then it is recovering.
    boots: int = 0


class State:
    """The state of a replica on ``node``; see ``replica.Replica``, which is the way to change it."""

    def __init__(self, node: str, stored: Stored, *, first: str | None, lease_s: float, now: float) -> None:
        self.node = node
        #: The node that leads the shard when it can.
        self.first = first
        self.lease_s = lease_s
        #: It never decreases: nobody of an earlier epoch is followed or promised anything.
        self.promised = stored.promised
        self.promised_to = stored.promised_to
        self.end = stored.end
        #: complete <= end.position, and what is complete stays.
        self.complete = stored.complete
        self.recovering = stored.recovering
        self.members = stored.members
        #: It is damaged: it does not try to lead. It votes, for its promises and its acknowledgements hold.
        self.barred = False
        #: The highest epoch that it has heard anybody has promised: whoever leads next must lead a later one.
        self.known_promised = stored.promised
        #: Whom it follows, and that one's epoch. One below its own promise is not followed, only told (``contradict``).
        self.leader: str | None = None
        self.leader_epoch = 0
        #: When it last heard from its leader. At first everybody may try to lead at once, in the order of their ranks.
        self.heard_at = now - lease_s
        #: Since when it leaves it to others to lead, whether it hears of them or not. Not the same as hearing from a
        #: leader: two who gave up and told each other that they hear of one would keep each other from it for ever.
        self.waits_since = now - lease_s
        #: The epoch of the leader whose journal is known to begin with this one's.
        self.agrees_with = 0
        #: What to ask for where the journal's own end was not found in the other one.
        self.probe: Place | None = None
        #: Of the last fetch; rising also over restarts, so that a request from before one is known to be old.
        self.fetches = stored.boots << BOOT_BITS
        #: At most one of the two: it tries to lead, or it does.
        self.campaign: Campaign | None = None
        self.reign: Reign | None = None
        #: While recovering: how the others stand, and when to look again.
        self.standings: dict[str, Standing] = {}
        self.look_at = now

    @property
    def votes(self) -> bool:
        """Whether its promises and acknowledgements count."""
        return self.node in self.members.voters and not self.recovering

    def hears_leader(self, now: float) -> bool:
        """Whether there is a leader that was heard of within the lease."""
        return self.leader is not None and self.leader_epoch >= self.promised and now - self.heard_at < self.lease_s

    def follow(self, leader: str, epoch: int, now: float) -> None:
        """Follow a leader from now on, or go on following it."""
        if (leader, epoch) != (self.leader, self.leader_epoch):
            self.leader, self.leader_epoch, self.probe = leader, epoch, None
        self.heard_at = now

    def contradict(self, leader: str, epoch: int) -> None:
        """Pull from a leader of an epoch too low to be followed: the request tells it that it must lead a later one."""
        self.leader, self.leader_epoch, self.probe = leader, epoch, None

    def leave(self) -> None:
        """Follow nobody."""
        self.leader = self.probe = None

    def drop_campaign(self) -> None:
        """Try to lead no longer."""
        if self.campaign is not None:
            self.campaign = self.probe = None

    def know_of(self, promised: int) -> None:
        """Somebody has promised an epoch."""
        self.known_promised = max(self.known_promised, promised)

    def raise_promise(self, epoch: int) -> None:
        """An epoch is promised to whoever leads it."""
        if epoch > self.promised:
            self.promised, self.promised_to = epoch, None

    def step_down(self, now: float, reason: str) -> list[Effect]:
        """Lead no longer."""
        self.reign = None
        self.waits_since = now
        return [StepDown(reason)]
