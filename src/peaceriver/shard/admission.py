"""Admission: what a department makes of the messages that reach it. Pure: state in, records out; no I/O, no clock.

A ``Proposal`` is one unit: a single message, an atomic batch, the messages that one pull delivered with their mark. Its
messages are looked at one by one, against the actors as they are after the messages before; a refused message is refused
alone, unless its proposal is atomic. What is admitted gets its position at once, and its stamp and chain when its unit ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol
from uuid import UUID

import msgspec

from peaceriver import fold, jsontext
from peaceriver.errors import Conflict, Invalid, Offence, Refused, TooLarge, Unavailable, VersionConflict
from peaceriver.message import Envelope, derived_id, same_message
from peaceriver.model import Model
from peaceriver.record import Kind, Record, chained
from peaceriver.shard.journal import ActorState, Batch, Mark, Tip, type_and_id
from peaceriver.stamp import Stamp, following


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A message at the door of one department, with what the node knows about it. Its envelope has an id."""

    envelope: Envelope
    #: What it becomes if it is admitted: received here, sent on from here, or kept until it is due.
    kind: Kind
    root: UUID
    principal: str | None = None
    trace: str | None = None
    hops: int = 0
    #: Where a delivered message stands in the sender's journal.
    source_position: int | None = None
    #: Later than everything this message follows from.
    received_time: int = 0
    #: A refusal becomes an exception record and not an answer: nobody is waiting for one.
    records_refusal: bool = False
    #: It is refused already, before admission looks at it: its cause did not arrive in time.
    refusal: Refused | None = None

    @property
    def id(self) -> UUID:
        assert self.envelope.id is not None
        return self.envelope.id

    @property
    def key(self) -> type_and_id:
        return self.envelope.actor_type, self.envelope.actor_id or str(self.id)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
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


Outcome = Receipt | Refused


class Proposal(msgspec.Struct, kw_only=True):
    """What is appended as one unit, or not at all."""

    wishes: tuple[Wish, ...] = ()
    atomic: bool = False
    #: Readers' marks that move with it, and where each must still stand.
    marks: tuple[Mark, ...] = ()
    expecting: tuple[tuple[str, int, int], ...] = ()
    #: A record of the system itself: kind and body (epoch, tick).
    system: tuple[tuple[Kind, str], ...] = ()
    released: tuple[int, ...] = ()
    promoted: tuple[UUID, ...] = ()
    #: Later than everything that the unit follows from.
    received_time: int = 0

    def bytes(self) -> int:
        return sum(len(each.envelope.body) for each in self.wishes)


class ModelFor(Protocol):
    """Which model judges an actor: by its type, the version its last record was folded with, and whether it exists."""

    def __call__(self, actor_type: str, version: int | None, *, exists: bool) -> Model | None: ...


