"""Journal rows as bytes: what replicas exchange, and what is hashed.

A row is one tuple of PostgreSQL's binary COPY format (documented under "COPY", the same since version 8.4): the number
of columns as two bytes, then of each column its length as four bytes and its value, NULL as a length of -1. The first
29 columns are the record's canonical bytes, the last one is the chain. So rows are told apart, ordered, checked and
passed on without being read. There is no I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from struct import Struct
from typing import Final, NamedTuple, get_args
from uuid import UUID

import msgspec

from peaceriver.errors import Damaged
from peaceriver.limits import CHUNK_BYTES_MAX, PULL_RECORDS_MAX
from peaceriver.record import COLUMNS, Record, Tip, canonical, chain_after

#: What stands before the rows of a COPY: its signature, no flags, no extension.
HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
#: What stands after them: a number of columns that no row has.
TRAILER: Final = b"\xff\xff"
#: More than a row may have: what is longer and still no row will never be one.
ROW_BYTES_MAX: Final = 32 * 1024 * 1024

_COUNT = (len(COLUMNS) + 1).to_bytes(2, "big")
_CHAIN_BYTES = 32
_CHAIN_LENGTH = _CHAIN_BYTES.to_bytes(4, "big")
#: What of a row comes before the canonical bytes, and what after them.
_BEFORE, _AFTER = len(_COUNT), len(_CHAIN_LENGTH) + _CHAIN_BYTES
#: How a row begins: the number of columns, and the length of the first one.
_START = _COUNT + b"\x00\x00\x00\x04"
_LENGTH_BYTES = 4
#: Rows that are handed to a COPY at a time.
_PIECE_ROWS = 500

#: Integer columns of eight bytes; the others have four.
_BIGINTS = {"position", "group_end", "stamp", "source_position", "cause_time"}


def _pattern(name: str, kind: object) -> bytes:
    """What a column of a row looks like."""
    alternatives = get_args(kind)
    if int in (kind, *alternatives):
        width = 8 if name in _BIGINTS else 4
    else:
        width = next((size for each, size in ((UUID, 16), (datetime, 8)) if each in alternatives), 0)
    # A text holds neither 0x00 (PostgreSQL refuses it) nor 0xff (no byte of UTF-8), and a length begins with one of the
    # two: so a text ends where the next length begins. Of the body, which the chain follows, that is always 0x00.
    text = rb"\x00.{3}[^\x00]*+" if name == COLUMNS[-1] else rb"\x00.{3}[^\x00\xff]*+"
    value = rb"\x00\x00\x00\x%02x.{%d}" % (width, width) if width else text
    return rb"(?:%b|\xff\xff\xff\xff)" % value if type(None) in alternatives else value


_fields = msgspec.structs.fields(Record)
_row_pattern = b"".join(
    [
        *(b"\\x%02x" % byte for byte in _COUNT),
        *(_pattern(each.name, each.type) for each in _fields),
        *(b"\\x%02x" % byte for byte in _CHAIN_LENGTH),
        b".{%d}" % _CHAIN_BYTES,
    ]
)
#: One call finds all rows of a chunk: many times faster than going from length to length in Python.
_rows_in = re.compile(_row_pattern, re.DOTALL).findall

#: Where the length of the sixth column stands, the kind: those before it have fixed lengths.
_KIND_AT = _BEFORE + 5 * 4 + 4 + 8 + 8 + 4 + 8
_RECEIVER = COLUMNS.index("receiver_shard")

_places = Struct(">2x4xi4xq4xq4xi4xq")
_place_of = _places.unpack_from
_ROW_BYTES_MIN = _places.size + _AFTER


class Place(NamedTuple):
    """Where a row stands."""

    shard: int
    position: int
    #: The last position of the group that the row belongs to.
    group_end: int
    epoch: int
    stamp: int


class Fault(NamedTuple):
    """What is wrong with a row, and at which position."""

    position: int
    detail: str


def _written(kind: str) -> bytes:
    """A kind as a row has it."""
    return len(kind).to_bytes(4, "big") + kind.encode("ascii")


_SENT = _written("sent")


def row_of(record: Record, chain: bytes) -> bytes:
    """A record and the chain after it as the row that PostgreSQL's COPY would write."""
    return b"".join((_COUNT, canonical(record), _CHAIN_LENGTH, chain))


