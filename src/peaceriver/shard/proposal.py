"""What comes to a department to be recorded, and what goes back: wishes, proposals and receipts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from peaceriver.errors import PeaceRiverError, Refused
from peaceriver.message import Envelope, derived_id
from peaceriver.record import Kind, Record, Resolution
from peaceriver.shard.journal import UNREAD, Mark, type_and_id
from peaceriver.stamp import Stamp


class ExceptionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry in the life of an exception: opened, tried again in vain, asked to be tried again, or resolved."""

    #: The exception's own id: the message id of its opening record.
    id: UUID
    state: Resolution
    #: How often it was tried, with this entry.
    attempt: int
    #: When it is tried again; None: when somebody asks for it.
    retry_at: datetime | None = None
    #: Somebody asked for it to be tried again; of an entry that is still open.
    asked: bool = False
    actor_type: str
    actor_id: str
    action: str
    message_type: str
    #: What it follows from: the record that a rule could not act on, or the exception's opening record.
    cause: Stamp | None
    root: UUID
    correlation: str | None = None
    principal: str | None = None
    trace: str | None = None
    hops: int = 0
    #: The rule that could not act; None for a message that was refused.
    rule: str | None = None
    rule_version: int | None = None
    sender: int | None = None
    receiver: int | None = None
    #: Of a refused message: its wish's; of a rule's: the record that it could not act on.
    source_position: int | None = None
    #: What went wrong (RFC 9457); None where it is resolved.
    problem: dict[str, Any] | None = None
    #: What could not be acted on was an exception itself: such a one wakes no rule.
    at_exception: bool = False
    #: The refused message, as ``POST /messages`` takes it.
    message: dict[str, Any] | None = None

    @property
    def record_id(self) -> UUID:
        """The message id of this entry's record: the journal lets an exception be opened and resolved once."""
        return entry_id(self.id, self.state, self.attempt, asked=self.asked)

    @property
    def next_id(self) -> UUID:
        """The message id of the record of its next attempt, if that is in vain."""
        return entry_id(self.id, "open", self.attempt + 1)

    @property
    def resolved_id(self) -> UUID:
        """The message id of the record that ends the exception."""
        return entry_id(self.id, "retried", self.attempt)


def entry_id(exception: UUID, state: Resolution, attempt: int, *, asked: bool = False) -> UUID:
    """The message id of the record of an exception's entry: of its opening the exception's own, of its end one only."""
    if state != "open":
        return derived_id(exception, "resolved")
    if asked:
        return derived_id(exception, "asked", str(attempt))
    return exception if attempt == 1 else derived_id(exception, "attempt", str(attempt))


