"""Keeping nodes running: a child process that is started again when it dies, and that ends when we do."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec

from peaceriver.embedded.place import write_durably
from peaceriver.embedded.processes import end_server, look
from peaceriver.errors import StartFailed
from peaceriver.node.configuration import NodeConfiguration, written

#: A first start makes a database, and a start after a crash recovers one.
START_TIMEOUT_S = 120.0
#: How long to wait before a dead node is started again, by how often it has died in a row; the last one holds on.
PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
#: A node that ran so long has not died of its start.
STEADY_S = 30.0
#: How long a node may take to stop in order before it is killed.
STOP_TIMEOUT_S = 45.0
#: A node's log longer than this is put aside at its next start.
LOG_BYTES_MAX = 10 * 1024 * 1024
#: How long a process may take to end that has said its last word.
_ENDING_S = 2.0
_LOCK = "up.lock"
_PORT_MAX = 65_535
#: Ports for whoever does not care. Not those that the OS gives to outgoing connections, where nobody has changed that:
#: before a node listens, or while it is started again, one of these might take its port.
_ANY = range(20_000, 32_000)


class _Word(msgspec.Struct):
    """What a node says on standard output: that it takes messages, or why it cannot."""

    url: str | None = None
    detail: str | None = None


class SupervisedNode:
    """One node in a directory of ours.

    Its data are in ``NAME``, its configuration in ``NAME.toml``, its log in ``NAME.log``, and while it runs
    ``NAME.json`` says which process it is, so that whoever comes after us can end it.
    """

    def __init__(self, directory: Path, configuration: NodeConfiguration, say: Callable[[str], None]) -> None:
        self.name = configuration.name
        self.url: str | None = None
        self.pid: int | None = None
        self._file = directory / f"{self.name}.toml"
        self._log = directory / f"{self.name}.log"
        self._child_file = _child_file(directory, self.name)
        self._say = say
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        write_durably(self._file, written(configuration).encode())

    async def start(self) -> str:
        """Start it and answer its URL once it takes messages; raise StartFailed, with its words, where it does not."""
        url = await self._begin()
        self._keeping = asyncio.create_task(self._keep(), name=f"keep {self.name}")
        return url

    async def stop(self) -> None:
        """End it in order, or after STOP_TIMEOUT_S by force."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._end(signal.SIGINT)
        self._child_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it at once. Its PostgreSQL server notices and ends by itself; nothing acknowledged is lost."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _keep(self) -> None:
        """Start it again whenever it dies, ever more slowly while it dies of its start."""
        loop, deaths = asyncio.get_running_loop(), 0
        while True:
            assert self._process is not None
            began = loop.time()
            code = await self._process.wait()
            if loop.time() - began > STEADY_S:
                deaths = 0
            pause_s = PAUSES_S[min(deaths, len(PAUSES_S) - 1)]
            deaths += 1
            self._say(f"{self.name} has died ({_cause_of_death(code)}); it is started again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            try:
                url = await self._begin()
            except StartFailed as error:
                self._say(str(error))
            else:
                self._say(f"{self.name} is back: {url}")

    async def _begin(self) -> str:
        # Unbuffered: what an application prints is in the log when it is looked for.
        command = [sys.executable, "-u", "-m", "peaceriver.cli.main", "node", "--json"]
        with opened_log(self._log) as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                "--config",
                str(self._file),
                "--supervisor",
                str(os.getpid()),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we stop it in order
            )
        self.pid = self._process.pid
        if (started := look(self.pid)) is not None:
            write_durably(self._child_file, msgspec.json.encode(_Child(self.pid, started.began)))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                word = await _word(self._process)
        except TimeoutError:
            word = _Word(detail=f"it does not take messages after {START_TIMEOUT_S:.0f} s")
        except asyncio.CancelledError:
            await self._end(signal.SIGINT)
            raise
        if word.url is None:
            ended = await self._ended()
            reason = word.detail or f"it ended without a word ({ended}); the end of {self._log} may say why"
            raise StartFailed(f"{self.name} cannot be started: {reason}")
        self.url = word.url
        return word.url

    async def _ended(self) -> str:
        """Wait until a process that is ending has ended, and end it if it does not; answers what it died of."""
        assert self._process is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(_ENDING_S):
                await self._process.wait()
        await self._end(signal.SIGKILL)
        assert self._process.returncode is not None
        return _cause_of_death(self._process.returncode)

    async def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            self._say(f"{self.name} has not stopped within {STOP_TIMEOUT_S:.0f} s; it is killed")
            process.kill()
            await process.wait()


async def _word(process: Process) -> _Word:
    """The first line that a node says; an empty word where it ends without one."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    try:
        return msgspec.json.decode(line, type=_Word)
    except msgspec.DecodeError:
        return _Word()


def _cause_of_death(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


@contextmanager
def opened_log(path: Path) -> Iterator[int]:
    """A log to append to; a long one is put aside."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_name(f"{path.name}.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Child(msgspec.Struct, frozen=True):
    """Which process a node is. A process id alone proves nothing; with ``began`` it is who it is."""

    pid: int
    began: str


def end_orphan(directory: Path, name: str) -> None:
    """End a node that has outlived the supervisor that started it; the caller holds the directory."""
    file = _child_file(directory, name)
    try:
        child = msgspec.json.decode(file.read_bytes(), type=_Child)
    except (FileNotFoundError, msgspec.DecodeError):
        return
    found = look(child.pid)
    if found is not None and found.began == child.began:
        end_server(child.pid)
    file.unlink(missing_ok=True)


def _child_file(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"


class Held:
    """A directory that this process keeps nodes in, and nobody else does."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, directory: Path) -> Self:
        """Make the directory where it is not there, and own it. Raises StartFailed where another process does."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(directory / _LOCK, flags, 0o600)
        except OSError as error:
            raise StartFailed(f"{directory} cannot be used: {error.strerror}; name another with --data") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StartFailed(
                f"{directory} is in use: `peaceriver up` runs there as process {owner or '(just starting)'}; "
                "stop it first, or name another directory with --data"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def free_ports(wanted: int, number: int, host: str = "127.0.0.1") -> list[int]:
    """So many ports from ``wanted`` on, if nobody listens there; any free ones for 0. Raises StartFailed."""
    if not wanted:
        free = (port for port in random.sample(_ANY, len(_ANY)) if _is_free(host, port))
        chosen = list(itertools.islice(free, number))
        if len(chosen) < number:
            raise StartFailed(f"no {number} ports of {_ANY.start} to {_ANY.stop - 1} are free: name one with --port")
        return chosen
    if wanted + number - 1 > _PORT_MAX:
        raise StartFailed(f"{number} ports from {wanted} on go beyond {_PORT_MAX}: name a smaller one with --port")
    found = range(wanted, wanted + number)
    for port in found:
        if not _is_free(host, port):
            raise StartFailed(
                f"port {port} is taken by another program: stop that one, or name another port with --port"
            )
    return list(found)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As the server will: connections of an earlier run that are still closing are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError):
            return False
        return True
