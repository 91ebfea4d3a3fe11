"""The operator: somebody who, under all faults, hands leadership over and has everything verified."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import aiohttp

from tests.faults.clients import Away, Span
from tests.faults.cluster import Cluster
from tests.faults.history import History

_PAUSES_S = (0.1, 0.5)
#: Of what is done next, how much is a hand-over.
_TRANSFERS = 0.75
_TIMEOUT_S = 3.0


class Operator:
    """Works on some departments until it is told to end."""

    def __init__(
        self, cluster: Cluster, history: History, span: Span, chance: random.Random, codes: Sequence[int]
    ) -> None:
        self._cluster = cluster
        self._history = history
        self._span = span
        self._chance = chance
        self._codes = codes

    async def run(self) -> None:
        while not self._span.over:
            await asyncio.sleep(self._chance.uniform(*_PAUSES_S))
            await (self._transfer() if self._chance.random() < _TRANSFERS else self._verify())

    async def _transfer(self) -> None:
        """Ask who leads a department to hand it over to somebody, who may be away, or have no vote."""
        code, to = self._chance.choice(self._codes), self._chance.choice(self._cluster.names)
        leader = await self._cluster.leader(code)
        if leader in (None, to):
            return
        url = f"{self._cluster.members[leader].url}/shards/{code}/transfer?timeout=1s"
        try:
            async with self._cluster.http.post(url, json={"to": to}, timeout=_timeout()) as answer:
                self._history.transfers += answer.status == 200
        except Away:
            return

    async def _verify(self) -> None:
        """Nobody has damaged anything, so nothing is found: neither by a node that is well nor by one that is not."""
        asked = self._chance.choice(self._cluster.names)
        url = f"{self._cluster.members[asked].url}/cluster/verify"
        try:
            async with self._cluster.http.post(url, timeout=_timeout()) as answer:
                told = await answer.json() if answer.status == 200 else None
        except (*Away, ValueError):
            return
        if told is not None:
            self._history.verifications += 1
            self._history.damaged += [
                f"{each['node']} finds department {shard['shard']} damaged in {each['where']}, {each['place']}: "
                f"{each['detail']}"
                for shard in told["shards"]
                for each in shard["damaged"]
            ]


def _timeout() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=_TIMEOUT_S)
