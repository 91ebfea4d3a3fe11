"""Kept views as they are asked for: kept on this node while the directory says so, and always equal to the query.

Each department's part is true where its views are folded to. That is a cut like any other, unless it shows an effect
whose cause is not shown; then, and for any other moment, the answer is computed, and is the same to the byte.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import structlog

from peaceriver.errors import Invalid, NotFound, TooLarge, Unavailable, Withheld
from peaceriver.limits import KEPT_ROWS_MAX, KEPT_WAIT_S, QUERY_TIMEOUT_S
from peaceriver.node.keeping import Keeping, rows
from peaceriver.node.querying import Querying, left_s
from peaceriver.node.questions import Answer, Column, Question
from peaceriver.node.retrying import Retries
from peaceriver.postgres import Database, DatabaseError, Transaction, Unreachable
from peaceriver.query.cutoff import Cutoff, Place
from peaceriver.query.guard import checked
from peaceriver.query.kept import Kept, definition
from peaceriver.query.named import View
from peaceriver.query.statement import SYSTEM_TYPES, Relation, resolved
from peaceriver.shard import kept_tables, kept_text
from peaceriver.shard.view_tables import SQL_TYPES

log = structlog.get_logger()
_NOT_YET = "it is being computed"
#: What PostgreSQL says of a table that was dropped a moment ago.
_NO_TABLE = "42P01"


class KeptViews:
    """What is kept on a node, and what it answers."""

    def __init__(self, database: Database, keeping: Keeping, querying: Querying) -> None:
        self._database = database
        self.keeping = keeping
        self._querying = querying
        self._retries = Retries()
        #: Why views cannot be kept by what they say, by name.
        self._unfit: dict[str, str] = {}
        self._woken = asyncio.Event()

    # --- what is kept

    def wake(self) -> None:
        """What is to be kept, or what is kept, may have changed: it is looked at soon."""
        self._woken.set()

    def again(self, name: str) -> None:
        """Somebody wants a view to be kept: one that could not be is tried again now."""
        self._retries.again(lambda kept: kept.name == name)
        self.wake()

    def made_anew(self, actor_type: str) -> None:
        """The view of a type was made anew: what could not be kept of it is tried again now."""
        self._retries.again(lambda kept: kept.actor_type == actor_type)
        self.wake()

    async def follow(self) -> None:
        """Keep what the directory says, and nothing else, as long as the node runs.

        What cannot be kept, or was lost, is computed until it can be.
        """
        while True:
            self._woken.clear()
            pause_s = await self._tried()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()

    async def _tried(self) -> float | None:
        """Bring what is kept level, if that can be done; answers in how long to look again, if nobody wakes."""
        try:
            await asyncio.to_thread(self._querying.views)  # read beside the loop, and remembered: it may take long
            await self.level()
        except (*Unreachable, DatabaseError) as error:
            log.warning("the kept views wait", reason=str(error) or repr(error))
            return KEPT_WAIT_S
        except Exception:  # outermost: without it this node would keep no view any more that is new, or was lost
            log.exception("the kept views could not be brought level")
            return KEPT_WAIT_S
        pauses_s = [self._retries.next_s(), KEPT_WAIT_S if self._unfit else None]
        return min((each for each in pauses_s if each is not None), default=None)

    async def level(self) -> None:
        """Keep what is to be kept and is due, and nothing else."""
        wanted = self._wanted()
        self._retries.only(wanted)
        tables, lost = await self.keeping.known()
        for name in {each.name for each in tables} | {each.kept.name for each in lost}:
            if name not in wanted:
                with suppress(NotFound):
                    await self.keeping.discard(name)
        for each in lost:
            if wanted.get(each.kept.name) == each.kept:
                self._retries.is_lost(each.kept, each.reason)
        for kept in wanted.values():
            if kept in tables:
                self._retries.is_kept(kept)
            elif self._retries.is_due(kept):
                await self._keep(kept)

    async def _keep(self, kept: Kept) -> None:
        try:
            await self.keeping.keep(kept)
        except Invalid as error:
            self._retries.failed(kept, error.detail)
            log.warning("a view cannot be kept and is computed", view=kept.name, reason=error.detail)
        except (Withheld, *Unreachable, DatabaseError) as error:
            reason = str(error) or repr(error)
            self._retries.waits(kept, reason)
            log.warning("a view waits to be kept", view=kept.name, reason=reason)
        else:
            self._retries.is_kept(kept)

    def _wanted(self) -> dict[str, Kept]:
        """What is to be kept, by name."""
        wanted: dict[str, Kept] = {}
        unfit: dict[str, str] = {}
        for view in self._querying.views():
            try:
                if (kept := self._definition(view)) is not None:
                    wanted[view.name] = kept
            except Invalid as error:
                unfit[view.name] = error.detail
                if self._unfit.get(view.name) != error.detail:
                    log.warning("a view cannot be kept and is computed", view=view.name, reason=error.detail)
        self._unfit = unfit
        return wanted

    async def not_kept(self) -> dict[str, str | None]:
        """Why views that are to be kept are not kept on this node now, by name; None for those that are."""
        wanted = self._wanted()
        tables, lost = await self.keeping.known()
        reasons = {each.kept: each.reason for each in lost}
        return dict(self._unfit) | {
            name: None if kept in tables else reasons.get(kept) or self._retries.reason(kept) or _NOT_YET
            for name, kept in wanted.items()
        }

    def _definition(self, view: View) -> Kept | None:
        """What is to be kept of a view; None where nothing is. Raises Invalid where that cannot be."""
        if not view.kept:
            return None
        query = checked(view.sql)
        (actor_type,) = resolved(query, self._querying.models).values()
        kept = definition(view.name, query.tree)
        return Kept(**{name: getattr(kept, name) for name in Kept.__struct_fields__} | {"actor_type": actor_type})

    async def check(self, view: View) -> None:
        """Raise Invalid where a view is to be kept and cannot be."""
        kept = self._definition(view)
        if kept is not None:
            relation = await self._querying.related(kept.actor_type, Cutoff({}), kept.fields)
            async with self._database.querying(QUERY_TIMEOUT_S) as tx:
                await kept_tables.shape(tx, kept, _types(relation))

    # --- what it answers

    async def ask(self, view: View, question: Question) -> Answer | None:
        """What is kept of a view, all rows at once, where that answers a question; None where it is to be computed.

        It is the same to the byte. Raises what ``Querying.ask`` does.
        """
        if question.freshness.as_of is not None or (kept := self._kept_of(view)) is None:
            return None
        async with self._querying.in_time(question) as deadline:
            cutoff, missing = await self._querying.cutoff(question)
            cutoff, withheld = self._querying.sound(cutoff, [kept.actor_type], partly=question.allow_partial)
            try:
                # The snapshot shows the table that is chosen now, or one that it replaced.
                async with self._database.querying(left_s(deadline)) as tx:
                    found = await self._kept(tx, kept, list(cutoff.places), min(KEPT_ROWS_MAX, question.rows_max))
            except (NotFound, Invalid, Unavailable):
                return None
            except TooLarge:
                if question.rows_max <= KEPT_ROWS_MAX:
                    raise  # its query would only be run to be refused
                return None
            except DatabaseError as error:
                if getattr(error, "sqlstate", None) != _NO_TABLE:
                    raise
                return None
            if found is None or not await self._is_cut(found.cutoff):
                return None
        return msgspec.structs.replace(found, missing=(*missing, *withheld))

    def _kept_of(self, view: View) -> Kept | None:
        """What may be kept of a view."""
        with suppress(Invalid):
            return self._definition(view)
        return None

    async def _kept(self, tx: Transaction, kept: Kept, codes: list[int], rows_max: int) -> Answer | None:
        """What is kept, where it is of this very definition; raises what ``Keeping.at`` does, and TooLarge."""
        table, folded = await self.keeping.at(tx, kept.name, codes)
        cutoff = Cutoff({code: Place(each.position, each.stamp) for code, each in folded.items()})
        # What is kept is made of the newest version's columns; at the cutoff others may count.
        relation = self._querying.relation(kept.actor_type, cutoff, kept.fields)
        is_other = any(stored != name for name, _, stored in relation.columns if name in kept.fields)
        if table.kept != kept or is_other:
            return None
        kinds = kept_text.output_kinds(kept, table.shape)
        columns = tuple(Column(name, kinds[name]) for name in kept.columns)
        return Answer(cutoff, columns, await rows(tx, table, codes, rows_max))

    async def _is_cut(self, cutoff: Cutoff) -> bool:
        """Whether no effect is shown there without its cause."""
        return len(cutoff.places) < 2 or not await self._querying.cutoffs.lowered(dict(cutoff.places))


def _types(relation: Relation) -> dict[str, str]:
    """The types of what a relation's columns are, as they are declared."""
    columns = {**SYSTEM_TYPES, **{name: kind for name, kind, _ in relation.columns}}
    return {name: SQL_TYPES.get(kind, kind) for name, kind in columns.items()}
