"""Mistakes in what is recorded, delivered, folded and read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from peaceriver.node import launch
from peaceriver.node.cutoffs import Cutoffs
from peaceriver.node.routing import Routing
from peaceriver.postgres import DATABASE, connect
from peaceriver.record import Record
from peaceriver.shard import journal, ledger, stranding, views
from peaceriver.shard.delivery import Delivery
from peaceriver.shard.proposal import Proposal
from peaceriver.shard.shard import Shard
from peaceriver.stamp import following
from tests.faults.mutations.planting import plant

#: How long after its mark what a delivery brings is appended; how many records in a hundred a view skips.
_APART_S = 0.2
_SKIPPED_PERCENT = 2


def mark_first() -> None:
    append = Shard.append

    async def apart(self: Shard, proposal: Proposal, *, bounded: bool = True) -> Any:
        if proposal.marks and proposal.wishes and proposal.marks[0].reader == "delivery":
            await append(self, msgspec.structs.replace(proposal, wishes=()), bounded=bounded)
            await asyncio.sleep(_APART_S)
            proposal = msgspec.structs.replace(proposal, marks=(), expecting=())
        return await append(self, proposal, bounded=bounded)

    plant(Shard, "append", apart)


def ids_unknown() -> None:
    async def recorded(tx: Any, shard: int, ids: Any) -> dict[UUID, Record]:
        return {}

    plant(journal, "recorded", recorded)
    migrate = launch.migrate

    async def without_index(connection: Any, *more: Any) -> None:
        await migrate(connection, *more)
        owner = await connect({**connection, "user": "postgres", "database": DATABASE})
        await owner.execute("drop index if exists journal_message")
        await owner.close()

    plant(launch, "migrate", without_index)
    from peaceriver.shard.ledger import Ledger

    def seen(self: Ledger, message_id: UUID) -> Record | None:
        return None

    plant(Ledger, "seen", seen)


def stranded_forgotten() -> None:
    strand = stranding.strand

    async def forgetful(tx: Any, shard: int, *more: Any, **named: Any) -> Any:
        went = await strand(tx, shard, *more, **named)
        await tx.execute("delete from pending where shard = $1 and state = 'stranded'", shard)
        return went

    plant(stranding, "strand", forgetful)


def group_cut() -> None:
    send = Routing.send

    async def one_by_one(self: Routing, code: int, proposals: Sequence[Proposal], **named: Any) -> Any:
        if not any(each.atomic for each in proposals):
            return await send(self, code, proposals, **named)
        outcomes: list[Any] = []
        for wish in proposals[0].wishes:
            alone = Proposal(wishes=(wish,), atomic=False)
            outcomes += (await send(self, code, [alone], **named))[0]
        return [outcomes]

    plant(Routing, "send", one_by_one)


def view_skips() -> None:
    fold_into = views.fold_into

    async def careless(tx: Any, table: Any, shard: int, changes: Any, kept: Any = ()) -> None:
        noticed = [each for each in changes if random.randrange(100) >= _SKIPPED_PERCENT]
        await fold_into(tx, table, shard, noticed, kept)

    plant(views, "fold_into", careless)


def as_of_open() -> None:
    async def at_time(self: Cutoffs, codes: list[int] | None, at: int) -> Any:
        """Whatever is there by now will do."""
        return await self._folded_to(await self._places_at(await self._known_at(at) if codes is None else codes, at))

    plant(Cutoffs, "_at_time", at_time)


def cause_ignored() -> None:
    def by_the_clock(last: int, wall: int, received: int = 0) -> int:
        return following(last, wall)

    plant(ledger, "following", by_the_clock)


def delivers_backwards() -> None:
    arrived = Delivery._arrived

    async def turned_round(self: Delivery, rows: Any, causes: Any) -> Any:
        taken, late = await arrived(self, rows, causes)
        # The mark goes by the last one.
        return [*reversed(taken[:-1]), taken[-1]], late

    plant(Delivery, "_arrived", turned_round)
