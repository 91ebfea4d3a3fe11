"""Rests between pieces of work."""

from __future__ import annotations

import pytest

from peaceriver.node.pace import Sparing


def spared(*, took_s: float, done: int) -> Sparing:
    """One that took in what it was given at 10.0 for so long, and asked for more then."""
    sparing = Sparing(0.75)
    sparing.given(10.0, done)
    sparing.asked(10.0 + took_s)
    return sparing


def test_a_rest_is_as_long_as_the_work_asks_for() -> None:
    sparing = spared(took_s=0.3, done=5)
    assert sparing.rest_s(10.3, 6) == pytest.approx(0.1)
    assert sparing.rest_s(10.36, 6) == pytest.approx(0.04)
    assert sparing.rest_s(10.5, 6) == 0


def test_nobody_rests_for_nothing() -> None:
    assert spared(took_s=0.3, done=5).rest_s(10.3, 5) == 0
    assert Sparing(0.75).rest_s(10.0, 5) == 0


def test_nobody_rests_before_the_piece_is_taken_in() -> None:
    sparing = spared(took_s=0.3, done=5)
    sparing.given(10.4, 6)
    assert sparing.rest_s(10.5, 7) == 0


def test_a_slow_one_is_not_made_slower_than_it_is() -> None:
    assert spared(took_s=60.0, done=5).rest_s(70.0, 6) == pytest.approx(0.2)
