"""Incidents: shard 0 is told of what was found damaged on this node, and when it was repaired.

So they are records like all others: every node shows them, as of any moment. While shard 0 cannot take them, they wait
in this node's database.
"""

from __future__ import annotations

import asyncio

import structlog

from peaceriver import jsontext
from peaceriver.directory.pages import INCIDENTS
from peaceriver.errors import Conflict, PeaceRiverError, Refused
from peaceriver.limits import CONTROL
from peaceriver.message import Action, Envelope, derived_id
from peaceriver.node.sending import Sender, Sending
from peaceriver.postgres import Database, DatabaseError, Row, Unreachable
from peaceriver.record import written_time
from peaceriver.shard.damage import sql

log = structlog.get_logger()

_AT_A_TIME = 100
_RETRY_PAUSE_S = 2.0


class Untold(PeaceRiverError):
    """Shard 0 cannot be told of an incident now."""


class Incidents:
    """Tells shard 0."""

    def __init__(self, name: str, database: Database, sending: Sending) -> None:
        self._name = name
        self._database = database
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