def place_of(row: bytes) -> Place:
    """Where a row stands, read from the bytes that every row has at the same offsets."""
    return Place._make(_place_of(row))


def tip_of(row: bytes) -> Tip:
    """Where the journal stands after a row, by what the row itself says."""
    place = place_of(row)
    return Tip(place.epoch, place.position, place.stamp, row[-_CHAIN_BYTES:])


def kind_of(row: bytes) -> str:
    """The kind of a row's record, read from where every row has it."""
    start = _KIND_AT + 4
    return row[start : start + int.from_bytes(row[_KIND_AT:start], "big")].decode("ascii")


def holds(taken: Iterable[bytes], kind: str) -> bool:
    """Whether one of some rows is of a kind."""
    written = _written(kind)
    return any(row.startswith(written, _KIND_AT) for row in taken)


def receivers(taken: Iterable[bytes]) -> frozenset[int]:
    """The departments that the records of some rows are sent to."""
    return frozenset(_receiver(row) for row in taken if row.startswith(_SENT, _KIND_AT))


def _receiver(row: bytes) -> int:
    """The receiver of a sent record: its column is found from length to length."""
    at = _BEFORE
    for _ in range(_RECEIVER):
        length = int.from_bytes(row[at : at + 4], "big", signed=True)
        at += 4 + max(length, 0)
    return int.from_bytes(row[at + 4 : at + 8], "big")


def packed(rows: Sequence[bytes]) -> list[bytes]:
    """Rows on their way to another node, in parts: how many, the length of each as four bytes, and the rows."""
    return [len(rows).to_bytes(_LENGTH_BYTES, "big"), Struct(f">{len(rows)}I").pack(*map(len, rows)), *rows]


def unpacked(data: memoryview) -> list[bytes]:
    """The rows that came so; raises Damaged where they did not.

    A row begins and ends as one does. Whether the columns between are what they should be is for the chain to say.
    """
    count, whole = int.from_bytes(data[:_LENGTH_BYTES], "big"), bytes(data)
    first = _LENGTH_BYTES * (1 + count)
    if len(whole) < first:
        raise _no_row(f"it is to hold {count:,} of them, and has {len(whole):,} bytes")
    lengths = Struct(f">{count}I").unpack_from(data, _LENGTH_BYTES)
    if first + sum(lengths) != len(whole):
        raise _no_row(f"its {count:,} rows are to have {sum(lengths):,} bytes, and have {len(whole) - first:,}")
    rows = [whole[begin:end] for begin, end in pairwise(accumulate(lengths, initial=first))]
    if lengths and (
        min(lengths) < _ROW_BYTES_MIN
        or any(row[: len(_START)] != _START or row[-_AFTER:-_CHAIN_BYTES] != _CHAIN_LENGTH for row in rows)
    ):
        raise _no_row("what it holds does not begin and end as rows do")
    return rows


