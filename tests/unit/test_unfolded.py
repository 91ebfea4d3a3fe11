"""What views have still to fold: batches in memory without a gap, and where the journal must be read instead."""

from __future__ import annotations

import pytest

from peaceriver.record import Kind, Record, Tip
from peaceriver.shard import unfolded
from peaceriver.shard.journal import Batch, Documents
from peaceriver.shard.unfolded import Stretch, Unfolded


def batch(first: int, last: int, kind: Kind = "received") -> Batch:
    positions = range(first, last + 1)
    records = [Record(100, each, last, 1, each * 10, kind) for each in positions]
    documents = [Documents(None, f'{{"n":{each}}}') for each in positions]
    return Batch(tip=Tip(1, last, last * 10, b""), records=records, chains=[b""] * len(records), documents=documents)


def offered(*batches: Batch) -> Unfolded:
    made = Unfolded()
    for each in batches:
        made.offer(each)
    return made


def positions(stretch: Stretch | None) -> list[int]:
    assert stretch is not None
    return [record.position for record, _ in stretch.changes]


def test_what_follows_directly_is_handed_out_once_and_in_order() -> None:
    fresh = offered(batch(5, 6), batch(7, 9))
    stretch = fresh.next(4, 9)
    assert stretch is not None
    assert (stretch.first, stretch.last, stretch.stamp) == (5, 9, 90)
    assert positions(stretch) == [5, 6, 7, 8, 9]
    assert fresh.next(9, 9) is None


def test_what_lies_between_is_for_the_journal_and_the_rest_stays() -> None:
    fresh = offered(batch(5, 6))
    assert fresh.next(2, 6) is None
    assert fresh.until(2, 6) == 4
    assert positions(fresh.next(4, 6)) == [5, 6]


def test_what_is_not_complete_stays() -> None:
    fresh = offered(batch(5, 6), batch(7, 9))
    assert positions(fresh.next(4, 8)) == [5, 6]
    assert fresh.next(6, 8) is None
    assert fresh.until(6, 8) == 8
    assert positions(fresh.next(6, 9)) == [7, 8, 9]


def test_what_was_folded_from_the_journal_is_dropped() -> None:
    fresh = offered(batch(5, 6), batch(7, 9))
    assert positions(fresh.next(6, 9)) == [7, 8, 9]


def test_a_gap_ends_what_is_known() -> None:
    fresh = offered(batch(5, 6), batch(8, 9))
    assert fresh.next(4, 9) is None
    assert fresh.until(4, 9) == 7
    assert positions(fresh.next(7, 9)) == [8, 9]


def test_a_step_takes_whole_batches_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfolded, "STEP_RECORDS_MAX", 4)
    fresh = offered(batch(1, 3), batch(4, 5), batch(6, 6))
    assert [positions(fresh.next(after, 6)) for after in (0, 3)] == [[1, 2, 3], [4, 5, 6]]


def test_one_large_batch_is_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfolded, "STEP_RECORDS_MAX", 4)
    assert positions(offered(batch(1, 9)).next(0, 9)) == list(range(1, 10))


def test_too_many_bytes_are_left_to_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfolded, "UNFOLDED_BYTES_MAX", 5_000)
    fresh = offered(batch(1, 2), batch(3, 3))
    assert fresh.next(0, 3) is None
    fresh.offer(batch(4, 4))
    assert fresh.until(0, 4) == 3
    assert positions(fresh.next(3, 4)) == [4]


def test_so_are_too_many_records_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfolded, "UNFOLDED_BYTES_MAX", 5_000)
    fresh = offered(*(batch(each, each, "tick") for each in range(1, 8)))
    assert fresh.next(0, 7) is None
    assert fresh.until(0, 7) == 6


def test_records_that_change_no_actor_move_the_mark_all_the_same() -> None:
    stretch = offered(batch(1, 3, "mark")).next(0, 3)
    assert stretch == Stretch(1, 3, 30, [])
