"""No text of a statement means the day of the query, whatever stands beside the word that would."""

from __future__ import annotations

import pytest

from peaceriver.errors import Invalid
from peaceriver.postgres import Database, DatabaseError
from peaceriver.query.guard import checked
from peaceriver.query.statement import stated
from tests.sql.test_one_form import answer

#: PostgreSQL knows names of zones and of days, and skips punctuation that it does not know.
DAYS = (
    "today EST",
    "today America/New_York",
    "Monday today",
    "%tomorrow%",
    "$yesterday",
    "now Europe/Berlin",
    "5_today",
)
PLACED = (
    "(values (timestamptz '2026-01-01 12:00+00', 'delivered today', jsonb '{\"on\":\"today\"}')) as v(placed, note, j)"
)


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("kind", ["date", "timestamptz", "timestamp"])
async def test_a_literal_that_is_cast_is_refused(database: Database, day: str, kind: str) -> None:
    for sql in (f"select '{day}'::{kind}", f"select cast('{day}' as {kind})", f"select {kind} '{day}'"):
        with pytest.raises(Invalid, match="must not change with the clock"):
            await answer(database, sql)
    with pytest.raises(Invalid, match="must not change with the clock"):
        await answer(database, f"select '{{\"{day}\"}}'::{kind}[]")
    with pytest.raises(DatabaseError, match="means another moment each day"):
        await answer(database, f"select ('{day}')::{kind}")


@pytest.mark.parametrize("day", DAYS)
async def test_a_literal_that_is_compared_with_a_time_is_a_text(database: Database, day: str) -> None:
    for sql in (
        f"select note from {PLACED} where placed > '{day}'",
        f"select note from {PLACED} where placed in ('{day}')",
        f"select note from {PLACED} where placed = any('{{\"{day}\"}}')",
        f"select note from {PLACED} where placed between '{day}' and '{day}'",
        f"select coalesce(placed, '{day}') from {PLACED}",
        f"select case when note = '' then placed else '{day}' end from {PLACED}",
        f"select placed - '{day}' from {PLACED}",
        f"select placed from {PLACED} union select '{day}'",
        f"select date_trunc('day', '{day}')",
        f"select extract(day from '{day}')",
        f"select greatest(placed, '{day}') from {PLACED}",
        f"select lag(placed, 1, '{day}') over () from {PLACED}",
    ):
        with pytest.raises(
            DatabaseError, match=r"(does not exist|cannot be matched|requires array|cannot be converted)"
        ):
            await answer(database, sql)


async def test_what_only_says_such_a_word_is_found(database: Database) -> None:
    sql = f"""select note like '%today%', note = 'delivered today', note in ('x now', 'y'), j @> '{{"on":"today"}}',
        j #>> '{{on,x now}}', j #> '{{on}}', jsonb_path_exists(j, '$.on ? (@ == "today")'), j @? '$.now',
        note || ' x now', replace(note, 'ed today', ''), 'x now', split_part(note, 'd today', 1),
        j ?| '{{on,x now}}', jsonb_build_object('k', 'x now'), j - 'x now', note ~ 'x today|d today' from {PLACED}"""
    (row,) = await answer(database, sql)
    assert row == (
        "(True, True, False, True, None, '\"today\"', True, False, 'delivered today x now', 'deliver', 'x now',"
        """ 'delivere', True, '{"k": "x now"}', '{"on": "today"}', True)"""
    )


async def test_a_literal_that_is_said_to_be_a_text_gives_its_column_no_name(database: Database) -> None:
    statement = stated(checked("select 'x now', $$x today$$, 'x today'::text"), {}, single=True, kinds={})
    async with database.querying(10) as tx:
        (row,) = await tx.fetch(statement.text, 1_000)
    assert list(row.keys()) == ["?column?", "?column?", "text"]
