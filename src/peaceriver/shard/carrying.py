"""Carrying out what a replica decides, in its node's database: each effect is one transaction.

Every one of them checks in that transaction that promise and place are what the decision was about; where they are not,
or it is not known what came of it, the row is read anew, for it is the truth.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from peaceriver.errors import Damaged
from peaceriver.postgres import Transaction
from peaceriver.protocol.effects import (
    Apply,
    Effect,
    Forget,
    Open,
    SavePromise,
    SaveRecovered,
    StepDown,
    Strand,
)
from peaceriver.protocol.members import Members
from peaceriver.protocol.replica import Replica
from peaceriver.shard import replicas, rows, stranding
from peaceriver.shard.shard import Shard

log = structlog.get_logger()
Steady = Callable[[], float]


class Carrying:
    """Carries effects of one replica out. The caller lets nothing else happen to the replica meanwhile."""

    def __init__(
        self,
        shard: Shard,
        replica: Replica,
        founders: Members,
        *,
        recovered: Callable[[Transaction, Shard], Awaitable[None]],
        steady: Steady,
    ) -> None:
        self._shard = shard
        self._replica = replica
        self._founders = founders
        #: Called when the replica counts again, in the transaction that says so.
        self._recovered = recovered
        self._steady = steady

    async def out(self, effect: Effect, taken: Sequence[bytes]) -> list[Effect]:
        """Carry an effect out, with the rows that came if it is about some; answers what follows from it.

        Raises Damaged where rows do not fit, and what the database raises: then it may or may not have happened.
        """
        match effect:
            case SavePromise():
                return await self._promise(effect)
            case Apply():
                return await self._apply(effect, taken)
            case Strand():
                return await self._strand(effect)
            case Open():
                return await self._open(effect.epoch)
            case StepDown():
                return await self._step_down(effect.reason)
            case SaveRecovered(promised=promised):
                async with self._shard.database.transaction() as tx:
                    await replicas.sql.recovered.run(tx, shard=self._shard.code, promised=promised)
                    await self._recovered(tx, self._shard)
                self._replica.recovered(promised)
                log.info("a replica counts again", shard=self._shard.code, promised=promised)
            case Forget(reason=reason):
                async with self._shard.database.connection() as tx:
                    await replicas.sql.forget.run(tx, shard=self._shard.code)
                self._replica.forgot()
                log.error("a replica was replaced by an older one", shard=self._shard.code, reason=reason)
        return []

    async def _promise(self, effect: SavePromise) -> list[Effect]:
        async with self._shard.database.transaction() as tx:
            there = await replicas.promise(tx, self._shard.code, effect.epoch, effect.to)
        return self._replica.saved(there.promised, there.to, there.end, self._steady())

    async def _apply(self, effect: Apply, taken: Sequence[bytes]) -> list[Effect]:
        """Take rows in, if they follow what is here, and everything fits."""
        shard, fetched = self._shard, effect.rows
        before = shard.tip
        after = rows.tip_of(taken[-1]) if taken else before
        if (after.epoch, after.position) != fetched.end:
            raise Damaged(f"rows of department {shard.code} end at {after.position}, and not where they are said to")
        async with shard.database.transaction() as tx:
            accepted = await replicas.accept(tx, shard.code, fetched, taken, before, after)
            members = self._replica.members
            if accepted and rows.holds(taken, "member"):
                members = await replicas.members(tx, shard.code, self._founders)
        if not accepted:
            return await self.reread()
        shard.copied(after, taken, fetched.complete)
        return self._replica.applied(fetched, members, self._steady())

    async def _strand(self, effect: Strand) -> list[Effect]:
        shard = self._shard
        async with shard.still:
            async with shard.database.transaction() as tx:
                place = await replicas.not_beyond(tx, shard.code, effect.after)
                if place != effect.after:
                    self._replica.probed(place)
                    return []
                went = await stranding.strand(
                    tx,
                    shard.code,
                    place.position,
                    epoch=effect.epoch,
                    position=shard.tip.position,
                    chain=shard.tip.chain,
                    models=shard.models,
                )
                there = await replicas.reread(tx, shard.code, self._founders)
            if went is None:
                return await self.reread()
            await shard.moved(there.tip)
        log.warning("a tail was taken back", shard=shard.code, after=place.position, records=went.removed)
        if went.kept:
            shard.stranded(shard.code)
        return self._replica.stranded(place, there.stored.members, self._steady())

    async def _open(self, epoch: int) -> list[Effect]:
        end = await self._shard.lead(epoch, self._replica.node, self._replica.end)
        effects = self._replica.opened(epoch, end, self._steady())
        if self._replica.leads == epoch:
            log.info("this node leads", shard=self._shard.code, epoch=epoch)
            self._shard.serve()
        elif end is None:
            effects += await self.reread()
        return effects

    async def _step_down(self, reason: str) -> list[Effect]:
        epoch = self._shard.tip.epoch
        log.info("this node leads no longer", shard=self._shard.code, epoch=epoch, reason=reason)
        await self._shard.stop_leading()
        async with self._shard.database.connection() as tx:
            complete = self._shard.complete.value
            await replicas.sql.resign.run(tx, shard=self._shard.code, epoch=epoch, complete_position=complete)
        return await self.reread()

    async def reread(self) -> list[Effect]:
        """Find out how things stand; answers what follows from that."""
        leads = self._replica.reign is not None
        if not leads:
            # It appends no longer, also where stepping down could not be brought to its end.
            await self._shard.stop_leading()
        async with self._shard.database.transaction() as tx:
            there = await replicas.reread(tx, self._shard.code, self._founders)
        # A leader's own appends move its journal meanwhile, and say so themselves.
        if not leads and there.tip != self._shard.tip:
            await self._shard.moved(there.tip)
        return self._replica.reread(there.stored, self._steady())
