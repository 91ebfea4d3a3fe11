"""Dates and times as PostgreSQL has them, where its driver takes the first and the last of Python for infinities.

9999-12-31 is what many call an end that is open: it is a day like any other to who compares with it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg

#: Where PostgreSQL counts from: days, and microseconds in UTC.
_FIRST_DAY: Final = date(2000, 1, 1).toordinal()
_FIRST_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: What PostgreSQL's own infinities are as the driver reads them; nothing of ours writes one.
_DAYS: Final = {2**31 - 1: date.max, -(2**31): date.min}
_MOMENTS: Final = {2**63 - 1: datetime.max, -(2**63): datetime.min}


async def times_as_they_are(connection: asyncpg.Connection) -> None:
    """Let a connection write the first and the last day, and moment, as those."""
    await connection.set_type_codec("date", schema="pg_catalog", encoder=_days, decoder=_day, format="tuple")
    await connection.set_type_codec("timestamptz", schema="pg_catalog", encoder=_since, decoder=_moment, format="tuple")


def _days(day: date) -> tuple[int]:
    return (day.toordinal() - _FIRST_DAY,)


def _day(found: tuple[int]) -> date:
    (days,) = found
    return _DAYS.get(days) or date.fromordinal(days + _FIRST_DAY)


def _since(moment: datetime) -> tuple[int]:
    return ((moment - _FIRST_MOMENT) // _MICROSECOND,)


def _moment(found: tuple[int]) -> datetime:
    (microseconds,) = found
    return _MOMENTS.get(microseconds) or _FIRST_MOMENT + timedelta(microseconds=microseconds)
