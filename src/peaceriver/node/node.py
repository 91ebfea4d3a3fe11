"""A node: one process and the one database that it owns, with its replicas of the departments of its directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog

from peaceriver.actor import Actor
from peaceriver.directory.directory import Directory
from peaceriver.directory.pages import DEPARTMENTS, MODELS, NODES, RULES, VIEWS
from peaceriver.errors import Damaged, StartFailed, Withheld
from peaceriver.evaluation.evaluator import Evaluator
from peaceriver.limits import CONTROL, PAGE_RECORDS_MAX
from peaceriver.node.agents import Agents
from peaceriver.node.agreeing import Agreeing
from peaceriver.node.background import Background
from peaceriver.node.consequences import Consequences
from peaceriver.node.cutoffs import Cutoffs
from peaceriver.node.departments import Departments
from peaceriver.node.drafts import Drafts
from peaceriver.node.exceptions import Exceptions
from peaceriver.node.identity import wall_clock
from peaceriver.node.incidents import Incidents
from peaceriver.node.keeping import Keeping
from peaceriver.node.kept import KeptViews
from peaceriver.node.latest import Latest
from peaceriver.node.membership import Membership
from peaceriver.node.offering import Offering
from peaceriver.node.overview import Overview
from peaceriver.node.pending import Pending
from peaceriver.node.progress import Progress
from peaceriver.node.pulse import Pulse
from peaceriver.node.querying import Querying
from peaceriver.node.reading import Reading
from peaceriver.node.receipts import Receipts
from peaceriver.node.repairing import Repairing
from peaceriver.node.replication import Company, Replication
from peaceriver.node.roles import Roles
from peaceriver.node.room import Room
from peaceriver.node.routing import Routing
from peaceriver.node.sending import Sending
from peaceriver.node.spooling import Spooling
from peaceriver.node.stamps import Stamps
from peaceriver.node.verifying import Verifying
from peaceriver.postgres import Database, DatabaseCorrupted, DatabaseError, Unreachable
from peaceriver.protocol.members import Members
from peaceriver.record import Record, from_row
from peaceriver.rule import Rule
from peaceriver.shard import journal
from peaceriver.shard.former import Table, drop_later
from peaceriver.shard.rebuild import Tell, rebuild, untold
from peaceriver.shard.replicas import members_in
from peaceriver.shard.shard import Shard
from peaceriver.shard.trouble import Trouble
from peaceriver.shard.view_tables import ViewTable, columns_of
from peaceriver.shard.views import Folder, Views

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5
_RETRY_PAUSE_MAX_S = 60.0
_FAILED_PAUSE_S = 5.0


class Node:
    """A running node. ``start`` takes up every replica that the directory gives it; ``stop`` ends in order."""

    def __init__(
        self,
        name: str,
        database: Database,
        *,
        company: Company | None = None,
        python: Mapping[str, type[Actor]] | None = None,
        rules: Mapping[str, Rule] | None = None,
        room: Room | None = None,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self.name = name
        self.database = database
        self.company = company or Company(founders=(name,))
        self.directory = Directory(python)
        self.shards = Departments(self.directory)
        self.folders: dict[int, Folder] = {}
        self.views = Views(self.directory)
        self.room = room or Room(None)
        self.pulse = Pulse(database, every_s=self.company.lease_s)
        self.agents = Agents(self.directory, self.shards, self.views, Evaluator(rules or {}, python or {}))
        self.roles = Roles(self.shards, self.agents)
        self.replication = Replication(
            name,
            database,
            self.company,
            turned=self.roles.turned,
            doubted=lambda shard, node: self.verifying.doubt(shard, node),
        )
        peers, keepers = self.replication.peers, self.replication.keepers
        self.overview = Overview(
            name, peers, self.directory, self.shards, keepers, self.replication.pullers, self.agents, self._trouble
        )
        self.membership = Membership(
            name, self.directory, keepers, self.room, folded=self.overview.folded, lease_s=self.company.lease_s
        )
        self.routing = Routing(name, self.shards, peers, self.room)
        self.latest = Latest(name, database, self.shards, keepers, peers)
        self.stamps = Stamps(database, self.shards, self.routing.tick, self.latest.positions)
        self.receipts = Receipts(database, self.shards, peers)
        self.cutoffs = Cutoffs(
            database, self.directory, self.shards, self.folders, self.stamps, self.latest, self.receipts
        )
        self.sending = Sending(self.directory, self.shards, self.routing, self.stamps, self.views)
        self.pending = Pending(database, self.room)
        self.offering = Offering(self.shards, keepers, self.pending, self.routing, self.sending)
        self.spooling = Spooling(self.sending, self.pending, self.offering.wake)
        self.reading = Reading(database, self.views, self.cutoffs, self.shards)
        self.querying = Querying(database, self.directory, self.views, self.cutoffs, self.shards)
        self.kept = KeptViews(database, Keeping(database, self.views, self.folders, self.shards), self.querying)
        self.drafts = Drafts(database, self.spooling, peers)
        self.exceptions = Exceptions(database, self.shards, self.agents, self.sending, self.room)
        progress = Progress(database, self.directory, self.shards, self.agents)
        self.consequences = Consequences(database, self.shards, progress, self.exceptions, self.stamps, self.receipts)
        repairing = Repairing(database, self.views, self.folders, self.replication, self.room)
        self.incidents = Incidents(name, database, self.directory, self.sending)
        agreeing = Agreeing(database, self.replication)
        self.verifying = Verifying(
            name, database, self.views, self.shards, self.replication, repairing, agreeing, self.incidents
        )
        database.tell_corrupted(self.verifying.suspect)
        self._clock = clock
        #: Who held shard 0 since when, by position: they are who a department that came then was founded by.
        self._holders = [Members(self.company.founders)]
        self.background = Background()
        self.views.left = self._left
        #: Types whose views wait to get the columns of their newest model.
        self._levelling: set[str] = set()

    async def start(self) -> None:
        """Take up every replica; raises StartFailed where this node cannot go on from its records.

        A node that is its cluster alone leads every department when this returns; with others, see ``ready``.
        """
        await self.replication.boot()
        await self.pending.load()
        async with self.database.transaction() as tx:
            # Before any replica is taken up: it folds at once what was left, on top of what the views hold.
            await self.views.load(tx)
        await self._open(CONTROL)
        await self._read_directory()
        self._check_folds()
        for code in list(self.directory.departments):
            await self._open(code)
        await self._level_views()
        self.background.begin(self._follow_directory(), name="directory")
        self.background.begin(self.kept.follow(), name="the kept views")
        self.roles.start()
        self.pulse.start()
        self.replication.start()
        self.membership.start()
        self._place_nodes()
        self.verifying.start()
        self.incidents.start()
        for shard in self.shards.values():
            self.roles.turned(shard)
        if self.alone:
            await self.led()

    @property
    def alone(self) -> bool:
        """Whether it is its cluster alone, as far as it was told."""
        return self.company.founders == (self.name,) and not self.company.urls

    async def led(self) -> None:
        """Wait until every department of the directory is led by somebody.

        Not for one that is damaged here: it may be damaged everywhere, and the others go on.
        """
        for shard in list(self.shards.values()):
            while shard.leader is None and not shard.damage.known:
                await shard.turns.passed(shard.turns.value)

    async def stop(self) -> None:
        """Take nothing more, finish what is under way, and give up the lead."""
        await asyncio.gather(self.background.stop(), self.offering.stop(), self.verifying.stop(), self.incidents.stop())
        ending: list[Callable[[], Awaitable[None]]] = [
            self.roles.stop,
            self.membership.stop,
            *(each.stop for each in self.folders.values()),
        ]
        await asyncio.gather(*(end() for end in ending))
        await self.agents.stop()
        await self.pulse.stop()
        await self.replication.stop()
        self.agents.close()
        await self.database.close()

    @property
    def ready(self) -> bool:
        """Whether every department of the directory has a leader."""
        return not self.waiting

    @property
    def waiting(self) -> list[int]:
        """The departments that have no leader now."""
        codes = {CONTROL, *self.directory.departments}
        return sorted(code for code in codes if code not in self.shards or self.shards[code].leader is None)

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

    # --- replicas

    async def _open(self, code: int) -> None:
        """Take up this node's replica of a department."""
        born = self.directory.born.get(code, 0)
        founders = [each for each in self._holders if each.position <= born][-1]
        rules = msgspec.structs.replace(self.directory.rules_for(code), validations=self.agents.validations_for(code))
        shard = Shard(self.database, code, rules, self.directory, self._clock)
        if code != CONTROL:
            shard.later_than = self.directory.departments[code].since
        shard.sent, shard.stranded = self.roles.sent, self.offering.wake
        shard.lack, shard.unanswered = lambda: self.room.lack, self.pulse.unanswered
        ordinal = list(self.directory.born).index(code) + 1 if code != CONTROL else 0
        await self.replication.open(
            shard,
            Members(founders.voters),
            born=born,
            first=founders.voters[ordinal % len(founders.voters)],
        )
        folder = Folder(shard, self.views)
        shard.followers.append(folder.offer)
        async with self.views.switching:
            await folder.start()
            self.folders[code] = folder
        self.shards[code] = shard
        self.roles.turned(shard)
        if self.pending.was_left_for(code):
            self.offering.wake(code)

    # --- the directory

    async def _read_directory(self) -> None:
        """Fold shard 0's journal into memory, as far as it is complete, and known to be sound.

        Where it is damaged, the rest comes once it is repaired.
        """
        while self.directory.applied.value < self._readable():
            try:
                records = await self._apply_next()
            except Exception:  # outermost: who does not start has nothing repaired; it is gone on with later
                log.exception("the directory cannot be read whole", position=self.directory.applied.value)
                return
            self.directory.applied.advance(records[-1].position)

    async def _follow_directory(self) -> None:
        """Follow shard 0: take in each change, and take up departments that are new."""
        while True:
            await self.shards[CONTROL].complete.passed(self.directory.applied.value)
            try:
                records = await self._apply_next()
                await self._change({each.actor_type for each in records if each.kind == "received"}, records)
                self.directory.applied.advance(records[-1].position)
            except (*Unreachable, DatabaseError, Withheld) as error:
                log.warning("the directory waits", reason=str(error))
                await asyncio.sleep(_RETRY_PAUSE_S)
            except Exception:  # outermost: without it this node would take up no department and no rule any more
                log.exception("the directory could not be followed", position=self.directory.applied.value)
                await asyncio.sleep(_FAILED_PAUSE_S)

    def _readable(self) -> int:
        control = self.shards[CONTROL]
        return control.damage.sound_until(self.directory.applied.value, control.complete.value)

    async def _apply_next(self) -> list[Record]:
        """Take in the next complete records of shard 0, in memory; answers at least one.

        Raises Withheld where they are known to be damaged, and other errors where they are without being known.
        """
        after, until = self.directory.applied.value, self._readable()
        if until == after:
            self.shards[CONTROL].damage.check(after, after + 1)
        async with self.database.connection() as tx:
            rows = await journal.following(tx, CONTROL, after=after, until=until, records=PAGE_RECORDS_MAX)
        if not rows:
            raise Damaged(f"shard 0 lacks records from position {after + 1} to {until}: verify it")
        records = [from_row(row) for row in rows]
        for number, record in enumerate(records):
            try:
                self._apply(record)
            except Exception:
                if number == 0:
                    raise
                return records[:number]  # what could be taken in counts; the next time this one comes first
        return records

    def _apply(self, record: Record) -> None:
        if record.kind == "received":
            self.directory.apply(record)
        elif record.kind == "member":
            self._holders.append(members_in([record], self._holders[-1]))

    async def _change(self, sections: set[str | None], records: list[Record]) -> None:
        """Bring this node level with what has changed in the directory."""
        if MODELS in sections:
            for name in {each.actor_id for each in records if each.actor_type == MODELS}:
                assert name is not None
                self._level_view_at_last(name)
        if sections & {MODELS, VIEWS}:
            self.kept.wake()
        if NODES in sections:
            self._place_nodes()
        if DEPARTMENTS in sections:
            await self._open_departments()
        if sections & {DEPARTMENTS, RULES}:
            self.background.begin(self.agents.level(), name="level the rules")

    def _place_nodes(self) -> None:
        for each in self.directory.nodes.values():
            self.replication.place(each.name, each.url)
        for name in self.directory.gone:
            self.background.begin(self.replication.part_with(name), name=f"part with {name}")

    async def _open_departments(self) -> None:
        """Take up departments that are new; tries again until the database lets it."""
        for code in list(self.directory.departments):
            while code not in self.shards:
                try:
                    await self._open(code)
                except (*Unreachable, DatabaseError) as error:
                    log.warning("department waits", shard=code, reason=str(error))
                    await asyncio.sleep(_RETRY_PAUSE_S)

    def _trouble(self) -> Trouble | None:
        """What keeps this node from leading anything, if something does."""
        now = time.monotonic()
        unanswered_s = self.pulse.unanswered(now)
        if unanswered_s > self.company.lease_s:
            return Trouble("its database does not answer", now - unanswered_s)
        return self.room.lack

    # --- views

    def _left(self, tables: Sequence[Table]) -> None:
        """Tables are left to whoever is reading them yet; one of a kept view may have been lost."""
        self.background.begin(drop_later(self.database, tables), name="drop former tables")
        self.kept.wake()

    async def _level_views(self) -> None:
        for actor_type in list(self.directory.models):
            try:
                await self._level_view(actor_type)
            except (Withheld, DatabaseCorrupted) as error:
                # A department is damaged: the node starts all the same, or nobody would repair it.
                log.warning("a view waits", actor_type=actor_type, reason=str(error))
                self._level_view_at_last(actor_type)

    def _level_view_at_last(self, actor_type: str) -> None:
        if actor_type not in self._levelling:
            self._levelling.add(actor_type)
            self.background.begin(self._until_level(actor_type), name=f"level the view of {actor_type}")

    async def _until_level(self, actor_type: str) -> None:
        """Try, less and less often: what is in the way may be damage that nobody can repair by himself."""
        pause_s, told = _RETRY_PAUSE_S, ""
        while True:
            await self.shards[CONTROL].has_room()
            self._levelling.discard(actor_type)  # a model that comes from here on is for the next one
            try:
                await self._level_view(actor_type)
                self.kept.made_anew(actor_type)
                return
            except (*Unreachable, DatabaseError, Withheld) as error:
                if str(error) != told:
                    log.warning("a view waits", actor_type=actor_type, reason=str(error))
                told = str(error)
            if actor_type in self._levelling:
                return
            self._levelling.add(actor_type)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RETRY_PAUSE_MAX_S)

    async def _level_view(self, actor_type: str) -> None:
        """Give a type's view the columns of its newest model."""
        table = self.views.tables.get(actor_type)
        if table is not None and table.columns != columns_of(self.directory.versions(actor_type)):
            await self.rebuild(actor_type)

    async def rebuild(self, actor_type: str, tell: Tell = untold) -> ViewTable:
        """Fold a type's view anew from the journals, beside the live one, and switch to it; one after the other."""
        return await rebuild(self.database, self.views, self.folders, actor_type, tell)
