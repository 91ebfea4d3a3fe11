"""A record is complete when a majority holds it, and only a record of the leader's own epoch counts (Raft, 5.4.2)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peaceriver.protocol.completeness import complete_position

positions = st.lists(st.integers(0, 1000), min_size=1, max_size=7)


@given(st.integers(0, 1000))
def test_one_voter_is_a_majority(position: int) -> None:
    assert complete_position([position], 0, 0) == position


@given(positions, st.integers(0, 1000), st.integers(0, 1000))
def test_it_agrees_with_counting_by_hand(voters: list[int], epoch_start: int, before: int) -> None:
    held = [n for n in range(1001) if sum(each >= n for each in voters) * 2 > len(voters) and n >= epoch_start]
    assert complete_position(voters, epoch_start, before) == max([before, *held])


@given(positions, st.integers(0, 1000), st.integers(0, 1000))
def test_it_never_goes_back(voters: list[int], epoch_start: int, before: int) -> None:
    assert complete_position(voters, epoch_start, before) >= before


def test_records_of_an_earlier_epoch_do_not_count_by_themselves() -> None:
    """Figure 8 of the Raft paper: a majority that holds an old record may still lose it."""
    assert complete_position([5, 5, 2], epoch_start=6, complete=3) == 3
    assert complete_position([6, 6, 2], epoch_start=6, complete=3) == 6
