"""The real log is loaded, again, and through kills: the same work stands in the same departments."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from peaceriver import Client
from peaceriver.errors import Unavailable
from tests.acceptance.processes import Up, running, start

LOG = Path(__file__).parents[2].parent / "shared" / "data" / "receipt.csv"
COLUMNS = ["--department", "org:group", "--case", "case:concept:name"]
COLUMNS += ["--time", "time:timestamp", "--activity", "concept:name"]

pytestmark = [
    pytest.mark.skipif(not LOG.exists(), reason=f"the real log is not at {LOG}"),
    pytest.mark.slow,
    pytest.mark.timeout(240),
]

Record = dict[str, Any]


async def load(up: Up) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "peaceriver.cli.main", "import", str(LOG), "--format", "csv", *COLUMNS],
        *["--url", up.url, "--json"],
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    summary: dict[str, Any] = json.loads(out)
    return summary


async def journals(url: str) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    async with Client(url) as client:
        for code in await client.departments():
            records: list[Record] = []
            while True:
                try:
                    page = await client.journal(code, after=len(records))
                except Unavailable:
                    # It is in the directory already, and brought up at this moment.
                    await asyncio.sleep(0.05)
                    continue
                records += page.records
                if len(records) >= page.complete:
                    break
            found[code] = records
    return found


def of_kind(found: dict[int, list[Record]], kind: str) -> list[Record]:
    return [each for records in found.values() for each in records if each["kind"] == kind]


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


def check(found: dict[int, list[Record]]) -> None:
    received, sent = of_kind(found, "received"), of_kind(found, "sent")
    assert len(received) == 8_577
    assert len(sent) == 5_440
    assert len({(each["shard"], each["actor"]) for each in received}) == 5_923
    assert len(found) == 10
    for records in found.values():
        assert [each["position"] for each in records] == list(range(1, len(records) + 1))
    arrived = {each["id"]: each for each in received}
    for each in sent:
        assert arrived[each["id"]]["shard"] == each["to"]
        assert arrived[each["id"]]["from"] == each["shard"]
        assert arrived[each["id"]]["stamp"] > each["stamp"]
    assert of_kind(found, "exception") == []


async def test_the_real_log_is_loaded_once_however_often_it_is_imported(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as up:
        summary = await load(up)
        assert (summary["events"], summary["cases"], summary["departments"]) == (8_577, 1_434, 10)
        assert summary["hand_overs"] == 5_440
        first = await journals(up.url)
        check(first)
        await load(up)
        again = await journals(up.url)
        for kind in ("received", "sent"):
            assert of_kind(again, kind) == of_kind(first, kind)


async def test_killed_in_the_middle_and_imported_again_it_is_the_same(tmp_path: Path) -> None:
    async with running(tmp_path / "whole") as up:
        await load(up)
        whole = end_state(await journals(up.url))

    up = await start(tmp_path / "killed")
    try:
        loading = asyncio.create_task(load(up))
        try:
            while len(of_kind(await journals(up.url), "received")) < 3_000:
                assert not loading.done(), "it was loaded before it could be killed"
                await asyncio.sleep(0.05)
            port = int(up.url.rsplit(":", 1)[1])
            await up.kill_everything()
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        up = await start(tmp_path / "killed", port=port)
        await load(up)
        found = await journals(up.url)
        check(found)
        assert end_state(found) == whole
    finally:
        await up.stop()
