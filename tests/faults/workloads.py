"""What clients do while the cluster is tormented: a mix that each of the invariants has something to say about."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from tests.faults.bank import BRANCHES
from tests.faults.clients import Client, Span, new_id
from tests.faults.evidence import ACCOUNTS

#: Of what a client does next.
_MIX = {"append": 8, "batch": 3, "group": 3, "transfer": 3, "order": 2, "local": 5, "shared": 2, "sample": 2, "look": 2}
_MIX |= {"spool": 3}
_BATCH = 120
_SPOOLED = 4
_LOYAL_PAUSE_S = 0.03


class Work:
    """One client's work on some fresh departments and on the bank, until it is told to end."""

    def __init__(self, client: Client, fresh: list[int], span: Span) -> None:
        self._client = client
        self._fresh = fresh
        self._span = span
        self._chance = client.chance
        #: Actors of its own, with the version that it knows of.
        self._own: dict[tuple[int, str], int] = {}
        self._made = 0

    async def run(self) -> None:
        """Work until the time is over."""
        doings: dict[str, Callable[[], Awaitable[None]]] = {
            "append": self._append,
            "batch": self._batch,
            "group": self._group,
            "transfer": self._transfer,
            "order": self._order,
            "local": self._local,
            "shared": self._share,
            "sample": self._sample,
            "look": self._look,
            "spool": self._spool,
        }
        while not self._span.over:
            if self._client.loyal_to is not None:
                await self._stay()
                continue
            kind = self._chance.choices(list(_MIX), list(_MIX.values()))[0]
            await doings[kind]()
            await asyncio.sleep(0)

    @property
    def _insists(self) -> bool:
        """Some clients never ask again: what they were told must hold all the same."""
        return self._chance.random() < 0.85

    def _new(self, code: int) -> dict[str, Any]:
        self._made += 1
        actor = f"Item/{self._client.number}-{self._made}"
        return {"to": code, "actor": actor, "action": "create", "body": {"made": self._made, "by": self._client.number}}

    async def _append(self) -> None:
        """Make an actor, or change one, at the version that is known of it."""
        code = self._chance.choice(self._fresh)
        known = [key for key in self._own if key[0] == code]
        if not known or self._chance.random() < 0.3:
            wish = self._new(code)
        else:
            key = self._chance.choice(known)
            wish = {"to": code, "actor": key[1], "action": "modify", "body": {"changed": self._made}}
            self._made += 1
            if self._chance.random() < 0.7:
                wish["if_version"] = self._own[key]
        operation = await self._client.send("append", [wish], insist=self._insists)
        message = operation.messages[0]
        if message.receipt is None:
            self._own.pop((code, wish["actor"]), None)
            return
        self._own[code, wish["actor"]] = message.receipt["version"]
        if self._chance.random() < 0.2:
            await self._client.read_own(message)

    async def _batch(self) -> None:
        """Many at once, each on its own, to several departments."""
        wishes = [self._new(self._chance.choice(self._fresh)) for _ in range(_BATCH)]
        await self._client.send("batch", wishes, insist=self._insists)

    async def _group(self) -> None:
        """All or none: some are received here, some sent elsewhere."""
        code = self._chance.choice(self._fresh)
        wishes = [self._new(code) for _ in range(self._chance.randint(2, 5))]
        others = [each for each in self._fresh if each != code]
        if others:
            wishes += [{**self._new(self._chance.choice(others)), "from": code} for _ in range(2)]
        await self._client.send("group", wishes, atomic=True, insist=self._insists)

    async def _transfer(self) -> None:
        """A debit here and a credit sent elsewhere, as one group."""
        here, there = self._chance.sample(BRANCHES, 2)
        body = {"amount": self._chance.randrange(1, 500)}
        account = {"actor": "Account/main", "action": "modify", "body": body}
        wishes = [
            {"to": here, "from": here, "type": "Withdraw", **account},
            {"to": there, "from": here, "type": "Deposit", **account},
        ]
        await self._client.send("transfer", wishes, atomic=True, insist=self._insists)

    async def _order(self) -> None:
        """An order to pay: a rule makes the transfer."""
        here, there = self._chance.sample(BRANCHES, 2)
        body = {"to": there, "amount": self._chance.randrange(1, 500)}
        wish = {"to": here, "actor": f"Transfer/{new_id(self._chance)}", "action": "create", "body": body}
        await self._client.send("order", [wish], insist=self._insists)

    async def _local(self) -> None:
        """Acknowledged by the leader alone."""
        wishes = [self._new(self._chance.choice(self._fresh)) for _ in range(3)]
        await self._client.send("local", wishes, concern="local", insist=self._insists)

    async def _spool(self) -> None:
        """To one node, one after the other: where nobody leads it keeps them, and sends them on in this order."""
        node, code = self._client.any_node(), self._chance.choice(self._fresh)
        for _ in range(_SPOOLED):
            if self._span.over:
                return
            await self._client.send("spool", [self._new(code)], spool_at=node, insist=False)

    async def _stay(self) -> None:
        """A loyal client takes its node's word, also while that one is alone and leads nobody else."""
        await self._local()
        await self._client.look(self._chance.choice(self._fresh))
        await asyncio.sleep(_LOYAL_PAUSE_S)

    async def _share(self) -> None:
        """Change what others change too, at the version that was read: one of them wins."""
        code = self._fresh[0]
        wish: dict[str, Any] = {"to": code, "actor": "Item/shared", "body": {"last": self._client.number}}
        wish |= {"action": "modify", "if_version": self._own.get((code, "Item/shared"), 1)}
        operation = await self._client.send("shared", [wish], insist=self._insists)
        receipt = operation.messages[0].receipt
        if receipt is not None:
            self._own[code, "Item/shared"] = receipt["version"]
        elif operation.messages[0].refusal is not None:
            # Somebody was faster, once or many times: try further on.
            self._own[code, "Item/shared"] = self._own.get((code, "Item/shared"), 1) + 1

    async def _sample(self) -> None:
        """Read the whole bank, or a fresh department, at one cutoff; it must be the same for ever."""
        path = ACCOUNTS if self._chance.random() < 0.6 else f"/shards/{self._chance.choice(self._fresh)}/Item"
        now = datetime.now(UTC).isoformat() if self._chance.random() < 0.4 else None
        reading = await self._client.sample(path, now)
        if reading is None:
            await asyncio.sleep(0.02)

    async def _look(self) -> None:
        await self._client.look(self._chance.choice([*self._fresh, *BRANCHES]))


def chance_of(seed: int, number: int) -> random.Random:
    """A client's own chance: what others draw does not change it."""
    return random.Random(f"{seed}/{number}")
