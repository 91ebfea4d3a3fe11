"""What the replicas of a shard say to each other. Values, without I/O; each belongs to one shard.

A *place* is where a journal stands: the epoch of its last record and that record's position. Places of one shard are
ordered, and two journals that have the same place have the same records up to it (Raft's log matching, which the hash
chain proves).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec


class Place(NamedTuple):
    """Where a journal stands, or a record in it: compared by epoch first."""

    epoch: int
    position: int


START = Place(0, 0)

#: Above these bits of a request's number stands how often its replica had been started.
BOOT_BITS = 32


class Look(msgspec.Struct, frozen=True, tag=True):
    """How do you stand? Changes nothing: the pre-vote, and how a replica that has lost its memory looks around."""


class Standing(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """How a replica stands."""

    #: It never decreases, and it is on disk.
    promised: int
    end: Place
    #: The epoch that it leads now.
    leads: int | None = None
    recovering: bool = False
    #: It votes, and hears from no leader.
    free: bool = False


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Promise me an epoch: follow nobody of an earlier one from now on.

    Asked twice: the answers to the second round count, which begins when a majority has promised. So whoever counts is
    known to a majority, and a replica that has lost its disk in between finds out about the epoch that it had promised
    (Viewstamped Replication Revisited, Liskov and Cowling 2012, section 4.2: two rounds for the same reason).
    """

    epoch: int
    round: int


class Promise(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Whether an epoch is promised to whoever asked; ``end`` is where the journal stood then, and it stays there."""

    epoch: int
    round: int
    granted: bool
    promised: int
    end: Place


class TakeOver(msgspec.Struct, frozen=True, tag=True):
    """The leader of an epoch asks a replica that is level with it to lead the next one."""

    epoch: int


class Fetch(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What comes after this place? The request is the acknowledgement of everything up to it."""

    #: Rising, over restarts as well: an older request that arrives later says nothing.
    number: int
    promised: int
    after: Place
    recovering: bool = False


class Rows(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The records after a place, whole groups, up to ``end``; none where only completeness has moved."""

    epoch: int
    after: Place
    end: Place
    complete: int


class Diverged(msgspec.Struct, frozen=True, tag=True):
    """The place that was named is not in this journal; ``at`` is the last one in it that may be in the other as well.

    That is KIP-101: the end of the largest epoch that is not larger than the one named.
    """

    epoch: int
    #: The place that was named.
    after: Place
    at: Place


class NotLeading(msgspec.Struct, frozen=True, tag=True):
    """I am no leader that you could follow; I have promised this epoch."""

    promised: int


class Regressed(msgspec.Struct, frozen=True, tag=True):
    """You have acknowledged more than you have, or been started more often: your disk was replaced by an older one."""

    epoch: int
    acknowledged: int


Question: TypeAlias = Look | Ask | TakeOver
Reply: TypeAlias = Standing | Promise
Answer: TypeAlias = Rows | Diverged | NotLeading | Regressed
