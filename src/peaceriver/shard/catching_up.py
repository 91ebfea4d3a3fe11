"""Making up what was folded while a table was filled: over and over, so that little is left when all wait for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from peaceriver.postgres import Transaction
from peaceriver.shard import view_tables

#: Actors that may be left when folding pauses.
_FEW = 1_000


async def until_little_is_left(make_up: Callable[[], Awaitable[int]]) -> None:
    """Make up what came meanwhile, which answers how many actors that were, until they are few.

    Or until they are more than half as many as the time before: some may change all the time.
    """
    before, many = None, await make_up()
    while many > _FEW and (before is None or many <= before / 2):
        before, many = many, await make_up()


async def touched(
    tx: Transaction, shard: int, actor_type: str, after: int, until: int, *, at_a_time: int
) -> AsyncIterator[list[str]]:
    """The actors of a type that have records in a range of positions, some at a time: they may be very many."""
    statement = view_tables.sql.touched
    values = {"shard": shard, "actor_type": actor_type, "after": after, "until": until}
    cursor = await tx.cursor(statement.text, *statement.bound(values))
    while rows := await cursor.fetch(at_a_time):
        yield [row["actor_id"] for row in rows]
