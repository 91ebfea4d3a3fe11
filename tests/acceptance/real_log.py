"""The real log: where it is, how much is in it, and how it is imported into a running cluster."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import Up

LOG = Path(__file__).parents[2].parent / "shared" / "data" / "receipt.csv"
COLUMNS = ["--department", "org:group", "--case", "case:concept:name"]
COLUMNS += ["--time", "time:timestamp", "--activity", "concept:name"]
EVENTS, CASES, DEPARTMENTS, HAND_OVERS = 8_577, 1_434, 10, 5_440

needs_the_log = pytest.mark.skipif(not LOG.exists(), reason=f"the real log is not at {LOG}")


async def load(up: Up) -> dict[str, Any]:
    """Import the log; answers the summary."""
    code, out, err = await import_log(up.url)
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


async def import_log(url: str) -> tuple[int | None, str, str]:
    """Have the command import the log; answers its exit code and what it says, to programs and to people."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "peaceriver.cli.main", "import", str(LOG), "--format", "csv", *COLUMNS],
        *["--url", url, "--json"],
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()
