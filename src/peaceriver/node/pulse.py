"""The pulse of a node's database: one that hangs says nothing, and in an idle department nobody would notice."""

from __future__ import annotations

import asyncio
import time

import structlog

from peaceriver.postgres import Database, DatabaseError, Unreachable

log = structlog.get_logger()


class Pulse:
    """Asks the database for a word, over and over, on a connection that nobody else waits for."""

    def __init__(self, database: Database, *, every_s: float) -> None:
        self._database = database
        self._every_s = every_s
        self._asking_since: float | None = None
        self._complaint = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="pulse")

    def unanswered(self, now: float) -> float:
        """For how many seconds it has not answered; ``now`` is by the steady clock."""
        return 0.0 if self._asking_since is None else now - self._asking_since

    async def _run(self) -> None:
        while True:
            if self._asking_since is None:
                self._asking_since = time.monotonic()
            try:
                await self._database.answers()
                self._asking_since = None
                self._complaint = ""
            except (*Unreachable, DatabaseError) as error:
                # That is no answer; whoever asks how long it has been is told.
                if str(error) != self._complaint:
                    log.warning("the database does not answer", reason=repr(error))
                self._complaint = str(error)
            except Exception:  # outermost: without a pulse this node would lead nothing any more
                log.exception("the database's pulse cannot be taken")
            await asyncio.sleep(self._every_s)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
