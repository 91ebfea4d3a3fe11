"""What every tier of tests shares: how properties are searched, and the event loop that tests run on."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from peaceriver.embedded import Server
from peaceriver.postgres import connect

# A script's shell starts what it runs in the background with Ctrl-C ignored, and every command that a test starts would
# inherit that; those must be interrupted as at a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A shared machine has slow moments: how long one example takes is not what a property is about. Time-outs guard hangs.
settings.register_profile("usual", deadline=None, max_examples=100, print_blob=True)
# Where nobody can look at a saved example, the same examples each time keep a build repeatable.
settings.register_profile("build", settings.get_profile("usual"), derandomize=True, database=None)
settings.register_profile("thorough", settings.get_profile("usual"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "build" if os.environ.get("CI") else "usual"))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Coroutine tests run on the event loop that a node runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def dsn(tmp_path: Path) -> AsyncIterator[str]:
    """A database that was given to us, on a server that we do not call our own."""
    server = await Server.start(tmp_path / "postgres")
    try:
        given = server.connection("postgres")
        admin = await connect(given)
        await admin.execute("create database given")
        await admin.close()
        yield f"postgresql://postgres@/given?host={given['host']}&port={given['port']}"
    finally:
        await server.stop()
