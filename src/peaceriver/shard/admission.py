"""Admission: what a department makes of the messages that reach it. Pure: state in, records out; no I/O, no clock.

A ``Proposal`` is one unit: a single message, an atomic batch, the messages that one pull delivered with their mark. Its
messages are looked at one by one, against the actors as they are after the messages before; a refused message is
refused alone, unless its proposal is atomic. What is admitted gets its position at once, and its stamp and chain when
its unit ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol
from uuid import UUID

import msgspec

from peaceriver import fold, jsontext
from peaceriver.errors import Conflict, Invalid, Offence, Refused, TooLarge, Unavailable, VersionConflict
from peaceriver.message import Envelope, same_message
from peaceriver.model import MessageType, Model
from peaceriver.record import Kind, Record
from peaceriver.shard.exceptions import exception_id, refused, resolved, state_of, written
from peaceriver.shard.journal import UNREAD, ActorState, Batch, Documents, ExceptionState, Mark, type_and_id
from peaceriver.shard.ledger import Ledger, Unit
from peaceriver.shard.proposal import (
    ANYTHING,
    ExceptionEntry,
    Offered,
    Outcome,
    Proposal,
    Receipt,
    Wish,
    receipt_of,
    supplied,
)
from peaceriver.shard.validation import Validations


class ModelFor(Protocol):
    """Which model judges an actor: by its type, the version its last record was folded with, and whether it exists."""

    def __call__(self, actor_type: str, version: int | None, *, exists: bool) -> Model | None: ...


#: What happened to a message that is offered, before it is refused.
_BEFORE: dict[Offered, str] = {
    "stranded": (
        "was recorded by an earlier leader of department {shard} and may have been acknowledged, but never became "
        "complete; offered again"
    ),
    "spooled": "was kept while department {shard} had no leader; offered now",
}
#: What a department checks beyond models: offences of a message and of the document it would make.
Check = Callable[[Wish, str], Iterable[Offence]]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What one department lets in."""

    model_for: ModelFor
    #: The actor types it receives; None: all.
    receives: Callable[[], frozenset[str] | None]
    check: Check | None = None
    validations: Validations | None = None


class Admitted(msgspec.Struct, frozen=True):
    """What became of one proposal: one outcome per wish, in order, and the unit that the ledger may take."""

    outcomes: list[Outcome]
    unit: Unit
    exceptions: list[ExceptionState]
    #: Whether a message was refused, also where its refusal is recorded.
    refuses: bool


def admit(proposal: Proposal, ledger: Ledger, rules: Rules, wall: int) -> Admitted:
    """Look at one proposal."""
    if proposal.offered:
        return _offered(proposal, ledger, rules, wall)
    unit = Unit(ledger, proposal.received_time)
    outcomes: list[Outcome | Record] = []
    exceptions: list[ExceptionState] = []
    refuses = False
    for wish in proposal.wishes:
        try:
            outcomes.append(_admit_one(wish, unit, ledger, rules, wall))
            if wish.retries is not None:
                exceptions.append(_noted(unit, resolved(wish.retries, "retried"))[1])
        except Refused as refusal:
            refusal.message_id = str(wish.id)
            refuses = True
            if proposal.atomic:
                # Recorded whole or not at all: each of its messages gets the refusal of the first bad one.
                return Admitted([refusal] * len(proposal.wishes), Unit(ledger, 0), [], refuses)
            if wish.records_refusal:
                record, state = _noted(unit, refused(wish, refusal), wish.received_time)
                outcomes.append(record)
                exceptions.append(state)
            else:
                outcomes.append(refusal)
    exceptions += [_noted(unit, each)[1] for each in proposal.exceptions]
    for mark in proposal.marks:
        unit.add(_mark(mark, unit))
    for kind, body in proposal.system:
        unit.add(_of_the_system(unit, kind, body))
    return _sealed(unit, outcomes, exceptions, wall, refuses=refuses)


