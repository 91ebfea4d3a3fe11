"""Cutoffs are read from what a client wrote, and written so that they can be asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import Invalid
from peaceriver.query.cutoff import AtPositions, AtTime, Cutoff, Place, parse, parse_after
from peaceriver.stamp import Stamp

STAMP = Stamp(28726158325233200, 100)


def test_a_stamp_is_a_moment_in_every_department() -> None:
    assert parse(str(STAMP), "as_of") == AtTime(STAMP.time)


@pytest.mark.parametrize("text", ["2026-11-22T21:00:00Z", "2026-11-22T22:00:00+01:00", "2026-11-22 21:00:00.000Z"])
def test_a_time_includes_its_whole_microsecond(text: str) -> None:
    found = parse(text, "as_of")
    assert isinstance(found, AtTime)
    assert found == parse("2026-11-22T21:00:00Z", "as_of")
    assert found.time % 16 == 15


def test_a_vector_names_a_position_per_department() -> None:
    assert parse("100:17,110:4", "as_of") == AtPositions({100: 17, 110: 4})
    assert parse_after("100:17") == AtPositions({100: 17})
    assert parse_after(str(STAMP)) == STAMP


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-22T21:00:00",
        "2026-11-22T21:00:00 01:00",
        "2026-02-30T00:00:00Z",
        "100:17,100:18",
        "100:-1",
        "4294967296:1",
        "100:99999999999999999999",
        "17",
        "f" * 20 + ".100",
    ],
)
def test_what_is_no_moment_is_refused_by_the_parameters_name(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(text, "as_of")
    assert {each.pointer for each in refused.value.errors} == {"as_of"}


places = st.dictionaries(
    st.integers(100, 2**31 - 1), st.builds(Place, st.integers(0, 2**63 - 1), st.integers(1, 2**62)), min_size=1
)


@given(places)
def test_a_cutoff_is_asked_again_by_its_vector(found: dict[int, Place]) -> None:
    cutoff = Cutoff(found)
    again = parse(cutoff.vector(), "as_of")
    assert again == AtPositions({shard: place.position for shard, place in found.items()})
    shown = cutoff.public()
    assert shown["stamp"] == max(str(Stamp(place.time, shard)) for shard, place in found.items())
    assert list(shown["positions"]) == [str(shard) for shard in sorted(found)]


def test_a_department_without_records_has_no_stamp() -> None:
    assert Cutoff({100: Place(0, 0)}).public() == {"stamp": None, "positions": {"100": 0}}
