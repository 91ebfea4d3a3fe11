"""The view agent of one shard: folds complete records into the live views, and moves its mark in the same transaction.

It follows the journal as every reader does. A group is folded whole, so a view never shows half a batch.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

import structlog

from peaceriver.errors import Withheld
from peaceriver.limits import FOLD_BEHIND_PAUSE_S, FOLD_PAUSE_S, KEPT_STEP_TIMEOUT_S, STEP_RECORDS_MAX
from peaceriver.postgres import Database, DatabaseDiskFull, Transaction, Unreachable, bound
from peaceriver.query.cutoff import Place
from peaceriver.record import Record, from_row
from peaceriver.shard import documents, journal, kept_tables, view_tables
from peaceriver.shard.documents import Change, ModelAt
from peaceriver.shard.folding import fold_apart, fold_into
from peaceriver.shard.former import Table
from peaceriver.shard.journal import Batch, Mark, type_and_id
from peaceriver.shard.kept_tables import Lost
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.shard import Shard
from peaceriver.shard.standing import effects_of, fold_standing
from peaceriver.shard.unfolded import Stretch, Unfolded
from peaceriver.shard.view_tables import ViewTable

log = structlog.get_logger()
_RETRY_PAUSE_S = 0.5
_FAILED_PAUSE_S = 5.0


class Source(NamedTuple):
    """The view of a type as something is computed from it: another one says something else, but for what is folded."""

    view: ViewTable
    #: How often actors in it were repaired.
    repairs: int


class Views:
    """The live views of a node, as its database's catalogue has them: which table holds each type, and what is kept.

    Whoever changes the catalogue does so in a ``changing`` block, and whoever goes by what is here settles it first.
    """

    def __init__(self, model_at: ModelAt) -> None:
        self.model_at = model_at
        #: The same object for ever: readers of journals hold on to it.
        self.tables: dict[str, ViewTable] = {}
        #: Where each version of each model was first used: by type, version and shard, a position.
        self.editions: dict[str, dict[int, dict[int, int]]] = {}
        #: The kept views of each type: whoever changes its view brings them along in the same transaction.
        self.kept: dict[str, tuple[KeptTable, ...]] = {}
        #: Told which tables nothing is folded into from here on; somebody may be reading them yet.
        self.left: Callable[[Sequence[Table]], object] = lambda tables: None
        #: Whether the catalogue may say something else than what is here, for it is not known whether it was changed.
        self.unsure = False
        self._making = asyncio.Lock()
        #: How often actors of a type were folded again in its live view, which is not as it must be then.
        self.repairs: Counter[str] = Counter()
        #: Held while a view is made anew beside the live one, up to the switch, or repaired, or a kept one switched to.
        self.rebuilding = asyncio.Lock()
        #: Held while a table is switched to, so that no department is taken up that would go on with the old one.
        self.switching = asyncio.Lock()

    def __contains__(self, actor_type: str) -> bool:
        return actor_type in self.tables

    def __len__(self) -> int:
        return len(self.tables)

    async def load(self, tx: Transaction) -> None:
        """Read the catalogue at start, and drop tables that a rebuild left behind."""
        await self._read(tx)
        live = {each.name for each in self.tables.values()}
        for row in await view_tables.sql.tables.rows(tx):
            if row["table_name"] not in live:
                await view_tables.drop(tx, row["table_name"])
        await kept_tables.drop_leftovers(tx, [each for some in self.kept.values() for each in some])

    async def _read(self, tx: Transaction) -> None:
        """Go by what the catalogue says, once no change of it is under way any more, and before another one is.

        A connection that was cut may still be committing at the server, also one of a node that was killed.
        """
        await view_tables.sql.hold.run(tx)
        tables, editions = await view_tables.catalog(tx), await view_tables.editions(tx)
        kept, _ = await kept_tables.catalog(tx)
        # Before the catalogue is let go of: what is changed after that changes this, too.
        former = self._all()
        self.tables.clear()
        self.tables.update(tables)
        self.editions = editions
        self.kept = {}
        for each in kept:
            self.keep(each)
        self.unsure = False
        self._leave(former - self._all())

    def _all(self) -> set[Table]:
        return {*self.tables.values(), *(each for some in self.kept.values() for each in some)}

    def _leave(self, former: Iterable[Table]) -> None:
        if tables := list(former):
            self.left(tables)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The catalogue is changed in the block, and then this is.

        Where the block ends early, whether the catalogue was changed is not known: a commit that nobody saw the end of
        may have been made, or may yet be.
        """
        try:
            yield
        except BaseException:
            self.unsure = True
            raise

    async def settle(self, database: Database) -> None:
        """Find out what the catalogue says, where that is not known.

        No table is dropped: what is in no catalogue may just be filled, or still be read.
        """
        if not self.unsure:
            return
        async with self._making, database.transaction() as tx:
            if self.unsure:
                await self._read(tx)
                log.info("the catalogue of views was read again", reason="whether a change of it was made is not known")

    def edition_at(self, actor_type: str, places: Mapping[int, Place]) -> int | None:
        """The newest version of a type's model that records up to some places were folded with; None: with none."""
        used = self.editions.get(actor_type, {})
        found = [
            version
            for version, first in used.items()
            if any(code in places and position <= places[code].position for code, position in first.items())
        ]
        return max(found, default=None)

    def not_used(self, shard: int, changes: Mapping[str, Sequence[Change]]) -> dict[tuple[str, int], int]:
        """The versions of models, by type, that changes are the first of in a shard to be folded with; and where."""
        new: dict[tuple[str, int], int] = {}
        for actor_type, some in changes.items():
            known = self.editions.get(actor_type, {})
            for record, _ in some:
                version = record.model_version
                if version is not None and shard not in known.get(version, ()):
                    new.setdefault((actor_type, version), record.position)
        return new

    def note_used(self, shard: int, new: Mapping[tuple[str, int], int]) -> None:
        """They were used there."""
        for (actor_type, version), position in new.items():
            self.editions.setdefault(actor_type, {}).setdefault(version, {}).setdefault(shard, position)

    def source(self, actor_type: str) -> Source:
        """What a kept view over a type is computed from now."""
        return Source(self.tables[actor_type], self.repairs[actor_type])

    def keep(self, table: KeptTable) -> None:
        """This is the table of a kept view from here on."""
        self.let_go([table.kept.name])
        self.kept[table.kept.actor_type] = (*self.kept.get(table.kept.actor_type, ()), table)

    def let_go(self, names: Iterable[str]) -> None:
        """These views are not kept any more."""
        gone = set(names)
        former = [each for tables in self.kept.values() for each in tables if each.kept.name in gone]
        for actor_type in {each.kept.actor_type for each in former}:
            self.kept[actor_type] = tuple(each for each in self.kept[actor_type] if each not in former)
        self._leave(former)

    def become(self, table: ViewTable, kept: Iterable[KeptTable]) -> None:
        """This is the view of a type, and these are the kept views over it, from here on."""
        former = [self.tables.get(table.actor_type), *self.kept.get(table.actor_type, ())]
        self.tables[table.actor_type] = table
        self.kept[table.actor_type] = tuple(kept)
        self._leave(each for each in former if each is not None)

    async def ensure(self, database: Database, types: Iterable[str]) -> None:
        """Make the view tables of types that are new."""
        for actor_type in sorted(set(types) - self.tables.keys()):
            async with self._making:
                if actor_type in self.tables:
                    continue
                with self.changing():
                    async with database.transaction() as tx:
                        table = await view_tables.create(tx, actor_type, self.model_at.versions(actor_type))
                        await view_tables.switch(tx, table)
                    self.tables[actor_type] = table


