"""The real log imported while the nodes are killed in turn: the same end state as without kills."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

from tests.acceptance.real_log import EVENTS, LOG, import_log
from tests.faults import replicas
from tests.faults.campaign import Say, directory
from tests.faults.cluster import Cluster, running

LEASE_S = 1.5
_BETWEEN_S = 3.0
_DOWN_S = 1.0
_ATTEMPTS_MAX = 30
_CONVERGED_S = 30.0

#: Of each department by its name: each case's events in order, and what they were folded into.
State = dict[str, dict[str, list[Any]]]


async def real_log(say: Say, *, own_disks: bool = False) -> list[str]:
    """Import the log with and without kills, and compare."""
    if not await asyncio.to_thread(LOG.exists):
        say("the real log is not here: skipped")
        return []
    calm, _, _ = await _imported(kills=False)
    found, kills, attempts = await _imported(kills=True)
    events = sum(len(records) - 1 for cases in found.values() for records in cases.values())
    say(f"the real log, {kills} kills of a node, {attempts} attempts: {events} events in {len(found)} departments")
    wrong = [
        f"department {name} has another history of case {case} than without kills"
        for name in calm.keys() | found.keys()
        for case in calm.get(name, {}).keys() | found.get(name, {}).keys()
        if calm.get(name, {}).get(case) != found.get(name, {}).get(case)
    ]
    if events != EVENTS:
        wrong.append(f"lost: {events} of {EVENTS} events are there")
    for each in wrong[:20]:
        say(f"    VIOLATION {each}")
    return wrong


async def _imported(*, kills: bool) -> tuple[State, int, int]:
    """The end state of a cluster that the log was imported into, the number of kills, and of attempts it took."""
    place, killed = directory(), [0]
    try:
        async with running(place, lease_s=LEASE_S, app=None) as cluster:
            killing = asyncio.create_task(_kill_in_turn(cluster, killed)) if kills else None
            attempts = await _insist(cluster)
            if killing is not None:
                killing.cancel()
                await asyncio.gather(killing, return_exceptions=True)
            await cluster.heal()
            await cluster.led()
            return await _state(cluster), killed[0], attempts
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def _kill_in_turn(cluster: Cluster, killed: list[int]) -> None:
    while True:
        for member in cluster.members.values():
            await asyncio.sleep(_BETWEEN_S)
            await member.kill()
            killed[0] += 1
            await asyncio.sleep(_DOWN_S)
            await member.start()
            await cluster.led()


async def _insist(cluster: Cluster) -> int:
    """Import until the command says that everything is there: what was recorded before is not recorded twice."""
    for attempt in range(_ATTEMPTS_MAX):
        url = cluster.members[cluster.names[attempt % len(cluster.names)]].url
        code, _, said = await import_log(url)
        if code == 0:
            return attempt + 1
        await asyncio.sleep(_DOWN_S)
    raise AssertionError(f"the log was not imported in {_ATTEMPTS_MAX} attempts: {said[-500:]}")


async def _state(cluster: Cluster) -> State:
    names = await _departments(cluster)
    took, unlike = await replicas.converged(cluster, names, timeout_s=_CONVERGED_S)
    assert not unlike, f"after {took:.1f} s {unlike}"
    copy = await replicas.read(cluster.members[cluster.names[0]], list(names))
    found: State = {name: {} for name in names.values()}
    for code, entries in copy.journals.items():
        for entry in entries:
            if entry.kind == "received" and entry.actor_id is not None:
                found[names[code]].setdefault(entry.actor_id, []).append((entry.type, entry.body))
    for row in copy.views.get("Case", ()):
        # The rows of a case are in the order of their stamps: the last one is how it stands.
        cases = found[names[row[0]]]
        cases[row[1]] = [*(each for each in cases[row[1]] if len(each) == 2), (row[4], row[5], row[7])]
    return found


async def _departments(cluster: Cluster) -> dict[int, str]:
    """Names by code, as the directory's own journal has them."""
    control = (await replicas.read(cluster.members[cluster.names[0]], [0])).journals[0]
    pages = [each for each in control if each.kind == "received" and each.actor_type == "departments"]
    return {int(each.actor_id or 0): json.loads(each.body)["name"] for each in pages}
