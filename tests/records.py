"""Records of every kind, as properties are searched over them, and short histories made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate, pairwise
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from peaceriver.record import CHAIN_START, Kind, Record, Tip, chained
from peaceriver.shard.rows import row_of

START = Tip(1, 0, 0, CHAIN_START)

#: What PostgreSQL takes as text: no NUL, no half of a surrogate pair.
_text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
_int = st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 300)
_bigint = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 300)
_zone = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_moment = (
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=_zone)
    | st.datetimes(datetime(1999, 12, 31), datetime(2000, 1, 2), timezones=st.just(UTC))
    | st.sampled_from([datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
)
_body = _text | st.integers(0, 20_000).map(lambda length: '{"note":"' + "ä" * length + '"}')


def _or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


#: Records with any values that their columns hold, NULL wherever it may be; positions and stamps are for ``history``.
any_record = st.builds(
    Record,
    shard=st.just(100),
    position=st.just(1),
    group_end=st.just(1),
    epoch=st.just(1),
    stamp=st.just(1),
    kind=st.sampled_from(get_args(Kind)),
    message_id=_or_none(st.uuids()),
    actor_type=_or_none(_text),
    actor_id=_or_none(_text),
    action=_or_none(_text),
    message_type=_or_none(_text),
    actor_version=_or_none(_int),
    model_version=_or_none(_int),
    sender_shard=_or_none(_int),
    receiver_shard=_or_none(_int),
    source_position=_or_none(_bigint),
    cause_time=_or_none(_bigint),
    cause_shard=_or_none(_int),
    root=_or_none(st.uuids()),
    correlation=_or_none(_text),
    rule=_or_none(_text),
    rule_version=_or_none(_int),
    principal=_or_none(_text),
    trace=_or_none(_text),
    valid_at=_or_none(_moment),
    due=_or_none(_moment),
    if_version=_or_none(_int),
    hops=_int,
    body=_body,
)


def history(records: Sequence[Record], *, sizes: Iterable[int] = ()) -> list[Record]:
    """The same records one after the other from position 1, in groups of so many; what is left are groups of one."""
    left = len(records) - sum(sizes := list(sizes))
    ends = list(accumulate([*sizes, *[1] * left]))
    group_ends = [end for begin, end in pairwise([0, *ends]) for _ in range(begin, end)]
    return [
        msgspec.structs.replace(record, position=position, group_end=group_end, stamp=position * 16)
        for position, (record, group_end) in enumerate(zip(records, group_ends, strict=True), start=1)
    ]


def rows_of(records: list[Record]) -> list[bytes]:
    """The rows of a history, with the chain from the journal's start on."""
    chains = list(accumulate(records, chained, initial=CHAIN_START))[1:]
    return [row_of(record, chain) for record, chain in zip(records, chains, strict=True)]