class Folder:
    """Folds one shard's records into the live views, as they become complete."""

    def __init__(self, shard: Shard, views: Views) -> None:
        self._shard = shard
        self._views = views
        self._task: asyncio.Task[None] | None = None
        #: The stamp at the mark.
        self.stamp = 0
        self._unfolded = Unfolded()
        #: Whether the last step was made is not known.
        self._unsure = False
        shard.voided.append(self._unfolded.forget)

    @property
    def shard(self) -> int:
        """The sharding code of the department."""
        return self._shard.code

    def check_journal(self) -> None:
        """Raise Withheld where what is folded cannot be folded again: records are damaged."""
        self._shard.damage.check(0, self.position)

    @property
    def position(self) -> int:
        """How far the shard's live views are folded."""
        return self._shard.folded.value

    @property
    def still(self) -> asyncio.Lock:
        """Held during a step; whoever switches a view holds it to keep the mark still."""
        return self._shard.still

    async def start(self) -> None:
        await self._look()
        self._task = asyncio.create_task(self._run(), name=f"fold {self._shard.code}")

    async def settle(self) -> None:
        """Find out whether the last step was made, and what of the views, where that is not known. For who holds
        ``still``: before that, ``position`` may be behind what the views hold.
        """
        await self._views.settle(self._shard.database)
        if self._unsure:
            await self._look()

    async def _look(self) -> None:
        """Go on from where the database says that the last step has led."""
        async with self._shard.database.connection() as tx:
            row = await view_tables.sql.settled_mark.row(tx, shard=self._shard.code)
            assert row is not None
            await self._shard.look_at_standing(tx)
        self.stamp = row["stamp"]
        self._shard.folded.advance(row["position"])
        self._unsure = False

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._shard.complete.passed(self._shard.folded.value)
            try:
                async with self._shard.still:
                    await self.settle()
                    self._unsure = True
                    await self._step()
                    self._unsure = False
                await self._rest()
            except (*Unreachable, DatabaseDiskFull, Withheld) as error:
                # It is made, if it was not, when the database, room on its disk, or what is damaged, is back.
                log.warning("views wait", shard=self._shard.code, reason=str(error))
                await asyncio.sleep(_RETRY_PAUSE_S)
            except Exception:  # outermost: readers wait for these views, so the step is tried again, and loudly
                log.exception("a step of the views failed", shard=self._shard.code)
                await asyncio.sleep(_FAILED_PAUSE_S)

    async def _rest(self) -> None:
        """Let more records gather before the next step, unless somebody waits for them.

        A step costs a transaction however few records it folds, and readers say when they need it.
        """
        wanted = self._shard.folded.wanted
        if self._shard.folded.value >= self._shard.complete.value:
            wanted.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLD_BEHIND_PAUSE_S if self._shard.behind else FOLD_PAUSE_S):
                await wanted.wait()

    def offer(self, _shard: Shard, batch: Batch) -> None:
        """A batch was appended: what is fresh need not be read and folded again."""
        self._unfolded.offer(batch)

    async def _step(self) -> None:
        after, until = self._shard.folded.value, self._shard.complete.value
        if after >= until:
            return  # the last step was made, though nobody knew
        if self._shard.standing < until:
            # Somebody else leads: what was kept from a reign of our own may have been taken back.
            self._unfolded.forget()
        stretch = self._unfolded.next(after, until) or await self._read(after, until)
        by_type: dict[str, list[Change]] = {}
        for change in stretch.changes:
            assert change[0].actor_type is not None
            by_type.setdefault(change[0].actor_type, []).append(change)
        await self._views.ensure(self._shard.database, by_type)
        try:
            marks = await self._write(after, stretch, by_type)
        except kept_tables.Unkeepable:
            if not any(self._views.kept.get(each) for each in by_type):
                raise
            # Nothing can stop a view: a kept view that cannot be computed, or not in time, is not kept any more.
            marks = await self._write(after, stretch, by_type, apart=True)
        self._shard.move_marks(marks)
        self._shard.standing = max(self._shard.standing, stretch.last)
        self.stamp = stretch.stamp
        self._shard.folded.advance(stretch.last)

    async def _write(
        self, after: int, stretch: Stretch, by_type: Mapping[str, list[Change]], *, apart: bool = False
    ) -> list[Mark]:
        """Make a step in the database; answers the marks that have moved with it."""
        lost: list[Lost] = []
        new = self._views.not_used(self._shard.code, by_type)
        with self._views.changing():
            async with self._shard.database.transaction() as tx:
                if not apart and any(self._views.kept.get(each) for each in by_type):
                    await bound(tx, KEPT_STEP_TIMEOUT_S)
                if new:
                    await view_tables.first_used(tx, self._shard.code, new)
                for actor_type, changes in by_type.items():
                    table, kept = self._views.tables[actor_type], self._views.kept.get(actor_type, ())
                    if apart:
                        lost += await fold_apart(tx, table, self._shard.code, changes, kept)
                    else:
                        await fold_into(tx, table, self._shard.code, changes, kept)
                moved = await view_tables.sql.move.value(
                    tx, shard=self._shard.code, expected=after, position=stretch.last, stamp=stretch.stamp
                )
                assert moved is not None, f"the views of {self._shard.code} were folded by somebody else beyond {after}"
                marks = await self._fold_standing(tx, stretch) if self._shard.standing < stretch.last else []
            self._views.let_go(each.kept.name for each in lost)
            self._views.note_used(self._shard.code, new)
        return marks

    async def _fold_standing(self, tx: Transaction, stretch: Stretch) -> list[Mark]:
        """Fold what admission and agents go by from the same records, as far as it is behind: nobody appends here.

        Answers the marks that have moved.

        folded <= standing: what the views hold is complete and is never taken back.
        """
        standing = self._shard.standing
        assert stretch.first <= standing + 1, f"the standing of {self._shard.code} is at {standing}, behind its views"
        new = [each for each in stretch.records if each.position > standing]
        changes = [each for each in stretch.changes if each[0].position > standing]
        effects = effects_of(new, changes)
        await fold_standing(tx, self._shard.code, effects, expected=standing, last=stretch.last)
        return effects.marks

    async def _read(self, after: int, until: int) -> Stretch:
        """The next groups from the journal, up to what is in memory, folded again."""
        until = self._unfolded.until(after, until)
        self._shard.damage.check(after, until)
        async with self._shard.database.connection() as tx:
            rows = await journal.whole_groups(tx, self._shard.code, after=after, until=until, records=STEP_RECORDS_MAX)
            records = [from_row(row) for row in rows]
            changes = await self._folded(tx, [each for each in records if each.kind == "received"])
        return Stretch(after + 1, records[-1].position, records[-1].stamp, changes, records)

    async def _folded(self, tx: Transaction, records: Sequence[Record]) -> list[Change]:
        """Records with the documents that they fold into, on top of what the views hold."""
        before: dict[type_and_id, str] = {}
        for actor_type in {each.actor_type for each in records if each.actor_type in self._views.tables}:
            assert actor_type is not None
            self._shard.damage.check_view(actor_type)
            ids = sorted({each.actor_id for each in records if each.actor_type == actor_type and each.actor_id})
            rows = await view_tables.last_documents(tx, self._views.tables[actor_type], self._shard.code, ids)
            before |= {(actor_type, row["actor_id"]): row["document"] for row in rows}
        return documents.changes(records, before, self._views.model_at)


@asynccontextmanager
async def all_still(views: Views, folders: Mapping[int, Folder]) -> AsyncIterator[None]:
    """No shard folds in the block, and none is taken up; of each it is known how far it is folded."""
    async with views.switching, AsyncExitStack() as stack:
        for code in sorted(folders):
            await stack.enter_async_context(folders[code].still)
        for folder in folders.values():
            await folder.settle()
        yield
