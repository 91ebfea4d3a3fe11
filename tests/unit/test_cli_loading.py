"""Loading: what goes into one request, and what is worth another try."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from peaceriver.cli.loading import CHUNK_BYTES_MAX, CHUNK_MESSAGES_MAX, Load, Summary, chunks
from peaceriver.cli.patience import PATIENCE_S, is_passing
from peaceriver.client import Client
from peaceriver.errors import (
    Busy,
    Conflict,
    DiskFull,
    Invalid,
    NotFound,
    Offence,
    OutcomeUnknown,
    PeaceRiverError,
    Unavailable,
    Unreachable,
    VersionConflict,
)
from peaceriver.imports import Event, PlannedMessage, plan_import
from peaceriver.message import Envelope


def planned(body_bytes: int) -> PlannedMessage:
    body = '"' + "x" * (body_bytes - 2) + '"'
    envelope = Envelope(to=100, actor_type="Case", actor_id="C", action="modify", body=body)
    return PlannedMessage(envelope=envelope, message_id=uuid4(), previous=None)


def test_a_wave_is_cut_by_number_and_nothing_is_lost_or_moved() -> None:
    wave = [planned(2)] * (2 * CHUNK_MESSAGES_MAX + 1)
    parts = list(chunks(wave))
    assert list(map(len, parts)) == [CHUNK_MESSAGES_MAX, CHUNK_MESSAGES_MAX, 1]
    assert [each for part in parts for each in part] == wave
    assert list(chunks([])) == []


def test_a_wave_of_large_bodies_is_cut_by_bytes() -> None:
    parts = list(chunks([planned(CHUNK_BYTES_MAX // 2)] * 3 + [planned(CHUNK_BYTES_MAX + 1)]))
    assert list(map(len, parts)) == [2, 1, 1]


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("away"),
        Unavailable("no leader"),
        Busy("full"),
        OutcomeUnknown("late"),
        Conflict("not here yet", errors=(Offence("/cause", "has not arrived"),)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_by_itself_is_tried_again(error: PeaceRiverError) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        Conflict("exists"),
        VersionConflict("moved on"),
        Invalid("bad", errors=(Offence("/cause", "is no stamp"),)),
        NotFound("nowhere"),
        DiskFull("full"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_stays_refused_is_not_tried_again(error: PeaceRiverError) -> None:
    assert not is_passing(error)


async def test_patience_has_an_end() -> None:
    assert PATIENCE_S == 120.0
    time_of_event = datetime(2026, 1, 5, tzinfo=UTC)
    event = Event(case="C-1", activity="Ask", time=time_of_event, department=None, attributes={}, line=1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with Client(f"http://127.0.0.1:{nobody.getsockname()[1]}") as client:
            load = Load(client, plan_import([event], {}, default_department="Sales"), patience_s=0.5)
            waits: list[str | None] = []
            load.on_progress = lambda: waits.append(load.waiting_for)
            began = time.monotonic()
            with pytest.raises(Unreachable):
                async with asyncio.timeout(30):
                    await load.run()
            assert time.monotonic() - began < 5
            assert waits
            assert all(each is not None and "no node answers" in each for each in waits)


def test_a_summary_says_how_fast_it_was() -> None:
    summary = Summary(events=100, cases=10, departments=2, hand_overs=5, recorded_before=0, exceptions=0, seconds=0.5)
    assert summary.events_per_s == 200.0
    assert summary.public()["events_per_s"] == 200.0
    assert summary.public()["hand_overs"] == 5
