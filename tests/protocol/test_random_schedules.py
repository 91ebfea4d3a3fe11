"""Random schedules of faults: other ones each time, replayed by ``python -m tests.protocol SEED``.

``SEED=... pytest tests/protocol/test_random_schedules.py`` begins at a seed; ``python -m tests.protocol --schedules
20000`` runs more of them than a build has time for.
"""

from __future__ import annotations

import os
import random
import sys
import time

import pytest

from tests.protocol.checkers import Violation
from tests.protocol.clients import Client, Reader
from tests.protocol.fail_over import fail_over
from tests.protocol.simulation import Simulation, run

_SECONDS = 8.0

#: Seeds with which a mistake was noticed that was mended since, or that a mutant makes again.
ONCE_FAILED = (234, 314, 463, 1040, 1365, 1714, 2095, 2119, 2159, 2178, 4145, 6078)


def replayed(seed: int) -> None:
    try:
        run(seed)
    except Violation as violation:
        raise AssertionError(f"{violation}\nreplay: python -m tests.protocol {seed}") from violation


def test_no_schedule_breaks_a_promise() -> None:
    given = os.environ.get("SEED")
    first = int(given) if given is not None else random.randrange(10**9)
    deadline, seed = time.monotonic() + _SECONDS, first
    while time.monotonic() < deadline:
        replayed(seed)
        seed += 1
    sys.stdout.write(f"\n{seed - first} schedules from SEED={first}")
    assert seed > first


@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_what_once_failed_does_not(seed: int) -> None:
    replayed(seed)


def test_the_same_seed_tells_the_same_story() -> None:
    one: list[str] = []
    other: list[str] = []
    assert run(7, one) == run(7, other)
    assert one == other
    assert len(one) > 20


@pytest.mark.parametrize("seed", range(20))
def test_a_backup_that_nobody_noticed_but_its_leader_breaks_no_promise(seed: int) -> None:
    """While its leader lives, that one notices; once started again as often as before, it must be noticed by that."""
    story: list[str] = []
    sim = Simulation(seed, nodes=3, founded_knowing=True, story=story)
    sim.start()
    clients = [Client(sim, name, every_s=0.2) for name in "mn"]
    Reader(sim)
    sim.run(2.0 + sim.random.random())
    leader = sim.leader
    assert leader is not None
    node = sim.random.choice([each for each in sim.founded.voters if each != leader.node])
    sim.backups[node] = sim.disks[node].copy()
    sim.run(sim.t + 1.0)
    for _ in range(sim.random.choice((0, 2, 3))):
        sim.machines[node].crash()
        sim.machines[node].start()
        sim.run(sim.t + 0.5)
    sim.machines[node].crash()
    sim.restore(node, recovering=False)
    sim.machines[node].start()
    sim.run(sim.t + 2.0)
    assert any("has forgotten" in line for line in story)
    sim.heal()
    sim.converge(clients)


def test_a_shard_is_led_again_within_two_leases_of_a_crash() -> None:
    leases = sorted(fail_over(seed) for seed in range(60))
    assert leases[len(leases) // 2] < 1.5
    assert leases[-1] < 2.5
