"""Kept views as they are asked for: kept on this node while the directory says so, and always equal to the query.

Each department's part is true where its views are folded to. That is a cut like any other, unless it shows an effect
whose cause is not shown; then, and for any other moment, the answer is computed, and is the same to the byte.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from peaceriver.errors import Invalid, NotFound, TooLarge, Unavailable, Withheld
from peaceriver.limits import KEPT_ROWS_MAX, QUERY_TIMEOUT_S
from peaceriver.node.keeping import Keeping
from peaceriver.node.querying import Querying, left_s
from peaceriver.node.questions import Answer, Column, Question
from peaceriver.postgres import Database, DatabaseError, Transaction, Unreachable
from peaceriver.query.cutoff import Cutoff, Place
from peaceriver.query.guard import checked
from peaceriver.query.kept import Kept, definition
from peaceriver.query.named import View
from peaceriver.query.statement import SYSTEM_TYPES, Relation, resolved
from peaceriver.shard import kept_tables, kept_text
from peaceriver.shard.view_tables import SQL_TYPES

log = structlog.get_logger()
_RETRY_PAUSE_S = 5.0
#: What PostgreSQL says of a table that was dropped a moment ago.
_NO_TABLE = "42P01"


class KeptViews:
    """What is kept on a node, and what it answers."""

    def __init__(self, database: Database, keeping: Keeping, querying: Querying) -> None:
        self._database = database
        self.keeping = keeping
        self._querying = querying
        self._levelling = asyncio.Lock()

    async def level(self) -> None:
        """Keep what the directory says, and nothing else; what cannot be kept now is computed until it can."""
        await asyncio.to_thread(self._querying.views)  # read beside the loop, and remembered: it may take long
        async with self._levelling:
            while True:
                if await self._levelled():
                    return
                await asyncio.sleep(_RETRY_PAUSE_S)

    async def _levelled(self) -> bool:
        """Whether all is kept that can be: what is damaged may be repaired soon."""
        tables, lost = await self.keeping.known()
        known = {each.name: each for each in tables} | {each.kept.name: each.kept for each in lost}
        wanted = {view.name: kept for view in self._querying.views() if (kept := self._definition(view)) is not None}
        for name in known.keys() - wanted.keys():
            await self.keeping.discard(name)
        is_level = True
        for name, kept in wanted.items():
            if known.get(name) != kept:
                try:
                    await self.keeping.keep(kept)
                except Invalid as error:
                    log.warning("a view cannot be kept and is computed", view=name, reason=error.detail)
                except (Withheld, *Unreachable, DatabaseError) as error:
                    log.warning("a view waits to be kept", view=name, reason=str(error))
                    is_level = False
        return is_level

    def _definition(self, view: View) -> Kept | None:
        """What is to be kept of a view; None where nothing is."""
        if not view.kept:
            return None
        query = checked(view.sql)
        try:
            (actor_type,) = resolved(query, self._querying.models).values()
            kept = definition(view.name, query.tree)
        except Invalid as error:
            log.warning("a view cannot be kept and is computed", view=view.name, reason=error.detail)
            return None
        return Kept(**{name: getattr(kept, name) for name in Kept.__struct_fields__} | {"actor_type": actor_type})

    async def check(self, view: View) -> None:
        """Raise Invalid where a view is to be kept and cannot be."""
        kept = self._definition(view)
        if kept is not None:
            relation = await self._querying.related(kept.actor_type, Cutoff({}), kept.fields)
            async with self._database.querying(QUERY_TIMEOUT_S) as tx:
                await kept_tables.shape(tx, kept, _types(relation))

    async def ask(self, view: View, question: Question) -> Answer | None:
        """What is kept of a view, all rows at once, where that answers a question; None where it is to be computed.

        It is the same to the byte. Raises what ``Querying.ask`` does.
        """
        if question.freshness.as_of is not None or (kept := self._definition(view)) is None:
            return None
        async with self._querying.in_time(question) as deadline:
            cutoff, missing = await self._querying.cutoff(question)
            cutoff, withheld = self._querying.sound(cutoff, [kept.actor_type], partly=question.allow_partial)
            try:
                # The snapshot shows the table that is chosen now, or one that it replaced.
                async with self._database.querying(left_s(deadline)) as tx:
                    found = await self._kept(tx, kept, list(cutoff.places), min(KEPT_ROWS_MAX, question.rows_max))
            except (NotFound, Invalid, Unavailable, TooLarge):
                return None
            except DatabaseError as error:
                if getattr(error, "sqlstate", None) != _NO_TABLE:
                    raise
                return None
            if found is None or not await self._is_cut(found.cutoff):
                return None
        return msgspec.structs.replace(found, missing=(*missing, *withheld))

    async def _kept(self, tx: Transaction, kept: Kept, codes: list[int], rows_max: int) -> Answer | None:
        """What is kept, where it is of this very definition; raises what ``Keeping.answer`` does."""
        table, rows, folded = await self.keeping.answer(tx, kept.name, codes, rows_max)
        cutoff = Cutoff({code: Place(each.position, each.stamp) for code, each in folded.items()})
        # What is kept is made of the newest version's columns; at the cutoff others may count.
        relation = self._querying.relation(kept.actor_type, cutoff, kept.fields)
        is_other = any(stored != name for name, _, stored in relation.columns if name in kept.fields)
        if table.kept != kept or is_other:
            return None
        kinds = kept_text.output_kinds(kept, table.shape)
        columns = tuple(Column(name, kinds[name]) for name in kept.columns)
        return Answer(cutoff, columns, rows)

    async def _is_cut(self, cutoff: Cutoff) -> bool:
        """Whether no effect is shown there without its cause."""
        return len(cutoff.places) < 2 or not await self._querying.cutoffs.lowered(dict(cutoff.places))


def _types(relation: Relation) -> dict[str, str]:
    """The types of what a relation's columns are, as they are declared."""
    columns = {**SYSTEM_TYPES, **{name: kind for name, kind, _ in relation.columns}}
    return {name: SQL_TYPES.get(kind, kind) for name, kind in columns.items()}
