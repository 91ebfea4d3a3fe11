"""The short form: every cheap fault on real nodes, some random schedules, and two mistakes that must be noticed.

The long form is ``make faults``. A failure names its seed: ``python -m tests.faults --schedules 1 --seed SEED``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.campaign import keep, seeds
from tests.faults.cluster import running
from tests.faults.nemesis import Planned
from tests.faults.report import Report
from tests.faults.schedule import Course, run
from tests.faults.trial import trial

#: Each schedule's faults: what, to whom, after how long, for how long. The lease is 0.6 s.
SCHEDULES: tuple[tuple[Planned, ...], ...] = (
    (Planned("freeze both", "n1", "n2", 0.1, 1.3), Planned("one way", "n2", "n3", 1.5, 0.9)),
    (Planned("kill server", "n2", "n3", 0.1, 0.5), Planned("partition", "n3", "n1", 0.9, 1.2)),
    (Planned("kill", "n3", "n1", 0.2, 0.3), Planned("deaf", "n1", "n2", 0.6, 1.0)),
    (Planned("partition", "n1", "n2", 0.0, 1.2), Planned("mute", "n2", "n1", 1.3, 1.0)),
    (Planned("kill all", "n1", "n2", 0.4, 0.1),),
)
RANDOM_SCHEDULES = 4
#: Those that need no process to come up again.
QUICK = ("freeze", "freeze server", "partition", "cut off", "one way", "mute", "deaf", "reset", "delay", "clock jump")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_what_is_acknowledged_is_kept_through_every_cheap_fault(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, report = seeds(None), Report()
    async with running(place) as cluster:
        course = Course(cluster)
        await course.open_bank()
        for number in range(len(SCHEDULES) + RANDOM_SCHEDULES):
            planned = SCHEDULES[number] if number < len(SCHEDULES) else None
            result = await run(course, seed + number, QUICK, planned=planned)
            line = report.line(result)
            with capsys.disabled():
                sys.stdout.write(f"\n{line}")
            assert not result.violations, f"{line}\n{keep(cluster, result)}"
    with capsys.disabled():
        sys.stdout.write(f"\n{report.table()}\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", ["group-cut"])
async def test_a_planted_mistake_is_noticed(mutant: str) -> None:
    verdict = await trial(mutant, seeds(None), schedules=6)
    assert verdict.caught_by, f"{mutant} went unnoticed in {verdict.schedules} schedules"
