"""A server with the schema of a node, for the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peaceriver.embedded import Server
from peaceriver.migrating import migrate, prepare
from peaceriver.postgres import DATABASE, OWNER, RUNNER, Database


@pytest.fixture(scope="module")
async def server(module_folder: Path, anyio_backend: Any) -> AsyncIterator[Server]:
    server = await Server.start(module_folder / "postgres")
    try:
        await prepare(server.connection("postgres"))
        await migrate(server.connection(OWNER, DATABASE))
        yield server
    finally:
        await server.stop()


@pytest.fixture(scope="module")
async def database(server: Server) -> AsyncIterator[Database]:
    opened = await Database.open(server.connection(RUNNER, DATABASE))
    yield opened
    await opened.close()