class Incoming:
    """The rows of one COPY, whose bytes come in pieces that end anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self._awaited = HEADER

    def feed(self, piece: bytes) -> list[bytes]:
        """The rows that are whole with this piece; raises Damaged where no row can come of what is left over."""
        data = self._rest + piece
        if self._awaited:
            if not data.startswith(self._awaited[: len(data)]):
                raise _no_row("it does not begin as a binary COPY does")
            if len(data) < len(self._awaited):
                self._rest = data
                return []
            data, self._awaited = data[len(self._awaited) :], b""
        rows = _rows_in(data)
        rest = data[sum(map(len, rows)) :]
        if not _START.startswith(rest[: len(_START)]) and rest != TRAILER[: len(rest)]:
            raise _no_row("something else stands between its rows")
        if len(rest) > ROW_BYTES_MAX:
            raise _no_row(f"no row ends within {ROW_BYTES_MAX:,} bytes")
        self._rest = rest
        return rows

    def end(self) -> None:
        """Nothing more comes; raises Damaged where the COPY is not whole."""
        if self._awaited or self._rest != TRAILER:
            raise _no_row("it ends before its last row does, or before its end is marked")


def _no_row(detail: str) -> Damaged:
    return Damaged(f"a chunk of journal rows cannot be used: {detail}; ask for it again")


def cut(rows: Sequence[bytes], bytes_max: int) -> int:
    """How many of ``rows`` are whole groups within so many bytes; 0 where not even the first group is.

    Then the first group is either larger, or not all here: more must be fetched, or more bytes be allowed.
    """
    ends = accumulate(map(len, rows))
    within = next((index for index, end in enumerate(ends) if end > bytes_max), len(rows))
    return next((count for count in range(within, 0, -1) if _ends_group(rows[count - 1])), 0)


def fill_a_chunk(rows: Sequence[bytes]) -> bool:
    """Whether they are about as many as are sent at a time: then more are likely to follow."""
    return len(rows) > PULL_RECORDS_MAX // 2 or sum(map(len, rows)) > CHUNK_BYTES_MAX // 2


def _ends_group(row: bytes) -> bool:
    place = place_of(row)
    return place.position == place.group_end


def follow(rows: Sequence[bytes], shard: int, tip: Tip) -> Tip:
    """Check that ``rows`` go on from ``tip``; answer where the journal stands after them.

    Positions are dense, stamps increase, epochs do not decrease, and every chain fits. Raises Damaged, naming the
    first position where that is not so.
    """
    epoch, position, stamp, chain = tip.epoch, tip.position, tip.stamp, tip.chain
    for row in rows:
        its_shard, its_position, _, its_epoch, its_stamp = _place_of(row)
        its_chain = row[-_CHAIN_BYTES:]
        position += 1
        if (
            its_position != position
            or its_stamp <= stamp
            or its_epoch < epoch
            or its_shard != shard
            or chain_after(chain, row[_BEFORE:-_AFTER]) != its_chain
        ):
            fault = faults(row, shard, Tip(epoch, position - 1, stamp, chain))[0]
            raise _damaged(shard, fault)
        epoch, stamp, chain = its_epoch, its_stamp, its_chain
    return Tip(epoch, position, stamp, chain)


def faults(row: bytes, shard: int, tip: Tip) -> list[Fault]:
    """Everything that keeps a row from going on from ``tip``, the worst first; nothing where it does."""
    found: list[Fault] = []
    place = place_of(row)
    if place.shard != shard:
        found.append(Fault(place.position, f"the row belongs to shard {place.shard}"))
    if place.position <= tip.position:
        found.append(Fault(place.position, f"the row comes after position {tip.position}"))
    elif place.position != tip.position + 1:
        missing = f"positions {tip.position + 1} to {place.position - 1} are missing"
        found.append(Fault(tip.position + 1, missing))
    elif chain_after(tip.chain, row[_BEFORE:-_AFTER]) != row[-_CHAIN_BYTES:]:
        found.append(Fault(place.position, "the row does not fit the chain: it was altered"))
    if place.stamp <= tip.stamp:
        found.append(Fault(place.position, "its stamp is not later than the one before"))
    if place.epoch < tip.epoch:
        found.append(Fault(place.position, "its epoch is older than the one before"))
    return found


def _damaged(shard: int, fault: Fault) -> Damaged:
    return Damaged(
        f"rows of shard {shard} cannot be taken from position {fault.position} on: {fault.detail}; "
        f"verify the shard on the node that they come from"
    )


def stream(rows: Sequence[bytes]) -> Iterator[bytes]:
    """A whole binary COPY of ``rows``, in pieces."""
    yield HEADER
    for piece in _pieces(rows):
        yield b"".join(piece)
    yield TRAILER


def checked(rows: Sequence[bytes], shard: int, tip: Tip) -> Iterator[bytes]:
    """The same of rows that are to be taken: each piece is checked (see ``follow``) before it is given out.

    So whoever writes them is at work while the next ones are checked, and must not keep them where this raises Damaged:
    a row does not go on from the one before, the first one from ``tip``, or the rows do not end where a group does.
    """
    if rows and not _ends_group(rows[-1]):
        last = place_of(rows[-1])
        detail = f"the rows end within a group, which ends at position {last.group_end}"
        raise _damaged(shard, Fault(last.position, detail))
    yield HEADER
    for piece in _pieces(rows):
        tip = follow(piece, shard, tip)
        yield b"".join(piece)
    yield TRAILER


def _pieces(rows: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (rows[first : first + _PIECE_ROWS] for first in range(0, len(rows), _PIECE_ROWS))
