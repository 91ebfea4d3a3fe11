"""Records: what a journal keeps of a message, and the hash chain over them.

The chain is SHA-256 over the previous chain, a format byte and the record's canonical bytes. Canonical bytes are what
PostgreSQL's COPY writes of the record's row in its binary format, column by column in the order of ``COLUMNS``: each a
length and a value, integers big endian, text as UTF-8, ids as 16 bytes, times as microseconds since 2000-01-01 UTC,
and NULL as a length of -1. So a replica checks rows as they come, without reading them, whatever version its
PostgreSQL has. ``shard/rows.py`` works on such bytes; ``docs/decisions/0009-rows-are-hashed-as-copied.md`` says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from struct import Struct
from typing import Any, Literal
from uuid import UUID

import msgspec

from peaceriver.stamp import Stamp, wall_of

#: What became of an exception.
Resolution = Literal["open", "retried", "skipped", "answered"]
Kind = Literal["received", "sent", "mark", "tick", "timer", "exception", "epoch", "member", "period"]

#: Comes before the canonical bytes, and changes whenever they do.
CHAIN_FORMAT = b"\x03"
#: The chain before the first record of every journal.
CHAIN_START = bytes(32)


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One immutable entry of a shard's journal. Its fields are the journal's columns, in order."""

    shard: int
    #: 1, 2, 3 ... without gaps, across epochs.
    position: int
    #: position <= group_end: the last position of the unit that this record was appended in.
    group_end: int
    epoch: int
    #: Logical time; strictly increasing along positions.
    stamp: int
    kind: Kind
    #: At most one record per shard has it, for ever.
    message_id: UUID | None = None
    actor_type: str | None = None
    actor_id: str | None = None
    action: str | None = None
    message_type: str | None = None
    #: How many records the actor has with this one; only of received ones.
    actor_version: int | None = None
    model_version: int | None = None
    sender_shard: int | None = None
    receiver_shard: int | None = None
    #: Where the message stands in the sender's journal; of a mark: how far the reader has acted.
    source_position: int | None = None
    cause_time: int | None = None
    cause_shard: int | None = None
    root: UUID | None = None
    correlation: str | None = None
    rule: str | None = None
    rule_version: int | None = None
    principal: str | None = None
    trace: str | None = None
    #: Business time as the client gave it; None means the stamp's time.
    valid_at: datetime | None = None
    due: datetime | None = None
    if_version: int | None = None
    hops: int = 0
    #: The JSON text as accepted: hashed, and returned exactly.
    body: str = "{}"

    @property
    def actor(self) -> str | None:
        return None if self.actor_type is None else f"{self.actor_type}/{self.actor_id}"

    @property
    def moment(self) -> Stamp:
        """The record's full stamp: logical time and sharding code."""
        return Stamp(self.stamp, self.shard)

    @property
    def cause(self) -> Stamp | None:
        if self.cause_time is None or self.cause_shard is None:
            return None
        return Stamp(self.cause_time, self.cause_shard)

    @property
    def valid_from(self) -> datetime:
        """Business time: what the client gave, else the stamp's time."""
        return self.valid_at or wall_of(self.stamp)

    def public(self) -> dict[str, Any]:
        """The record as API.md shows it; the body is raw JSON, so that it comes back byte for byte."""
        return {
            "shard": self.shard,
            "position": self.position,
            "stamp": str(self.moment),
            "epoch": self.epoch,
            "kind": self.kind,
            "id": None if self.message_id is None else str(self.message_id),
            "actor": self.actor,
            "action": self.action,
            "type": self.message_type,
            "version": self.actor_version,
            "model_version": self.model_version,
            "from": self.sender_shard,
            "to": self.receiver_shard,
            "cause": None if self.cause is None else str(self.cause),
            "root": None if self.root is None else str(self.root),
            "correlation": self.correlation,
            "rule": self.rule,
            "rule_version": self.rule_version,
            "principal": self.principal,
            "valid_at": None if self.kind in SYSTEM_KINDS else written_time(self.valid_from),
            "recorded_at": written_time(wall_of(self.stamp)),
            "hops": self.hops,
            "body": msgspec.Raw(self.body.encode()),
        }


#: Records that no client sent and that concern no actor.
SYSTEM_KINDS = frozenset({"mark", "tick", "epoch", "member"})

#: The journal's columns in the order of the table and of the canonical bytes; ``chain`` follows them.
COLUMNS: tuple[str, ...] = Record.__struct_fields__
_columns = itemgetter(*COLUMNS)


