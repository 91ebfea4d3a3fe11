"""Kept views as they are asked for: kept on this node while the directory says so, and always equal to the query.

Each department's part is true where its views are folded to. That is a cut like any other, unless it shows an effect
whose cause is not shown; then, and for any other moment, the answer is computed, and is the same to the byte.
"""

from __future__ import annotations

import asyncio

import structlog

from peaceriver.errors import Invalid, NotFound, Unavailable, Withheld
from peaceriver.node.keeping import Keeping
from peaceriver.node.querying import Querying
from peaceriver.node.questions import Answer, Column, Question
from peaceriver.postgres import Database, Row, Transaction
from peaceriver.query.cutoff import Cutoff, Place
from peaceriver.query.guard import checked
from peaceriver.query.kept import Kept, definition
from peaceriver.query.named import View
from peaceriver.query.statement import resolved, rows_at_cutoff
from peaceriver.shard import kept_text
from peaceriver.shard.kept_text import KeptTable

log = structlog.get_logger()
_RETRY_PAUSE_S = 5.0


class KeptViews:
    """What is kept on a node, and what it answers."""

    def __init__(self, database: Database, keeping: Keeping, querying: Querying) -> None:
        self._database = database
        self.keeping = keeping
        self._querying = querying
        self._levelling = asyncio.Lock()

    async def level(self) -> None:
        """Keep what the directory says, and nothing else; what cannot be kept now is computed until it can."""
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
                except Withheld as error:
                    log.warning("a view waits to be kept", view=name, reason=error.detail)
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

    async def ask(self, view: View, question: Question) -> Answer:
        """The rows of a kept view at a cutoff; raises what ``Querying.ask`` does."""
        async with self._querying.in_time(question):
            cutoff, missing = await self._querying.cutoff(question)
            async with self._database.snapshot() as tx:
                answer = await self._kept(tx, view, cutoff, question)
            if answer is None:
                return await self._querying.ask(question)
            return Answer(answer.cutoff, answer.columns, answer.rows, missing)

    async def _kept(self, tx: Transaction, view: View, cutoff: Cutoff, question: Question) -> Answer | None:
        """What is kept, where that is an answer; else computed at the cutoff; None where nothing is kept."""
        try:
            table, rows, folded = await self.keeping.answer(tx, view.name, list(cutoff.places))
        except (NotFound, Invalid, Unavailable) as refusal:
            if isinstance(refusal, Withheld) and not question.allow_partial:
                raise
            return None
        places = {code: Place(each.position, each.stamp) for code, each in folded.items()}
        is_past = places != dict(cutoff.places)
        if is_past and (question.freshness.as_of is not None or not await self._is_cut(places)):
            return _answer(table, await self._computed(tx, table, cutoff), cutoff)
        return _answer(table, rows, Cutoff(places))

    async def _is_cut(self, places: dict[int, Place]) -> bool:
        """Whether no effect is shown there without its cause."""
        return len(places) < 2 or not await self._querying.cutoffs.lowered(dict(places))

    async def _computed(self, tx: Transaction, table: KeptTable, cutoff: Cutoff) -> list[Row]:
        relation = self._querying.relation(table.kept.actor_type, cutoff, table.kept.fields)
        text = kept_text.computed(table.kept, table.shape, f"({rows_at_cutoff(relation, single=False)}) as v")
        codes, times = list(cutoff.places), [each.time for each in cutoff.places.values()]
        return await tx.fetch(text, codes, times)


def _answer(table: KeptTable, rows: list[Row], cutoff: Cutoff) -> Answer:
    kinds = kept_text.output_kinds(table)
    columns = tuple(Column(name, kinds[name]) for name in table.kept.columns)
    return Answer(cutoff, columns, [tuple(row.values()) for row in rows])
