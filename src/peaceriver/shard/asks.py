"""Where rules run, as a department sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from peaceriver.event import Trigger
from peaceriver.verdict import Verdict


class Asks(Protocol):
    """Where rules run; see Evaluator.verdicts."""

    async def verdicts(
        self, rule: str, version: int, triggers: Sequence[Trigger], *, anew: bool = False
    ) -> list[Verdict]: ...
