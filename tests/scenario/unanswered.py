"""Commits that nobody sees the end of: the connection is cut there, and the server has made them, or makes them yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any, Literal, TypeAlias

import pytest

from peaceriver.postgres import Database, Transaction

How: TypeAlias = Literal["made", "made later", "not made", "made, and whoever waits is cancelled"]
#: How long the server goes on with a commit that nobody waits for any more.
_LATE_S = 0.4


class Unanswered:
    """The next transaction in which one of some functions is called ends so, and then all is as ever."""

    def __init__(self, patch: pytest.MonkeyPatch, how: How, *functions: tuple[ModuleType, str]) -> None:
        self._how = how
        self._begin = Database.transaction
        self._watched: list[Transaction] = []
        self._late: asyncio.Task[Any] | None = None
        #: Whether it has happened.
        self.happened = asyncio.Event()
        for module, name in functions:
            self._watch(patch, module, name)
        patch.setattr(Database, "transaction", lambda database: self._transaction(database))

    def _watch(self, patch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
        called = getattr(module, name)

        async def watched(tx: Transaction, *args: Any) -> Any:
            self._watched.append(tx)
            return await called(tx, *args)

        patch.setattr(module, name, watched)

    @asynccontextmanager
    async def _transaction(self, database: Database) -> AsyncIterator[Transaction]:
        if self.happened.is_set():
            async with self._begin(database) as tx:
                yield tx
            return
        whole = self._begin(database)
        tx = await whole.__aenter__()
        is_it = False
        try:
            yield tx
            if is_it := tx in self._watched and not self.happened.is_set():
                self.happened.set()
                if self._how == "not made":
                    await tx.execute("select pg_terminate_backend(pg_backend_pid())")
        except BaseException as error:
            await whole.__aexit__(type(error), error, error.__traceback__)
            raise
        if is_it and self._how == "made later":
            self._late = asyncio.create_task(self._commit(whole))
        else:
            await whole.__aexit__(None, None, None)
        if not is_it:
            return
        if self._how == "made, and whoever waits is cancelled":
            raise asyncio.CancelledError
        raise ConnectionResetError("the connection was cut")

    async def _commit(self, whole: AbstractAsyncContextManager[Transaction]) -> None:
        await asyncio.sleep(_LATE_S)
        await whole.__aexit__(None, None, None)

    @property
    def is_under_way(self) -> bool:
        """Whether the server has not made it yet."""
        return self._late is not None and not self._late.done()

    async def has_happened(self) -> None:
        """Return once it has; raises TimeoutError where it does not."""
        async with asyncio.timeout(10):
            await self.happened.wait()

    async def over(self) -> None:
        """Return once it has happened, and is over at the server."""
        await self.has_happened()
        async with asyncio.timeout(10):
            if self._late is not None:
                await self._late
