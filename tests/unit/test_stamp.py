"""Stamps are totally ordered, survive writing, and never go back whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import Invalid
from peaceriver.stamp import TIME_MAX, Stamp, end_of, following, logical, wall_of

times = st.integers(0, TIME_MAX)
codes = st.one_of(st.just(0), st.integers(100, 2**31 - 1))
stamps = st.builds(Stamp, times, codes)


@given(stamps)
def test_a_stamp_is_read_back_as_it_was_written(stamp: Stamp) -> None:
    assert Stamp.parse(str(stamp)) == stamp


@given(stamps, stamps)
def test_stamps_sort_as_their_written_forms_do(one: Stamp, other: Stamp) -> None:
    assert (one < other) == (str(one) < str(other))
    assert (one == other) == (str(one) == str(other))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0.100",
        "0" * 20,
        "0" * 20 + ".",
        "0" * 20 + ".0100",
        "g" * 20 + ".100",
        "F" * 20 + ".1",
        "f" * 20 + ".1",
    ],
)
def test_what_is_no_stamp_is_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        Stamp.parse(text, pointer="/cause")
    assert refused.value.errors[0].pointer == "/cause"


@given(times.filter(lambda t: t < TIME_MAX), times, times.filter(lambda t: t < TIME_MAX))
def test_time_goes_on_also_when_the_clock_jumps_back(last: int, wall: int, received: int) -> None:
    made = following(last, wall, received)
    assert made > last
    assert made > received
    assert made >= wall


@given(st.datetimes(datetime(1970, 1, 1), datetime(2900, 1, 1), timezones=st.just(UTC)))
def test_a_cutoff_at_a_time_includes_all_that_was_stamped_in_its_microsecond(moment: datetime) -> None:
    assert wall_of(logical(moment)) == wall_of(end_of(moment)) == moment
    assert wall_of(end_of(moment) + 1) > moment