#: A message is based on no record in particular: whatever its actor has become, it may be admitted.
ANYTHING: Final = msgspec.UNSET


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A message at the door of one department, with what the node knows about it."""

    #: The envelope's, or made here where the client gave none.
    id: UUID
    envelope: Envelope
    #: What it becomes if it is admitted: received here, sent on from here, or kept until it is due.
    kind: Kind
    root: UUID
    principal: str | None = None
    trace: str | None = None
    #: How many rules in a row led to it.
    hops: int = 0
    #: The rule that made it, and its version; None for a message from outside.
    rule: str | None = None
    rule_version: int | None = None
    #: Where a delivered message stands in the sender's journal, or in our own the timer that released it.
    source_position: int | None = None
    #: Later than everything this message follows from.
    received_time: int = 0
    #: A refusal becomes an exception record and not an answer: nobody is waiting for one.
    records_refusal: bool = False
    #: It is refused already, before admission looks at it: its cause did not arrive in time.
    refusal: Refused | None = None
    #: The exception that its admission resolves, or whose next attempt its refusal is.
    retries: ExceptionEntry | None = None
    #: The decoded body, where whoever made the wish has read it: it is not read again.
    value: Any = UNREAD
    #: Of a message that is offered again: the message id of the record that must be its actor's last; None: the actor
    #: must not exist.
    based_on: UUID | msgspec.UnsetType | None = ANYTHING

    @property
    def key(self) -> type_and_id:
        return self.envelope.actor_type, self.envelope.actor_id or str(self.id)


class Receipt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a sender gets for a recorded message."""

    id: UUID
    actor: str
    shard: int
    position: int
    stamp: Stamp
    version: int | None
    complete: bool = True
    duplicate: bool = False

    def public(self) -> dict[str, Any]:
        """The receipt as API.md shows it."""
        return {
            "id": str(self.id),
            "actor": self.actor,
            "shard": self.shard,
            "position": self.position,
            "stamp": str(self.stamp),
            "version": self.version,
            "complete": self.complete,
            "duplicate": self.duplicate,
        }


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender gets for a message that waits at one node until its department has a leader with a majority."""

    id: UUID
    actor: str
    #: The department that is to record it first.
    shard: int

    def public(self) -> dict[str, Any]:
        """As API.md shows it: a receipt with nothing in it yet that only a record has."""
        return {
            "id": str(self.id),
            "actor": self.actor,
            "shard": self.shard,
            "position": None,
            "stamp": None,
            "version": None,
            "complete": False,
            "duplicate": False,
            "spooled": True,
        }


#: What a sender learns of one message; and of one that may be spooled.
Outcome: TypeAlias = Receipt | Refused
Sent: TypeAlias = Receipt | Refused | Spooled
#: How safe a receipt must be: held by a majority, by the leader alone, or by all replicas.
Concern = Literal["quorum", "local", "all"]
#: Where messages that come to the door again have waited: taken back with an earlier leader's tail, or spooled.
Offered = Literal["stranded", "spooled"]
#: What becomes of one proposal: an outcome per wish, or why it was not looked at.
Answer: TypeAlias = list[Outcome] | PeaceRiverError


def kind_of(envelope: Envelope) -> Kind:
    """What a message is to the department that records it first."""
    if envelope.due is not None:
        return "timer"
    if envelope.sender is not None and envelope.sender != envelope.to:
        return "sent"
    return "received"


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What is appended as one unit, or not at all."""

    wishes: tuple[Wish, ...] = ()
    atomic: bool = False
    #: Nobody waits for an answer any more, and its messages were promised to be recorded, or even were by an earlier
    #: leader: all are admitted, or none is and each is answered by an exception. It may be offered many times.
    offered: Offered | None = None
    #: Readers' marks that move with it, and where each must still stand.
    marks: tuple[Mark, ...] = ()
    expecting: tuple[tuple[str, int, int], ...] = ()
    #: Entries of exceptions; where one of them, or the end of its exception, is in the journal already, nothing of the
    #: unit is appended.
    exceptions: tuple[ExceptionEntry, ...] = ()
    #: A record of the system itself: kind and body (epoch, tick).
    system: tuple[tuple[Kind, str], ...] = ()
    released: tuple[int, ...] = ()
    promoted: tuple[UUID, ...] = ()
    #: Later than everything that the unit follows from.
    received_time: int = 0

    @property
    def exception_ids(self) -> list[UUID]:
        """Of exceptions: the records that it makes, and those after which it must not make them."""
        ids: list[UUID] = []
        for entry in self.exceptions:
            ids += (entry.record_id, entry.resolved_id)
        for wish in self.wishes:
            if wish.retries is not None:
                ids += (wish.retries.next_id, wish.retries.resolved_id)
        return ids

    @property
    def records(self) -> int:
        """How many records it makes at most."""
        return len(self.wishes) + len(self.exceptions) + len(self.marks) + len(self.system)

    @property
    def bytes(self) -> int:
        """The size of its bodies, roughly."""
        return sum([len(each.envelope.body) for each in self.wishes])


def receipt_of(record: Record, *, duplicate: bool = False) -> Receipt:
    """The receipt of a recorded message; ``duplicate`` where it was recorded before."""
    assert record.message_id is not None
    assert record.actor is not None
    return Receipt(
        id=record.message_id,
        actor=record.actor,
        shard=record.shard,
        position=record.position,
        stamp=record.moment,
        version=record.actor_version,
        duplicate=duplicate,
    )


def supplied(record: Record) -> Envelope:
    """What the client supplied, as a record of it tells."""
    assert record.actor_type is not None
    assert record.action is not None
    return Envelope(
        to=record.shard if record.receiver_shard is None else record.receiver_shard,
        actor_type=record.actor_type,
        actor_id=record.actor_id,
        action=record.action,  # type: ignore[arg-type]  # the column holds nothing else
        body=record.body,
        id=record.message_id,
        sender=record.sender_shard,
        type=record.message_type,
        if_version=record.if_version,
        valid_at=record.valid_at,
        due=record.due,
        correlation=record.correlation,
        cause=record.cause,
    )
