"""A node: one process and the one database that it owns, serving every department of its directory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog

from peaceriver.actor import Actor
from peaceriver.directory.directory import Directory
from peaceriver.directory.pages import DEPARTMENTS, MODELS, RULES
from peaceriver.errors import StartFailed, Unavailable
from peaceriver.evaluation.evaluator import Evaluator
from peaceriver.limits import CONTROL, PAGE_RECORDS_MAX
from peaceriver.node.agents import Agents
from peaceriver.node.consequences import Consequences
from peaceriver.node.cutoffs import Cutoffs
from peaceriver.node.departments import Departments
from peaceriver.node.drafts import Drafts
from peaceriver.node.exceptions import Exceptions
from peaceriver.node.identity import wall_clock
from peaceriver.node.reading import Reading
from peaceriver.node.room import Room
from peaceriver.node.sending import Sending
from peaceriver.node.timers import Timers
from peaceriver.postgres import Database, DatabaseError, Unreachable
from peaceriver.record import from_row
from peaceriver.rule import Rule
from peaceriver.shard import journal
from peaceriver.shard.delivery import Delivery
from peaceriver.shard.journal import Batch
from peaceriver.shard.rebuild import rebuild
from peaceriver.shard.shard import Shard
from peaceriver.shard.view_tables import ViewTable, columns_of
from peaceriver.shard.views import Folder, Views

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5


class Node:
    """A running node. ``start`` brings up every department of the directory; ``stop`` ends in order."""

    def __init__(
        self,
        name: str,
        database: Database,
        *,
        python: Mapping[str, type[Actor]] | None = None,
        rules: Mapping[str, Rule] | None = None,
        room: Room | None = None,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self.name = name
        self.database = database
        self.directory = Directory(python)
        self.shards = Departments(self.directory)
        self.folders: dict[int, Folder] = {}
        self.views = Views(self.directory)
        self.cutoffs = Cutoffs(database, self.directory, self.shards, self.folders)
        self.room = room or Room(None)
        self.sending = Sending(database, self.directory, self.shards, self.views, self.room)
        self.reading = Reading(database, self.views, self.cutoffs, self.shards)
        self.drafts = Drafts(database, self.sending)
        self.agents = Agents(self.directory, self.shards, self.views, Evaluator(rules or {}, python or {}))
        self.exceptions = Exceptions(database, self.shards, self.agents, self.sending)
        self.consequences = Consequences(database, self.shards, self.agents, self.exceptions)
        self._clock = clock
        self._deliveries: dict[int, Delivery] = {}
        self._timers: dict[int, Timers] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._changed: asyncio.Queue[Batch] = asyncio.Queue()
        self._follow_directory: asyncio.Task[None] | None = None
        self._rebuilding = asyncio.Lock()

    async def start(self) -> None:
        """Lead every department that the directory has; raises StartFailed where it cannot go on from its records."""
        async with self.database.connection() as tx:
            await journal.sql.open.run(tx, shard=CONTROL)
            await self.views.load(tx)
        await self._read_directory()
        self._check_folds()
        await self._lead(CONTROL, later_than=0)
        self._follow_directory = asyncio.create_task(self._apply_changes(), name="directory")
        for department in list(self.directory.departments.values()):
            await self._lead(department.code, later_than=department.since)
        for delivery in list(self._deliveries.values()):
            await delivery.start()
        await self._level_views()
        await self.agents.level()

    async def stop(self) -> None:
        """Take nothing more, finish what is under way, and give up the lead."""
        if self._follow_directory is not None:
            self._follow_directory.cancel()
        for task in self._opening:
            task.cancel()
        ending: list[Callable[[], Awaitable[None]]] = [
            *(each.stop for each in self._deliveries.values()),
            *(each.stop for each in self._timers.values()),
            *(each.stop for each in self.folders.values()),
        ]
        await asyncio.gather(*(end() for end in ending))
        await self.agents.stop()
        for shard in self.shards.values():
            # The database may be gone already; then the next start fences us, which is as good as resigning.
            with contextlib.suppress(*Unreachable):
                await shard.stop()
        self.agents.close()
        await self.database.close()

    @property
    def ready(self) -> bool:
        """Whether every department of the directory has a serving leader here."""
        codes = {CONTROL, *self.directory.departments}
        return all(code in self.shards and self.shards[code].serving for code in codes)

    async def _read_directory(self) -> None:
        """Fold shard 0's journal into memory, up to its end."""
        position = 0
        async with self.database.connection() as tx:
            while rows := await journal.following(
                tx, CONTROL, after=position, until=2**63 - 1, records=PAGE_RECORDS_MAX
            ):
                for row in rows:
                    if row["kind"] == "received":
                        self.directory.apply(from_row(row))
                position = rows[-1]["position"]
        self.directory.applied.advance(position)

    def _check_folds(self) -> None:
        for error in self.directory.unfit.values():
            raise error
        for actor_type, model in self.directory.models.items():
            for name, message_type in model.message_types.items():
                if message_type.folded and message_type.fold is None:
                    raise StartFailed(
                        f"{name} of {actor_type} is folded by Python code that this node was not given; "
                        "start it with the application that defines it"
                    )

    async def _lead(self, code: int, *, later_than: int) -> Shard:
        rules = msgspec.structs.replace(self.directory.rules_for(code), validations=self.agents.validations_for(code))
        shard = Shard(self.database, code, rules, self._clock)
        shard.followers.append(self._on_batch)
        if code == CONTROL:
            # From the first record on: the directory counts as level with shard 0 only when it has seen them all.
            shard.followers.append(self._on_directory)
        shard.died = lambda each: self._in_background(self._revive(each))
        await shard.start(later_than)
        folder = Folder(shard, self.views)
        shard.followers.append(folder.offer)
        timers = Timers(shard)
        await folder.start()
        await timers.start()
        self.folders[code], self._timers[code] = folder, timers
        self._deliveries[code] = Delivery(shard, self.shards)
        self.shards[code] = shard
        return shard

    async def _revive(self, shard: Shard) -> None:
        """Lead a shard anew whose appender died, and make good for the wake-ups that died with it."""
        while True:
            await asyncio.sleep(_RETRY_PAUSE_S)
            try:
                await shard.start()
                await self._timers[shard.code].load()
                await self.agents.revived(shard)
                for delivery in list(self._deliveries.values()):
                    await delivery.catch_up()
            except (*Unreachable, DatabaseError, Unavailable) as error:
                log.warning("department waits", shard=shard.code, reason=str(error))
            else:
                log.info("department is led again", shard=shard.code, epoch=shard.epoch)
                return

    def _on_batch(self, shard: Shard, batch: Batch) -> None:
        """Wake the departments that a batch has something for."""
        for receiver in {each.receiver_shard for each in batch.records if each.kind == "sent"}:
            if receiver is not None and receiver in self._deliveries:
                self._deliveries[receiver].wake(shard.code)

    def _on_directory(self, shard: Shard, batch: Batch) -> None:
        self._changed.put_nowait(batch)

    async def _apply_changes(self) -> None:
        """Follow shard 0: take in each change, and bring up departments that are new."""
        while True:
            batch = await self._changed.get()
            received = [each for each in batch.records if each.kind == "received"]
            for record in received:
                self.directory.apply(record)
                if record.actor_type == MODELS and record.actor_id is not None:
                    self._in_background(self._level_view(record.actor_id))
            if any(each.actor_type == DEPARTMENTS for each in received):
                await self._open_departments()
            if any(each.actor_type in (DEPARTMENTS, RULES) for each in received):
                self._in_background(self.agents.level())
            self.directory.applied.advance(batch.tip.position)

    async def _open_departments(self) -> None:
        """Bring up departments that are not served yet; tries again until the database lets it."""
        for department in list(self.directory.departments.values()):
            while department.code not in self.shards:
                try:
                    await self._lead(department.code, later_than=department.since)
                    await self._deliveries[department.code].start()
                except (*Unreachable, DatabaseError, Unavailable) as error:
                    log.warning("department waits", shard=department.code, reason=str(error))
                    await asyncio.sleep(_RETRY_PAUSE_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work in the background failed", reason=repr(task.exception()))

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._opening.add(task)
        task.add_done_callback(self._ended)

    async def _level_views(self) -> None:
        for actor_type in list(self.directory.models):
            await self._level_view(actor_type)

    async def _level_view(self, actor_type: str) -> None:
        """Give a type's view the columns of its newest model."""
        table = self.views.tables.get(actor_type)
        if table is not None and table.columns != columns_of(self.directory.newest(actor_type)):
            await self.rebuild(actor_type)

    async def rebuild(self, actor_type: str) -> ViewTable:
        """Fold a type's view anew from the journals, beside the live one, and switch to it."""
        async with self._rebuilding:
            return await rebuild(self.database, self.views, self.folders, actor_type)
