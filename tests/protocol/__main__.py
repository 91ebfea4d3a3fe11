"""``python -m tests.protocol SEED`` prints the story of a schedule; with options, many schedules and what came of them.

``--schedules N [--from SEED]`` runs many, and says how fast and which seeds failed; ``--mutants N`` plants each mutant
and says what notices it within so many schedules; ``--fail-overs N`` measures how long elections take.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from tests.protocol.checkers import Violation
from tests.protocol.fail_over import described, fail_over
from tests.protocol.mutants import MUTANTS, hunt
from tests.protocol.simulation import run


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tell(seed: int) -> int:
    """The story of one schedule, event by event."""
    story: list[str] = []
    try:
        ending, failed = str(run(seed, story)), 0
    except Violation as violation:
        ending, failed = str(violation), 1
    for line in [*story, ending]:
        say(line)
    return failed


def run_many(schedules: int, first: int) -> int:
    """Many schedules: how fast they ran, what they did, and which of them failed."""
    since, failed, done = time.process_time(), Counter[str](), Counter[str]()
    for seed in range(first, first + schedules):
        try:
            outcome = run(seed)
            done.update(events=outcome.events, records=outcome.records, elections=outcome.elections)
        except Violation as violation:
            failed[violation.check] += 1
            say(f"{violation}\n  replay: python -m tests.protocol {seed}")
    minutes = (time.process_time() - since) / 60
    say(f"{schedules} schedules from seed {first}: {schedules / minutes:.0f} a minute, {dict(done)}")
    say(f"failed: {dict(failed)}" if failed else "none failed")
    return 1 if failed else 0


def plant(schedules: int) -> int:
    """Each mutant: the story that notices it, and the check, with the schedules that it took."""
    missed = 0
    for name in MUTANTS:
        story, chance = hunt(name, 0, stories=True), hunt(name, schedules, stories=False)
        missed += story is None and chance is None
        by_story = "no story" if story is None else story.by
        by_chance = f"not in {schedules} schedules" if chance is None else f"{chance.by}, {chance.schedules} schedules"
        say(f"{name.replace('_', ' '):<56} | {by_chance:<42} | {by_story}")
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.protocol", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--schedules", type=int)
    parser.add_argument("--from", type=int, dest="first", default=random.randrange(10**9))
    parser.add_argument("--mutants", type=int)
    parser.add_argument("--fail-overs", type=int)
    asked = parser.parse_args()
    if asked.seed is not None:
        return tell(asked.seed)
    if asked.mutants is not None:
        return plant(asked.mutants)
    if asked.fail_overs is not None:
        say(described([fail_over(seed) for seed in range(asked.fail_overs)]))
        return 0
    return run_many(asked.schedules or 1000, asked.first)


sys.exit(main())
