"""One node of the cluster under test: its process, the PostgreSQL server below it, its directory, its clock.

Whatever is signalled or removed here was started here, and is known by the process ids that it wrote down itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from peaceriver.embedded.processes import children, look, occupants
from peaceriver.node.configuration import Listen, NodeConfiguration, written
from peaceriver.postgres import DATABASE
from tests.faults.clock import ClockFile
from tests.faults.disks import Disk

_GONE_S = 20.0
#: Where a node leaves word of its server; see embedded.place.
_SERVER = "data/postmaster.pid"


class Member:
    """A node that can be started, stopped, frozen, killed, wiped and set back."""

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        lease_s: float,
        app: str | None,
        founders: tuple[str, ...],
        own_disk: bool = False,
    ) -> None:
        self.name = name
        self.directory = directory
        self.data = directory / name
        self.clock = ClockFile(directory / f"{name}.clock")
        self.mutant: str | None = None
        #: Its directory's own disk, which can be full and lose its power; None where it is a directory like others.
        self.disk = Disk(self.data) if own_disk else None
        if self.disk is not None:
            self.disk.make()
        self._lease_s = lease_s
        self._app = app
        self._founders = founders
        self._configuration = directory / f"{name}.toml"
        self._log = directory / f"{name}.log"
        self._process: Process | None = None
        self._frozen: set[int] = set()
        # Bound and never listened on: the port stays this node's while its process is down.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the node has said."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def configure(self, peers: Mapping[str, str]) -> None:
        """Write the node's configuration; ``peers`` are URLs by name."""
        configuration = NodeConfiguration(
            name=self.name,
            listen=Listen(port=self.port),
            data=self.name,
            peers=dict(peers),
            founders=self._founders,
            lease=self._lease_s,
            app=self._app,
        )
        self._configuration.write_text(written(configuration))

    def database(self) -> dict[str, Any]:
        """How to look into the node's database, beside it and only to read."""
        return {"host": str(self.data / "sockets"), "port": 5432, "user": "postgres", "database": DATABASE}

    # --- life

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def server_pid(self) -> int | None:
        """The postmaster now; None where there is none."""
        try:
            pid = int((self.data / _SERVER).read_text().split("\n", 1)[0])
        except (OSError, ValueError):  # also where its disk has lost its power
            return None
        found = look(pid)
        return pid if found is not None and found.is_postgres else None

    async def start(self) -> None:
        """Start the process, if none runs; it comes up by itself."""
        if self.alive:
            return
        command = [sys.executable, "-m", "tests.faults.node", "--config", str(self._configuration)]
        command += ["--clock", str(self.directory / f"{self.name}.clock")]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                *(("--mutant", self.mutant) if self.mutant else ()),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )

    async def stop(self) -> None:
        """End it in order."""
        self.go_on()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_GONE_S):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()

    async def kill(self) -> None:
        """SIGKILL the node's process. The kernel tells its server to end when its node is gone."""
        self.go_on()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def kill_server(self) -> None:
        """SIGKILL the server, all of it: its node notices."""
        pid = self.server_pid
        if pid is None:
            return
        _signal(pid, signal.SIGSTOP)  # so that it makes no new child while they are counted
        for each in (*children(pid), pid):
            _signal(each, signal.SIGKILL)
        reap()

    async def kill_everything(self) -> None:
        """Node and server at once: nobody is left to stop anything in order."""
        pid = self.server_pid
        await self.kill()
        if pid is not None:
            for each in (*children(pid), pid):
                _signal(each, signal.SIGKILL)
        await self._until_no_server(pid)

    async def _until_no_server(self, pid: int | None) -> None:
        async with asyncio.timeout(_GONE_S):
            # No child of ours: it can only be looked at.
            while pid is not None and look(pid) is not None:  # noqa: ASYNC110 - the kernel tells nobody else
                await asyncio.sleep(0.01)
        reap()

    def freeze(self, *, node: bool = True, server: bool = False) -> None:
        """SIGSTOP: nothing moves, and nobody is told."""
        pids: list[int] = []
        if node and self._process is not None and self._process.returncode is None:
            pids.append(self._process.pid)
        if server and (pid := self.server_pid) is not None:
            pids += [pid, *children(pid)]
        for each in pids:
            self._frozen.add(each)
            _signal(each, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        for each in self._frozen:
            _signal(each, signal.SIGCONT)
        self._frozen.clear()

    # --- its disk

    async def wipe(self) -> None:
        """The node dies, and its disk is lost."""
        await self.kill_everything()
        self._clear()

    async def copy(self) -> None:
        """Take a backup while the node is down: for ``set_back``. It is killed for that."""
        await self.kill_everything()
        backup = self.directory / f"{self.name}.backup"
        shutil.rmtree(backup, ignore_errors=True)
        _copy(self.data, backup)

    @property
    def has_copy(self) -> bool:
        return (self.directory / f"{self.name}.backup").exists()

    async def set_back(self) -> None:
        """The node dies, and comes up later with the disk that it had at the last ``copy``."""
        await self.kill_everything()
        self._clear()
        backup = self.directory / f"{self.name}.backup"
        _copy(backup, self.data)
        os.sync()  # who restores a backup sees to that: power may be cut at any moment after it
        shutil.rmtree(backup)

    async def lose_power(self) -> None:
        """Everything stops at once, and what was not flushed is gone."""
        assert self.disk is not None
        server = self.server_pid
        # Nobody sees the disk go.
        self.freeze(node=True, server=True)
        self.disk.lose_power()
        for each in self._frozen:
            _signal(each, signal.SIGKILL)
        self._frozen.clear()
        await self.kill()
        await self._until_no_server(server)
        # What the server had begun meanwhile stops as well.
        for each in occupants(self.data / "data"):
            _signal(each, signal.SIGKILL)
        await asyncio.to_thread(self.disk.power_up)

    def _clear(self) -> None:
        """Empty the directory; a disk that is mounted there stays mounted."""
        for each in list(self.data.iterdir()):
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()
        with suppress(OSError):
            self.data.rmdir()

    async def close(self) -> None:
        """Nothing of it is left running. In order, where it can be: a killed server leaves its shared memory behind."""
        await self.stop()
        await self.kill_everything()
        self._reserved.close()
        if self.disk is not None:
            self.disk.unmake()


def _copy(one: Path, other: Path) -> None:
    """Copy a directory with its owners."""
    shutil.copytree(one, other, symlinks=True, copy_function=_copied, dirs_exist_ok=True)
    for each in (other, *other.rglob("*")):
        owner = (one / each.relative_to(other)).lstat()
        os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _copied(one: str, other: str) -> None:
    # A socket or a pipe is no part of a backup.
    if Path(one).is_file():
        shutil.copy2(one, other)


def _signal(pid: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, what)


def reap() -> None:
    """Take note of servers that have ended after their nodes: they are ours by adoption (see cluster.adopt)."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            text = Path(f"/proc/{name}/stat").read_text("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        head, _, tail = text.rpartition(")")
        state, parent = tail.split()[:2]
        if state == "Z" and int(parent) == os.getpid() and head.endswith("(postgres"):
            with suppress(ChildProcessError):
                os.waitpid(int(name), os.WNOHANG)
