"""A node is killed in the middle of long answers: none of them looks complete, and nothing is left of them."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import httpx
import pytest

from tests.acceptance.commands import COMMAND
from tests.acceptance.processes import Up, running

_ACTORS = 20_000
_READY_S = 60


async def begun(up: Up, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(*COMMAND, *arguments, "--url", up.url, stdout=PIPE, stderr=PIPE)


async def ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(_READY_S):
        while True:
            try:
                if (await client.get("/readyz")).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


async def filled(client: httpx.AsyncClient) -> None:
    await ready(client)
    (await client.put("/directory/departments/100", json={"name": "Sales"})).raise_for_status()
    await ready(client)
    for start in range(0, _ACTORS, 5_000):
        messages = [
            {"to": 100, "actor": f"Long/{n}", "action": "create", "body": {"n": n, "note": "x" * 500}}
            for n in range(start, start + 5_000)
        ]
        (await client.post("/messages", json=messages)).raise_for_status()


async def counted(client: httpx.AsyncClient) -> int:
    await ready(client)
    answer = await client.post("/query", json={"sql": 'select count(*) from "Long"', "read": "latest"})
    count: int = answer.raise_for_status().json()["rows"][0][0]
    return count


def has_a_file(folder: Path) -> bool:
    return any(each.is_file() for each in folder.rglob("*"))


async def some_file(folder: Path) -> None:
    """Wait until something is being written."""
    async with asyncio.timeout(_READY_S):
        while True:
            if has_a_file(folder):
                return
            await asyncio.sleep(0.005)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_what_a_killed_node_was_saying_never_looks_complete(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as up, httpx.AsyncClient(base_url=up.url, timeout=60) as client:
        await filled(client)

        asking = await begun(up, "query", "select repeat('x', 1000) from generate_series(1, 1000000)")
        assert asking.stdout is not None
        await asking.stdout.readexactly(1_000_000)
        up.kill_node()
        _, complaint = await asking.communicate()
        assert (asking.returncode, b"what came is incomplete" in complaint) == (3, True)

        assert await counted(client) == _ACTORS
        (tmp_path / "exports").mkdir()
        exporting = await begun(up, "export", str(tmp_path / "exports" / "out"))
        await some_file(tmp_path / "exports")
        exporting.send_signal(signal.SIGINT)
        await exporting.communicate()
        assert exporting.returncode == 130
        assert list((tmp_path / "exports").iterdir()) == []

        exporting = await begun(up, "export", str(tmp_path / "exports" / "out"))
        await some_file(tmp_path / "exports")
        up.kill_node()
        await exporting.communicate()
        assert exporting.returncode == 3
        assert list((tmp_path / "exports").iterdir()) == []

        assert await counted(client) == _ACTORS
        rebuilding = await begun(up, "rebuild", "Long", "--json")
        assert rebuilding.stdout is not None
        told = {"state": "waiting"}
        while told["state"] == "waiting":
            told = json.loads(await rebuilding.stdout.readline())
        assert told["state"] == "folding"
        up.kill_node()
        await rebuilding.communicate()
        assert rebuilding.returncode == 3

        assert await counted(client) == _ACTORS
        again = await begun(up, "rebuild", "Long")
        out, _ = await again.communicate()
        assert (again.returncode, b"20,000 records" in out) == (0, True)
        assert await counted(client) == _ACTORS
