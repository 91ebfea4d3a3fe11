"""The place of a run: one PostgreSQL server, with the product's own settings, for every contestant."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from peaceriver import postgres
from peaceriver.embedded import Server

ROLE = "postgres"
#: The one setting that is not the product's: several contestants keep their connections side by side.
SETTINGS = {"max_connections": "150"}


class Place:
    """Where contestants find their databases and may leave files."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        self.server = server

    async def database(self, name: str) -> dict[str, Any]:
        """A new database; answers how to connect to it as its owner."""
        connection = await postgres.connect(self.server.connection(ROLE))
        try:
            await connection.execute(f"create database {postgres.quoted(name)}")
        finally:
            await connection.close()
        return self.server.connection(ROLE, name)


def url(connection: Mapping[str, Any], scheme: str = "postgresql") -> str:
    """A connection as the URL that drivers take."""
    host = quote(connection["host"], safe="")
    return f"{scheme}://{connection['user']}@/{connection['database']}?host={host}&port={connection['port']}"


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """A server for the block; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="peaceriver-") as name:
        server = await Server.start(Path(name) / "postgres", settings=SETTINGS)
        try:
            yield Place(Path(name), server)
        finally:
            await server.stop()
