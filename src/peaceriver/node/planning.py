"""Planning: what the models in a query stand for at a cutoff, and how PostgreSQL understands the query then."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import msgspec

from peaceriver.directory.directory import Directory
from peaceriver.errors import Behind, Invalid
from peaceriver.limits import QUERY_AT_ONCE_LETTERS_MAX, QUERY_KEPT_LETTERS_MAX, QUERY_PLANS_MAX
from peaceriver.node.questions import Column
from peaceriver.postgres import Database, DatabaseError, Transaction
from peaceriver.query.cutoff import Cutoff
from peaceriver.query.guard import Checked, refused
from peaceriver.query.statement import Relation, Statement, stated
from peaceriver.shard.view_tables import SQL_TYPES
from peaceriver.shard.views import Views

K = TypeVar("K")
T = TypeVar("T")
#: How long a query waits for columns that its view is just getting, and how often it looks.
_LEVEL_WAIT_S = 2.0
_LEVEL_LOOK_S = 0.02
#: The class of what PostgreSQL says of a statement that names what is not there.
_NOT_THERE = "42"

#: What PostgreSQL calls rows that are values: the driver reads neither dates nor times in them.
_ROWS = frozenset(("record", "record[]"))

#: A model as a query names it: the name, and whether it was quoted.
_Name: TypeAlias = tuple[str, bool]
#: Columns of models.
_Columns: TypeAlias = tuple[tuple[_Name, str], ...]


class Plan(msgspec.Struct, frozen=True):
    """A statement as PostgreSQL understood it."""

    statement: Statement
    #: Types of the host variables.
    kinds: tuple[str, ...]
    columns: tuple[Column, ...]


class Meant(msgspec.Struct, frozen=True):
    """A query with all that its plan depends on."""

    sql: str
    query: Checked
    #: What its models stand for.
    relations: Mapping[_Name, Relation]
    #: Whether one department is asked.
    single: bool
    #: Declared types of host variables.
    kinds: Mapping[str, str]

    @property
    def key(self) -> _Key:
        return self.sql, tuple(self.relations.items()), self.single, tuple(self.kinds.items())


#: A query where its models have these columns besides.
_Having: TypeAlias = Callable[[_Columns], Awaitable[Meant]]
#: What a plan depends on.
_Key: TypeAlias = tuple[str, tuple[tuple[_Name, Relation], ...], bool, tuple[tuple[str, str], ...]]


class Planning:
    """Makes plans, and remembers them."""

    def __init__(self, database: Database, directory: Directory, views: Views) -> None:
        self._database = database
        self._directory = directory
        self._views = views
        self._plans: OrderedDict[_Key, Plan] = OrderedDict()
        #: Without which columns of newer versions a query cannot be asked, by what it is without any, and all of them.
        self._needed: OrderedDict[tuple[_Key, _Columns], _Columns] = OrderedDict()

    async def meant(
        self,
        sql: str,
        query: Checked,
        types: Mapping[_Name, str],
        kinds: Mapping[str, str],
        cutoff: Cutoff,
        timeout_s: float,
    ) -> Meant:
        """A query at a cutoff, where its models have the columns of the version that was the newest in use there.

        Those that the newest version has besides are there only where the query cannot be asked without them: a name
        in it may be that of an alias, and an answer as of a moment never changes. Raises Behind.
        """

        async def having(columns: _Columns) -> Meant:
            wanted = {name: [column for of, column in columns if of == name] for name in types}
            relations = {name: await self.related(each, cutoff, wanted[name]) for name, each in types.items()}
            return Meant(sql, query, relations, len(cutoff.places) == 1, kinds)

        meant = await having(())
        newer = tuple((name, each) for name in sorted(types) for each in self._newer(types[name], cutoff, query.names))
        if not newer:
            return meant
        key = meant.key, newer
        needed = self._needed.get(key)
        if needed is None:
            needed = await self._least(having, newer, timeout_s)
            _remember(self._needed, key, needed, len(sql))
        return await having(needed) if needed else meant

    async def _least(self, having: _Having, newer: _Columns, timeout_s: float) -> _Columns:
        """Those of some columns without which a query cannot be asked."""
        if await self._can_be_asked(await having(()), timeout_s):
            return ()
        by_name = {column: [each for each in newer if each[1] == column] for _, column in newer}
        needed = await self._without(having, newer, by_name.values(), timeout_s)
        # One that several models have may be meant of one of them; where it is not said which, it stays ambiguous.
        shared = [[each] for each in needed if len(by_name[each[1]]) > 1]
        if shared and await self._can_be_asked(await having(needed), timeout_s):
            needed = await self._without(having, needed, shared, timeout_s)
        return needed

    async def _without(
        self, having: _Having, columns: _Columns, groups: Iterable[Sequence[tuple[_Name, str]]], timeout_s: float
    ) -> _Columns:
        """Some columns but for those groups of them without which a query can be asked as well."""
        for group in groups:
            fewer = tuple(each for each in columns if each not in group)
            if fewer and await self._can_be_asked(await having(fewer), timeout_s):
                columns = fewer
        return columns

    async def _can_be_asked(self, meant: Meant, timeout_s: float) -> bool:
        try:
            async with self._database.querying(timeout_s) as tx:
                await _planned(tx, meant)
        except Invalid:
            return False
        except DatabaseError as error:
            if not str(getattr(error, "sqlstate", None)).startswith(_NOT_THERE):
                raise
            return False
        return True

    def _newer(self, actor_type: str, cutoff: Cutoff, names: Collection[str]) -> list[str]:
        """Which of some names are columns of the newest version, and not of the one that counts at a cutoff."""
        newest = self._directory.newest(actor_type)
        used = self._directory.version(actor_type, self._views.edition_at(actor_type, cutoff.places))
        had = set() if used is None else {each.name for each in used.columns}
        columns = () if newest is None else newest.columns
        return [each.name for each in columns if each.name not in had and each.name in names]

    def relation(self, actor_type: str, cutoff: Cutoff, names: Collection[str]) -> Relation:
        """What a type's name stands for at a cutoff, in a query that asks for columns of these names.

        Its columns are those of the version of the model that was the newest in use there: that never changes. Those
        that the newest version has besides are there where they are asked for. Raises Behind while the view is getting
        columns that it needs.
        """
        table = self._views.tables.get(actor_type)
        newest = self._directory.newest(actor_type)
        used = self._directory.version(actor_type, self._views.edition_at(actor_type, cutoff.places))
        newer = self._newer(actor_type, cutoff, names)
        columns = () if used is None else used.columns
        if newest is not None:
            columns += tuple(each for each in newest.columns if each.name in newer)
        stored = {each: each.name for each in columns} if table is None else {each: name for name, each in table.stored}
        if any(each not in stored for each in columns):
            raise Behind(f"the view of {actor_type} is getting the columns of its newest model; ask again in a moment")
        typed = tuple((each.name, SQL_TYPES[each.kind].partition(" ")[0], stored[each]) for each in columns)
        return Relation(None if table is None else table.relation, typed)

    async def related(self, actor_type: str, cutoff: Cutoff, names: Collection[str]) -> Relation:
        """The same, once the view has what it needs, or after a moment; raises Behind."""
        deadline = asyncio.get_running_loop().time() + _LEVEL_WAIT_S
        while True:
            try:
                return self.relation(actor_type, cutoff, names)
            except Behind:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_LEVEL_LOOK_S)

    async def plan(self, tx: Transaction, meant: Meant) -> Plan:
        """The statement as PostgreSQL understands it; remembered, for the same is asked again and again.

        Raises Invalid, and DatabaseError, for what cannot be asked.
        """
        key = meant.key
        plan = self._plans.get(key)
        if plan is None:
            plan = await _planned(tx, meant)
            _remember(self._plans, key, plan, len(plan.statement.text))
        return plan


async def _planned(tx: Transaction, meant: Meant) -> Plan:
    state = partial(stated, meant.query, meant.relations, single=meant.single, kinds=meant.kinds)
    # Each relation is written out with its columns.
    width = max((len(relation.columns) for relation in meant.relations.values()), default=0)
    statement = await beside(len(meant.sql) + meant.query.relations * 10 * (width + 10), state)
    prepared = await tx.prepare(statement.text)
    first = 3 if statement.is_cut else 1
    attributes = prepared.get_attributes()
    columns = [Column(each.name, each.type.name) for each in attributes[: len(attributes) - statement.hidden]]
    for each in columns:
        if each.kind in _ROWS:
            raise refused(
                f"{each.name[:63]} is a row as one value, which no answer has a form for: name its columns, or give "
                "row_to_json of it"
            )
    return Plan(statement, tuple(each.name for each in prepared.get_parameters()[first:]), tuple(columns))


def _remember(known: OrderedDict[K, T], key: K, value: T, letters: int) -> None:
    if letters > QUERY_KEPT_LETTERS_MAX:
        return
    known[key] = value
    if len(known) > QUERY_PLANS_MAX:
        known.popitem(last=False)  # the oldest; what is asked often is soon there again


async def beside(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """Work on a text: what takes long is done in a thread, so that the node can do other things meanwhile."""
    if size > QUERY_AT_ONCE_LETTERS_MAX:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)
