"""The newest there is: how far a department was when a read began, confirmed by a majority of its voters.

A leader that was cut off may have been replaced without knowing. So it asks the others how they stand: a majority that
has promised nobody a later epoch, asked after the read began, proves that nobody else had led by then. One round trip.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping

from peaceriver.errors import Unavailable
from peaceriver.node.departments import Departments
from peaceriver.node.peers import Away, Peers
from peaceriver.node.talking import PATH as ASK_PATH
from peaceriver.node.wire import Ask, Asked, framed, unframed
from peaceriver.postgres import Database
from peaceriver.protocol.messages import Look, Standing
from peaceriver.shard.keeper import Keeper
from peaceriver.wording import named

PATH = "/replication/latest"
_RETRY_PAUSE_S = 0.05


class Latest:
    """Finds out how far departments are, wherever they are led."""

    def __init__(
        self, name: str, database: Database, shards: Departments, keepers: Mapping[int, Keeper], peers: Peers
    ) -> None:
        self._name = name
        self._database = database
        self._shards = shards
        self._keepers = keepers
        self._peers = peers

    async def positions(self, codes: Iterable[int], timeout_s: float) -> dict[int, int]:
        """Of each department a position that is not before anything acknowledged until now; it is complete soon.

        Raises Unavailable where no leader and majority confirm that within the time.
        """
        left, found = set(codes), dict[int, int]()
        if not left:  # most reads ask for nothing: they set up no time limit either
            return found
        try:
            async with asyncio.timeout(timeout_s):
                while left:
                    found |= await self._once(left)
                    left -= found.keys()
                    if left:
                        await asyncio.sleep(_RETRY_PAUSE_S)
        except TimeoutError:
            raise Unavailable(
                f"{named('department', sorted(left), one='has', more='have')} no leader that a majority confirms "
                f"within {timeout_s:.3g} s; "
                "ask again, or read what is here with read=local",
                retry_after_s=1.0,
            ) from None
        return found

    async def _once(self, codes: Iterable[int]) -> dict[int, int]:
        """What can be found out of some departments now."""
        here: list[int] = []
        there: dict[str, list[int]] = defaultdict(list)
        for code in codes:
            shard = self._shards.at(code)
            if shard.serving:
                here.append(code)
            elif shard.leader not in (None, self._name):
                there[str(shard.leader)].append(code)
        answers = await asyncio.gather(self.led_here(here), *(self._asked(*each) for each in there.items()))
        return {code: position for answer in answers for code, position in answer.items()}

    async def _asked(self, node: str, codes: list[int]) -> dict[int, int]:
        try:
            return unframed(await self._peers.post(node, PATH, framed(codes)), dict[int, int])[0]
        except (*Away, Unavailable):
            return {}  # asked again, whoever leads by then

    async def led_here(self, codes: Iterable[int]) -> dict[int, int]:
        """The same of departments that this node leads, as far as a majority confirms that it does."""
        keepers = {code: self._keepers[code] for code in codes if self._shards.at(code).serving}
        began = {code: (each.replica.leads, each.shard.tip.position) for code, each in keepers.items()}
        if not keepers:
            return {}
        asking: dict[str, list[int]] = defaultdict(list)
        for code, keeper in keepers.items():
            for node in keeper.replica.members.others(self._name):
                asking[node].append(code)
        confirming: dict[int, set[str]] = {code: {self._name} for code in keepers}
        looks = [asyncio.ensure_future(self._look(node, each)) for node, each in asking.items()]
        try:
            for look in asyncio.as_completed(looks):
                node, standings = await look
                for code, standing in standings.items():
                    if not standing.recovering and standing.promised <= (began[code][0] or 0):
                        confirming[code].add(node)
                if all(self._is_confirmed(keepers[code], confirming[code]) for code in keepers):
                    break
        finally:
            for each in looks:
                each.cancel()
            await asyncio.gather(*looks, return_exceptions=True)
        return {
            code: position
            for code, (epoch, position) in began.items()
            if self._is_confirmed(keepers[code], confirming[code]) and keepers[code].replica.leads == epoch
        }

    def _is_confirmed(self, keeper: Keeper, nodes: set[str]) -> bool:
        return keeper.replica.members.has_majority(nodes)

    async def _look(self, node: str, codes: list[int]) -> tuple[str, dict[int, Standing]]:
        try:
            body = framed(Ask(self._peers.identity, [(code, Look()) for code in codes], self._peers.founders))
            asked, _ = unframed(await self._peers.post(node, ASK_PATH, body), Asked)
            if await self._peers.meet(self._database, asked.identity) is not None:
                return node, {}  # an older database has forgotten what was promised
        except (*Away, Unavailable):
            return node, {}
        return node, {code: each for code, each in asked.replies if isinstance(each, Standing)}
