"""Offering again: messages that an earlier leader had recorded come to the door once more, each as it came. Pure.

They keep their ids, and everything that their senders and the first door said of them. They get new stamps, later than
those they had, and are admitted only where their actors are what they were when the earlier leader admitted them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import msgspec

from peaceriver.postgres import Row
from peaceriver.record import COLUMNS, Record
from peaceriver.shard.proposal import ANYTHING, Proposal, Wish, supplied


def groups(rows: Iterable[Row]) -> list[Proposal]:
    """The stranded messages of one department, from rows of ``pending``, as units to be appended in this order.

    What one unit had recorded is one unit again: a client's atomic batch whole. The earliest record comes first.
    """
    ordered = sorted(rows, key=lambda row: (row["epoch"], row["position"]))
    units = groupby(ordered, key=lambda row: (row["epoch"], row["group_end"]))
    return [Proposal(wishes=tuple(map(_wish, unit)), offered="stranded") for _, unit in units]


def _wish(row: Row) -> Wish:
    record = kept_record(row["body"])
    assert record.message_id is not None
    assert record.root is not None
    return Wish(
        id=record.message_id,
        envelope=supplied(record),
        kind=record.kind,
        root=record.root,
        principal=record.principal,
        trace=record.trace,
        hops=record.hops,
        # Whoever has seen the old stamp must find the new one later.
        received_time=max(record.stamp, record.cause_time or 0),
        records_refusal=True,
        based_on=row["based_on"] if record.kind == "received" else ANYTHING,
    )


def kept_record(text: str) -> Record:
    """The record that a stranded row keeps, by the names of its columns; its body is as it was, to the letter."""
    columns: dict[str, Any] = msgspec.json.decode(text)
    return msgspec.convert([columns[name] for name in COLUMNS], Record)
