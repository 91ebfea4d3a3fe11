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

#: After so many schedules a cluster has so many departments that it comes up slowly. How long a lost disk takes depends
#: on all that was recorded; five nodes on two cores copy and fold some 10,000 records a second.
_SCHEDULES = {3: 20, 5: 10}
#: Of so many times so many schedules those of one meet five nodes.
_CLUSTERS = 5
#: How many of a cluster's schedules may leave traces.
_LASTING = 3

Say = Callable[[str], None]


def directory() -> Path:
    """A new directory for a cluster: in memory where that can be had, as many servers sync many files there."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="peaceriver-faults-", dir=shared if shared.is_dir() else None))


def nodes_of(seed: int) -> int:
    """How many nodes the cluster has that meets a schedule: mostly three, now and then five."""
    return 5 if seed // _SCHEDULES[3] % _CLUSTERS == _CLUSTERS - 1 else 3


def kinds_of(seed: int, kinds: Sequence[str], nodes: int) -> list[str]:
    """What leaves its traces comes at a cluster's end only."""
    is_late = seed % _SCHEDULES[nodes] >= _SCHEDULES[nodes] - _LASTING
    return [each for each in kinds if is_late or each not in nemesis.LASTING]


async def campaign(
    schedules: int,
    seed: int,
    *,
    say: Say,
    kinds: Sequence[str] = tuple(nemesis.FAULTS),
    mutant: str = "",
    nodes: int | None = None,
    own_disks: bool = False,
) -> Report:
    """Run schedules with seeds from ``seed`` on. A cluster that broke a promise is not used again.

    What a schedule meets depends on its seed alone, so that it can be run again alone.
    """
    report, done = Report(), 0
    if not own_disks:
        report.left_out |= dict.fromkeys(nemesis.WITH_A_DISK, "left out: no disk can be mounted here")
    kinds = [each for each in kinds if each not in report.left_out]
    while done < schedules:
        place, first = directory(), seed + done
        size = nodes or nodes_of(first)
        count = min(_SCHEDULES[size] - first % _SCHEDULES[size], schedules - done)
        try:
            async with running(place, nodes=size, mutant=mutant, own_disks=own_disks) as cluster:
                course = Course(cluster)
                await course.open_bank()
                for number in range(first, first + count):
                    result = await run(course, number, kinds_of(number, kinds, size))
                    done += 1
                    say(report.line(result))
                    if not mutant and (result.violations or result.history.loud):
                        say(f"    kept in {keep(cluster, result)}")
                    if result.violations:
                        break
        finally:
            shutil.rmtree(place, ignore_errors=True)
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
