"""Whether a replica has the history of the others: equal chain at an equal position is equal history.

A journal that somebody has rewritten as a whole, with a chain of its own, is sound by itself. What is complete is the
same on all replicas, so the others tell by their chains: as many of them as are a majority of all voters.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import structlog

from peaceriver.errors import Unavailable
from peaceriver.node.peers import Away
from peaceriver.node.replication import Replication
from peaceriver.node.wire import Chains, WantedChains, framed, unframed
from peaceriver.postgres import Database
from peaceriver.shard.comparing import sql
from peaceriver.shard.damage import Finding
from peaceriver.shard.shard import Shard

log = structlog.get_logger()

CHAINS_PATH = "/replication/chains"
_ANSWER_S = 2.0
#: Positions that are compared at a time while the first difference is looked for.
_POSITIONS = 64


class Agreement(NamedTuple):
    """What comparing a replica with the others came to."""

    #: Up to this position it is known whether they have the same history; 0 where too few of them answered.
    until: int
    finding: Finding | None = None


_UNKNOWN = Agreement(0)


class Agreeing:
    """Compares the replicas of a node with those of the others."""

    def __init__(self, database: Database, replication: Replication) -> None:
        self._database = database
        self._replication = replication

    async def answer(self, shard: Shard, positions: Sequence[int]) -> Chains:
        """The chain at each position; None where it is not complete here, or rests on what is damaged."""
        complete = shard.complete.value
        if shard.damage.ranges:
            complete = min(complete, shard.damage.ranges[0].first - 1)
        return Chains(complete, await self._chains(shard, [each if each <= complete else 0 for each in positions]))

    async def compare(self, shard: Shard) -> Agreement:
        """Compare what is complete here with what the other voters have; for a journal that is sound by itself."""
        members = self._replication.keepers[shard.code].replica.members
        others = members.others(self._replication.name)
        majority = len(members.voters) // 2 + 1
        reach = await self._ask_all(others, shard, [])
        far = sorted((each.complete for each in reach.values()), reverse=True)[:majority]
        position = min([shard.complete.value, *far])
        if not far or position == 0:
            return _UNKNOWN
        here = (await self._chains(shard, [position]))[0]
        asked = await self._ask_all(list(reach), shard, [position])
        there = {node: each.chains[0] for node, each in asked.items()}
        agreeing = sum(chain == here for chain in there.values())
        if here is not None and agreeing + (self._replication.name in members.voters) >= majority:
            return Agreement(position)
        against = sorted(node for node, chain in there.items() if chain is not None and chain != here)
        if not against or here is None:
            return _UNKNOWN
        (chain, number), *_ = Counter(there[each] for each in against).most_common(1)
        if number < majority:
            log.error("replicas differ", shard=shard.code, position=position, nodes=against)
            return _UNKNOWN
        return Agreement(
            position, await self._difference(shard, [each for each in against if there[each] == chain], position)
        )

    async def _difference(self, shard: Shard, named: Sequence[str], position: int) -> Finding:
        first, last = await self._first_difference(shard, named[0], position), shard.tip.position
        detail = (
            f"from here on its history is not that of {' and '.join(named)}: "
            f"start {self._replication.name} with an empty directory, and it copies theirs"
        )
        return Finding(shard.code, "history", f"{first} to {last}", detail, (first, last))

    async def _first_difference(self, shard: Shard, node: str, differs: int) -> int:
        """The first position where the chain is another one; all after it are others as well."""
        agrees = 0
        while differs - agrees > 1:
            step = max(1, (differs - agrees) // _POSITIONS)
            positions = [*range(agrees + step, differs, step)][:_POSITIONS]
            answer = await self._ask(node, shard, positions)
            here = await self._chains(shard, positions)
            there = [None] * len(positions) if answer is None else answer.chains
            if None in there:
                break  # it is not asked any more: what is known is withheld
            alike = [left == right for left, right in zip(here, there, strict=True)]
            bounds = [(agrees, True), *zip(positions, alike, strict=True), (differs, False)]
            agrees, differs = next(
                (before, after) for (before, was), (after, is_now) in pairwise(bounds) if was and not is_now
            )
        return agrees + 1

    async def _chains(self, shard: Shard, positions: Sequence[int]) -> list[bytes | None]:
        async with self._database.reading() as tx:
            rows = await sql.chains.rows(tx, shard=shard.code, positions=list(positions))
        found = {row["position"]: bytes(row["chain"]) for row in rows}
        return [found.get(each) for each in positions]

    async def _ask_all(self, nodes: Sequence[str], shard: Shard, positions: Sequence[int]) -> dict[str, Chains]:
        """The answers of those that answer."""
        answers = await asyncio.gather(*(self._ask(each, shard, positions) for each in nodes))
        return {node: each for node, each in zip(nodes, answers, strict=True) if each is not None}

    async def _ask(self, node: str, shard: Shard, positions: Sequence[int]) -> Chains | None:
        """A node's answer; None where it does not answer, or has not been heard of for a while."""
        peers = self._replication.peers
        silent_s = time.monotonic() - peers.heard_at.get(node, float("-inf"))
        if silent_s > 2 * self._replication.company.lease_s:
            return None
        try:
            body = framed(WantedChains(shard.code, list(positions)))
            return unframed(await peers.post(node, CHAINS_PATH, body, timeout_s=_ANSWER_S), Chains)[0]
        except (*Away, Unavailable) as error:
            log.info("a replica is not compared", shard=shard.code, node=node, reason=str(error))
            return None
