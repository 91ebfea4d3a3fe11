"""Messages: a wish to create, modify or cancel an actor, from its JSON form to a checked value.

An ``Envelope`` is what a client supplied and nothing else: two messages with one id are the same message if their
envelopes say the same. Reading one never asks a clock and never makes an id; that is the first node's work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha1
from typing import Any, Literal
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Invalid, Malformed, Offence, TooLarge
from peaceriver.limits import BATCH_MESSAGES_MAX, BODY_BYTES_MAX, CODE_MAX, NAME_LETTERS_MAX
from peaceriver.record import written_time
from peaceriver.stamp import Stamp

Action = Literal["create", "modify", "cancel"]

ACTOR_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
VERSION_MAX = 2**31 - 1
#: A body and, beside it, every other field at its longest.
MESSAGE_BYTES_MAX = BODY_BYTES_MAX + 64 * 1024
_DERIVED = UUID("6f0d2c3e-5d1b-5f0c-9a53-70656163652e")


class Envelope(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What a client supplied. ``body`` is JSON text, kept byte for byte."""

    to: int
    actor_type: str
    #: None only in a create: the id is then derived from the message's.
    actor_id: str | None
    action: Action
    body: str = "{}"
    id: UUID | None = None
    sender: int | None = None
    type: str | None = None
    if_version: int | None = None
    valid_at: datetime | None = None
    due: datetime | None = None
    correlation: str | None = None
    cause: Stamp | None = None

    @property
    def recorded_in(self) -> int:
        """The department whose journal records it first, and whose receipt it gets."""
        return self.to if self.sender is None else self.sender

    @property
    def message_type(self) -> str:
        return self.type or f"{self.actor_type}.{self.action}"

    def public(self) -> dict[str, Any]:
        """The message as ``POST /messages`` takes it, without members that were not given."""
        members = {
            "id": self.id and str(self.id),
            "to": self.to,
            "from": self.sender,
            "actor": self.actor_type if self.actor_id is None else f"{self.actor_type}/{self.actor_id}",
            "action": self.action,
            "type": self.type,
            "body": msgspec.Raw(self.body.encode()),
            "if_version": self.if_version,
            "valid_at": self.valid_at and written_time(self.valid_at),
            "due": self.due and written_time(self.due),
            "correlation": self.correlation,
            "cause": self.cause and str(self.cause),
        }
        return {name: value for name, value in members.items() if value is not None}