def _sealed(
    unit: Unit, outcomes: list[Outcome | Record], exceptions: list[ExceptionState], wall: int, *, refuses: bool
) -> Admitted:
    """What became of a proposal: its records have their stamps now, so there are receipts of them."""
    if unit.records:
        unit.seal(wall)
    told = [receipt_of(each) if isinstance(each, Record) else each for each in outcomes]
    return Admitted(told, unit, exceptions, refuses)


def offered_ids(proposal: Proposal) -> list[UUID]:
    """What must be looked up to judge messages that are offered again, beside their own records, by message id.

    What they are based on, and the exceptions that may have answered them before.
    """
    based_on = [each.based_on for each in proposal.wishes if each.based_on]
    return [*based_on, *(_exception_id(each) for each in proposal.wishes)]


def _exception_id(wish: Wish) -> UUID:
    return exception_id(wish.id, wish.envelope.recorded_in)


def _offered(proposal: Proposal, ledger: Ledger, rules: Rules, wall: int) -> Admitted:
    """Look at messages that are offered: all are admitted, or none is and each has its exception."""
    unit = Unit(ledger, proposal.received_time)
    outcomes: list[Outcome | Record] = []
    try:
        for wish in proposal.wishes:
            if ledger.seen(wish.id) is None:
                _check_base(wish, unit, ledger)
            outcomes.append(_admit_one(wish, unit, ledger, rules, wall))
    except Refused as refusal:
        return _refused_again(proposal, refusal, ledger, wall)
    return _sealed(unit, outcomes, [], wall, refuses=False)


def _check_base(wish: Wish, unit: Unit, ledger: Ledger) -> None:
    """Whether a message that is offered again meets its actor as it did the first time; raises Conflict."""
    if ledger.seen(_exception_id(wish)) is not None:
        raise Conflict("it was refused before")
    if wish.based_on is ANYTHING:
        return
    actor, name = unit.actor(wish.key), "/".join(wish.key)
    if wish.based_on is None:
        if actor is not None:
            raise Conflict(f"{name} was created by another message meanwhile")
        return
    base = unit.ids.get(wish.based_on) or ledger.seen(wish.based_on)
    if base is None:
        raise Conflict(f"{name} is without message {wish.based_on}, which it was based on")
    if actor is None or actor.position != base.position:
        at = "does not exist" if actor is None else f"was changed by others meanwhile and is at version {actor.version}"
        raise Conflict(f"{name} {at}; it was based on message {wish.based_on}")


def _refused_again(proposal: Proposal, refusal: Refused, ledger: Ledger, wall: int) -> Admitted:
    """None of the messages is admitted: what was acknowledged is answered by exceptions, and not lost in silence."""
    assert proposal.offered is not None
    unit = Unit(ledger, proposal.received_time)
    outcomes: list[Outcome | Record] = []
    exceptions: list[ExceptionState] = []
    others = len(proposal.wishes) - 1
    whole = f" It came as one with {others} more, of which none is recorded either." if others else ""
    detail = refusal.detail.rstrip(".")
    for wish in proposal.wishes:
        before = ledger.seen(wish.id)
        answer = ledger.seen(_exception_id(wish))
        if answer is None and before is not None and _says_the_same(wish, before):
            answer = before
        if answer is not None:
            outcomes.append(receipt_of(answer, duplicate=True))
            continue
        refusal.message_id = str(wish.id)
        before_that = _BEFORE[proposal.offered].format(shard=unit.shard)
        refusal.detail = (
            f"message {wish.id} {before_that} it is refused: {detail}.{whole} "
            "Retry it to admit it all the same, answer it, or skip it"
        )
        record, state = _noted(unit, refused(wish, refusal), wish.received_time)
        outcomes.append(record)
        exceptions.append(state)
    return _sealed(unit, outcomes, exceptions, wall, refuses=True)


