"""What comes while somebody makes up is made up as well, as long as that leads somewhere."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from peaceriver.shard.catching_up import until_little_is_left


@pytest.mark.parametrize(
    ("came", "rounds"),
    [
        ([0], 1),
        ([1_000], 1),
        ([1_001, 1_000], 2),
        ([1_000_000, 100_000, 10_000, 900], 4),
        ([1_000_000, 500_000, 250_001], 3),
        ([5_000, 5_000], 2),
        ([5_000, 9_000], 2),
    ],
)
async def test_it_is_made_up_until_it_is_little_or_no_longer_gets_less(came: Sequence[int], rounds: int) -> None:
    left = iter([*came, 0, 0])
    made_up: list[int] = []

    async def make_up() -> int:
        made_up.append(next(left))
        return made_up[-1]

    await until_little_is_left(make_up)
    assert len(made_up) == rounds