#: What a department checks beyond models: offences of a message and of the document it would make.
Check = Callable[[Wish, str], Iterable[Offence]]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What one department lets in."""

    model_for: ModelFor
    #: The actor types it receives; None: all.
    receives: Callable[[], frozenset[str] | None]
    check: Check | None = None


class Ledger:
    """What the journal and the actors will be when the batch commits. Undone record by record where a unit fails."""

    def __init__(
        self, shard: int, tip: Tip, actors: Mapping[type_and_id, ActorState], known: Mapping[UUID, Record]
    ) -> None:
        self.shard = shard
        self.tip = tip
        self._actors = actors
        self._known = known
        self._overlay: dict[type_and_id, ActorState] = {}
        self._new: set[type_and_id] = set()
        self._ids: dict[UUID, Record] = {}
        self.batch = Batch(tip, [], [], {}, {}, [], [], [], [])

    def actor(self, key: type_and_id) -> ActorState | None:
        return self._overlay.get(key) or self._actors.get(key)

    def seen(self, message_id: UUID) -> Record | None:
        return self._ids.get(message_id) or self._known.get(message_id)

    def take(self, unit: Unit) -> None:
        """Keep what a unit made: it is part of the batch from here on."""
        self.tip = unit.tip
        self.batch.records.extend(unit.records)
        self.batch.chains.extend(unit.chains)
        for key, state in unit.actors.items():
            if key not in self._overlay and key not in self._actors:
                self._new.add(key)
            self._overlay[key] = state
        for record in unit.records:
            if record.message_id is not None:
                self._ids[record.message_id] = record

    def finish(self) -> Batch:
        """The batch as the transaction needs it."""
        self.batch.tip = self.tip
        for key, state in self._overlay.items():
            (self.batch.created if key in self._new else self.batch.changed)[key] = state
        return self.batch


class Unit:
    """The records of one proposal while it is being looked at."""

    def __init__(self, ledger: Ledger, received_time: int) -> None:
        self._ledger = ledger
        self.tip = ledger.tip
        self.received_time = received_time
        self.drafts: list[dict[str, Any]] = []
        self.actors: dict[type_and_id, ActorState] = {}
        self.records: list[Record] = []
        self.chains: list[bytes] = []
        self._ids: dict[UUID, int] = {}

    @property
    def next_position(self) -> int:
        return self._ledger.tip.position + len(self.drafts) + 1

    def actor(self, key: type_and_id) -> ActorState | None:
        return self.actors.get(key) or self._ledger.actor(key)

    def repeats(self, message_id: UUID) -> int | None:
        """The place in this very unit of a message with the same id."""
        return self._ids.get(message_id)

    def add(self, draft: dict[str, Any], received_time: int = 0) -> int:
        """Add a record; answer its place in the unit."""
        self.received_time = max(self.received_time, received_time)
        if "message_id" in draft:
            self._ids[draft["message_id"]] = len(self.drafts)
        self.drafts.append(draft)
        return len(self.drafts) - 1

    def seal(self, wall: int) -> None:
        """Give every record its position, stamp and chain. The first stamp is later than all the unit received."""
        first, tip = self._ledger.tip.position + 1, self._ledger.tip
        group_end, received = tip.position + len(self.drafts), self.received_time
        stamp, chain = tip.stamp, tip.chain
        for offset, draft in enumerate(self.drafts):
            stamp = following(stamp, wall, received)
            record = Record(
                shard=self._ledger.shard,
                position=first + offset,
                group_end=group_end,
                epoch=tip.epoch,
                stamp=stamp,
                **draft,
            )
            chain = chained(chain, record)
            self.records.append(record)
            self.chains.append(chain)
        self.tip = Tip(tip.epoch, group_end, stamp, chain)


def admit(proposal: Proposal, ledger: Ledger, rules: Rules, wall: int) -> list[Outcome]:
    """Look at one proposal and add to the ledger what it makes; one outcome per wish, in order."""
    unit = Unit(ledger, proposal.received_time)
    outcomes: list[Outcome | int] = []
    for wish in proposal.wishes:
        try:
            outcomes.append(_admit_one(wish, unit, ledger, rules))
        except Refused as refusal:
            refusal.message_id = str(wish.id)
            if proposal.atomic:
                return _spoiled(proposal, len(outcomes), refusal)
            if wish.records_refusal:
                outcomes.append(unit.add(_exception(wish, refusal), wish.received_time))
            else:
                outcomes.append(refusal)
    for mark in proposal.marks:
        unit.add(_mark(mark))
    for kind, body in proposal.system:
        unit.add({"kind": kind, "body": body})
    if unit.drafts:
        unit.seal(wall)
        ledger.take(unit)
        _note_side_effects(proposal, unit, ledger)
    return [_receipt(unit.records[each]) if isinstance(each, int) else each for each in outcomes]


def _note_side_effects(proposal: Proposal, unit: Unit, ledger: Ledger) -> None:
    batch = ledger.batch
    batch.marks.extend(proposal.marks)
    batch.released.extend(proposal.released)
    batch.promoted.extend(proposal.promoted)
    for record in unit.records:
        if record.kind == "timer":
            assert record.due is not None
            batch.timers.append((record.position, record.due))


def _spoiled(proposal: Proposal, index: int, refusal: Refused) -> list[Outcome]:
    """An atomic batch is recorded whole or not at all: each of its messages gets the refusal of the first bad one."""
    pointed = tuple(Offence(f"/{index}{each.pointer}", each.detail) for each in refusal.errors)
    refusal.errors = pointed or (Offence(f"/{index}", refusal.detail),)
    refusal.detail = f"message {index} of the atomic batch was refused, so none was recorded: {refusal.detail}"
    return [refusal] * len(proposal.wishes)


def _receipt(record: Record, *, duplicate: bool = False) -> Receipt:
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


def receipt_of(record: Record) -> Receipt:
    """The receipt of a message that is recorded already."""
    return _receipt(record)


def _admit_one(wish: Wish, unit: Unit, ledger: Ledger, rules: Rules) -> Outcome | int:
    """The place in the unit of the record that a wish becomes, or the receipt it already has; raises Refused."""
    before = ledger.seen(wish.id)
    if before is not None:
        return _repeated(wish, before)
    if wish.refusal is not None:
        raise wish.refusal
    if unit.repeats(wish.id) is not None:
        raise Conflict("the batch holds this message id twice; give each message an id of its own")
    draft = _received(wish, unit, rules) if wish.kind == "received" else _passing(wish)
    return unit.add(draft, wish.received_time)


def _repeated(wish: Wish, before: Record) -> Receipt:
    if before.kind == "exception" or not same_message(_told_by(wish), supplied(before)):
        raise Conflict(
            f"message {wish.id} was recorded before with other content, at position {before.position} of department "
            f"{before.shard}; a new message needs a new id"
        )
    return _receipt(before, duplicate=True)


def _told_by(wish: Wish) -> Envelope:
    """A wish's envelope as a record would tell it: an actor's derived id is written out."""
    if wish.envelope.actor_id is not None:
        return wish.envelope
    return msgspec.structs.replace(wish.envelope, actor_id=str(wish.id))


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


def _told(wish: Wish) -> dict[str, Any]:
    """The columns of a record that repeat what the message says."""
    envelope = wish.envelope
    actor_type, actor_id = wish.key
    cause = envelope.cause
    return {
        "kind": wish.kind,
        "message_id": wish.id,
        "actor_type": actor_type,
        "actor_id": actor_id,
        "action": envelope.action,
        "message_type": envelope.message_type,
        "sender_shard": envelope.sender,
        "receiver_shard": envelope.to,
        "source_position": wish.source_position,
        "cause_time": None if cause is None else cause.time,
        "cause_shard": None if cause is None else cause.shard,
        "root": wish.root,
        "correlation": envelope.correlation,
        "principal": wish.principal,
        "trace": wish.trace,
        "valid_at": envelope.valid_at,
        "due": envelope.due,
        "if_version": envelope.if_version,
        "hops": wish.hops,
        "body": envelope.body,
    }


def _passing(wish: Wish) -> dict[str, Any]:
    """A record that folds nothing: sent to another department, or kept until it is due."""
    return _told(wish)


def _received(wish: Wish, unit: Unit, rules: Rules) -> dict[str, Any]:
    envelope, key = wish.envelope, wish.key
    receives = rules.receives()
    if receives is not None and envelope.actor_type not in receives:
        allowed = ", ".join(sorted(receives))
        raise Invalid(
            f"department {envelope.to} does not receive {envelope.actor_type}; it receives {allowed or 'nothing'}",
            errors=(Offence("/actor", f"not one of {allowed or 'nothing'}"),),
        )
    actor = unit.actor(key)
    _check_existence(envelope, key, actor)
    model = rules.model_for(envelope.actor_type, actor.model_version if actor else None, exists=actor is not None)
    document = _folded(envelope, model, actor)
    if rules.check is not None:
        _refuse(tuple(rules.check(wish, document)), envelope)
    version = actor.version + 1 if actor else 1
    unit.actors[key] = ActorState(
        version,
        unit.next_position,
        "cancelled" if envelope.action == "cancel" else "active",
        model.version if model else None,
        document,
    )
    return _told(wish) | {"actor_version": version, "model_version": model.version if model else None}


def _check_existence(envelope: Envelope, key: type_and_id, actor: ActorState | None) -> None:
    name = "/".join(key)
    if envelope.action == "create":
        if actor is not None:
            raise Conflict(f"{name} exists in department {envelope.to} already; modify it, or create another")
        return
    if actor is None:
        raise Conflict(f"{name} does not exist in department {envelope.to}; create it first")
    if actor.status == "cancelled":
        raise Conflict(f"{name} in department {envelope.to} is cancelled and takes no more messages")
    if envelope.if_version is not None and envelope.if_version != actor.version:
        raise VersionConflict(
            f"{name} is at version {actor.version}, not {envelope.if_version}; read it again and decide anew",
            errors=(Offence("/if_version", f"the actor is at version {actor.version}"),),
        )


def _folded(envelope: Envelope, model: Model | None, actor: ActorState | None) -> str:
    """The document after the message, valid by its model; raises Invalid or TooLarge."""
    before = None if actor is None else actor.document
    if envelope.action == "cancel":
        assert before is not None
        return before
    message_type = None if model is None else model.message_types.get(envelope.message_type)
    if message_type is not None:
        if message_type.action != envelope.action:
            detail = f"{envelope.message_type} is a message to {message_type.action} {envelope.actor_type}"
            raise Invalid(f"{detail}, not to {envelope.action} it", errors=(Offence("/action", detail),))
        if message_type.folded and message_type.fold is None:
            raise Unavailable(f"the fold of {envelope.message_type} is Python code that this node was not started with")
        value = jsontext.read(envelope.body.encode(), pointer_prefix="/body")
        _refuse(message_type.validator.offences(value), envelope)
    try:
        after = fold.apply(model, envelope.action, envelope.message_type, before, envelope.body)
    except TooLarge as error:
        raise TooLarge(f"{envelope.actor_type} would become too large: {error.detail}") from None
    assert after is not None
    if model is not None:
        prefix = "/document" if message_type is not None and message_type.fold is not None else "/body"
        document = jsontext.read(after.encode(), pointer_prefix=prefix)
        if not model.validator.accepts(document):
            _refuse(model.validator.offences(document, prefix=prefix), envelope)
    return after


def _refuse(errors: tuple[Offence, ...], envelope: Envelope) -> None:
    if errors:
        listed = "; ".join(f"{each.pointer}: {each.detail}" for each in errors[:5])
        raise Invalid(f"{envelope.message_type} is not acceptable: {listed}", errors=errors)


def _exception(wish: Wish, refusal: Refused) -> dict[str, Any]:
    """A delivered message that admission refuses: what happened, under the sender's correlation, and the message itself."""
    body = jsontext.write({"problem": refusal.problem(), "message": _as_value(wish.envelope)})
    return _told(wish) | {
        "kind": "exception",
        "message_id": exception_id(wish.id),
        "message_type": wish.envelope.message_type,
        "body": body,
    }


def exception_id(message_id: UUID) -> UUID:
    """The id of the exception record that answers a message."""
    return derived_id(message_id, "exception")


def _as_value(envelope: Envelope) -> dict[str, Any]:
    members = envelope.public()
    return members | {"body": jsontext.read(envelope.body.encode())}


def _mark(mark: Mark) -> dict[str, Any]:
    """A mark is history too: whose it is, how far it has read, and the source's chain there."""
    return {
        "kind": "mark",
        "sender_shard": mark.source,
        "source_position": mark.position,
        "body": jsontext.write({"reader": mark.reader, "chain": mark.chain.hex()}),
    }
