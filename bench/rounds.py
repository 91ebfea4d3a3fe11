"""Rounds: every contestant is measured once in each, in turn, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["/s", "ms", "leases", "%", "MB"]
#: Does a number of units of work and answers the figure, in the contestant's unit.
Measure = Callable[[int], Awaitable[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Something that is measured."""

    name: str
    measure: Measure
    unit: Unit = "/s"
    #: Units of work in the warm-up, whose figure counts for nothing but the length of the rounds.
    least: int = 200
    most: int = 20_000
    #: Units of work for each second asked, where they do not depend on how fast it is.
    per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the rounds of one contestant gave, in their order."""

    unit: Unit
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many rounds, and about how long each contestant works in one."""

    rounds: int
    seconds: float


def work_for(contestant: Contestant, figure: float, seconds: float) -> int:
    """How many units of work take about so long, by the figure of the warm-up, within the contestant's bounds."""
    if contestant.per_second is not None:
        rate: float = contestant.per_second
    else:
        rate = figure if contestant.unit == "/s" else 1000 / figure
    return max(contestant.least, min(contestant.most, round(rate * seconds)))


def best(figures: Iterable[Figures]) -> float:
    """The best median: the highest rate, or the shortest time. All figures have one unit, and there is at least one."""
    listed = list(figures)
    (unit,) = {each.unit for each in listed}
    return (max if unit == "/s" else min)(each.median for each in listed)


async def interleaved(
    contestants: Sequence[Contestant], pace: Pace, told: Callable[[str, float, str], None]
) -> dict[str, Figures]:
    """Warm each contestant up, then measure them in turn, round after round; ``told`` hears of every figure."""
    work: dict[str, int] = {}
    for each in contestants:
        work[each.name] = work_for(each, await each.measure(each.least), pace.seconds)
    measured: dict[str, list[float]] = {each.name: [] for each in contestants}
    for _ in range(pace.rounds):
        for each in contestants:
            figure = await each.measure(work[each.name])
            measured[each.name].append(figure)
            told(each.name, figure, each.unit)
    return {each.name: Figures(unit=each.unit, rounds=tuple(measured[each.name])) for each in contestants}
