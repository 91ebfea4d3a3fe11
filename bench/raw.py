"""Raw PostgreSQL: the same rows into a table with the journal's columns and indexes; no fold, no chain, no check."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from bench.load import ACTORS, Load, actor_id, fields, written
from bench.orders import Order, sales
from bench.place import ROLE, Place
from peaceriver import postgres
from peaceriver.postgres import Statements, Transaction, copy_in
from peaceriver.record import COLUMNS

sql = Statements("bench", "raw")
_SCHEMA, _TABLE = "raw", "journal"
_ALL = (*COLUMNS, "chain")


class Raw:
    """A table like a journal, and the rows that it has taken so far."""

    def __init__(self, connection: Transaction) -> None:
        self._connection = connection
        self._load = Load()

    @classmethod
    @asynccontextmanager
    async def beside(cls, place: Place, database: str) -> AsyncIterator[Raw]:
        """A table in the product's own database, where it finds the journal's definition, for the block."""
        connection = await postgres.connect(place.server.connection(ROLE, database))
        try:
            await connection.execute(f"create schema {_SCHEMA}")
            await sql.table.run(connection)
            yield cls(connection)
        finally:
            await connection.close()

    async def copy(self, count: int) -> float:
        """Rows per second by one COPY, binary, with its commit."""
        rows = [tuple(row(number).values()) for number in self._load.numbers(count)]
        began = time.perf_counter()
        await copy_in(self._connection, _TABLE, _ALL, rows, schema=_SCHEMA)
        return count / (time.perf_counter() - began)

    async def insert(self, count: int) -> float:
        """Rows per second by one prepared INSERT each, with a commit each."""
        rows = [sql.insert.bound(row(number)) for number in self._load.numbers(count)]
        began = time.perf_counter()
        for each in rows:
            await self._connection.execute(sql.insert.text, *each)
        return count / (time.perf_counter() - began)


def row(number: int) -> dict[str, Any]:
    """What the journal would keep of message ``number``, in the order of its columns."""
    message_id, action = uuid4(), "create" if number < ACTORS else "modify"
    known = {
        "shard": sales.code,
        "position": number + 1,
        "group_end": number + 1,
        "epoch": 1,
        "stamp": number + 1,
        "kind": "received",
        "message_id": message_id,
        "actor_type": Order.__name__,
        "actor_id": actor_id(number),
        "action": action,
        "message_type": f"{Order.__name__}.{action}",
        "actor_version": number // ACTORS + 1,
        "model_version": 1,
        "receiver_shard": sales.code,
        "root": message_id,
        "hops": 0,
        "body": written(fields(number)),
        "chain": bytes(32),
    }
    return dict.fromkeys(_ALL) | known
