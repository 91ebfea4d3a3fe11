"""Querying: a checked statement, one cutoff for all departments that it is asked of, and the rows there.

A node holds its departments in one database, so a query across them is one statement in one snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from peaceriver.directory.directory import Directory
from peaceriver.directory.pages import BUILT_IN
from peaceriver.errors import (
    Busy,
    Conflict,
    Invalid,
    NoModel,
    NotFound,
    Offence,
    Refused,
    TooSlow,
    Unavailable,
    Withheld,
)
from peaceriver.limits import (
    LARGE_PART_ROWS_MAX,
    QUERY_PART_ROWS_MAX,
    QUERY_TIMEOUT_S,
    READ_TIMEOUT_S,
    STREAM_TIMEOUT_S,
    STREAMS_MAX,
)
from peaceriver.node.cutoffs import Cutoffs, Freshness
from peaceriver.node.departments import Departments
from peaceriver.node.parts import gathered, parts
from peaceriver.node.planning import Plan, Planning, beside
from peaceriver.node.questions import Answer, Answering, Column, Missing, Question
from peaceriver.postgres import (
    Database,
    DatabaseError,
    StatementTimeout,
)
from peaceriver.query import values
from peaceriver.query.cutoff import AtPositions, AtTime, Cutoff
from peaceriver.query.guard import Checked, checked
from peaceriver.query.named import View
from peaceriver.query.statement import kinds_of, resolved
from peaceriver.shard.views import Views

_NOTHING: Mapping[str, str] = {}
#: What PostgreSQL says of a statement that is wrong, by the class of its code: the data, the syntax, a limit.
_ASKERS_FAULT = ("0A", "21", "22", "42", "54")
#: How much longer than the server the node itself waits for a statement's end.
_MARGIN_S = 1.0
#: How long a view that is published waits for a type that nobody knows yet.
_NEW_TYPE_S = 2.0
#: Of its own limits, which a query may run into: out of memory, or of the room that it may sort in.
_TOO_MUCH = ("53200", "53400")


class Querying:
    """What can be asked of a node in SQL."""

    def __init__(
        self, database: Database, directory: Directory, views: Views, cutoffs: Cutoffs, shards: Departments
    ) -> None:
        self._database = database
        self._directory = directory
        self._views = views
        self.cutoffs = cutoffs
        self._shards = shards
        self._planning = Planning(database, directory, views)
        #: What a type's name stands for at a cutoff, and the same once its view has what it needs.
        self.relation, self.related = self._planning.relation, self._planning.related
        #: How many answers are being streamed.
        self._streams = 0

    async def ask(self, question: Question) -> Answer:
        """All rows at once. Raises Invalid, TooLarge where they are more than ``rows_max``, and what ``open`` does."""
        async with self.open(question, whole=True) as answering:
            rows = await gathered(answering.parts, question.rows_max)
        return Answer(answering.cutoff, answering.columns, rows, answering.missing)

    @asynccontextmanager
    async def open(self, question: Question, *, whole: bool = False) -> AsyncIterator[Answering]:
        """An answer whose rows are read while the block lasts, in parts; memory does not grow with them.

        ``whole``: they are read without a pause, within the question's own time. Raises Invalid for what cannot be
        asked, TooSlow, Conflict, Unavailable and Withheld where a department cannot answer in time.
        """
        query = await beside(len(question.sql), checked, question.sql)
        kinds = kinds_of(question.kinds)
        _check_variables(query, question.variables)
        async with self.in_time(question, query.called) as deadline:
            cutoff, missing = await self.cutoff(question)
            # After the wait for the cutoff: a type that is new may be known only then.
            types = resolved(query, self.models)
            cutoff, withheld = self.sound(cutoff, types.values(), partly=question.allow_partial)
            meant = await self._planning.meant(question.sql, query, types, kinds, cutoff, left_s(deadline))
            async with self._slot(whole), self._database.querying(left_s(deadline)) as tx:
                plan = await self._planning.plan(tx, meant)
                given = _given(plan, cutoff, question)
                rows_max = LARGE_PART_ROWS_MAX if plan.statement.is_large else QUERY_PART_ROWS_MAX
                found = parts(tx, plan.statement.text, given, len(plan.columns), rows_max=rows_max)
                if not whole:
                    deadline.reschedule(asyncio.get_running_loop().time() + STREAM_TIMEOUT_S)
                yield Answering(cutoff, plan.columns, (*missing, *withheld), found)

    @asynccontextmanager
    async def in_time(self, question: Question, called: Mapping[str, str] = _NOTHING) -> AsyncIterator[asyncio.Timeout]:
        """What is done in the block takes no longer than a question may; raises TooSlow, and Invalid for what
        PostgreSQL says against its statement. ``called``: see Checked.
        """
        until = question.begun.until
        assert until is not None
        try:
            async with asyncio.timeout_at(until + _MARGIN_S) as deadline:
                yield deadline
        except (TimeoutError, StatementTimeout):
            raise _too_slow(question) from None
        except DatabaseError as error:
            refusal = _explained(error, called)
            if refusal is None:
                raise
            raise refusal from error

    async def check(self, view: View) -> tuple[Column, ...]:
        """The columns that a view answers with; raises Invalid where it cannot be asked."""
        query, kinds = checked(view.sql), kinds_of(view.kinds)
        types = await self._types(query)
        try:
            meant = await self._planning.meant(view.sql, query, types, kinds, Cutoff({}), QUERY_TIMEOUT_S)
            async with self._database.querying(QUERY_TIMEOUT_S) as tx:
                return (await self._planning.plan(tx, meant)).columns
        except DatabaseError as error:
            refusal = _explained(error, query.called)
            if refusal is None:
                raise
            raise refusal from error

    async def _types(self, query: Checked) -> dict[tuple[str, bool], str]:
        """The types that a query names; one is known, at the latest, once what was recorded of it is folded."""
        try:
            return resolved(query, self.models)
        except NoModel:
            with suppress(Refused):
                await self.cutoffs.resolve(None, Freshness(latest=True, timeout_s=_NEW_TYPE_S))
            return resolved(query, self.models)

    def views(self) -> list[View]:
        """The named views there are, but for those that cannot be read any more."""
        return self._directory.readable_views()

    async def view(self, name: str, *, latest: bool = False) -> View:
        """A named view; raises NotFound.

        One that is not known here, or with ``latest`` any, is looked for in the newest directory there is.
        """
        found = self._directory.views.get(name)
        if latest or found is None or not found.active:
            with suppress(TimeoutError, Unavailable):
                await self.cutoffs.level_directory(READ_TIMEOUT_S)
            found = self._directory.views.get(name)
        if found is None or not found.active:
            raise NotFound(f"there is no view {name[:80]!r}; GET /views lists those that there are")
        return found.view

    @property
    def models(self) -> list[str]:
        """What a query may name: every type that has a model, or actors."""
        return sorted({*self._directory.models, *self._views.tables}.difference(BUILT_IN))

    @asynccontextmanager
    async def _slot(self, whole: bool) -> AsyncIterator[None]:
        """Streams may last as long as their readers like: only some of them go on at a time. Raises Busy."""
        if whole:
            yield
            return
        if self._streams >= STREAMS_MAX:
            raise Busy(f"this node streams {STREAMS_MAX} answers already; ask again in a moment", retry_after_s=1.0)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    # --- where it is cut

    async def cutoff(self, question: Question) -> tuple[Cutoff, tuple[Missing, ...]]:
        """The cutoff of all departments; of those that can answer, where that is allowed."""
        if not question.allow_partial:
            return await self.cutoffs.resolve(question.shards, question.freshness), ()
        # Half of the time is for finding out who can.
        freshness = msgspec.structs.replace(question.freshness, timeout_s=question.freshness.timeout_s / 2)
        codes = await self._asked(question)
        found = await asyncio.gather(*(self._alone(code, freshness) for code in codes))
        missing = tuple(Missing(code, why) for code, why in zip(codes, found, strict=True) if why is not None)
        left = [code for code, why in zip(codes, found, strict=True) if why is None]
        return await self.cutoffs.resolve(left, freshness.of(left)), missing

    async def _asked(self, question: Question) -> list[int]:
        """The departments that a question is asked of."""
        if question.shards is not None:
            return sorted(set(question.shards))
        match question.freshness.as_of:
            case AtPositions(positions=positions):
                return sorted(positions)
            case AtTime(time=at):
                return self._shards.data(since=at)
            case None:
                return self._shards.data()

    async def _alone(self, code: int, freshness: Freshness) -> Refused | None:
        """Why a department cannot answer; None where it can."""
        try:
            await self.cutoffs.resolve([code], freshness.of([code]))
        except (Conflict, Unavailable) as refusal:
            return refusal
        return None

    def sound(self, cutoff: Cutoff, types: Collection[str], *, partly: bool) -> tuple[Cutoff, tuple[Missing, ...]]:
        """The cutoff without departments where a view that is asked is damaged; raises Withheld unless ``partly``."""
        missing: list[Missing] = []
        for code in cutoff.places:
            try:
                for actor_type in types:
                    self._shards[code].damage.check_view(actor_type)
            except Withheld as refusal:
                if not partly:
                    raise
                missing.append(Missing(code, refusal))
        if not missing:
            return cutoff, ()
        gone = {each.shard for each in missing}
        left = {code: place for code, place in cutoff.places.items() if code not in gone}
        return Cutoff(left), tuple(missing)


def left_s(deadline: asyncio.Timeout) -> float:
    """How long a statement may take: what is left of a question's time, so that the server ends it first."""
    return max(0.001, (deadline.when() or 0.0) - _MARGIN_S - asyncio.get_running_loop().time())