def note_side_effects(proposal: Proposal, admitted: Admitted, batch: Batch) -> None:
    """What changes beside the journal in the transaction of a proposal's records."""
    batch.exceptions += admitted.exceptions
    batch.marks += proposal.marks
    batch.released += proposal.released
    batch.promoted += proposal.promoted
    for record in admitted.unit.records:
        if record.kind == "timer":
            assert record.due is not None
            batch.timers.append((record.position, record.due))


def _admit_one(wish: Wish, unit: Unit, ledger: Ledger, rules: Rules, wall: int) -> Receipt | Record:
    """The record that a wish becomes, or the receipt it already has; raises Refused."""
    before = ledger.seen(wish.id)
    if before is not None:
        return _repeated(wish, before)
    if wish.refusal is not None:
        raise wish.refusal
    if wish.id in unit.ids:
        raise Conflict("the batch holds this message id twice; give each message an id of its own")
    if wish.kind == "received":
        record, documents = _received(wish, unit, rules, wall)
        return unit.add(record, wish.received_time, documents)
    return unit.add(_told(wish, unit, wish.key), wish.received_time)


def _repeated(wish: Wish, before: Record) -> Receipt:
    if not _says_the_same(wish, before):
        raise Conflict(
            f"message {wish.id} was recorded before with other content, at position {before.position} of department "
            f"{before.shard}; a new message needs a new id"
        )
    return receipt_of(before, duplicate=True)


def _says_the_same(wish: Wish, before: Record) -> bool:
    return before.kind != "exception" and same_message(_told_by(wish), supplied(before))


def _told_by(wish: Wish) -> Envelope:
    """A wish's envelope as a record would tell it: ids that were derived are written out."""
    return msgspec.structs.replace(wish.envelope, id=wish.id, actor_id=wish.key[1])


def _told(
    wish: Wish, unit: Unit, key: type_and_id, version: int | None = None, model_version: int | None = None
) -> Record:
    """What the message says as the unit's next record, which folds nothing unless it has a version.

    By position, in the order of the columns: names would take longer than all the rest.
    """
    envelope = wish.envelope
    cause = envelope.cause
    return Record(
        unit.shard,
        unit.next_position,
        0,
        unit.epoch,
        0,
        wish.kind,
        wish.id,
        key[0],
        key[1],
        envelope.action,
        envelope.message_type,
        version,
        model_version,
        envelope.sender,
        envelope.to,
        wish.source_position,
        None if cause is None else cause.time,
        None if cause is None else cause.shard,
        wish.root,
        envelope.correlation,
        wish.rule,
        wish.rule_version,
        wish.principal,
        wish.trace,
        envelope.valid_at,
        envelope.due,
        envelope.if_version,
        wish.hops,
        envelope.body,
    )


def _received(wish: Wish, unit: Unit, rules: Rules, wall: int) -> tuple[Record, Documents]:
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
    if actor is None:
        unit.created.add(key)
    model = rules.model_for(envelope.actor_type, actor.model_version if actor else None, exists=actor is not None)
    document, value = _folded(wish, model, actor)
    if rules.check is not None:
        _refuse(tuple(rules.check(wish, document)), envelope)
    if rules.validations is not None:
        _refuse(rules.validations.offences(wish, actor, document, wall), envelope)
    version = actor.version + 1 if actor else 1
    model_version = model.version if model else None
    status = "cancelled" if envelope.action == "cancel" else "active"
    unit.actors[key] = ActorState(version, unit.next_position, status, model_version, document)
    documents = Documents(None if actor is None else actor.document, document, value)
    return _told(wish, unit, key, version, model_version), documents


