"""The server as the rest of the house sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peaceriver import postgres
from peaceriver.embedded.lifetime import Lifetime, Running
from peaceriver.embedded.place import Place
from peaceriver.embedded.sockets import PORT
from peaceriver.errors import StartFailed

#: From the start of the process to its first answer; recovery after a crash is part of it.
START_TIMEOUT_S = 60.0
#: How long the remains of a killed server, where the system does not show them to us, may keep a new one from starting.
REMAINS_S = 15.0
REMAINS_PAUSE_S = 0.25
PROBE_PAUSE_S = 0.02
PROBE_TIMEOUT_S = 10.0

_REMAINS = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


class _RemainsInTheWay(StartFailed):
    """Something of an earlier server is still ending: worth another try."""


class Server:
    """One PostgreSQL server that this process owns, in one directory, reached through a private socket only.

    It ends when this process does. Whoever holds it learns from ``exited()`` that it has died, and starts another.
    """

    def __init__(self, directory: Path, lifetime: Lifetime, running: Running) -> None:
        self.directory = directory
        self.pid = running.pid
        #: The major version.
        self.version = running.major
        self._lifetime = lifetime
        self._running = running

    @classmethod
    async def start(cls, directory: Path, *, settings: Mapping[str, str] = {}) -> Server:
        """Start the server of ``directory``, made if new; ``settings`` (as in postgresql.conf) go on top of ours.

        Ends a server that a killed node has left running there. Answers when the server does. Raises StartFailed with
        what to change: the directory is in use, no PostgreSQL is installed, or what the server's log says.
        """
        place = Place.at(directory)
        deadline = time.monotonic() + REMAINS_S
        while True:
            try:
                return await cls._start(place, dict(settings))
            except _RemainsInTheWay:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(REMAINS_PAUSE_S)

    @classmethod
    async def _start(cls, place: Place, settings: Mapping[str, str]) -> Server:
        lifetime = Lifetime(place, settings)
        lifetime.begin()
        try:
            running = await asyncio.wrap_future(lifetime.up)
            server = cls(place.folder, lifetime, running)
            await server._until_it_answers(place)
        except BaseException:  # also when we are cancelled: nothing of it is left
            await lifetime.stop()
            raise
        return server

    def connection(self, role: str, database: str = "postgres") -> dict[str, Any]:
        """What the driver needs to connect as ``role``: no password, the kernel says who we are."""
        return {"host": str(self._running.sockets), "port": PORT, "user": role, "database": database}

    def running(self) -> bool:
        """False once the server has ended and its directory is free."""
        return not self._lifetime.over.done()

    async def exited(self) -> int:
        """Wait until the server has ended, for whatever reason, is reaped, and its directory is free; its exit code.

        Negative: the signal that ended it.
        """
        return await asyncio.wrap_future(self._lifetime.over)

    async def stop(self) -> None:
        """End the server: in order, else at once, else by killing it; then as ``exited()``. May be called again."""
        await self._lifetime.stop()

    def kill(self) -> None:
        """SIGKILL the server and its children: a fault, for tests. ``exited()`` says when it is over."""
        self._lifetime.kill()

    async def _until_it_answers(self, place: Place) -> None:
        over = asyncio.wrap_future(self._lifetime.over)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._answers(place):
                    await asyncio.wait({over}, timeout=PROBE_PAUSE_S)
                    if over.done():
                        raise self._failure(place, f"ended with code {over.result()} while starting")
        except TimeoutError as error:
            raise self._failure(place, f"has not answered within {START_TIMEOUT_S:.0f} s") from error
        finally:
            over.cancel()  # only our interest in it

    async def _answers(self, place: Place) -> bool:
        try:
            connection = await postgres.connect(self.connection("postgres") | {"timeout": PROBE_TIMEOUT_S})
        except StartFailed as error:
            if isinstance(error.__cause__, postgres.Unreachable):
                return False
            raise self._failure(place, f"refuses its own node ({error.__cause__})") from error
        try:
            answer = await connection.fetchval("select 1")
            await connection.close()
        except postgres.Unreachable:
            return False
        return bool(answer == 1)

    def _failure(self, place: Place, what: str) -> StartFailed:
        said = place.said(self._running.log_start)
        kind = _RemainsInTheWay if any(each in said for each in _REMAINS) else StartFailed
        return kind(f"PostgreSQL {self.version} in {place.folder} {what}; the end of {place.log} says why:\n{said}")
