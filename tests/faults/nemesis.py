"""The nemesis: schedules of faults, drawn from a seed. What is done is undone by ``Cluster.heal``."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from peaceriver.limits import DISK_FREE_BYTES_MIN, SPOOL_AFTER_S
from tests.faults.cluster import Cluster
from tests.faults.history import Fault, History

#: Of a schedule's faults: how many, and over how long a time they begin.
FAULTS_MIN, FAULTS_MAX = 2, 5
#: What a full disk has left, and how long a node takes to notice.
_BELOW_THE_FLOOR_BYTES = DISK_FREE_BYTES_MIN // 2
_NOTICED_S = 1.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault of a schedule."""

    kind: str
    victim: str
    other: str
    #: When, after the schedule has begun, and for how long.
    after_s: float
    for_s: float


def draw(
    chance: random.Random, names: Sequence[str], kinds: Sequence[str], *, over_s: float, lease_s: float
) -> list[Planned]:
    """A schedule: 2 to 5 faults, some of which outlast the lease; at most one of them loses a disk."""
    planned: list[Planned] = []
    for _ in range(chance.randint(FAULTS_MIN, FAULTS_MAX)):
        victim, other = chance.sample(list(names), 2)
        lost = any(each.kind in LOSING for each in planned)
        left = [each for each in kinds if not (lost and each in LOSING)]
        kind = chance.choices(left, [WEIGHTS[each] for each in left])[0]
        long = chance.random() < 0.6
        for_s = chance.uniform(1.2, 2.2) * lease_s if long else chance.uniform(0.1, 0.8) * lease_s
        planned.append(Planned(kind, victim, other, chance.uniform(0.0, over_s), for_s))
    return sorted(planned, key=lambda each: each.after_s)


class Nemesis:
    """Carries a schedule out. One fault of a node at a time; faults of several nodes overlap."""

    def __init__(self, cluster: Cluster, history: History, chance: random.Random) -> None:
        self._cluster = cluster
        self._history = history
        self._chance = chance
        self._busy = {name: asyncio.Lock() for name in cluster.names}

    async def run(self, schedule: Sequence[Planned]) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for planned in schedule:
                group.create_task(self._one(planned, began))

    async def _one(self, planned: Planned, began: float) -> None:
        await asyncio.sleep(max(0.0, began + planned.after_s - time.monotonic()))
        async with AsyncExitStack() as stack:
            # Whoever takes several nodes takes them in order, so that nobody waits for somebody who waits.
            for name in self._taken(planned):
                await stack.enter_async_context(self._busy[name])
            self._note(f"{planned.victim} (other: {planned.other}) for {planned.for_s:.2f} s", planned.kind)
            await FAULTS[planned.kind](self._cluster, planned)
            self._note(f"{planned.kind} {planned.victim} is over")

    def _taken(self, planned: Planned) -> Sequence[str]:
        if planned.kind in ("kill all", "power cut everywhere"):
            return self._cluster.names
        return sorted({planned.victim, planned.other}) if planned.kind == "kill two" else (planned.victim,)

    def _note(self, text: str, kind: str = "") -> None:
        self._history.faults.append(Fault(time.monotonic(), text, kind))


async def _kill(cluster: Cluster, planned: Planned) -> None:
    await cluster.members[planned.victim].kill()
    await asyncio.sleep(planned.for_s)
    await cluster.members[planned.victim].start()


async def _kill_server(cluster: Cluster, planned: Planned) -> None:
    cluster.members[planned.victim].kill_server()
    await asyncio.sleep(planned.for_s)


async def _kill_both(cluster: Cluster, planned: Planned) -> None:
    await cluster.members[planned.victim].kill_everything()
    await asyncio.sleep(planned.for_s)
    await cluster.members[planned.victim].start()


async def _kill_two(cluster: Cluster, planned: Planned) -> None:
    """Of three nodes one is left: it has no majority, for long enough that it keeps what is to be spooled."""
    pair = [cluster.members[each] for each in (planned.victim, planned.other)]
    await asyncio.gather(*(each.kill_everything() for each in pair))
    await asyncio.sleep(SPOOL_AFTER_S + planned.for_s)
    for each in pair:
        await each.start()


async def _kill_all(cluster: Cluster, planned: Planned) -> None:
    """Everybody at once."""
    await asyncio.gather(*(each.kill_everything() for each in cluster.members.values()))
    await asyncio.sleep(planned.for_s)
    for each in cluster.members.values():
        await each.start()


async def _freeze(cluster: Cluster, planned: Planned, *, node: bool, server: bool) -> None:
    member = cluster.members[planned.victim]
    member.freeze(node=node, server=server)
    await asyncio.sleep(planned.for_s)
    member.go_on()


async def _freeze_node(cluster: Cluster, planned: Planned) -> None:
    await _freeze(cluster, planned, node=True, server=False)


async def _freeze_server(cluster: Cluster, planned: Planned) -> None:
    await _freeze(cluster, planned, node=False, server=True)


async def _freeze_both(cluster: Cluster, planned: Planned) -> None:
    await _freeze(cluster, planned, node=True, server=True)


async def _partition(cluster: Cluster, planned: Planned) -> None:
    """Nothing to or from a node passes; it comes late."""
    cluster.isolate(planned.victim)
    await asyncio.sleep(planned.for_s)
    cluster.clear_weather()


async def _split(cluster: Cluster, planned: Planned) -> None:
    """Two nodes hear each other, and nobody else."""
    cluster.split((planned.victim, planned.other))
    await asyncio.sleep(planned.for_s)
    cluster.clear_weather()