def written_time(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC, always with microseconds, so that the strings sort."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment.year >= 1000 else _early(moment)


def _early(moment: datetime) -> str:
    # strftime does not pad years below 1000 on every platform.
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Tip(msgspec.Struct, frozen=True):
    """Where a journal stands. Positions 1 to ``position`` exist; the next record builds on ``stamp`` and ``chain``."""

    epoch: int
    position: int
    stamp: int
    chain: bytes


#: A NULL in a row, and what comes before an id.
_NULL = b"\xff\xff\xff\xff"
_TWO_NULLS = _NULL * 2
_UUID = b"\x00\x00\x00\x10"
#: The columns up to the stamp, which every record has, and the length of a text.
_pack_head = Struct(">iiiqiqiiiq").pack
_pack_int = Struct(">ii").pack
_pack_bigint = Struct(">iq").pack
_pack_length = Struct(">i").pack
_columns_of = msgspec.structs.astuple
#: A copy of an empty digest is made in two thirds of the time in which OpenSSL 3 looks SHA-256 up by its name again.
_new_digest = hashlib.sha256().copy

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
#: Different ones, of what most records share, that are kept at a time.
_KEPT_MAX = 4_096


def canonical(record: Record) -> bytes:
    """The bytes that the chain covers: the record's row, but for its chain, as PostgreSQL's binary COPY writes it.

    Columns are written one by one, and what repeats from record to record is kept: this is done for every record that
    is appended. Integers must be as large as their columns at most.
    """
    # fmt: off
    (
        shard, position, group_end, epoch, stamp, kind, message_id, actor_type, actor_id, action, message_type,
        actor_version, model_version, sender, receiver, source_position, cause_time, cause_shard, root, correlation,
        rule, rule_version, principal, trace, valid_at, due, if_version, hops, body,
    ) = _columns_of(record)
    # fmt: on
    text = body.encode()
    return b"".join(
        (
            _pack_head(4, shard, 8, position, 8, group_end, 4, epoch, 8, stamp),
            _kept_text(kind),
            _NULL if message_id is None else _UUID + message_id.bytes,
            _kept_text(actor_type),
            _NULL if actor_id is None else _text(actor_id),
            _kept_texts(action, message_type),
            _NULL if actor_version is None else _pack_int(4, actor_version),
            _kept_route(model_version, sender, receiver),
            _NULL if source_position is None else _pack_bigint(8, source_position),
            _TWO_NULLS if cause_time is None and cause_shard is None else _bigint(cause_time) + _int(cause_shard),
            _NULL if root is None else _UUID + root.bytes,
            _NULL if correlation is None else _text(correlation),
            _kept_author(rule, rule_version, principal),
            _NULL if trace is None else _text(trace),
            _TWO_NULLS if valid_at is None and due is None else _time(valid_at) + _time(due),
            _NULL if if_version is None else _pack_int(4, if_version),
            _pack_int(4, hops),
            _pack_length(len(text)),
            text,
        )
    )


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return _pack_length(len(encoded)) + encoded


def _int(value: int | None) -> bytes:
    return _NULL if value is None else _pack_int(4, value)


def _bigint(value: int | None) -> bytes:
    return _NULL if value is None else _pack_bigint(8, value)


def _time(value: datetime | None) -> bytes:
    if value is None:
        return _NULL
    since = value - _POSTGRES_EPOCH
    return _pack_bigint(8, since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds)


_kept_text = lru_cache(_KEPT_MAX)(_text)


@lru_cache(_KEPT_MAX)
def _kept_texts(action: str | None, message_type: str | None) -> bytes:
    return _text(action) + _text(message_type)


@lru_cache(_KEPT_MAX)
def _kept_route(model_version: int | None, sender: int | None, receiver: int | None) -> bytes:
    return _int(model_version) + _int(sender) + _int(receiver)


@lru_cache(_KEPT_MAX)
def _kept_author(rule: str | None, rule_version: int | None, principal: str | None) -> bytes:
    return _text(rule) + _int(rule_version) + _text(principal)


def chain_after(previous: bytes, columns: bytes) -> bytes:
    """The chain after a record whose canonical bytes are ``columns``."""
    digest = _new_digest()
    digest.update(previous + CHAIN_FORMAT + columns)
    return digest.digest()


def chained(previous: bytes, record: Record) -> bytes:
    """The chain after ``record``."""
    return chain_after(previous, canonical(record))


def from_row(row: Mapping[str, Any]) -> Record:
    """The record of a journal row that has at least ``COLUMNS``."""
    return Record(*_columns(row))


def chain_over(previous: bytes, records: Iterable[Record]) -> bytes:
    """The chain after all of ``records``, which follow each other."""
    for record in records:
        previous = chained(previous, record)
    return previous
