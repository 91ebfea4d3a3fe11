"""The real log is loaded, again, and through kills: the same work stands in the same departments."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from peaceriver import Client
from tests.acceptance.journals import Record, journals, of_kind
from tests.acceptance.processes import running, start
from tests.acceptance.real_log import CASES, DEPARTMENTS, EVENTS, HAND_OVERS, load, needs_the_log

pytestmark = [needs_the_log, pytest.mark.slow, pytest.mark.timeout(240)]


def end_state(found: dict[int, list[Record]]) -> dict[int, Counter[tuple[Any, ...]]]:
    """What stands in each department's journal, apart from when it was recorded."""
    return {
        code: Counter(
            (each["kind"], each["id"], each["actor"], each["action"], each["type"], each["version"], str(each["body"]))
            for each in records
            if each["kind"] in ("received", "sent")
        )
        for code, records in found.items()
    }


async def recorded(url: str) -> int:
    """How far an import has come: reading all of it again and again would hold it up."""
    async with Client(url) as client:
        return sum(each["complete"] for each in (await client.cluster())["shards"])


def check(found: dict[int, list[Record]]) -> None:
    received, sent = of_kind(found, "received"), of_kind(found, "sent")
    assert len(received) == EVENTS
    assert len(sent) == HAND_OVERS
    assert len({(each["shard"], each["actor"]) for each in received}) == 5_923
    assert len(found) == DEPARTMENTS
    for records in found.values():
        assert [each["position"] for each in records] == list(range(1, len(records) + 1))
    arrived = {each["id"]: each for each in received}
    for each in sent:
        assert arrived[each["id"]]["shard"] == each["to"]
        assert arrived[each["id"]]["from"] == each["shard"]
        assert arrived[each["id"]]["stamp"] > each["stamp"]
    assert of_kind(found, "exception") == []


async def test_the_real_log_is_loaded_once_through_a_kill_and_however_often_it_is_imported(tmp_path: Path) -> None:
    async with running(tmp_path / "whole") as up:
        summary = await load(up)
        assert (summary["events"], summary["cases"], summary["departments"]) == (EVENTS, CASES, DEPARTMENTS)
        assert summary["hand_overs"] == HAND_OVERS
        first = await journals(up.url)
        check(first)
        await load(up)
        again = await journals(up.url)
        for kind in ("received", "sent"):
            assert of_kind(again, kind) == of_kind(first, kind)
    found = await killed_in_the_middle(tmp_path / "killed")
    check(found)
    assert end_state(found) == end_state(first)


async def killed_in_the_middle(data: Path) -> dict[int, list[Record]]:
    """What there is after an import whose node, server and supervisor were killed, and another import."""
    up = await start(data)
    try:
        loading = asyncio.create_task(load(up))
        try:
            while await recorded(up.url) < 5_000:
                assert not loading.done(), "it was loaded before it could be killed"
                await asyncio.sleep(0.05)
            port = int(up.url.rsplit(":", 1)[1])
            await up.kill_everything()
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        up = await start(data, port=port)
        await load(up)
        return await journals(up.url)
    finally:
        await up.stop()
