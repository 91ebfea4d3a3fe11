"""The long run: ``python -m tests.faults --schedules 200 --seed S``; exit code 1 where a promise was broken."""

from __future__ import annotations

import argparse
import sys

import uvloop

from tests.faults import directed, disks, nemesis
from tests.faults.campaign import campaign, seeds
from tests.faults.mutants import MUTANTS
from tests.faults.trial import trials


def say(text: str) -> None:
    """At once: a run takes minutes."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def main(chosen: argparse.Namespace, *, own_disks: bool) -> int:
    seed = seeds(chosen.seed)
    failed, report = False, None
    if chosen.schedules:
        say(f"{chosen.schedules} schedules from seed {seed} on")
        report = await campaign(
            chosen.schedules,
            seed,
            say=say,
            kinds=chosen.kinds,
            mutant=chosen.mutant,
            nodes=chosen.nodes,
            own_disks=own_disks,
        )
    for name in chosen.directed:
        failed |= bool(await directed.RUNS[name](say, own_disks=own_disks))
    if chosen.mutants:
        failed |= not await trials(chosen.mutants, seed, say, own_disks=own_disks)
    if report is not None:
        # At the end, where it is looked for.
        say(report.table())
        failed |= report.failed
    return int(failed)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--schedules", type=int, default=0, help="how many random schedules")
    parser.add_argument("--seed", type=int, help="of the first; drawn where it is not given")
    parser.add_argument("--kinds", nargs="+", choices=nemesis.FAULTS, default=list(nemesis.FAULTS), metavar="FAULT")
    parser.add_argument("--nodes", type=int, choices=(3, 5), help="of every cluster; by the seed where it is not given")
    parser.add_argument("--mutant", choices=MUTANTS, default="", metavar="NAME", help="the schedules meet this mutant")
    parser.add_argument("--directed", nargs="*", default=[], metavar="NAME", help=f"all, or of {[*directed.RUNS]}")
    parser.add_argument("--mutants", nargs="*", default=[], metavar="NAME", help="all, or which mutants to catch")
    chosen = parser.parse_args()
    for asked, there in ((chosen.directed, directed.RUNS), (chosen.mutants, MUTANTS)):
        if asked == ["all"]:
            asked[:] = there
        if unknown := set(asked) - set(there):
            parser.error(f"there is no {', '.join(unknown)}, but {', '.join(there)}")
    return chosen


if __name__ == "__main__":
    asked = arguments()
    sys.exit(uvloop.run(main(asked, own_disks=disks.separate())))
