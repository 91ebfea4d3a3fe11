"""The mutants on trial: each is to be caught within a few schedules, by some checker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.campaign import Say, directory
from tests.faults.cluster import running
from tests.faults.mutants import MUTANTS
from tests.faults.schedule import Course, run

SCHEDULES_MAX = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a mutant was caught: in which schedule, by what, and how long that took."""

    name: str
    schedules: int
    caught_by: str
    seconds: float


async def trial(name: str, seed: int, *, schedules: int = SCHEDULES_MAX) -> Verdict:
    """Run schedules against a cluster whose every node is the mutant, until a checker objects."""
    mutant, began, place = MUTANTS[name], time.monotonic(), directory()
    try:
        async with running(place, mutant=name) as cluster:
            course = Course(cluster)
            await course.open_bank()
            for number in range(schedules):
                result = await run(course, seed + number, mutant.kinds, planned=mutant.planned or None)
                if result.violations:
                    return Verdict(name, number + 1, result.violations[0], time.monotonic() - began)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Verdict(name, schedules, "", time.monotonic() - began)


async def trials(names: Sequence[str], seed: int, say: Say) -> bool:
    """Put mutants on trial, one after the other; whether all were caught."""
    verdicts = []
    for name in names:
        verdict = await trial(name, seed)
        verdicts.append(verdict)
        caught = f"caught in schedule {verdict.schedules} by {verdict.caught_by}" if verdict.caught_by else "NOT CAUGHT"
        say(f"{name:22} {verdict.seconds:5.0f} s  {caught[:150]}")
    return all(each.caught_by for each in verdicts)
