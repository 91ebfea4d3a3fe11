"""Rows that may be far larger than anything that was recorded, for they are made of much of it, over and over. Pure.

An answer is read some rows at a time, and how large the next ones are nobody knows before they are in memory. So each
row of such an answer is bounded by PostgreSQL, and few are read at a time.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from peaceriver.query import allowed

#: A name that no column has, or the row would not be meant by it.
_ROW: Final = '"a row of the answer"'


def makes_large(tree: exp.Expr) -> bool:
    """Whether values of a statement may be larger than what they are made of."""
    return any(
        isinstance(each, exp.DPipe | exp.Array) or allowed.function_name(each) in allowed.GROWING
        for each in tree.walk()
    )


def with_rows_bounded(text: str) -> str:
    """A statement with the same rows in the same order; one that is too large is refused before it is sent."""
    return f"SELECT {_ROW}.* FROM ({text}) AS {_ROW} WHERE reading.fits(pg_column_size({_ROW}))"
