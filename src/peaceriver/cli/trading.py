"""Trading: a load of order to cash is sent to a cluster, and each step waits until the one before is settled.

Everything is sent under ids that follow from the load, so it is safe to send again whatever a node, or whoever sends,
may have died of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from peaceriver.actor import Actor, read_document
from peaceriver.answers import ActorRead, Page, Settled
from peaceriver.cli.patience import is_passing, patiently
from peaceriver.client import Client
from peaceriver.errors import Refused
from peaceriver.limits import PAGE_RECORDS_MAX
from peaceriver.message import Envelope
from peaceriver.moments import Moment
from peaceriver.order_to_cash import Account, Invoice, Order, Shipment, Stock
from peaceriver.order_to_cash.books import Books
from peaceriver.order_to_cash.load import Day, Load
from peaceriver.shard.proposal import Receipt

#: Messages that are waited for at a time.
WAITS_MAX = 16
#: What an exception holds up is told so after this time.
SETTLED_WAIT_S = 1.0
A = TypeVar("A", bound=Actor)


class Tally(msgspec.Struct, kw_only=True):
    """What was sent, and what came of it."""

    sent: int = 0
    #: At the door: a customer cancels what was rejected, or pays what is credited.
    refused: int = 0
    #: Messages by id that wait behind an exception, with the exception as the API shows it.
    held_up: dict[UUID, dict[str, Any]] = {}


class Trading:
    """One run of a load."""

    def __init__(self, client: Client, load: Load) -> None:
        self._client = client
        self._load = load
        self.tally = Tally()
        #: Called after every request that sends; may take its time.
        self.between: Callable[[], Awaitable[None]] | None = None

    async def open(self) -> None:
        """Open the accounts, and fill the shelves."""
        await self._settled(await self._send(self._load.opening))

    async def morning(self, day: Day) -> None:
        """Customers order, and cancel what they have just ordered; returns when everybody has done what he can."""
        receipts: list[Receipt] = []
        for group in day.groups:
            receipts += await self._send(group)
        await self._settled(receipts)

    async def evening(self, day: Day) -> None:
        """Customers cancel what they ordered the day before, suppliers deliver, the bank tells who has paid."""
        await self._settled(await self._send(day.cancellations))
        await self._settled(await self._send(day.replenishments))
        # A list of what is owed: a payment that was sent before is the same message.
        owed = await patiently(partial(documents, self._client, Invoice, {"state": "open"}))
        paying = {key: invoice for key, invoice in owed.items() if key in self._load.payers}
        await self._settled(await self._send([self._load.payment(key, each) for key, each in sorted(paying.items())]))

    async def resolved(self) -> None:
        """Wait for what was held up by an exception that is resolved now."""
        await self._settle_all(list(self.tally.held_up))

    async def _send(self, messages: Sequence[Envelope]) -> list[Receipt]:
        """Send messages until each has its receipt, or is refused for good."""
        if not messages:
            return []

        async def attempt() -> list[Receipt | Refused]:
            outcomes = await self._client.send(messages)
            for each in outcomes:
                if isinstance(each, Refused) and is_passing(each):
                    raise each
            return outcomes

        outcomes = await patiently(attempt)
        receipts = [each for each in outcomes if isinstance(each, Receipt)]
        self.tally.sent += len(receipts)
        self.tally.refused += len(outcomes) - len(receipts)
        if self.between is not None:
            await self.between()
        return receipts

    async def _settled(self, receipts: Sequence[Receipt]) -> None:
        await self._settle_all([each.id for each in receipts])

    async def _settle_all(self, ids: Sequence[UUID]) -> None:
        places = asyncio.Semaphore(WAITS_MAX)

        async def wait(message_id: UUID) -> None:
            async with places:
                told = await self._settle(message_id)
            self.tally.held_up.pop(message_id, None)
            if not told.settled:
                self.tally.held_up[message_id] = told.exceptions[0]

        await asyncio.gather(*map(wait, ids))

    async def _settle(self, message_id: UUID) -> Settled:
        """Wait until a message is settled, or an exception keeps it from that."""
        while True:
            told = await patiently(partial(self._client.settled, message_id, timeout_s=SETTLED_WAIT_S))
            if told.settled or told.exceptions:
                return told


async def documents(
    client: Client, model: type[A], filters: dict[str, str] | None = None, as_of: Moment | None = None
) -> dict[str, A]:
    """All actors of a type, in whatever department, by id."""
    page: Page | None = await client.list(model.__name__, filters=filters, limit=PAGE_RECORDS_MAX, as_of=as_of)
    found: list[ActorRead] = []
    while page is not None:
        found += page.items
        page = await client.following(page)
    return {each.id: read_document(model, each.text) for each in found}


async def read_books(client: Client) -> tuple[dict[int, int], Books]:
    """What all departments hold at one cutoff, and that cutoff."""
    cutoff = (await client.list(Order.__name__, limit=1)).cutoff.positions
    return cutoff, Books(
        orders=await documents(client, Order, as_of=cutoff),
        accounts=await documents(client, Account, as_of=cutoff),
        stocks=await documents(client, Stock, as_of=cutoff),
        shipments=await documents(client, Shipment, as_of=cutoff),
        invoices=await documents(client, Invoice, as_of=cutoff),
    )
