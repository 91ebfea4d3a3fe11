"""The mutants on trial: each is to be caught within a few schedules, by a checker that is for what it does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.campaign import Say, directory
from tests.faults.cluster import running
from tests.faults.mutants import MUTANTS, Mutant
from tests.faults.schedule import Course, run

SCHEDULES_MAX = 40
#: A mutant's schedule that takes longer does not come to its end.
_WITHIN_S = 30.0


@dataclass(slots=True)
class Verdict:
    """Whether a mutant was caught: in which schedule, by what, and how long that took."""

    name: str
    schedules: int = 0
    caught_by: str = ""
    seconds: float = 0.0
    #: What else was found, by checkers that are not for it.
    besides: list[str] = field(default_factory=list)


async def trial(name: str, seed: int, *, schedules: int = SCHEDULES_MAX) -> Verdict:
    """Run schedules against clusters whose every node is the mutant, until a fitting checker objects."""
    mutant, began, verdict = MUTANTS[name], time.monotonic(), Verdict(name)
    while verdict.schedules < schedules and not verdict.caught_by:
        place = directory()
        try:
            async with running(place, mutant=name, nodes=mutant.nodes, own_disks=mutant.own_disks) as cluster:
                course = Course(cluster)
                await course.open_bank()
                await _schedules(course, mutant, seed, schedules, verdict)
        except TimeoutError:
            verdict.schedules += 1
            verdict.besides.append("it does not come up")
        finally:
            shutil.rmtree(place, ignore_errors=True)
    verdict.seconds = time.monotonic() - began
    return verdict


async def _schedules(course: Course, mutant: Mutant, seed: int, schedules: int, verdict: Verdict) -> None:
    """Until something is found: a cluster that broke a promise is not used again."""
    while verdict.schedules < schedules:
        result = await run(
            course, seed + verdict.schedules, mutant.kinds, planned=mutant.planned or None, within_s=_WITHIN_S
        )
        verdict.schedules += 1
        fitting = [each for each in result.violations if each.partition(":")[0] in mutant.caught_by]
        if fitting:
            verdict.caught_by = fitting[0]
        elif result.violations:
            verdict.besides.append(result.violations[0])
        if result.violations:
            return


async def trials(names: Sequence[str], seed: int, say: Say, *, own_disks: bool) -> bool:
    """Put mutants on trial, one after the other; whether all were caught."""
    verdicts = []
    for name in names:
        if MUTANTS[name].own_disks and not own_disks:
            say(f"{name:22}          left out: no disk can be mounted here")
            continue
        verdict = await trial(name, seed)
        verdicts.append(verdict)
        caught = f"caught in schedule {verdict.schedules} by {verdict.caught_by}" if verdict.caught_by else "NOT CAUGHT"
        say(f"{name:22} {verdict.seconds:5.0f} s  {caught[:150]}")
        for each in verdict.besides:
            say(f"{'':22}          besides: {each[:150]}")
    return all(each.caught_by for each in verdicts)