class _Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The members of a message in JSON."""

    to: int
    actor: str
    action: Action
    id: UUID | None = None
    from_: int | None = msgspec.field(name="from", default=None)
    type: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"{}")
    if_version: int | None = None
    valid_at: str | None = None
    due: str | None = None
    correlation: str | None = None
    cause: str | None = None


_FIELDS = msgspec.structs.fields(_Wire)
_wire = msgspec.json.Decoder(_Wire)
_array = msgspec.json.Decoder(list[msgspec.Raw])


def read(raw: bytes) -> Envelope:
    """Read one message from JSON.

    Raises Malformed (400), TooLarge (413) or Invalid (422), which names every offending member.
    """
    if len(raw) > MESSAGE_BYTES_MAX:
        raise TooLarge(f"the message has {len(raw)} bytes; a body may have {BODY_BYTES_MAX}")
    try:
        wire = _wire.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _explained(raw) from None
    body = bytes(wire.body)
    given = sum(1 for field in _FIELDS if getattr(wire, field.name) is not field.default)
    if raw.count(b'":') != body.count(b'":') + given:
        # Perhaps a member stands here twice: the strict reader tells.
        jsontext.read(raw, limit_bytes=MESSAGE_BYTES_MAX)
    return _from_wire(wire, body)


def read_batch(raw: bytes) -> list[bytes]:
    """Split a JSON array of messages into the texts of its elements, unread."""
    try:
        elements = _array.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the array of messages is not well-formed JSON: {error}") from None
    return _bounded([bytes(each) for each in elements])


def read_lines(raw: bytes) -> list[bytes]:
    """Split newline-delimited JSON into its non-empty lines, unread."""
    return _bounded([line for line in raw.split(b"\n") if line.strip()])


def _bounded(elements: list[bytes]) -> list[bytes]:
    if len(elements) > BATCH_MESSAGES_MAX:
        raise TooLarge(f"the batch has {len(elements)} messages; send at most {BATCH_MESSAGES_MAX} at a time")
    return elements


def _explained(raw: bytes) -> Malformed | Invalid | TooLarge:
    """Why ``raw`` is no message, with every offending member and not only the first."""
    try:
        value = jsontext.read(raw, limit_bytes=MESSAGE_BYTES_MAX)
    except (Malformed, Invalid, TooLarge) as error:
        return error
    if not isinstance(value, dict):
        return Invalid("a message is a JSON object", errors=(Offence("", "not an object"),))
    errors = tuple(_wire_offences(value))
    return Invalid("the message is not acceptable: " + _summary(errors), errors=errors)


def _wire_offences(value: dict[str, Any]) -> Iterator[Offence]:
    known = {field.encode_name: field for field in _FIELDS}
    for name in value.keys() - known.keys():
        yield Offence(jsontext.pointer(name), "a message has no such member")
    for name, field in known.items():
        if name in value and name != "body":
            try:
                msgspec.convert(value[name], field.type)
            except msgspec.ValidationError as error:
                yield Offence(jsontext.pointer(name), str(error))
        elif name not in value and field.required:
            yield Offence(jsontext.pointer(name), "required")


def _summary(errors: tuple[Offence, ...]) -> str:
    return "; ".join(f"{each.pointer or 'it'}: {each.detail}" for each in errors[:5]) or "it was refused"


def _from_wire(wire: _Wire, body: bytes) -> Envelope:
    errors: list[Offence] = []
    actor_type, slash, actor_id = wire.actor.partition("/")
    envelope = Envelope(
        to=wire.to,
        actor_type=actor_type,
        actor_id=actor_id if slash else None,
        action=wire.action,
        body=_text(body),
        id=wire.id,
        sender=wire.from_,
        type=wire.type,
        if_version=wire.if_version,
        valid_at=moment(wire.valid_at, "/valid_at", errors),
        due=moment(wire.due, "/due", errors),
        correlation=wire.correlation,
        cause=_stamp(wire.cause, errors),
    )
    errors.extend(offences(envelope))
    if errors:
        raise Invalid("the message is not acceptable: " + _summary(tuple(errors)), errors=tuple(errors))
    return envelope


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: byte {error.start} cannot be decoded") from None


def _stamp(text: str | None, errors: list[Offence]) -> Stamp | None:
    if text is None:
        return None
    try:
        return Stamp.parse(text, pointer="/cause")
    except Invalid as error:
        errors.extend(error.errors)
        return None


_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,6})\d*)?([Zz]|[+-]\d{2}:\d{2})",
)


def moment(text: str | None, pointer: str, errors: list[Offence]) -> datetime | None:
    """Read an RFC 3339 time with an offset, to the microsecond; add an offence where it is none."""
    if text is None:
        return None
    match = _RFC3339.fullmatch(text)
    if match is None:
        errors.append(Offence(pointer, f"{text[:60]!r} is not an RFC 3339 time with an offset"))
        return None
    day, clock, fraction, offset = match.groups()
    try:
        zone = "+00:00" if offset in "Zz" else offset
        read = datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0').ljust(6, '0')}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        errors.append(Offence(pointer, f"{text[:60]!r} is not a time: {error}"))
        return None
    return read


def offences(envelope: Envelope) -> tuple[Offence, ...]:
    """Everything about an envelope that no department could accept, whatever it holds; the body apart."""
    return () if _is_plain(envelope) else tuple(_offences(envelope))


def _is_plain(envelope: Envelope) -> bool:
    """Whether a glance shows that nothing is wrong: never wrongly yes, seldom wrongly no."""
    actor_id = envelope.actor_id
    return (
        0 <= envelope.to <= CODE_MAX
        and actor_id is not None
        and 0 < len(actor_id) <= NAME_LETTERS_MAX
        and actor_id.isprintable()
        and envelope.type is None
        and envelope.correlation is None
        and envelope.sender is None
        and envelope.if_version is None
        and envelope.valid_at is None
        and envelope.due is None
        and ACTOR_TYPE.fullmatch(envelope.actor_type) is not None
    )


def _offences(envelope: Envelope) -> Iterator[Offence]:
    yield from _address_offences(envelope)
    if envelope.action != "create" and envelope.actor_id is None:
        yield Offence("/actor", f"{envelope.action} needs an actor with its id, as in {envelope.actor_type}/ID")
    if not ACTOR_TYPE.fullmatch(envelope.actor_type):
        yield Offence("/actor", f"{envelope.actor_type[:80]!r} is not a type: letters, digits and _, at most 63")
    for pointer, text in (
        ("/actor", envelope.actor_id),
        ("/type", envelope.type),
        ("/correlation", envelope.correlation),
    ):
        yield from _name_offences(pointer, text)
    if envelope.if_version is not None:
        if envelope.action == "create":
            yield Offence("/if_version", "a create has no version to expect")
        elif not 1 <= envelope.if_version <= VERSION_MAX:
            yield Offence("/if_version", f"a version lies between 1 and {VERSION_MAX}")
    for pointer, time in (("/valid_at", envelope.valid_at), ("/due", envelope.due)):
        if time is not None:
            yield from _time_offences(pointer, time)


def _time_offences(pointer: str, time: datetime) -> Iterator[Offence]:
    if time.tzinfo is None:
        yield Offence(pointer, "a time needs an offset")
        return
    try:
        time.astimezone(UTC)
    except OverflowError:
        yield Offence(pointer, "in UTC it lies outside the years 1 to 9999")


def _address_offences(envelope: Envelope) -> Iterator[Offence]:
    for pointer, code in (("/to", envelope.to), ("/from", envelope.sender)):
        if code is not None and not 0 <= code <= CODE_MAX:
            yield Offence(pointer, f"{code} is not a sharding code: they lie between 0 and {CODE_MAX}")


def _name_offences(pointer: str, text: str | None) -> Iterator[Offence]:
    if text is None:
        return
    if not text:
        yield Offence(pointer, "must not be empty")
    if len(text) > NAME_LETTERS_MAX:
        yield Offence(pointer, f"has {len(text)} letters; {NAME_LETTERS_MAX} are allowed")
    if _CONTROL_CHARACTER.search(text):
        yield Offence(pointer, "must not hold control characters")
    if not text.isprintable() and jsontext.SURROGATE.search(text):
        yield Offence(pointer, "must not hold a lone surrogate")


def body_value(envelope: Envelope) -> Any:
    """The decoded body, exact; raise Malformed, TooLarge or Invalid (with pointers) where it is not acceptable."""
    value = jsontext.read(envelope.body.encode(), pointer_prefix="/body")
    if envelope.action != "cancel" and not isinstance(value, dict):
        raise Invalid(
            f"the body of a {envelope.action} is a JSON object",
            errors=(Offence("/body", "not an object"),),
        )
    return value


def derived_id(message_id: UUID, *parts: str) -> UUID:
    """The id of what follows from a message: the same parts give the same id, for ever (UUID version 5, RFC 9562)."""
    digest = sha1(_DERIVED.bytes + "\x1f".join((message_id.hex, *parts)).encode(), usedforsecurity=False).digest()
    # Version and variant by hand: uuid5 itself takes several times as long, and rules make one for each follow-up.
    value = int.from_bytes(digest[:16], "big") & ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=value | 0x5 << 76 | 0x2 << 62)


def same_message(one: Envelope, other: Envelope) -> bool:
    """Whether two envelopes say the same: equal members, and bodies that denote the same JSON value."""
    blank = {"body": "{}", "type": None}
    if msgspec.structs.replace(one, **blank) != msgspec.structs.replace(other, **blank):
        return False
    return one.message_type == other.message_type and jsontext.same(one.body, other.body)
