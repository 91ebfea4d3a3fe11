"""The chain covers every column of every record, in one canonical form."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest

from peaceriver.record import CHAIN_START, COLUMNS, Record, canonical, chain_over, chained

RECORD = Record(
    shard=100,
    position=1,
    group_end=1,
    epoch=1,
    stamp=5,
    kind="received",
    message_id=UUID(int=7),
    actor_type="Order",
    actor_id="SO-1",
    action="create",
    message_type="Order.create",
    actor_version=1,
    root=UUID(int=7),
    valid_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    body='{"total":0.10}',
)

CHANGES = {
    "shard": 101,
    "position": 2,
    "group_end": 2,
    "epoch": 2,
    "stamp": 6,
    "kind": "sent",
    "message_id": UUID(int=8),
    "actor_type": "Orders",
    "actor_id": "SO-2",
    "action": "modify",
    "message_type": "Other",
    "actor_version": 2,
    "model_version": 1,
    "sender_shard": 100,
    "receiver_shard": 100,
    "source_position": 1,
    "cause_time": 1,
    "cause_shard": 1,
    "root": UUID(int=9),
    "correlation": "c",
    "rule": "r",
    "rule_version": 1,
    "principal": "p",
    "trace": "t",
    "valid_at": None,
    "due": datetime(2026, 1, 1, tzinfo=UTC),
    "if_version": 1,
    "hops": 1,
    "body": '{"total":0.1}',
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_change_of_any_column_changes_the_chain(column: str) -> None:
    changed = msgspec.structs.replace(RECORD, **{column: CHANGES[column]})
    assert chained(CHAIN_START, changed) != chained(CHAIN_START, RECORD)


def test_the_chain_depends_on_all_that_came_before() -> None:
    other = chained(CHAIN_START, msgspec.structs.replace(RECORD, body="{}"))
    assert chained(other, RECORD) != chained(chained(CHAIN_START, RECORD), RECORD)
    assert chain_over(CHAIN_START, [RECORD, RECORD]) == chained(chained(CHAIN_START, RECORD), RECORD)


def test_the_same_moment_in_another_zone_is_the_same_history() -> None:
    assert RECORD.valid_at is not None
    elsewhere = RECORD.valid_at.astimezone(timezone(timedelta(hours=5)))
    assert canonical(msgspec.structs.replace(RECORD, valid_at=elsewhere)) == canonical(RECORD)


def test_the_canonical_form_is_fixed_for_ever() -> None:
    """A change of this digest makes every existing journal look damaged: it needs a new CHAIN_FORMAT."""
    digest = hashlib.sha256(canonical(RECORD)).hexdigest()
    assert digest == "7b1df5345426c7003bee468507d1654ef083da1e7fd49049e1a2c78be00deaea"


def test_a_record_shows_its_body_to_the_letter_and_its_times_in_utc() -> None:
    shown = RECORD.public()
    assert bytes(shown["body"]) == b'{"total":0.10}'
    assert shown["valid_at"] == "2026-01-02T03:04:05.678901Z"
    assert shown["recorded_at"] == "1970-01-01T00:00:00.000000Z"
    assert shown["stamp"] == "00000000000000000005.100"
    assert shown["actor"] == "Order/SO-1"
