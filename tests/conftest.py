"""What every tier of tests shares: how properties are searched, and the event loop that tests run on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from peaceriver.embedded import Server, lifetime, preparation
from peaceriver.embedded.account import Account
from peaceriver.embedded.binaries import Binaries
from peaceriver.embedded.place import Place
from peaceriver.postgres import connect

# A script's shell starts what it runs in the background with Ctrl-C ignored, and every command that a test starts would
# inherit that; those must be interrupted as at a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of servers are made and thrown away, and each waits for its disk: they are in memory where there is room.
# What is killed here are processes, and what those have written stays, on a disk or not.
MEMORY, ROOM_BYTES = Path("/dev/shm"), 4 * 1024**3
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

#: How long a test that takes too long may take to clean up.
_GRACE_S = 60.0
_SEGMENTS = pytest.StashKey[set[Path]]()

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, or everybody waits for it at the end; the order is as random as before."""
    items.sort(key=lambda each: each.get_closest_marker("slow") is None)
    for each in items:
        if isinstance(each, pytest.Function) and iscoroutinefunction(each.obj):
            _never_hangs(each)


def _never_hangs(item: pytest.Function) -> None:
    """A coroutine test that takes too long fails there where it waits.

    The event loop has the signal of pytest-timeout end nothing. Where even a cancelled test goes on, or what it is
    given hangs, its process ends.
    """
    marker, test = item.get_closest_marker("timeout"), item.obj
    limit_s = float(marker.args[0] if marker else item.config.getini("timeout"))

    @wraps(test)
    async def in_time(*args: Any, **keywords: Any) -> None:
        async with asyncio.timeout(limit_s):
            await test(*args, **keywords)

    item.obj = in_time
    item.add_marker(pytest.mark.timeout(limit_s + _GRACE_S, method="thread"), append=False)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what the tests of a module share; gone after them, for what servers leave there is large."""
    folder = tmp_path_factory.mktemp("module")
    yield folder
    shutil.rmtree(folder)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_SEGMENTS] = segments()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A server that is killed leaves its shared memory to its next start, and there is none where its place is gone."""
    if not hasattr(session.config, "workerinput"):
        for each in segments() - session.config.stash[_SEGMENTS] - mapped():
            each.unlink(missing_ok=True)


def segments() -> set[Path]:
    """The shared memory of PostgreSQL servers that are there or were killed."""
    return set(MEMORY.glob("PostgreSQL.*"))


def mapped() -> set[Path]:
    """What processes have in memory, as far as we may know."""
    found: set[Path] = set()
    for each in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            found |= {Path(line.split(maxsplit=5)[-1]) for line in each.read_text().splitlines() if str(MEMORY) in line}
    return found


@pytest.fixture(scope="session", autouse=True)
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """New databases are copies of one that initdb has made: it takes longer than most tests."""
    made: dict[tuple[Path, int], Path] = {}
    making = threading.Lock()

    def copied(place: Place, binaries: Binaries, account: Account) -> None:
        with making:
            if (binaries.folder, account.uid) not in made:
                first = Place(tmp_path_factory.mktemp("initdb"))
                preparation.initialise(first, binaries, account)
                made[binaries.folder, account.uid] = first.data
        fresh = place.fresh()
        subprocess.run(["cp", "-a", f"{made[binaries.folder, account.uid]}/.", str(fresh)], check=True)
        fresh.rename(place.data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifetime, "initialise", copied)
        yield


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