async def _cut_off(cluster: Cluster, planned: Planned) -> None:
    """Every connection to or from a node is reset."""
    cluster.refuse(planned.victim)
    await asyncio.sleep(planned.for_s)
    cluster.clear_weather()


async def _two_apart(cluster: Cluster, planned: Planned) -> None:
    """Two nodes do not hear each other; whoever else there is hears both."""
    cluster.block(planned.victim, planned.other)
    cluster.block(planned.other, planned.victim)
    await asyncio.sleep(planned.for_s)
    cluster.clear_weather()


async def _one_way(cluster: Cluster, planned: Planned) -> None:
    """What a node says to another one is not heard; what it hears is."""
    cluster.block(planned.victim, planned.other)
    await asyncio.sleep(planned.for_s)
    cluster.clear_weather()


async def _mute(cluster: Cluster, planned: Planned) -> None:
    """What a node says to anybody is not heard; what it hears is."""
    for other in cluster.names:
        if other != planned.victim:
            cluster.block(planned.victim, other)
    await asyncio.sleep(planned.for_s)
    cluster.clear_weather()


async def _deaf(cluster: Cluster, planned: Planned) -> None:
    """A node hears nobody; what it says is heard."""
    for other in cluster.names:
        if other != planned.victim:
            cluster.block(other, planned.victim)
    await asyncio.sleep(planned.for_s)
    cluster.clear_weather()


async def _reset(cluster: Cluster, planned: Planned) -> None:
    """Connections break, once."""
    for pair, link in cluster.links.items():
        if planned.victim in pair:
            link.reset()


async def _delay(cluster: Cluster, planned: Planned) -> None:
    cluster.delay(planned.victim, 0.05)
    await asyncio.sleep(planned.for_s)
    cluster.clear_weather()


async def _clock_jump(cluster: Cluster, planned: Planned) -> None:
    """The wall clock is an hour late, or some seconds early: stamps go on all the same."""
    await _set_clock(cluster, planned, -3600.0 if _either(planned) else 5.0)


async def _clock_ahead(cluster: Cluster, planned: Planned) -> None:
    """The wall clock is an hour early: from then on stamps are, for what they say is never taken back."""
    await _set_clock(cluster, planned, 3600.0)


async def _set_clock(cluster: Cluster, planned: Planned, offset_s: float) -> None:
    cluster.members[planned.victim].clock.set(offset_s)
    await asyncio.sleep(planned.for_s)
    cluster.members[planned.victim].clock.set(0.0)


async def _full_disk(cluster: Cluster, planned: Planned) -> None:
    """A disk has less room than a node wants to keep, or none at all, for long enough that it notices."""
    member = cluster.members[planned.victim]
    assert member.disk is not None
    member.disk.fill(leave=0 if _either(planned) else _BELOW_THE_FLOOR_BYTES)
    await asyncio.sleep(_NOTICED_S + planned.for_s)
    member.disk.free()


async def _power_cut(cluster: Cluster, planned: Planned) -> None:
    """A machine stops, and what it had not flushed is gone."""
    await cluster.members[planned.victim].lose_power()
    await asyncio.sleep(planned.for_s)
    await cluster.members[planned.victim].start()


async def _power_cut_everywhere(cluster: Cluster, planned: Planned) -> None:
    await asyncio.gather(*(each.lose_power() for each in cluster.members.values()))
    await asyncio.sleep(planned.for_s)
    for each in cluster.members.values():
        await each.start()


def _either(planned: Planned) -> bool:
    """One of two variants of a fault, by what was drawn of it anyway."""
    return planned.after_s * 1000 % 2 < 1


async def _wipe(cluster: Cluster, planned: Planned) -> None:
    """A disk is lost."""
    await cluster.members[planned.victim].wipe()
    await asyncio.sleep(planned.for_s)
    await cluster.members[planned.victim].start()


async def _set_back(cluster: Cluster, planned: Planned) -> None:
    """A disk is replaced by a backup that is a moment old."""
    member = cluster.members[planned.victim]
    await member.copy()
    await member.start()
    await asyncio.sleep(planned.for_s + 2.0)
    await member.set_back()
    await member.start()


FAULTS: dict[str, Callable[[Cluster, Planned], Awaitable[None]]] = {
    "freeze": _freeze_node,
    "freeze server": _freeze_server,
    "freeze both": _freeze_both,
    "partition": _partition,
    "split": _split,
    "cut off": _cut_off,
    "two apart": _two_apart,
    "one way": _one_way,
    "mute": _mute,
    "deaf": _deaf,
    "reset": _reset,
    "delay": _delay,
    "clock jump": _clock_jump,
    "clock ahead": _clock_ahead,
    "full disk": _full_disk,
    "power cut": _power_cut,
    "power cut everywhere": _power_cut_everywhere,
    "kill server": _kill_server,
    "kill": _kill,
    "kill both": _kill_both,
    "kill two": _kill_two,
    "kill all": _kill_all,
    "wipe": _wipe,
    "set back": _set_back,
}
#: What one node had promised or acknowledged may be forgotten: of such, one at a time.
LOSING = ("wipe", "set back")
#: Only where nodes have disks of their own.
WITH_A_DISK = ("full disk", "power cut", "power cut everywhere")
#: What leaves its traces for as long as the cluster lives: only at its end.
LASTING = ("clock ahead",)
#: Faults after which processes have to come up again take seconds: they are drawn less often.
_SLOW = {"kill": 2, "kill both": 2, "kill two": 2, "kill all": 1, "wipe": 1, "set back": 1, "full disk": 2}
_SLOW |= {"power cut": 2, "power cut everywhere": 1}
WEIGHTS = {kind: _SLOW.get(kind, 3) for kind in FAULTS}
