"""How several things are named in a sentence."""

from __future__ import annotations

import pytest

from peaceriver.wording import named


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([100], "department 100 has"),
        ([100, 101], "departments 100 and 101 have"),
        ([100, 101, 102], "departments 100, 101 and 102 have"),
        (range(100, 108), "departments 100, 101, 102, 103, 104, 105, 106 and 107 have"),
        (range(100, 112), "departments 100, 101, 102, 103, 104, 105, 106, 107 and 4 more have"),
    ],
)
def test_things_are_named_as_a_sentence_does(names: list[int], said: str) -> None:
    assert named("department", names, one="has", more="have") == said
    assert named("department", names) == said.rpartition(" ")[0]
