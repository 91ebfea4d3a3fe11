"""A node's part in the cluster: its replicas, kept level with those of the other nodes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import msgspec
import structlog

from peaceriver.errors import Conflict, StartFailed
from peaceriver.limits import CONTROL, LEASE_S
from peaceriver.node.followers import Followers
from peaceriver.node.peers import Peers, identity_of
from peaceriver.node.pulling import Puller
from peaceriver.node.talking import Talking
from peaceriver.node.ticking import Ticking
from peaceriver.node.wire import Ask, Asked, Poll, Polled
from peaceriver.postgres import Database, Transaction, Unreachable
from peaceriver.protocol.members import Members
from peaceriver.protocol.replica import Replica
from peaceriver.shard import journal, replicas
from peaceriver.shard.keeper import Keeper
from peaceriver.shard.shard import Shard

log = structlog.get_logger()


class Company(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster that a node belongs to, as it is told at start."""

    #: The nodes that the cluster was founded by; they hold shard 0 until a record says otherwise.
    founders: tuple[str, ...]
    #: Where the others are, by name. Nodes that come later are found through the directory.
    urls: dict[str, str] = {}
    lease_s: float = LEASE_S


class Replication:
    """Keeps the replicas of a node. ``turned`` is called where leadership of a shard has changed, here or elsewhere."""

    def __init__(
        self,
        name: str,
        database: Database,
        company: Company,
        *,
        turned: Callable[[Shard], None],
        doubted: Callable[[Shard, str], None],
    ) -> None:
        self.name = name
        self.company = company
        self.keepers: dict[int, Keeper] = {}
        self._database = database
        self._turned = turned
        self._doubted = doubted
        self._run = uuid4()
        self._boots = 0
        #: Departments that came before this position of shard 0 may have been held here before the disk was lost.
        self._knows_from: int | None = None
        self.peers = Peers(identity_of(name, UUID(int=0), 0, self._run), company.urls, tuple(sorted(company.founders)))
        self.followers = Followers(self.keepers)
        self._talking = Talking(database, self.peers, self.keepers, timeout_s=company.lease_s)
        self.pullers: dict[str, Puller] = {}
        self._reborn = asyncio.Lock()
        self._ticking = Ticking(self.keepers, lease_s=company.lease_s)

    async def boot(self) -> None:
        """Count this start, and read what is known of the other nodes.

        Raises StartFailed where the cluster was founded by other nodes than this one is told now.
        """
        founders = sorted(self.company.founders)
        async with self._database.transaction() as tx:
            row = await replicas.sql.boot.row(tx, node=self.name, founders=founders)
            assert row is not None
            if row["founders"] != founders:
                raise StartFailed(_other_founders(self.name, row["founders"], founders))
        self._boots, self._knows_from = row["boots"], row["knows_from"]
        self.peers.identity = identity_of(self.name, row["incarnation"], self._boots, self._run)
        await self.peers.load(self._database)

    async def open(self, shard: Shard, founders: Members, *, born: int, first: str | None) -> Keeper:
        """Take up a replica. ``born``: where in shard 0 the department came to be; ``first``: who leads when it can.

        A replica that may have been here before and is not is recovering: it copies, and counts later.
        """
        alone = founders.voters == (self.name,)
        was_here_before = not alone and (self._knows_from is None or born <= self._knows_from)
        async with self._database.transaction() as tx:
            await journal.sql.open.run(tx, shard=shard.code, recovering=was_here_before)
            there = await replicas.restart(tx, shard.code, founders, self._boots)
        await shard.take_up(there)
        replica = Replica(self.name, there.stored, first=first, lease_s=self.company.lease_s, now=time.monotonic())
        self.judge(shard, replica)
        keeper = Keeper(
            shard,
            replica,
            founders,
            say=self._talking.say,
            turned=self._on_turned,
            stirred=lambda each: self.followers.stirred(each.code),
            awake=self._ticking.wake,
            recovered=self._on_recovered,
            doubted=self._doubted,
        )
        self.keepers[shard.code] = keeper
        keeper.tick(time.monotonic())
        for puller in self.pullers.values():
            puller.turn()
        return keeper

    def judge(self, shard: Shard, replica: Replica) -> None:
        """Let a replica lead, or not, by what is known of damage.

        Whoever holds the shard alone leads in spite of a damaged range, for nobody else could.
        """
        alone = replica.members.voters == (self.name,)
        replica.bar(on=shard.damage.standing or (bool(shard.damage.ranges) and not alone))

    def start(self) -> None:
        """Begin to follow, and to be followed."""
        self._ticking.start()
        for node in self.peers.names:
            self.follow(node)

    def follow(self, node: str) -> None:
        """Pull from another node from now on."""
        if node not in self.pullers and node != self.name:
            self.pullers[node] = Puller(
                node,
                self.peers,
                self.keepers,
                lease_s=self.company.lease_s,
                restored=self._on_restored,
            )

    def place(self, node: str, url: str) -> None:
        """A node is served there from now on: pull from it, if it is not this one."""
        if node != self.name:
            self.peers.place(node, url)
            self.follow(node)

    async def part_with(self, node: str) -> None:
        """A node is no part of the cluster any more."""
        puller = self.pullers.pop(node, None)
        if puller is not None:
            await puller.stop()
        self.peers.part_with(node)

    async def poll(self, poll: Poll) -> tuple[Polled, list[bytes]]:
        """Another node's poll; raises Conflict for one of another cluster."""
        self._check_cluster(poll)
        boots = await self.peers.meet(self._database, poll.identity)
        if boots is not None:
            return Polled(restored=boots), []
        return await self.followers.poll(poll)

    async def ask(self, ask: Ask) -> Asked:
        """Another node's questions; raises Conflict for those of one of another cluster."""
        self._check_cluster(ask)
        if await self.peers.meet(self._database, ask.identity) is not None:
            return Asked(self.peers.identity, [])
        return await self._talking.answer(ask)

    def _check_cluster(self, asked: Poll | Ask) -> None:
        if asked.founders != self.peers.founders:
            raise Conflict(
                f"{asked.identity.node} is of a cluster that {', '.join(asked.founders)} founded, and {self.name} of "
                f"one that {', '.join(self.peers.founders)} founded: give it the same founders, and an empty directory"
            )

    def _on_turned(self, shard: Shard) -> None:
        self.followers.led()
        for puller in self.pullers.values():
            puller.turn()
        self._turned(shard)

    async def _on_recovered(self, tx: Transaction, shard: Shard) -> None:
        """Shard 0 counts again: departments that come from here on were never held by this node before."""
        if shard.code == CONTROL:
            await replicas.sql.know_from.run(tx, position=shard.tip.position)
            self._knows_from = shard.tip.position

    async def _on_restored(self, incarnation: UUID, boots: int) -> None:
        """Others know of later starts than this database does: it is an older one, and may have forgotten anything.

        ``incarnation``: as which it has asked them. Nobody lets it count before it has another one.
        """
        async with self._reborn:
            if incarnation != self.peers.identity.incarnation:
                return  # another node has said so before
            log.error("the database of this node was replaced by an older one", starts=self._boots, known_starts=boots)
            async with self._database.transaction() as tx:
                row = await replicas.sql.reborn.row(tx, boots=boots)
                await replicas.sql.forget_all.run(tx)
            assert row is not None
            self._boots, self._knows_from = row["boots"], None
            for keeper in list(self.keepers.values()):
                await keeper.forgot(self._boots)
            self.peers.identity = identity_of(self.name, row["incarnation"], self._boots, self._run)

    async def part(self) -> None:
        """Follow nobody any more; the others may still follow this node."""
        await asyncio.gather(*(each.stop() for each in self.pullers.values()))

    async def stop(self) -> None:
        """Follow nobody any more, and give up what is led here, so that others need not wait until they miss it."""
        await self._ticking.stop()
        for keeper in self.keepers.values():
            try:
                await keeper.resign("this node stops")
            except Unreachable as error:
                # The next start fences this one, which is as good.
                log.info("a replica could not resign", shard=keeper.shard.code, reason=str(error))
        for puller in self.pullers.values():
            await puller.stop()
        await self._talking.stop()
        self.followers.close()
        for keeper in self.keepers.values():
            await keeper.stop()
        await self.peers.close()


def _other_founders(node: str, before: list[str], now: list[str]) -> str:
    return (
        f"the cluster of {node} was founded by {', '.join(before)}, and {', '.join(now)} are named now: its history is "
        f"what they hold, so say founders = {json.dumps(before)} in the configuration of every node; nodes that come "
        "later join it, and those that are to leave are told so through the directory's pages of nodes"
    )
