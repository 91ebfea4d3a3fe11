"""A large answer is streamed: what the node needs for it does not grow with it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.acceptance.processes import running

ROWS = 150_000
GROWTH_BYTES_MAX = 64 * 1024 * 1024


def resident_bytes(pid: int) -> int:
    """The most memory that a process had since it was last reset."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(each for each in lines if each.startswith("VmHWM")).split()[1]) * 1024


def forget(pid: int) -> None:
    """Reset that."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="how much memory a process has is told in /proc")
async def test_a_node_streams_many_times_what_it_has_in_memory(tmp_path: Path) -> None:
    sql = f"select n, repeat('x', 1000) as filling from generate_series(1, {ROWS}) as g(n) order by n"
    async with running(tmp_path / "data") as up, httpx.AsyncClient(base_url=up.url, timeout=60) as http:
        await http.post("/query", json={"sql": sql + " limit 10"})
        for media in ("text/csv", "application/x-ndjson"):
            forget(up.node_pid)
            before, received = resident_bytes(up.node_pid), 0
            async with http.stream("POST", "/query", json={"sql": sql}, headers={"Accept": media}) as answer:
                async for piece in answer.aiter_bytes():
                    received += len(piece)
            assert received > ROWS * 1000
            assert resident_bytes(up.node_pid) - before < GROWTH_BYTES_MAX
