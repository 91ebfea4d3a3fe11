"""Clients: real HTTP to any node, through the public API; whoever is in doubt sends again, under the same ids."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import aiohttp

from tests.faults.cluster import Cluster
from tests.faults.history import Attempt, History, Message, Operation, Reading, Sighting, Told

_SEND_TIMEOUT_S = 1.0
_PAUSE_S = 0.05
#: Nothing was recorded, and the same may be asked again later.
_NOT_NOW = (429, 503, 507)
_UNKNOWN = (500, 504)
#: A node keeps the message until somebody leads.
_KEPT = 202
Away = (aiohttp.ClientError, TimeoutError, OSError)


def new_id(chance: random.Random) -> str:
    """A message id that belongs to the seed."""
    return str(UUID(int=chance.getrandbits(128), version=4))


class Span:
    """How long clients go on: until somebody says that it is over."""

    def __init__(self, for_s: float = float("inf")) -> None:
        self._end = time.monotonic() + for_s

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end

    def end(self) -> None:
        self._end = 0.0


class Client:
    """One client; unless it is loyal, it picks a node anew for each request."""

    def __init__(self, number: int, cluster: Cluster, history: History, span: Span, chance: random.Random) -> None:
        self.number = number
        self.chance = chance
        self._cluster = cluster
        self._history = history
        self._span = span
        #: The one node that it speaks to; None: any, drawn anew each time.
        self.loyal_to: str | None = None

    async def send(
        self,
        kind: str,
        wishes: Sequence[dict[str, Any]],
        *,
        concern: str = "quorum",
        atomic: bool = False,
        insist: bool = True,
        spool_at: str | None = None,
    ) -> Operation:
        """Send messages until all is known of them, or the time is over; ``insist``: more than once.

        ``spool_at``: to this node, which may keep them until somebody leads: then that is all there is to know now.
        """
        given = [wish if "id" in wish else {"id": new_id(self.chance), **wish} for wish in wishes]
        messages = [Message(each["id"], each.get("from", each["to"]), each["actor"], each) for each in given]
        operation = Operation(kind, self.number, concern, atomic, messages, spooled_at=spool_at)
        self._history.operations.append(operation)
        await self.go_on(operation, insist=insist)
        return operation

    async def go_on(self, operation: Operation, *, insist: bool = True) -> None:
        """Send what is not known yet, again and again."""
        while left := [each for each in operation.messages if each.is_open]:
            await self._attempt(operation, left)
            if not insist or self._span.over:
                return
            if operation.attempts[-1].told != "ok":
                await asyncio.sleep(_PAUSE_S)

    async def _attempt(self, operation: Operation, left: Sequence[Message]) -> None:
        node = operation.spooled_at or self.any_node()
        url = f"{self._cluster.members[node].url}/messages?concern={operation.concern}&timeout={_SEND_TIMEOUT_S:g}s"
        url += "&atomic=true" * operation.atomic + "&spool=true" * (operation.spooled_at is not None)
        attempt = Attempt(node, time.monotonic(), 0.0, "unknown", "")
        operation.attempts.append(attempt)
        body: Any = [each.wish for each in left]
        if len(left) == 1 and not operation.atomic:
            body = body[0]
        try:
            timeout = aiohttp.ClientTimeout(total=_SEND_TIMEOUT_S + 0.5)
            async with self._cluster.http.post(url, json=body, timeout=timeout) as answer:
                told: Any = await answer.json(content_type=None)
                status = answer.status
        except (*Away, ValueError) as error:
            attempt.ended, attempt.answer = time.monotonic(), repr(error)
            return
        attempt.ended, attempt.answer = time.monotonic(), str(status)
        self._take_in(operation, attempt, left, status, told)

    def any_node(self) -> str:
        """Whom it asks next."""
        return self.loyal_to or self.chance.choice(self._cluster.names)

    def _take_in(
        self, operation: Operation, attempt: Attempt, messages: Sequence[Message], status: int, told: Any
    ) -> None:
        """Note what each message was told; the attempt is told the worst of it."""
        if isinstance(told, list):
            outcomes = [(each["error"]["status"], each["error"]) if "error" in each else (200, each) for each in told]
        else:
            outcomes = [(status, told)] * len(messages)
        found: set[Told] = set()
        for message, (code, answer) in zip(messages, outcomes, strict=True):
            if code == _KEPT or answer.get("spooled"):
                message.kept_by = attempt.node
                found.add("ok")
            elif code in (200, 201):
                message.receipt, message.attempt = answer, len(operation.attempts) - 1
                found.add("ok")
            elif code in _UNKNOWN or answer.get("outcome") == "unknown":
                found.add("unknown")
            else:
                found.add("refused")
                if code not in _NOT_NOW:
                    message.refusal = f"{code} {answer.get('detail')}"
        attempt.told = "unknown" if "unknown" in found else "ok" if "ok" in found else "refused"

    # --- reading

    async def sample(self, path: str, as_of: str | None = None) -> Reading | None:
        """Read at a cutoff and note the answer, on a node that can give one."""
        node = self.any_node()
        reading = await read_at(self._cluster, node, path, as_of)
        if reading is not None:
            self._history.readings.append(reading)
        return reading

    async def look(self, code: int) -> None:
        """Note the last complete records that some node shows."""
        node = self.any_node()
        try:
            standing = await self._cluster.standing(node)
            after = max(0, standing[code].complete - 50) if standing and code in standing else 0
            page = await self._cluster.get(node, f"/shards/{code}/journal", after=str(after), limit="100")
        except Away:
            return
        records = {each["position"]: (each["id"], each["stamp"]) for each in page["records"]}
        self._history.sightings.append(Sighting(node, code, records))

    async def read_own(self, message: Message) -> None:
        """Whoever has a receipt sees its effect, on any node that answers."""
        assert message.receipt is not None
        node = self.any_node()
        url = f"{self._cluster.members[node].url}/shards/{message.shard}/{message.actor}"
        query = {"after": message.receipt["stamp"], "timeout": "1s"}
        try:
            timeout = aiohttp.ClientTimeout(total=2.0)
            async with self._cluster.http.get(url, params=query, timeout=timeout) as answer:
                told = await answer.json(content_type=None)
                status = answer.status
        except (*Away, ValueError):
            return
        seen = status == 200 and told["version"] >= message.receipt["version"]
        # Said of a stamp that was never given, or whose record was taken back.
        is_void = status == 409 and any("no record" in each.get("detail", "") for each in told.get("errors", ()))
        if is_void or (not seen and status in (200, 404)):
            told = f"{status} (version {told.get('version')}, {told.get('detail')})"
            receipt = f"version {message.receipt['version']} at {message.receipt['position']}"
            self._history.unread.append(
                f"{node} answers {told} for {message.actor} of {message.shard} after the receipt of {receipt}"
            )


async def read_at(
    cluster: Cluster, node: str, path: str, as_of: str | None, *, timeout_s: float = 3.0
) -> Reading | None:
    """One read at a cutoff; None where the node cannot answer."""
    query = {} if as_of is None else {"as_of": as_of}
    began = time.monotonic()
    try:
        page = await cluster.get(node, path, timeout_s=timeout_s, limit="1000", **query)
    except Away:
        return None
    positions = page["cutoff"]["positions"]
    vector = ",".join(f"{code}:{position}" for code, position in positions.items())
    return Reading(node, path, as_of or vector, began, positions, page["items"])
