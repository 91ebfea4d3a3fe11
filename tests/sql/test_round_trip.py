"""What is run means what came: PostgreSQL answers the same to a text as it came, and as it was written anew from it.

Each line of ``expressions.txt`` is an expression, each of ``statements.txt`` a statement, all over constant data. Those
behind ``refused:`` are not run at all: nothing is answered that says something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peaceriver.errors import Invalid
from peaceriver.postgres import Database, DatabaseError
from peaceriver.query.dialect import written
from peaceriver.query.guard import checked
from peaceriver.query.statement import stated

HERE = Path(__file__).parent
REFUSED = "refused: "
ROWS_MAX = 1_000
pytestmark = pytest.mark.anyio


def lines(name: str) -> Iterator[tuple[str, bool]]:
    """The texts of a file, and whether each is refused."""
    for line in (HERE / name).read_text("utf-8").splitlines():
        if line and not line.startswith("-- "):
            yield line.removeprefix(REFUSED), line.startswith(REFUSED)


async def answer(database: Database, text: str, *values: Any) -> tuple[list[str], list[list[str]]]:
    """The names and types of an answer, and its rows, as text: 1 and 1.0 are not the same."""
    async with database.querying(10) as tx:
        prepared = await tx.prepare(text)
        rows = await prepared.fetch(*values)
    return [f"{each.name} {each.type.name}" for each in prepared.get_attributes()], [
        [repr(value) for value in row] for row in rows
    ]


async def differs(database: Database, text: str) -> str | None:
    """In what a text, written anew, is something else; None where it is the same."""
    came = await answer(database, text)
    query = checked(text)
    anew = await answer(database, written(query.tree))
    if anew != came:
        return f"{text}\n    is {came}\n    but {written(query.tree)}\n    is {anew}"
    statement = stated(query, {}, single=True, kinds={})
    kinds, rows = await answer(database, statement.text, ROWS_MAX)
    shown = kinds[: len(kinds) - statement.hidden], [row[: len(row) - statement.hidden] for row in rows]
    if "order by" not in text:
        shown, came = (shown[0], sorted(shown[1])), (came[0], sorted(came[1]))
    return None if shown == came else f"{text}\n    is {came}\n    but {statement.text}\n    is {shown}"


@pytest.mark.parametrize(("name", "before"), [("expressions.txt", "select "), ("statements.txt", "")])
async def test_what_runs_means_what_came(database: Database, name: str, before: str) -> None:
    found = []
    for line, is_refused in lines(name):
        text = before + line
        if is_refused:
            with pytest.raises(Invalid):
                checked(text)
            continue
        try:
            difference = await differs(database, text)
        except (Invalid, DatabaseError) as error:
            difference = f"{text}\n    {type(error).__name__}: {error}"
        if difference is not None:
            found.append(difference)
    assert not found, "\n".join(found)


ONCE_SOMETHING_ELSE = [
    "select 1 where 'abc' !~ 'a' is null",
    "select x from (values (null), ('a')) as v (x) where x not in ('b') is null",
    "select '{\"\": 1}'::json -> ''",
    "select interval '1 day ago'",
    "select (array[1, 2, 3])[1 + 1]",
]


@pytest.mark.parametrize("text", ONCE_SOMETHING_ELSE)
async def test_what_was_once_answered_with_something_else_is_not_any_more(database: Database, text: str) -> None:
    assert await differs(database, text) is None


@pytest.mark.parametrize(
    "text",
    [
        "select 'abc' ~~ 'a' || '%'",
        "select 1_000",
        "select 1where true",
        "select interval(2) '1.234567 seconds'",
        "select x from generate_series(1, 9) as t (x) limit 1, 2",
        "select 1 == 1",
        "select !true",
        "select 7 div 2",
    ],
)
def test_what_would_be_read_as_something_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        checked(text)
