"""Many schedules on one cluster after another: starting one costs seconds, healing one does not."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults import nemesis
from tests.faults.cluster import Cluster, running
from tests.faults.report import Report
from tests.faults.schedule import Course, Result, run

#: After so many schedules a cluster has so many departments that it comes up slowly.
SCHEDULES_A_CLUSTER = 20

Say = Callable[[str], None]


def directory() -> Path:
    """A new directory for a cluster: in memory where that can be had, as many servers sync many files there."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="peaceriver-faults-", dir=shared if shared.is_dir() else None))


async def campaign(
    schedules: int,
    seed: int,
    *,
    say: Say,
    kinds: Sequence[str] = tuple(nemesis.FAULTS),
    mutant: str = "",
    stop_at_violation: bool = False,
) -> Report:
    """Run schedules with seeds from ``seed`` on. A cluster that broke a promise is not used again."""
    report, done = Report(), 0
    while done < schedules:
        place = directory()
        try:
            async with running(place, mutant=mutant) as cluster:
                course = Course(cluster)
                await course.open_bank()
                for _ in range(min(SCHEDULES_A_CLUSTER, schedules - done)):
                    result = await run(course, seed + done, kinds)
                    done += 1
                    say(report.line(result))
                    if result.violations:
                        if not mutant:
                            say(f"    kept in {keep(cluster, result)}")
                        break
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if report.failed and stop_at_violation:
            break
    return report


def keep(cluster: Cluster, result: Result) -> Path:
    """Put the history, the journals and the nodes' logs of a failed schedule aside; where to."""
    kept = Path(tempfile.mkdtemp(prefix=f"faults-failed-{result.seed}-"))
    result.history.write(kept / "history.jsonl")
    for copy in result.copies:
        with (kept / f"{copy.node}.journal").open("w") as file:
            file.writelines(
                f"{code} {tip} {result.standings[copy.node].get(code)}\n" for code, tip in copy.tips.items()
            )
            for entries in copy.journals.values():
                file.writelines(f"{each}\n" for each in entries)
    for member in cluster.members.values():
        (kept / f"{member.name}.log").write_text(member.log)
    return kept


def seeds(seed: int | None) -> int:
    """The seed that was asked for, or a new one."""
    return random.SystemRandom().randrange(1, 1_000_000) if seed is None else seed
