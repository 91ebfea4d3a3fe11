"""Event logs as a load of messages: read a log (CSV or XES), then plan what to send, in which order.

    events = read_log(Path("receipt.csv"), "csv", Columns())
    plan = plan_import(events, departments={"Sales": 100}, default_department="receipt")
    for wave in plan.waves:                       # a wave's messages are independent of each other
        for message in wave:
            envelope = message.caused_by(stamps[message.previous] if message.previous else None)

Reading streams; planning holds the whole log, because a case's events may stand anywhere in it. Neither sends anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from peaceriver.imports import csv_log, xes_log
from peaceriver.imports.events import EVENTS_MAX, Columns, Event, Value
from peaceriver.imports.plan import ImportPlan, PlannedMessage, plan_import

__all__ = [
    "EVENTS_MAX",
    "Columns",
    "Event",
    "ImportPlan",
    "LogFormat",
    "PlannedMessage",
    "Value",
    "plan_import",
    "read_log",
]

LogFormat = Literal["csv", "xes"]


def read_log(path: Path, log_format: LogFormat, columns: Columns) -> Iterator[Event]:
    """The events of a log file, plain or gzipped, in file order.

    Raises Invalid, naming the line and the column, where the file is not such a log.
    """
    reader = {"csv": csv_log.read, "xes": xes_log.read}[log_format]
    return reader(path, columns)
