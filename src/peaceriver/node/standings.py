"""Exceptions as they stand: to readers as far as journals are complete, to whoever resolves one as it is recorded here.

A leader folds what becomes of an exception with the append; where that is not complete it may be taken back. So what
is shown is folded from the entries that are complete, and an exception whose opening is not is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.node.departments import Departments
from peaceriver.postgres import Database, Row, Transaction
from peaceriver.record import Record, Resolution, from_row, written_time
from peaceriver.shard import journal
from peaceriver.shard.exceptions import entry_ids, state_in
from peaceriver.shard.journal import ExceptionState


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An exception as it stands: its opening record, and what was folded from the later ones."""

    opening: Record
    state: ExceptionState
    #: What went wrong last (RFC 9457).
    problem: dict[str, Any]

    def public(self) -> dict[str, Any]:
        """The exception as the API shows it: its opening record, and where it stands."""
        retry_at = self.state.retry_at
        return self.opening.public() | {
            "state": self.state.state,
            "attempt": self.state.attempt,
            "retry_at": None if retry_at is None else written_time(retry_at),
            "detail": self.problem["detail"],
            "problem": self.problem,
        }


class Standings:
    """Looks at the exceptions of a node's departments."""

    def __init__(self, database: Database, shards: Departments) -> None:
        self._database = database
        self._shards = shards

    async def recorded(self, exception_id: UUID) -> Standing | None:
        """One exception as it is recorded here, complete or not: for its leader, who goes on from there."""
        async with self._database.reading() as tx:
            rows = await journal.sql.exceptions_at.rows(tx, ids=[exception_id])
        return _standing(rows[0]) if rows else None

    async def at(self, ids: Iterable[UUID]) -> list[Standing]:
        """Those of some exceptions that there are, oldest first."""
        complete = self._shards.complete()
        async with self._database.reading() as tx:
            rows = await journal.sql.exceptions_at.rows(tx, ids=list(ids))
            found = [await _until(tx, _standing(row), complete.get(row["shard"], 0)) for row in rows]
        return [each for each in found if each is not None]

    async def open_among(self, ids: Iterable[UUID]) -> list[Standing]:
        """Those of some exceptions that are open."""
        complete = self._shards.complete()
        async with self._database.reading() as tx:
            rows = await journal.sql.open_among.rows(
                tx, ids=list(ids), shards=list(complete), positions=list(complete.values())
            )
        found = await self.at([row["id"] for row in rows]) if rows else []
        return [each for each in found if each.state.state == "open"]

    async def listed(self, *, state: str | None, limit: int, offset: int) -> list[Standing]:
        """Exceptions, oldest first; of one state, or all."""
        complete = self._shards.complete()
        # One snapshot: nothing is recorded of an exception between the two looks.
        async with self._database.snapshot() as tx:
            earlier = await _earlier(tx, complete)
            rows = await journal.sql.exceptions.rows(
                tx,
                shards=list(complete),
                state=state,
                records=limit,
                skipped=offset,
                **{f"earlier_{name}": [each[n] for each in earlier] for n, name in enumerate(_EARLIER)},
            )
        return [_standing(row) for row in rows]


_EARLIER = ("shards", "ids", "positions", "states", "attempts", "retries")


async def _earlier(
    tx: Transaction, complete: Mapping[int, int]
) -> list[tuple[int, UUID, int, Resolution, int, datetime | None]]:
    """The exceptions of which something is recorded that is not complete, as they stood before that.

    Those that were not there yet stand at position 0.
    """
    rows = await journal.sql.exceptions_after.rows(tx, shards=list(complete), positions=list(complete.values()))
    attempts: dict[int, dict[UUID, int]] = {}
    for row in rows:
        state, known = state_in(from_row(row)), attempts.setdefault(row["shard"], {})
        known[state.id] = max(state.attempt, known.get(state.id, 0))
    found: list[tuple[int, UUID, int, Resolution, int, datetime | None]] = []
    for code, known in attempts.items():
        last = {each: state_in(entry) for each, entry in (await _last(tx, code, known, complete[code])).items()}
        for each in known:
            there = last.get(each)
            found.append(
                (code, each, 0, "open", 0, None)
                if there is None
                else (code, each, there.position, there.state, there.attempt, there.retry_at)
            )
    return found


async def _until(tx: Transaction, standing: Standing, until: int) -> Standing | None:
    """An exception as it stands by a position; None where it is opened after that."""
    state = standing.state
    if state.position <= until:
        return standing
    if standing.opening.position > until:
        return None
    entry = (await _last(tx, standing.opening.shard, {state.id: state.attempt}, until))[state.id]
    told = state_in(entry)
    then = msgspec.structs.replace(
        state, position=entry.position, state=told.state, attempt=told.attempt, retry_at=told.retry_at
    )
    return Standing(opening=standing.opening, state=then, problem=_problem(standing.opening.body, entry.body))


async def _last(tx: Transaction, code: int, attempts: Mapping[UUID, int], until: int) -> dict[UUID, Record]:
    """The last entries, up to a position, of exceptions that came to so many attempts, by exception."""
    ids = [each for exception, count in attempts.items() for each in entry_ids(exception, count)]
    entries = (await journal.recorded(tx, code, ids)).values()
    in_order = sorted((each for each in entries if each.position <= until), key=lambda each: each.position)
    return {state_in(each).id: each for each in in_order}


def _standing(row: Row) -> Standing:
    opening = from_row(row)
    assert opening.message_id is not None
    state = ExceptionState(
        id=opening.message_id,
        position=row["last_position"],
        state=row["state"],
        attempt=row["attempt"],
        retry_at=row["retry_at"],
        rule=None if "message" in jsontext.read(opening.body.encode()) else opening.rule,
        actor_type=opening.actor_type or "",
        actor_id=opening.actor_id or "",
        source_position=opening.source_position,
    )
    return Standing(opening=opening, state=state, problem=_problem(opening.body, row["last_body"]))


def _problem(opening: str, last: str) -> Any:
    """What went wrong last, by the bodies of the first entry and the last one, which need not say."""
    said = jsontext.read(last.encode())
    return said["problem"] if "problem" in said else jsontext.read(opening.encode())["problem"]
