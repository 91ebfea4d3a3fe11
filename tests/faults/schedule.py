"""One schedule: fresh departments, clients at work, faults; then everything heals, and the checkers judge."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from peaceriver.node.overview import ReplicaStanding
from tests.faults import bank, nemesis, replicas
from tests.faults.checkers import judge
from tests.faults.clients import Away, Client, Span, read_at
from tests.faults.cluster import Cluster
from tests.faults.evidence import Evidence
from tests.faults.history import Claim, History, Reading
from tests.faults.mutants import HEALED
from tests.faults.operating import Operator
from tests.faults.replicas import CONVERGED_S, Tip
from tests.faults.workloads import Work, chance_of

CLIENTS = 12
FRESH = 2
#: Over how long the faults of a schedule begin, and how long clients go on after the last of them is over.
_FAULTS_S = 1.2
_AFTER_S = 0.2
_WATCH_S = 0.1
#: How long clients may insist on an answer once everything is well again.
_INSIST_S = 5.0
#: After which time a schedule does not come to its end any more.
SCHEDULE_S = 90.0
#: How often an answer of this schedule is asked for again, on every node; and one of an earlier schedule.
_AGAIN, _AGAIN_EARLIER = 5, 1
_FIRST_FRESH = 200
_EARLIER_MAX = 200


@dataclass
class Result:
    """What came of a schedule."""

    seed: int
    history: History
    violations: list[str]
    #: How long nodes took to come up again, and replicas, after that, to be equal.
    up_s: float
    converged_s: float
    repeated: int
    #: In how many answers the money was counted.
    sums: int = 0
    took_s: float = 0.0
    #: What every replica held in the end.
    copies: list[replicas.Copy] = field(default_factory=list)
    #: What each node said of its own replicas in the end.
    standings: dict[str, dict[int, ReplicaStanding]] = field(default_factory=dict)


@dataclass
class Course:
    """What carries over from one schedule of a cluster to the next."""

    cluster: Cluster
    next_code: int = _FIRST_FRESH
    before: dict[str, dict[int, Tip]] = field(default_factory=dict)
    #: Answers of earlier schedules, to be asked for again later.
    readings: list[Reading] = field(default_factory=list)
    span: Span = field(default_factory=Span)
    #: How much of each node's log has been read.
    read_until: dict[str, int] = field(default_factory=dict)

    def listen(self) -> list[str]:
        """What nodes have logged as unexpected since they were listened to last, and how often."""
        found: Counter[str] = Counter()
        for name, member in self.cluster.members.items():
            log = member.log
            for line in log[self.read_until.get(name, 0) :].splitlines():
                if '"exception": ' in line:
                    told = json.loads(line)
                    found[f"{name}: {told['event']}: {told['exception'].splitlines()[-1][:200]}"] += 1
            self.read_until[name] = len(log)
        return [f"{count} times {each}" for each, count in found.items()]

    async def open_bank(self) -> None:
        """Give every branch its account."""
        await self.cluster.led(codes=bank.BRANCHES, everywhere=True)
        history = History(0)
        client = Client(-1, self.cluster, history, self.span, random.Random(0))
        account = {"actor": "Account/main", "action": "create", "body": {"balance": int(bank.START)}}
        wishes = [{"to": code, **account} for code in bank.BRANCHES]
        operation = await client.send("open", wishes)
        assert len(operation.acknowledged) == len(wishes), operation

    async def fresh(self, count: int) -> list[int]:
        """New departments, led and known to every node."""
        codes = list(range(self.next_code, self.next_code + count))
        self.next_code += count
        await asyncio.gather(*(self._department(code) for code in codes))
        await self.cluster.led(codes=codes, timeout_s=30, everywhere=True)
        return codes

    async def _department(self, code: int) -> None:
        url = self.cluster.members[self.cluster.names[code % len(self.cluster.names)]].url
        while True:
            with suppress(*Away):
                async with self.cluster.http.put(
                    f"{url}/directory/departments/{code}", json={"name": f"Fresh {code}"}
                ) as answer:
                    if answer.status in (200, 201):
                        return
            await asyncio.sleep(0.1)


async def run(
    course: Course,
    seed: int,
    kinds: Sequence[str],
    *,
    clients: int = CLIENTS,
    planned: Sequence[nemesis.Planned] | None = None,
    within_s: float = SCHEDULE_S,
) -> Result:
    """Run one schedule of faults of some ``kinds``, or the ``planned`` ones, and judge what is left.

    One that does not come to its end, the longest fault aside ``within_s``, is a violation as well.
    """
    history, began = History(seed), time.monotonic()
    chance = random.Random(seed)
    if planned is None:
        planned = nemesis.draw(chance, course.cluster.names, kinds, over_s=_FAULTS_S, lease_s=course.cluster.lease_s)
    watching = asyncio.create_task(_watch(course.cluster, history))
    try:
        async with asyncio.timeout(within_s + max(each.for_s for each in planned)):
            result = await _run(course, history, chance, clients, planned)
    except TimeoutError:
        took = time.monotonic() - began
        result = Result(history.seed, history, [f"{HEALED}: it has not come to an end in {took:.0f} s"], took, took, 0)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    history.loud = course.listen()
    result.took_s = time.monotonic() - began
    return result


async def _run(
    course: Course, history: History, chance: random.Random, clients: int, planned: Sequence[nemesis.Planned]
) -> Result:
    cluster, seed = course.cluster, history.seed
    fresh = await course.fresh(FRESH)
    span = Span()
    working = [Client(number, cluster, history, span, chance_of(seed, number)) for number in range(clients)]
    for each, name in zip(working, cluster.names, strict=False):
        each.loyal_to = name
    first = {"to": fresh[0], "actor": "Item/shared", "action": "create", "body": {}}
    await working[0].send("shared", [first])
    operator = Operator(cluster, history, span, chance_of(seed, clients), [*fresh, *bank.BRANCHES])
    async with asyncio.TaskGroup() as work:
        for each in working:
            work.create_task(Work(each, fresh, span).run())
        work.create_task(operator.run())
        try:
            await nemesis.Nemesis(cluster, history, chance).run(planned)
            await asyncio.sleep(_AFTER_S)
        finally:
            span.end()
            await cluster.heal()
    healed = time.monotonic()
    await replicas.answering(cluster)
    await cluster.led(codes=fresh)
    up_s = time.monotonic() - healed
    lost = {each.victim for each in planned if each.kind in nemesis.LOSING}
    return await _judged(course, history, fresh, lost, up_s, chance)


async def _judged(
    course: Course, history: History, fresh: Sequence[int], lost: set[str], up_s: float, chance: random.Random
) -> Result:
    """Wait for everything to settle, ask again what was asked, and let the checkers judge."""
    codes = [0, *bank.BRANCHES, *fresh]
    cluster, began = course.cluster, time.monotonic()
    converged_s, unlike = await replicas.converged(cluster, codes, timeout_s=CONVERGED_S)
    await _insist(cluster, history, chance)
    await replicas.converged(cluster, codes, timeout_s=CONVERGED_S)
    repeated = await _repeat(course, history, chance)
    while True:
        evidence = Evidence(
            history,
            await replicas.read_all(cluster, codes),
            repeated,
            course.before,
            lost,
            bank.BRANCHES,
            int(bank.START) * len(bank.BRANCHES),
        )
        violations = judge(evidence)
        # Deliveries and rules go on for a moment; a violation that lasts is one.
        if not violations or time.monotonic() - began > CONVERGED_S + _INSIST_S:
            break
        await asyncio.sleep(_WATCH_S)
    if unlike:
        violations.append(f"converged: not within {CONVERGED_S:g} s after healing: {unlike}")
    course.before = {each.node: each.tips for each in evidence.copies}
    course.readings = [*course.readings, *history.readings][-_EARLIER_MAX:]
    standings = {name: await cluster.standing(name) or {} for name in cluster.names}
    return Result(
        history.seed,
        history,
        violations,
        up_s,
        converged_s,
        len(repeated),
        sum(1 for _ in evidence.sums()),
        copies=evidence.copies,
        standings=standings,
    )


async def _insist(cluster: Cluster, history: History, chance: random.Random) -> None:
    """Whoever never gave up gets an answer now; some have given up, and are told nothing any more."""
    span = Span(_INSIST_S)
    client = Client(-1, cluster, history, span, chance)
    doubtful = [each for each in history.operations if len(each.attempts) > 1]
    await asyncio.gather(*(client.go_on(each) for each in doubtful))


async def _repeat(course: Course, history: History, chance: random.Random) -> list[tuple[Reading, Reading]]:
    """Ask again, on every node, for answers of this schedule and of earlier ones."""
    mine = chance.sample(history.readings, min(_AGAIN, len(history.readings)))
    earlier = chance.sample(course.readings, min(_AGAIN_EARLIER, len(course.readings)))
    pairs: list[tuple[Reading, Reading]] = []
    for noted in [*mine, *earlier]:
        for node in course.cluster.names:
            now = await read_at(course.cluster, node, noted.path, noted.as_of)
            if now is not None:
                pairs.append((noted, now))
    return pairs


async def _watch(cluster: Cluster, history: History) -> None:
    """Note who claims to lead what, and where a promise is lower than before."""
    seen: set[tuple[str, int, int]] = set()
    promised: dict[tuple[str, int], int] = {}
    while True:
        for name, standing in zip(
            cluster.names, await asyncio.gather(*(cluster.standing(name) for name in cluster.names)), strict=True
        ):
            for code, shard in (standing or {}).items():
                if shard.promised < promised.get((name, code), 0):
                    words = f"{name} had promised epoch {promised[name, code]} of {code}, and {shard.promised} later"
                    history.lowered.append((name, words))
                promised[name, code] = shard.promised
                claim = (name, code, shard.epoch)
                if shard.state == "leader" and claim not in seen:
                    seen.add(claim)
                    history.claims.append(Claim(*claim, time.monotonic()))
        await asyncio.sleep(_WATCH_S)
