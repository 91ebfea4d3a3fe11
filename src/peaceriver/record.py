"""Records: what a journal keeps of a message, and the hash chain over them.

The chain is SHA-256 over the previous chain and the record's canonical bytes. Canonical bytes are a version byte and
the MessagePack array of the record's columns in the order of ``COLUMNS``, times as MessagePack timestamps, ids as 16
bytes. They are made here and nowhere else, so two replicas on different PostgreSQL versions compute the same chain
from the same rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Literal
from uuid import UUID

import msgspec

from peaceriver.stamp import Stamp, wall_of

#: What became of an exception.
Resolution = Literal["open", "retried", "skipped", "answered"]
Kind = Literal["received", "sent", "mark", "tick", "timer", "exception", "epoch", "member", "period"]

CHAIN_FORMAT = b"\x02"
#: The chain before the first record of every journal.
CHAIN_START = bytes(32)

_pack = msgspec.msgpack.Encoder(uuid_format="bytes").encode


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


def canonical(record: Record) -> bytes:
    """The bytes that the chain covers: the same for equal rows on every replica and PostgreSQL version."""
    return CHAIN_FORMAT + _pack(record)


def chained(previous: bytes, record: Record) -> bytes:
    """The chain after ``record``."""
    return hashlib.sha256(previous + canonical(record)).digest()


def from_row(row: Mapping[str, Any]) -> Record:
    """The record of a journal row that has at least ``COLUMNS``."""
    return Record(*_columns(row))


def chain_over(previous: bytes, records: Iterable[Record]) -> bytes:
    """The chain after all of ``records``, which follow each other."""
    for record in records:
        previous = chained(previous, record)
    return previous
