"""The rows of an answer, in parts that are neither too many nor, as far as the last ones say, too large for memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias

from peaceriver.errors import TooLarge
from peaceriver.limits import QUERY_ANSWER_BYTES_MAX, QUERY_FIRST_ROWS, QUERY_PART_BYTES, QUERY_PART_ROWS_MAX
from peaceriver.postgres import Transaction

Rows: TypeAlias = Sequence[tuple[Any, ...]]


async def parts(
    tx: Transaction, text: str, given: Sequence[Any], width: int, *, rows_max: int = QUERY_PART_ROWS_MAX
) -> AsyncIterator[Rows]:
    """The first so many columns of a statement's rows; ``rows_max``: of a part."""
    wanted = QUERY_FIRST_ROWS
    cursor = await tx.cursor(text, *given)
    while True:
        rows = [tuple(row.values())[:width] for row in await cursor.fetch(wanted)]
        yield rows
        if len(rows) < wanted:
            return
        size = max(1, sum(map(_size, rows)) // len(rows))
        wanted = max(1, min(rows_max, 4 * wanted, QUERY_PART_BYTES // size))


async def gathered(found: AsyncIterator[Rows], rows_max: int) -> list[tuple[Any, ...]]:
    """All of them; raises TooLarge where they are more than that, or than fits into memory."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    async for part in found:
        rows += part
        size += sum(map(_size, part))
        if len(rows) > rows_max or size > QUERY_ANSWER_BYTES_MAX:
            most = f"{rows_max:,} rows, or {QUERY_ANSWER_BYTES_MAX:,} bytes"
            raise TooLarge(
                f"the answer has more than {most}: add a LIMIT, narrow it, or have it streamed "
                "(Accept: application/x-ndjson or text/csv)"
            )
    return rows


def _size(row: tuple[Any, ...]) -> int:
    """About how many bytes a row takes."""
    return sum(map(_length, row))


def _length(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return sum(map(_length, value)) if isinstance(value, list | tuple) else 32
