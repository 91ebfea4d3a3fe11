"""Rows as bytes: told apart, checked and cut without being read, and nothing that is not a row passes for one."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import get_args
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import Damaged
from peaceriver.limits import CHUNK_BYTES_MAX, PULL_RECORDS_MAX
from peaceriver.record import COLUMNS, Kind, Record, Tip, chained
from peaceriver.shard.rows import (
    HEADER,
    ROW_BYTES_MAX,
    TRAILER,
    Incoming,
    checked,
    cut,
    faults,
    fill_a_chunk,
    follow,
    holds,
    packed,
    place_of,
    row_of,
    stream,
    tip_of,
    unpacked,
)
from tests.records import START, any_record, history, rows_of

RECORD = Record(
    shard=100,
    position=1,
    group_end=1,
    epoch=1,
    stamp=16,
    kind="received",
    message_id=UUID(int=7),
    actor_type="Order",
    actor_id="SO-1",
    action="create",
    receiver_shard=100,
    valid_at=datetime(2026, 1, 2, tzinfo=UTC),
    body='{"total":0.10}',
)
RECORDS = history([RECORD] * 10, sizes=(1, 4, 2))
ROWS = rows_of(RECORDS)
#: Where the groups of ROWS end.
GROUP_ENDS = [1, 5, 7, 8, 9, 10]
NO_ROW = rb"".join((b"\x00\x1e\x00\x00\x00\x04", bytes(300)))


def walked(data: bytes) -> list[bytes]:
    """The rows of well-formed bytes, from length to length: slow, and plainly what the format says."""
    found, at = [], 0
    while at < len(data):
        begun = at
        (columns,) = struct.unpack_from(">h", data, at)
        at += 2
        for _ in range(columns):
            (length,) = struct.unpack_from(">i", data, at)
            at += 4 + max(length, 0)
        found.append(data[begun:at])
    return found


def altered(row: bytes, at: int) -> bytes:
    return row[:at] + bytes([row[at] ^ 1]) + row[at + 1 :]


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def check(rows: Sequence[bytes], shard: int, tip: Tip) -> Tip:
    """Where rows lead that are checked as they are taken."""
    assert b"".join(checked(rows, shard, tip)) == HEADER + b"".join(rows) + TRAILER
    return tip_of(rows[-1]) if rows else tip


def came(rows: Sequence[bytes]) -> list[bytes]:
    """Rows as another node has them."""
    return unpacked(memoryview(b"".join(packed(rows))))


@given(st.lists(any_record, max_size=5))
def test_rows_are_told_apart_as_the_format_says(records: list[Record]) -> None:
    rows = rows_of(history(records))
    assert came(rows) == walked(b"".join(rows)) == rows
    assert check(rows, 100, START).position == len(rows)


@given(st.lists(any_record, max_size=4), st.integers(1, 2_000))
def test_pieces_of_a_copy_may_end_anywhere(records: list[Record], size: int) -> None:
    rows = rows_of(history(records))
    incoming, found = Incoming(), []
    for piece in in_pieces(b"".join(stream(rows)), size):
        found += incoming.feed(piece)
    incoming.end()
    assert found == rows


def test_a_copy_of_many_rows_comes_in_pieces_that_make_it_up() -> None:
    many = ROWS * 200
    pieces = list(stream(many))
    assert max(map(len, pieces)) < sum(map(len, many)) / 2
    assert b"".join(pieces) == HEADER + b"".join(many) + TRAILER


def test_a_row_has_as_many_columns_as_the_journal() -> None:
    assert struct.unpack_from(">h", ROWS[0]) == (len(COLUMNS) + 1,)


def test_a_chunk_is_full_of_few_large_rows_and_of_many_small_ones() -> None:
    assert not fill_a_chunk(ROWS)
    assert fill_a_chunk([bytes(CHUNK_BYTES_MAX)])
    assert fill_a_chunk([b"row"] * PULL_RECORDS_MAX)


def test_kinds_are_found_among_rows() -> None:
    kinds = {each.kind for each in RECORDS}
    for kind in get_args(Kind):
        assert holds(ROWS, kind) == (kind in kinds)
    assert not holds([], "member")


def test_the_place_of_a_row_is_read_from_it() -> None:
    assert place_of(ROWS[2]) == (100, 3, 5, 1, 48)
    assert tip_of(ROWS[2]) == Tip(1, 3, 48, ROWS[2][-32:])


WHOLE = b"".join(packed(ROWS))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        WHOLE[:-1],
        WHOLE[1:],
        WHOLE + b"\x00",
        WHOLE + TRAILER,
        WHOLE[:4],
        WHOLE[: len(ROWS) * 4],
        b"garbage",
        b"\xff" * 100_000,
        b"\x00\x00\x00\x01" + bytes(4),
        b"\x00\x00\x00\x01" + bytes(3) + b"\x06" + ROWS[0][:6],
        b"".join(packed([NO_ROW])),
        b"".join(packed([*ROWS, NO_ROW])),
        b"".join(packed([b"\x00\x1d" + ROWS[0][2:]])),
        b"".join(packed([ROWS[0][:-33] + ROWS[0][-32:]])),
        b"".join(packed([ROWS[0] + ROWS[1][:10]])),
        b"".join(packed([bytes(100_000)])),
        bytes(100_000),
    ],
)
def test_what_is_not_rows_and_nothing_else_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged, match="cannot be used"):
        unpacked(memoryview(data))


def test_no_rows_are_told_from_nothing() -> None:
    assert unpacked(memoryview(b"".join(packed([])))) == []


@given(st.binary(max_size=400).filter(lambda data: data != bytes(4)))
def test_garbage_is_never_rows(data: bytes) -> None:
    with pytest.raises(Damaged):
        unpacked(memoryview(data))


@given(st.data())
def test_bytes_that_were_lost_or_changed_are_noticed(data: st.DataObject) -> None:
    """Wherever it happens, and whichever of the two notices."""
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    damage = data.draw(st.sampled_from([WHOLE[:at], WHOLE[:at] + WHOLE[at + 1 :], altered(WHOLE, at)]))
    with pytest.raises(Damaged):
        check(unpacked(memoryview(damage)), 100, START)


@pytest.mark.parametrize(
    "copied",
    [
        b"",
        HEADER[:10],
        HEADER,
        WHOLE,
        b"PGCOPY?" + WHOLE,
        HEADER + WHOLE,
        HEADER + WHOLE[:-1] + TRAILER,
        HEADER + WHOLE + TRAILER[:1],
        HEADER + WHOLE + TRAILER + ROWS[0],
        HEADER + WHOLE + TRAILER + b"\x00",
        HEADER + ROWS[0] + b"?" + ROWS[1] + TRAILER,
        HEADER + ROWS[0] + NO_ROW + ROWS[1] + TRAILER,
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_copy_that_is_not_whole_is_damaged(copied: bytes, size: int) -> None:
    incoming = Incoming()
    with pytest.raises(Damaged, match="ask for it again"):  # noqa: PT012 - either of the two may notice it
        for piece in in_pieces(copied, size):
            incoming.feed(piece)
        incoming.end()


def test_a_row_that_never_ends_is_not_waited_for() -> None:
    incoming = Incoming()
    incoming.feed(HEADER)
    head = ROWS[0][:-200]
    with pytest.raises(Damaged, match="no row ends"):  # noqa: PT012 - any piece may be the one
        for piece in [head, *[b"x" * (ROW_BYTES_MAX // 2)] * 3]:
            incoming.feed(piece)


@pytest.mark.parametrize(
    ("spare", "rows", "expected"),
    [
        (0, 10, 10),
        (-1, 10, 9),
        (0, 4, 1),  # the second group is not whole here
        (0, 5, 5),
        (-1, 5, 1),
        (0, 6, 5),
        (0, 7, 7),
        (0, 1, 1),
        (-1, 1, 0),
        (0, 0, 0),
    ],
)
def test_rows_are_cut_at_the_last_group_end_within_the_limit(spare: int, rows: int, expected: int) -> None:
    assert cut(ROWS[:rows], sum(map(len, ROWS[:rows])) + spare) == expected


def test_of_a_group_that_is_not_whole_nothing_is_cut() -> None:
    assert cut(ROWS[1:4], 1_000_000) == 0


@given(st.lists(st.integers(1, 5), max_size=8), st.integers(0, 12_000))
def test_a_group_is_never_cut(sizes: list[int], bytes_max: int) -> None:
    rows = rows_of(history([RECORD] * sum(sizes), sizes=sizes))
    count = cut(rows, bytes_max)
    whole = list(accumulate(sizes, initial=0))
    assert count == max(end for end in whole if sum(map(len, rows[:end])) <= bytes_max)


def test_sound_rows_lead_to_where_the_journal_stands_after_them() -> None:
    assert check(ROWS, 100, START) == Tip(1, 10, 160, ROWS[-1][-32:])
    assert check(ROWS[5:], 100, check(ROWS[:5], 100, START)) == check(ROWS, 100, START)
    assert check([], 100, START) == START


def test_rows_that_end_within_a_group_are_not_taken() -> None:
    assert follow(ROWS[:3], 100, START).position == 3
    with pytest.raises(Damaged, match="within a group, which ends at position 5"):
        check(ROWS[:3], 100, START)


def changed(position: int, **changes: object) -> list[bytes]:
    """The rows with one record changed, as if its leader had recorded it so: each chain fits."""
    records = list(RECORDS)
    records[position - 1] = msgspec.structs.replace(records[position - 1], **changes)
    return rows_of(records)


@pytest.mark.parametrize(
    ("rows", "position", "detail"),
    [
        (ROWS[1:], 1, "positions 1 to 1 are missing"),
        ([*ROWS[:3], *ROWS[7:]], 4, "positions 4 to 7 are missing"),
        ([*ROWS[:3], *ROWS[2:]], 3, "comes after position 3"),
        ([*ROWS[:3], ROWS[3].replace(b"0.10", b"0.11"), *ROWS[4:]], 4, "altered"),
        ([*ROWS[:3], ROWS[3][:-1] + b"?", *ROWS[4:]], 4, "altered"),
        (changed(6, stamp=80), 6, "stamp is not later"),
        (changed(6, epoch=0), 6, "epoch is older"),
        (changed(6, shard=101), 6, "belongs to shard 101"),
    ],
)
def test_what_is_wrong_is_named_with_its_position(rows: Sequence[bytes], position: int, detail: str) -> None:
    with pytest.raises(Damaged, match=rf"shard 100 .* position {position} .*{detail}.*; verify"):
        check(rows, 100, START)


def test_the_rows_of_another_history_do_not_fit() -> None:
    with pytest.raises(Damaged, match="position 1 "):
        check(ROWS, 100, Tip(1, 0, 0, b"\x01" * 32))


def test_everything_that_is_wrong_with_a_row_is_told() -> None:
    tip = Tip(2, 3, 1_000, ROWS[2][-32:])
    assert [fault.position for fault in faults(ROWS[3], 101, tip)] == [4, 4, 4]
    assert faults(ROWS[3], 100, tip_of(ROWS[2])) == []


def test_the_row_of_a_record_ends_with_the_chain_after_it() -> None:
    chain = chained(START.chain, RECORDS[0])
    assert row_of(RECORDS[0], chain) == ROWS[0]
    assert ROWS[0].endswith(b"\x00\x00\x00\x20" + chain)


def test_telling_rows_apart_takes_no_longer_for_garbage_than_for_rows() -> None:
    """No backtracking: a hostile chunk must not stop a node. A hang is a failure."""
    for garbage in (b"\x00" * 1_000_000, b"\x00\x1e\x00\x00\x00\x04" * 100_000, ROWS[0][:-33] * 2_000):
        incoming = Incoming()
        with pytest.raises(Damaged):  # noqa: PT012 - some of it may be the beginning of a row
            incoming.feed(HEADER + garbage)
            incoming.end()
