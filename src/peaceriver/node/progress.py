"""How far rules have come with a record, wherever they act: here as their agents say, elsewhere as their marks say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from enum import Enum
from uuid import UUID

from peaceriver.directory.directory import Directory
from peaceriver.directory.pages import RulePage
from peaceriver.node.agents import Agents
from peaceriver.node.departments import Departments
from peaceriver.postgres import Database, Row
from peaceriver.record import Record
from peaceriver.shard import journal
from peaceriver.shard.steps import reader_behind, reader_of
from peaceriver.shard.triggers import wants

_LOOK_AGAIN_S = 0.05


class Stage(Enum):
    """What a rule still has to do for a record."""

    DONE = "done"
    #: It acts, or tries again by itself.
    BUSY = "busy"
    #: The record is an exception, or waits behind one, that somebody has to resolve.
    HELD_UP = "held up"


class Progress:
    """Looks at what rules have done and have still to do."""

    def __init__(self, database: Database, directory: Directory, shards: Departments, agents: Agents) -> None:
        self._database = database
        self._directory = directory
        self._shards = shards
        self._agents = agents

    async def is_busy(self, record: Record) -> bool:
        """Whether any rule still has something to do for a record by itself."""
        return await self._busy(record) is not None

    async def done(self, record: Record) -> None:
        """Wait until no rule has anything left to do for a record by itself."""
        while (page := await self._busy(record)) is not None:
            agent = self._agents.of(page.name)
            if agent is not None:
                await agent.progress(record)
            else:
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def held_up_by(self, record: Record) -> list[UUID]:
        """The open exceptions that a record is, for some rule, or waits behind."""
        found: list[UUID] = []
        for page in self._looking_at(record):
            agent = self._agents.of(page.name)
            if agent is not None:
                exception = agent.held_up_by(record)
            else:
                row = await self._exception(page, record)
                exception = None if row is None else row["id"]
            if exception is not None:
                found.append(exception)
        return found

    def _looking_at(self, record: Record) -> Iterator[RulePage]:
        for page in self._directory.acting.get(record.shard, ()):
            if self._agents.runs(page) and wants(page.on, record):
                yield page

    async def _busy(self, record: Record) -> RulePage | None:
        for page in self._looking_at(record):
            if await self._stage(page, record) is Stage.BUSY:
                return page
        return None

    async def _stage(self, page: RulePage, record: Record) -> Stage:
        agent = self._agents.of(page.name)
        if agent is not None:
            if agent.has_acted_on(record):
                return Stage.DONE
            return Stage.HELD_UP if agent.waits_for_somebody(record) else Stage.BUSY
        shard = self._shards[record.shard]
        if shard.serving or shard.marks.get((reader_of(page.name), shard.code), 0) < record.position:
            # Here, its agent is only coming up.
            return Stage.BUSY
        row = await self._exception(page, record)
        if row is None:
            return Stage.DONE
        return Stage.HELD_UP if row["retry_at"] is None else Stage.BUSY

    async def _exception(self, page: RulePage, record: Record) -> Row | None:
        """The open exception that holds a record up where another node leads: its actor has a mark of its own then."""
        shard = self._shards[record.shard]
        key = (record.actor_type or "", record.actor_id or "")
        behind = shard.marks.get((reader_behind(page.name, key), shard.code))
        if behind is None or record.position <= behind:
            return None
        async with self._database.reading() as tx:
            rows = await journal.sql.open_of.rows(tx, shard=shard.code, rule=page.name)
        return next((row for row in rows if (row["actor_type"], row["actor_id"]) == key), None)
