"""Comparing what is folded from a journal with what its records make of it: piece by piece, each in its own snapshot.

A piece is some actors of a type, or a stretch of positions, few enough to be gone through in good time. How far all is
folded is looked up anew for each, so that work may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from peaceriver.limits import NAME_LETTERS_MAX
from peaceriver.postgres import Database, DatabaseCorrupted, Statements, Transaction
from peaceriver.record import Record, from_row
from peaceriver.shard import journal, kept_tables, view_tables
from peaceriver.shard.damage import Finding, Part
from peaceriver.shard.journal import ActorState, Effects, ExceptionState, Mark
from peaceriver.shard.rebuild import intervals
from peaceriver.shard.standing import effects_of
from peaceriver.shard.view_tables import Interval, ViewTable
from peaceriver.shard.views import Views
from peaceriver.stamp import OPEN_END

T = TypeVar("T")
#: A row by (actor id, since).
_Keyed: TypeAlias = tuple[tuple[str, int], T]
#: Awaited between pieces of the work, by whoever is in no hurry.
Rest: TypeAlias = Callable[[], Awaitable[None]]

sql = Statements("peaceriver.shard", "verify")

_ROWS_AT_A_TIME = 2_000
#: Records of the actors of one piece, but for its first actor's, and positions of one.
_PIECE_RECORDS = 10_000
#: Of what is folded, these are found at a time, to be repaired together; the rest is for the next time.
_FOLD_FINDINGS_MAX = 100_000


async def _standing(tx: Transaction, code: int) -> int:
    return int(await sql.standing.value(tx, shard=code))


#: A table of the standing, but for actors, and a row's key in it.
_Key: TypeAlias = tuple[Any, ...]
_Told: TypeAlias = dict[_Key, object]


async def compare_told(database: Database, code: int, rest: Rest) -> list[Finding]:
    """Compare the vector clock, timers and exceptions; where the server cannot read something, all are damaged."""
    try:
        return await _compare_told(database, code, rest)
    except DatabaseCorrupted as error:
        return [Finding(code, "mark", "all marks, timers and exceptions", f"cannot be read: {error}")]


async def _compare_told(database: Database, code: int, rest: Rest) -> list[Finding]:
    """They are folded from their records, like everything else.

    What is complete stays as it is, so it is folded in pieces; the rest in the snapshot that what is kept is read in.
    """
    recorded: _Told = {}
    after = 0
    while True:
        async with database.snapshot() as tx:
            at = await sql.state.row(tx, shard=code)
            assert at is not None
            standing, until = at["standing_position"], after + _PIECE_RECORDS
            if until > min(standing, at["complete_position"]):
                await _tell_between(tx, code, recorded, after, standing)
                return _told_apart(code, recorded, await _kept(tx, code))
            await _tell_between(tx, code, recorded, after, until)
        after = until
        await rest()


async def _tell_between(tx: Transaction, code: int, recorded: _Told, after: int, until: int) -> None:
    told = sql.told
    values = told.bound({"shard": code, "after": after, "until": until})
    async for row in tx.cursor(told.text, *values, prefetch=_ROWS_AT_A_TIME):
        _tell(recorded, effects_of([from_row(row)], ()))


async def _kept(tx: Transaction, code: int) -> _Told:
    return await _marks(tx, code) | await _timers(tx, code) | await _exceptions(tx, code)


def _told_apart(code: int, recorded: _Told, kept: _Told) -> list[Finding]:
    return [
        Finding(code, key[0], _place(key), _difference(recorded.get(key), kept.get(key)), _found_by(key, recorded))
        for key in sorted(recorded.keys() | kept.keys(), key=str)
        if recorded.get(key) != kept.get(key)
    ]


def _place(key: _Key) -> str:
    return " of ".join(map(str, key[1:]))


def _found_by(key: _Key, recorded: _Told) -> tuple[Any, ...]:
    said = recorded.get(key)
    return (*key[1:], said.attempt) if isinstance(said, ExceptionState) else key[1:]


def _tell(told: _Told, effects: Effects) -> None:
    """Fold what one record makes of the standing into what those before it made."""
    for mark in effects.marks:
        told[_of_mark(mark)] = (mark.position, mark.chain)
        if mark.ended:
            del told[_of_mark(mark)]
    for position, due in effects.timers:
        told["timer", position] = due
    for position in effects.released:
        told.pop(("timer", position), None)
    for state in effects.exceptions:
        told["exception", state.id] = msgspec.structs.replace(state, asked=False)


def _of_mark(mark: Mark) -> _Key:
    return "mark", mark.reader, mark.source


async def _marks(tx: Transaction, code: int) -> _Told:
    rows = await journal.sql.marks.rows(tx, shard=code)
    return {("mark", row["reader"], row["source_shard"]): (row["position"], bytes(row["chain"])) for row in rows}


async def _timers(tx: Transaction, code: int) -> _Told:
    return {("timer", row["position"]): row["due"] for row in await journal.sql.timers.rows(tx, shard=code)}


async def _exceptions(tx: Transaction, code: int) -> _Told:
    rows = await sql.exceptions.rows(tx, shard=code)
    return {("exception", row["id"]): journal.exception_state(row) for row in rows}


class Ids(NamedTuple):
    """Some actors of a type, in the order of their ids."""

    first: str
    #: The next one after them.
    beyond: str


#: No actor's id: with it a type is folded again that has nothing wrong but what is kept of it.
_NOBODY = ""
#: After every id there is.
_BEYOND_ALL = "\U0010ffff" * (NAME_LETTERS_MAX + 1)


async def compare_folds(database: Database, views: Views, code: int, findings: list[Finding], rest: Rest) -> None:
    """Fold every type again and compare with the live view, and with what admission goes by."""
    types: set[str] = set()
    try:
        async with database.snapshot() as tx:
            types |= {row["actor_type"] for row in await sql.types.rows(tx, shard=code)}
    except DatabaseCorrupted as error:
        findings.append(Finding(code, "actor", "all actors", f"cannot be read: {error}", ("", "")))
    for actor_type in sorted(types | views.tables.keys()):
        first = ""
        while first != _BEYOND_ALL and len(findings) < _FOLD_FINDINGS_MAX:
            found, first = await _compare_next(database, views, code, actor_type, first)
            findings += found
            await rest()
        if not any(each.part == "view" and each.key[0] == actor_type for each in findings):
            findings += await _compare_kept(database, code, actor_type)
            await rest()


async def _compare_kept(database: Database, code: int, actor_type: str) -> list[Finding]:
    """Compare the kept views of a type with its view, which is sound; they are computed anew with it.

    Not where that takes longer than a statement may: the view is what they can be computed from at any time.
    """
    found: list[Finding] = []
    with suppress(TimeoutError):
        async with database.snapshot() as tx:
            view = (await view_tables.catalog(tx)).get(actor_type)
            for table in (await kept_tables.catalog(tx))[0]:
                if view is None or table.kept.actor_type != actor_type:
                    continue
                try:
                    count = len(await kept_tables.differences(tx, table, view, code))
                    detail = f"{count} rows are not what the view makes of them" if count else ""
                except DatabaseCorrupted as error:
                    return [Finding(code, "view", table.kept.name, f"cannot be read: {error}", (actor_type, None))]
                if detail:
                    found.append(Finding(code, "view", table.kept.name, detail, (actor_type, _NOBODY)))
    return found


async def _compare_next(
    database: Database, views: Views, code: int, actor_type: str, first: str
) -> tuple[list[Finding], str]:
    """The next piece of a type, and the id that the one after it begins at."""
    part: Part = "actor"
    found: list[Finding] = []
    try:
        async with database.snapshot() as tx:
            ids = await _next_ids(tx, code, actor_type, first)
            found += [each async for each in _compare_actors(tx, code, actor_type, ids, views)]
            part = "view"
            found += [each async for each in _compare_view(tx, code, actor_type, ids, views)]
            return found, ids.beyond
    except DatabaseCorrupted as error:
        # Of which actor it is, the server does not say: it is of the type as a whole.
        key = (actor_type, None if part == "view" else first)
        return [*found, Finding(code, part, actor_type, f"cannot be read: {error}", key)], _BEYOND_ALL


async def _next_ids(tx: Transaction, code: int, actor_type: str, first: str) -> Ids:
    beyond = await sql.beyond.value(tx, shard=code, actor_type=actor_type, first=first, records=_PIECE_RECORDS)
    return Ids(first, _BEYOND_ALL if beyond is None else beyond)


async def _records(tx: Transaction, code: int, actor_type: str, ids: Ids, until: int) -> AsyncIterator[Record]:
    statement = sql.of_ids
    values = {"shard": code, "actor_type": actor_type, "first": ids.first, "beyond": ids.beyond, "until": until}
    async for row in tx.cursor(statement.text, *statement.bound(values), prefetch=_ROWS_AT_A_TIME):
        yield from_row(row)


async def _compare_actors(
    tx: Transaction, code: int, actor_type: str, ids: Ids, views: Views
) -> AsyncIterator[Finding]:
    # A follower's standing is behind its journal: what is not complete is not folded.
    standing = await _standing(tx, code)
    folded = _last_states(intervals(_records(tx, code, actor_type, ids, standing), views.model_at))
    kept = _kept_states(tx, code, actor_type, ids)
    async for expected, found in _paired(folded, kept):
        if expected != found:
            actor_id = (expected or found or (("", 0), None))[0][0]
            detail = f"what admission goes by: {_difference(expected, found)}"
            yield Finding(code, "actor", f"{actor_type}/{actor_id}", detail, (actor_type, actor_id))


async def _last_states(rows: AsyncIterator[Interval]) -> AsyncIterator[_Keyed[ActorState]]:
    async for row in rows:
        if row.until == OPEN_END:
            yield (row.id, 0), row.state


async def _kept_states(tx: Transaction, code: int, actor_type: str, ids: Ids) -> AsyncIterator[_Keyed[ActorState]]:
    statement = sql.actors
    values = statement.bound({"shard": code, "actor_type": actor_type, "first": ids.first, "beyond": ids.beyond})
    async for row in tx.cursor(statement.text, *values, prefetch=_ROWS_AT_A_TIME):
        actor_id, *state = row.values()
        yield (actor_id, 0), ActorState(*state)


async def _compare_view(tx: Transaction, code: int, actor_type: str, ids: Ids, views: Views) -> AsyncIterator[Finding]:
    # The table that is live in this very snapshot: another one may have been switched to meanwhile.
    table = (await view_tables.catalog(tx)).get(actor_type)
    if table is None:
        return
    mark = (await view_tables.sql.marks.rows(tx, shards=[code]))[0]
    folded = _as_rows(intervals(_records(tx, code, actor_type, ids, mark["position"]), views.model_at), table)
    kept = _keyed(view_tables.stored(tx, table, code, ids.first, ids.beyond, prefetch=_ROWS_AT_A_TIME))
    async for expected, found in _paired(folded, kept):
        if expected != found:
            row = (expected or found or ((), ()))[1]
            actor_id, version = row[_ID], row[_VERSION]
            place = f"{table.actor_type}/{actor_id} version {version}"
            yield Finding(code, "view", place, _difference(expected, found), (table.actor_type, actor_id))


#: A row of a view, all its columns in order.
_ViewRow: TypeAlias = tuple[Any, ...]
_columns = [name for name, _ in view_tables.SYSTEM_COLUMNS]
_ID, _SINCE, _VERSION = (_columns.index(name) for name in ("actor_id", "actor_from", "actor_version"))


async def _as_rows(folded: AsyncIterator[Interval], table: ViewTable) -> AsyncIterator[_Keyed[_ViewRow]]:
    async for each in folded:
        yield (each.id, each.since), each.row(table)


async def _keyed(rows: AsyncIterator[_ViewRow]) -> AsyncIterator[_Keyed[_ViewRow]]:
    async for row in rows:
        yield (row[_ID], row[_SINCE]), row


def _difference(expected: object | None, found: object | None) -> str:
    return "a row is missing" if found is None else "a row too many" if expected is None else "a row was altered"


async def _paired(
    expected: AsyncIterator[_Keyed[T]], found: AsyncIterator[_Keyed[T]]
) -> AsyncIterator[tuple[_Keyed[T] | None, _Keyed[T] | None]]:
    """Merge two streams in the order of their keys; None where one lacks what the other has."""
    left, right = await anext(expected, None), await anext(found, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            yield left, None
            left = await anext(expected, None)
        elif left is None or right[0] < left[0]:
            yield None, right
            right = await anext(found, None)
        else:
            yield left, right
            left, right = await anext(expected, None), await anext(found, None)
