"""Incidents: shard 0 is told of what was found damaged on this node, and when it was repaired.

So they are records like all others: every node shows them, as of any moment. While shard 0 cannot take them, they wait
in this node's database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog

from peaceriver import jsontext
from peaceriver.directory.directory import Directory
from peaceriver.directory.pages import INCIDENTS
from peaceriver.errors import Conflict, PeaceRiverError, Refused
from peaceriver.limits import CONTROL
from peaceriver.message import Action, Envelope, derived_id
from peaceriver.node.sending import Sender, Sending
from peaceriver.postgres import Database, DatabaseError, Row, Unreachable
from peaceriver.record import written_time
from peaceriver.shard.damage import sql
from peaceriver.shard.shard import Shard

log = structlog.get_logger()

_AT_A_TIME = 100
_RETRY_PAUSE_S = 2.0


class Untold(PeaceRiverError):
    """Shard 0 cannot be told of an incident now."""


class Incidents:
    """Tells shard 0."""

    def __init__(self, name: str, database: Database, directory: Directory, sending: Sending) -> None:
        self._name = name
        self._database = database
        self._directory = directory
        self._sending = sending
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell, with what was left untold before."""
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="incidents")

    def wake(self) -> None:
        """There is something to tell."""
        self._wake.set()

    def unknown(self, shards: Mapping[int, Shard]) -> set[int]:
        """Departments of which shard 0 has open incidents of this node, while nothing is known to be damaged here.

        Its database was lost with them, say: whether they are sound now is to be looked at.
        """
        return {each["shard"] for each in self._open() if (at := shards.get(each["shard"])) and not at.damage.known}

    def _open(self) -> list[dict[str, Any]]:
        """What shard 0 has of this node, and takes for damaged still."""
        return [
            each
            for each in self._directory.incidents.values()
            if each["node"] == self._name and each["state"] == "open"
        ]

    async def settle(self, code: int) -> None:
        """A department was found sound here: shard 0 is told so, also of what this database knows nothing of."""
        mine = [each for each in self._open() if each["shard"] == code]
        for each in mine:
            async with self._database.connection() as tx:
                await sql.adopt.run(tx, id=UUID(each["id"]), shard=code, part=each["where"])
        if mine:
            self.wake()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._tell():
                    pass
            except (Untold, *Unreachable, DatabaseError) as error:
                # They stay in the database, and are told under the same ids.
                log.warning("incidents wait", reason=str(error))
                await asyncio.sleep(_RETRY_PAUSE_S)
                self._wake.set()

    async def _tell(self) -> bool:
        """Tell of the oldest ones; whether there were any."""
        async with self._database.connection() as tx:
            rows = await sql.untold.rows(tx, limit=_AT_A_TIME)
        for row in rows:
            if row["told"] == "nothing":
                await self._send(row, "create", self._found(row))
                async with self._database.connection() as tx:
                    await sql.told.run(tx, id=row["id"])
            if row["repaired_at"] is not None:
                await self._send(row, "modify", _repaired(row))
                async with self._database.connection() as tx:
                    await sql.forget.run(tx, id=row["id"])
        return bool(rows)

    def _found(self, row: Row) -> str:
        return jsontext.write(
            {
                "node": self._name,
                "shard": row["shard"],
                "where": row["part"],
                "place": row["place"],
                "detail": row["detail"],
                "state": "open",
                "found_at": written_time(row["found_at"]),
            }
        )

    async def _send(self, row: Row, action: Action, body: str) -> None:
        """Send one message, the same one however often it is tried; raises Untold where it cannot be recorded now."""
        envelope = Envelope(
            to=CONTROL,
            id=derived_id(row["id"], action),
            actor_type=INCIDENTS,
            actor_id=str(row["id"]),
            action=action,
            body=body,
        )
        (outcome,) = await self._sending.send([envelope], Sender(principal=f"node:{self._name}"))
        if isinstance(outcome, Conflict):
            # Somebody else has spoken of it: what is recorded stays.
            log.error("an incident is told otherwise", incident=str(row["id"]), reason=outcome.detail)
        elif isinstance(outcome, Refused):
            raise Untold(outcome.detail) from outcome


def _repaired(row: Row) -> str:
    return jsontext.write({"state": "repaired", "repaired_at": written_time(row["repaired_at"])})
