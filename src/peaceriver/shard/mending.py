"""Mending a journal: rows of another replica take the place of damaged ones, where they fit what is before and after.

The chain is the arbiter, not a vote: whoever's rows lead from the chain before the range to the chain after it has what
was recorded, and nobody else has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import NamedTuple

from peaceriver.errors import Damaged
from peaceriver.limits import CHUNK_BYTES_MAX, REPAIR_BYTES_MAX
from peaceriver.postgres import Database, DatabaseCorrupted, Transaction, copy_rows_in
from peaceriver.record import Tip
from peaceriver.shard import journal, rows
from peaceriver.shard.damage import Range, sql
from peaceriver.shard.walking import START

#: Rows that are given at a time.
_GIVEN_ROWS = 1_000
#: Asks a replica elsewhere for the rows of a range; answers the first of them, at least one, or none.
Ask = Callable[[Range], Awaitable[list[bytes]]]


class Fit(Enum):
    """How rows fit between what is before and after them."""

    FITS = "fits"
    #: What is here before or after them is not as it was recorded either.
    WIDER = "wider"
    #: They are of another history, or damaged themselves.
    NOT = "not"


class Ends(NamedTuple):
    """What is here before and after a range."""

    #: None where the row before it is lost too, or cannot be read.
    before: Tip | None
    #: The row right after the range; None where that is lost too, or the journal ends with the range.
    after: bytes | None
    #: What the state row says of the chain, where the journal ends with the range.
    chain: bytes | None


def fit(taken: Sequence[bytes], shard: int, extent: Range, ends: Ends) -> Fit:
    """How rows of another replica fit a range here."""
    if not taken or (rows.place_of(taken[0]).position, rows.place_of(taken[-1]).position) != extent:
        return Fit.NOT
    try:
        last = rows.follow(taken[1:], shard, rows.tip_of(taken[0]))
    except Damaged:
        return Fit.NOT
    if ends.before is None or rows.faults(taken[0], shard, ends.before):
        return Fit.WIDER
    if ends.chain is not None:
        return Fit.FITS if ends.chain == last.chain else Fit.NOT
    return Fit.WIDER if ends.after is None or rows.faults(ends.after, shard, last) else Fit.FITS


async def mend(database: Database, shard: int, extent: Range, ask: Ask) -> bool:
    """Repair a range from another replica; False where that one's rows do not fit, it has none, or the same ones.

    Raises DatabaseError where the door refuses.
    """
    taken = await fitting(database, shard, extent, ask)
    if not taken:
        return False
    async with database.transaction() as tx:
        await sql.given.run(tx)
        await copy_rows_in(tx, "given", rows.stream(taken))
        return bool(await sql.repair.value(tx, shard=shard))


async def fitting(database: Database, shard: int, extent: Range, ask: Ask) -> list[bytes]:
    """The rows of another replica for a range; none where it has none, or where they do not fit what is here.

    The range is widened until it ends where this journal is as it was recorded.
    """
    width = 1
    while True:
        taken = await _taken(extent, ask)
        async with database.transaction() as tx:
            state = await journal.sql.state.row(tx, shard=shard)
            assert state is not None
            end = state["last_position"]
            if extent.last > end:
                return []
            chain = bytes(state["last_chain"]) if extent.last == end else None
            fits = fit(taken, shard, extent, await _ends(tx, shard, extent, chain))
        if fits is Fit.FITS:
            return taken
        wider = Range(max(1, extent.first - width), min(end, extent.last + width))
        if fits is Fit.NOT or wider == extent:
            return []
        extent, width = wider, 2 * width


async def _taken(extent: Range, ask: Ask) -> list[bytes]:
    taken: list[bytes] = []
    size, next_one = 0, extent.first
    while next_one <= extent.last:
        more = await ask(Range(next_one, extent.last))
        size += sum(map(len, more))
        if not more or size > REPAIR_BYTES_MAX:
            return []
        taken += more
        next_one += len(more)
    return taken


async def _ends(tx: Transaction, shard: int, extent: Range, chain: bytes | None) -> Ends:
    before = START if extent.first == 1 else await tip_at(tx, shard, extent.first - 1)
    return Ends(before, await _row_at(tx, shard, extent.last + 1), chain)


async def tip_at(tx: Transaction, shard: int, position: int) -> Tip | None:
    """Where the journal stands at a position by the row that is there; None where there is none that can be read."""
    found = await _row_at(tx, shard, position)
    return None if found is None else rows.tip_of(found)


async def _row_at(tx: Transaction, shard: int, position: int) -> bytes | None:
    try:
        async with tx.transaction():
            found = await _between(tx, shard, Range(position, position))
    except DatabaseCorrupted:
        return None
    return found[0] if found else None


async def _between(tx: Transaction, shard: int, extent: Range) -> list[bytes]:
    found: list[bytes] = []
    incoming = rows.Incoming()

    async def take(piece: bytes) -> None:
        found.extend(incoming.feed(piece))

    number = extent.last - extent.first + 1
    await journal.sql.rows_after.copy_out(
        tx, take, shard=shard, after=extent.first - 1, until=extent.last, records=number
    )
    incoming.end()
    return found


async def sound(tx: Transaction, shard: int, extent: Range, complete: int) -> list[bytes]:
    """The first rows of a range for another replica's repair: complete ones, at least one.

    Raises Damaged where they are not all here or do not follow each other and the row before them.
    """
    if extent.last > complete:
        raise Damaged(f"position {extent.last} of shard {shard} is not known to be complete here")
    before = START if extent.first == 1 else await tip_at(tx, shard, extent.first - 1)
    if before is None:
        raise Damaged(f"position {extent.first - 1} of shard {shard} is missing, or cannot be read")
    found = await _between(tx, shard, Range(extent.first, min(extent.last, extent.first + _GIVEN_ROWS - 1)))
    while len(found) > 1 and sum(map(len, found)) > CHUNK_BYTES_MAX:
        found = found[: len(found) // 2]
    rows.follow(found, shard, before)
    if not found:
        raise Damaged(f"position {extent.first} of shard {shard} is missing")
    return found
