"""What nodes send each other about the replicas that they hold: MessagePack, and rows as PostgreSQL copies them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal, TypeVar
from uuid import UUID

import msgspec

from peaceriver.errors import Malformed, Offence, Refused, Unavailable
from peaceriver.protocol.messages import Answer, Fetch, Question, Reply
from peaceriver.shard.journal import UNREAD
from peaceriver.shard.proposal import Offered, Outcome, Proposal, Receipt, Wish
from peaceriver.shard.rows import packed
from peaceriver.stamp import Stamp

T = TypeVar("T")
_HEAD_BYTES = 4
_encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Which node speaks, and from which start of which database: a restored backup gives itself away by that."""

    node: str
    #: Of its database: another one after the disk was lost, or found to be older than it was.
    incarnation: UUID
    #: How often its process has started on that database.
    boots: int
    #: Of its process.
    run: UUID


class Poll(msgspec.Struct, array_like=True):
    """One follower's question to one node about all departments that it follows from there.

    Only what has changed is in it: the node remembers the rest, for as long as it lasts.
    """

    identity: Identity
    #: Rising within a run: an older poll that still waits is answered with nothing.
    number: int
    #: The last poll whose answer has arrived. What others were answered is lost, and is told again.
    seen: int
    #: Nothing from before counts: these are all.
    whole: bool
    #: What is asked for, by department.
    fetches: dict[int, Fetch]
    #: Departments that are asked about no longer.
    dropped: list[int]
    #: How long the node may wait for something to tell.
    wait_s: float
    #: Who founded the cluster of the one that asks.
    founders: tuple[str, ...] = ()


class Polled(msgspec.Struct, array_like=True):
    """The answer. The rows follow it, in the order of ``answers``, so many of each."""

    #: The node does not remember the rest: ask again, for everything.
    again: bool = False
    #: The one that asks has started more often than it knows, so often: its database is an older one.
    restored: int | None = None
    #: Which departments the node leads, in which epoch; None where that was told before.
    leads: dict[int, int] | None = None
    answers: list[tuple[int, Answer, int]] = []


class Ask(msgspec.Struct, array_like=True):
    """Questions about several departments at once."""

    identity: Identity
    questions: list[tuple[int, Question]]
    #: Who founded the cluster of the one that asks.
    founders: tuple[str, ...] = ()


class Asked(msgspec.Struct, array_like=True):
    """The replies, where there are any."""

    identity: Identity
    replies: list[tuple[int, Reply]]


class WantedRows(msgspec.Struct, array_like=True):
    """A range of a journal that is damaged where the question comes from: both ends included."""

    shard: int
    first: int
    last: int


class Given(msgspec.Struct, array_like=True):
    """Whether a node has the first rows of a range complete and sound, at least one; they follow."""

    sound: bool


class WantedChains(msgspec.Struct, array_like=True):
    """Positions of a journal whose chains are asked for."""

    shard: int
    positions: list[int]


class Chains(msgspec.Struct, array_like=True):
    """How far a replica is complete and not damaged, and its chain at each position; None beyond that."""

    complete: int
    chains: list[bytes | None]


class Flawed(msgspec.Struct, array_like=True, frozen=True):
    """One flaw of a replica, as it was found, and whether it is repaired."""

    where: str
    place: str
    detail: str
    repaired: bool


class Checked(msgspec.Struct, array_like=True, frozen=True):
    """What verification of one replica came to."""

    shard: int
    records: int
    flaws: list[Flawed]


class Told(msgspec.Struct, array_like=True):
    """What became of a message: its receipt, or the refusal."""

    receipt: Receipt | None = None
    refusal: str | None = None
    detail: str = ""
    errors: list[tuple[str, str]] = []
    message_id: str | None = None
    retry_after_s: float | None = None

    def outcome(self) -> Outcome:
        """As the other node had it."""
        if self.receipt is not None:
            return self.receipt
        return _refusals().get(self.refusal or "", Unavailable)(
            self.detail,
            errors=tuple(Offence(*each) for each in self.errors),
            message_id=self.message_id,
            retry_after_s=self.retry_after_s,
        )


class Unit(msgspec.Struct, array_like=True):
    """Messages that are one unit, on their way to the node that leads their department."""

    wishes: tuple[Wish, ...]
    atomic: bool = False
    offered: Offered | None = None
    #: What the first node has refused already, by index: a refusal that is to be recorded.
    refused: dict[int, Told] = {}

    def proposal(self) -> Proposal:
        """As the first node proposed it."""
        wishes = list(self.wishes)
        for index, told in self.refused.items():
            refusal = told.outcome()
            assert isinstance(refusal, Refused)
            wishes[index] = msgspec.structs.replace(wishes[index], refusal=refusal)
        return Proposal(wishes=tuple(wishes), atomic=self.atomic, offered=self.offered)


def unit_of(proposal: Proposal) -> Unit:
    """A proposal for another node."""
    wishes = tuple(msgspec.structs.replace(each, value=UNREAD, refusal=None) for each in proposal.wishes)
    refused = {index: told_of(each.refusal) for index, each in enumerate(proposal.wishes) if each.refusal is not None}
    return Unit(wishes, proposal.atomic, proposal.offered, refused)


class Forwarded(msgspec.Struct, array_like=True):
    """Messages for a department that another node leads, in units, with what the first node found out about them."""

    node: str
    code: int
    concern: Literal["quorum", "local", "all"]
    timeout_s: float
    units: list[Unit]


class Wanted(msgspec.Struct, array_like=True):
    """What does a node know, by itself, of a message, of a stamp that no record has, or of a draft?"""

    message: UUID | None = None
    stamp: Stamp | None = None
    draft: UUID | None = None


class Known(msgspec.Struct, array_like=True):
    """What a node knows by itself."""

    #: Of the message: see ``receipts.Seen``.
    seen: bytes | None = None
    #: The message whose record had the stamp before it was taken back.
    stranded: UUID | None = None
    has_draft: bool = False


def told_of(outcome: Outcome) -> Told:
    """An outcome for another node."""
    if isinstance(outcome, Receipt):
        return Told(outcome)
    return Told(
        None,
        type(outcome).__name__,
        outcome.detail,
        [(each.pointer, each.detail) for each in outcome.errors],
        outcome.message_id,
        outcome.retry_after_s,
    )


@functools.cache
def _refusals() -> dict[str, type[Refused]]:
    """All kinds of refusals, by name."""
    found: dict[str, type[Refused]] = {}
    waiting: list[type[Refused]] = [Refused]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found


def framed(head: Any, rows: Sequence[bytes] | None = None) -> bytes:
    """A message, with the rows that belong to it where there may be some."""
    encoded = _encode(head)
    return b"".join((len(encoded).to_bytes(_HEAD_BYTES, "big"), encoded, *(() if rows is None else packed(rows))))


def unframed(data: bytes, of: type[T]) -> tuple[T, memoryview]:
    """A message, and its rows as they are packed; raises Malformed."""
    length = int.from_bytes(data[:_HEAD_BYTES], "big")
    try:
        head = msgspec.msgpack.decode(memoryview(data)[_HEAD_BYTES : _HEAD_BYTES + length], type=of)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Malformed(f"this is no message between nodes of this version: {error}") from error
    return head, memoryview(data)[_HEAD_BYTES + length :]