def _given(plan: Plan, cutoff: Cutoff, question: Question) -> list[Any]:
    """The values of a statement's parameters."""
    given: list[Any] = []
    if plan.statement.is_cut:
        codes, times = list(cutoff.places), [each.time for each in cutoff.places.values()]
        given += [codes[0], times[0]] if len(codes) == 1 else [codes, times]
    given.append(question.rows_max + 1)
    named = zip(plan.statement.variables, plan.kinds, strict=True)
    return given + [values.bound(name, question.variables[name], kind) for name, kind in named]


def _check_variables(query: Checked, given: Mapping[str, Any]) -> None:
    missing = [name for name in query.variables if name not in given]
    unknown = [name for name in given if name not in query.variables]
    errors = [Offence(f"/variables/{name}", "is needed and not given") for name in missing]
    errors += [Offence(f"/variables/{name[:63]}", "is not in the query") for name in unknown]
    if errors:
        raise Invalid(
            "; ".join(f"the host variable {each.pointer.rpartition('/')[2]} {each.detail}" for each in errors),
            errors=tuple(errors),
        )


def _too_slow(question: Question) -> TooSlow:
    return TooSlow(
        f"the query took longer than {question.timeout_s:g} s and was ended; narrow it, or give it more time (timeout)"
    )


def _explained(error: Any, called: Mapping[str, str]) -> Refused | None:
    """What PostgreSQL says of a statement, as a refusal; None where the statement is not to blame."""
    code: str = error.sqlstate or ""
    if code in _TOO_MUCH:
        detail = "the query needs more room to sort and gather than it may have; narrow it"
    elif code[:2] in _ASKERS_FAULT:
        detail = f"{str(error).partition(chr(10))[0]}{f' ({error.hint})' if error.hint and code[:2] != '54' else ''}"
        for name, said in called.items():
            detail = detail.replace(f'"{name}"', f'"{said}"')
    else:
        return None
    return Invalid(f"the query cannot be answered: {detail}", errors=(Offence("/sql", detail),))
