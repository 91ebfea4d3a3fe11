"""The checkers work: each planted mistake is noticed. ``pytest -s`` shows by whom."""

from __future__ import annotations

import sys

import pytest

from tests.protocol.mutants import MUTANTS, hunt

#: Most are noticed within some ten schedules; what needs more has a story.
SCHEDULES_MAX = 150


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_mistake_is_noticed(name: str) -> None:
    caught = hunt(name, SCHEDULES_MAX, stories=True)
    assert caught is not None, f"nobody notices that {name}"
    sys.stdout.write(f"\n{name.replace('_', ' '):<58} {caught.by} {caught.schedules or ''}")


def test_without_a_mistake_nothing_is_noticed() -> None:
    assert len(MUTANTS) >= 14
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MUTANTS, "none", lambda patch: None)
        assert hunt("none", 20, stories=True) is None
