"""A node under test, and short words for what tests do with it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from peaceriver.embedded import Server
from peaceriver.message import Envelope
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing
from peaceriver.node.roles import Role
from peaceriver.node.sending import Sender
from peaceriver.record import Record
from peaceriver.shard.proposal import Outcome, Receipt

ME = Sender(principal="tester", timeout_s=30)
_codes = itertools.count(100)


class World:
    """A node under test, and short words for what tests do with it."""

    def __init__(self, node: Node, server: Server) -> None:
        self.node = node
        self.server = server

    async def department(self, **page: object) -> int:
        """A new department, which no other test uses."""
        code = next(_codes)
        await Publishing(self.node).department(code, {"name": f"Department {code}"} | page, ME)
        await self.role(code)
        return code

    async def role(self, code: int) -> Role:
        """What goes on for a department, once it has begun."""
        for _ in range(1000):
            if (role := self.node.roles.at(code)) is not None:
                return role
            await asyncio.sleep(0.01)
        raise AssertionError(f"department {code} is not led")

    async def send(self, *envelopes: Envelope) -> list[Outcome]:
        return await self.node.sending.send(envelopes, ME)

    async def receipt(self, envelope: Envelope) -> Receipt:
        outcome = (await self.send(envelope))[0]
        assert isinstance(outcome, Receipt), outcome
        return outcome

    async def records(self, code: int) -> list[Record]:
        """A department's whole journal."""
        found: list[Record] = []
        while True:
            page, complete = await self.node.reading.journal(code, after=len(found), limit=1000)
            found += page
            if len(found) >= complete:
                return found

    async def of_kind(self, code: int, kind: str) -> list[Record]:
        return [each for each in await self.records(code) if each.kind == kind]

    async def delivered(self, receipt: Receipt, to: int) -> None:
        """Wait until what a receipt stands for has arrived in another department."""
        await self.node.shards[to].delivered_from(receipt.shard).reached(receipt.position)


#: Start a node of one's own; called again, it stops the node and starts another on the same records.
Restart = Callable[[], Awaitable[World]]
