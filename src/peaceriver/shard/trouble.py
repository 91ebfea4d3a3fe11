"""What keeps something from going on, and since when."""

from __future__ import annotations

from typing import NamedTuple


class Trouble(NamedTuple):
    """A reason, for people, and since when, by the steady clock."""

    why: str
    since: float