def _check_existence(envelope: Envelope, key: type_and_id, actor: ActorState | None) -> None:
    if envelope.action == "create":
        if actor is not None:
            raise Conflict(f"{'/'.join(key)} exists in department {envelope.to} already; modify it, or create another")
        return
    if actor is None:
        raise Conflict(f"{'/'.join(key)} does not exist in department {envelope.to}; create it first")
    if actor.status == "cancelled":
        raise Conflict(f"{'/'.join(key)} in department {envelope.to} is cancelled and takes no more messages")
    if envelope.if_version is not None and envelope.if_version != actor.version:
        raise VersionConflict(
            f"{'/'.join(key)} is at version {actor.version}, not {envelope.if_version}; read it again and decide anew",
            errors=(Offence("/if_version", f"the actor is at version {actor.version}"),),
        )


def _folded(wish: Wish, model: Model | None, actor: ActorState | None) -> tuple[str, Any]:
    """The document after the message, valid by its model, and what it denotes where it was read; raises Refused."""
    envelope = wish.envelope
    before = None if actor is None else actor.document
    if envelope.action == "cancel":
        assert before is not None
        return before, UNREAD
    message_type = None if model is None else model.message_types.get(envelope.message_type)
    if message_type is not None:
        _check_message(wish, message_type)
    try:
        after = fold.apply(model, envelope.action, envelope.message_type, before, envelope.body)
    except TooLarge as error:
        raise TooLarge(f"{envelope.actor_type} would become too large: {error.detail}") from None
    assert after is not None
    if model is None:
        return after, UNREAD
    prefix = "/document" if message_type is not None and message_type.fold is not None else "/body"
    value = _value(wish) if after is envelope.body else jsontext.read(after.encode(), pointer_prefix=prefix)
    if not model.validator.accepts(value):
        _refuse(model.validator.offences(value, prefix=prefix), envelope)
    return after, value


def _check_message(wish: Wish, message_type: MessageType) -> None:
    """Whether a message may be of a named type: its action, its fold, its body."""
    envelope = wish.envelope
    if message_type.action != envelope.action:
        detail = f"{envelope.message_type} is a message to {message_type.action} {envelope.actor_type}"
        raise Invalid(f"{detail}, not to {envelope.action} it", errors=(Offence("/action", detail),))
    if message_type.folded and message_type.fold is None:
        raise Unavailable(f"the fold of {envelope.message_type} is Python code that this node was not started with")
    _refuse(message_type.validator.offences(_value(wish)), envelope)


def _value(wish: Wish) -> Any:
    """The decoded body, which may have been read at the door already."""
    return jsontext.read(wish.envelope.body.encode(), pointer_prefix="/body") if wish.value is UNREAD else wish.value


def _refuse(errors: tuple[Offence, ...], envelope: Envelope) -> None:
    if errors:
        listed = "; ".join(f"{each.pointer}: {each.detail}" for each in errors[:5])
        raise Invalid(f"{envelope.message_type} is not acceptable: {listed}", errors=errors)


def _noted(unit: Unit, entry: ExceptionEntry, received_time: int = 0) -> tuple[Record, ExceptionState]:
    """Add an entry of an exception to the unit; answers its record, and what is folded from it."""
    actor = unit.actor((entry.actor_type, entry.actor_id))
    document = None if actor is None else actor.document
    cause_time = 0 if entry.cause is None else entry.cause.time
    made = msgspec.structs.replace(_of_the_system(unit, "exception", "{}"), **written(entry))
    record = unit.add(made, max(received_time, cause_time), Documents(document, document))
    return record, state_of(entry, record.position)


def _mark(mark: Mark, unit: Unit) -> Record:
    """A mark is history too: whose it is, how far it has read, and the source's chain there."""
    # In this order: the journal finds the marks of a reader by how their bodies begin (see ``standing.beginning_of``).
    body = {"reader": mark.reader, "chain": mark.chain.hex()} | ({"ended": True} if mark.ended else {})
    record = _of_the_system(unit, "mark", jsontext.write(body))
    return msgspec.structs.replace(record, sender_shard=mark.source, source_position=mark.position)


def _of_the_system(unit: Unit, kind: Kind, body: str) -> Record:
    return Record(unit.shard, unit.next_position, 0, unit.epoch, 0, kind, body=body)
