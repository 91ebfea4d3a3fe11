"""One server's directory: what lies in it, who holds it, and how it is written so that a power cut leaves it whole.

lock           held (flock) by the node that owns the directory; says which process that is
data/          PostgreSQL's own, by the server's OS user; there only when complete
data.new/      the same, while initdb is at work
server.json    what a killed server leaves behind, so that the next start finds it
server.log     what the server says, and server.log.1, what it said before that
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from peaceriver.embedded.account import Account
from peaceriver.errors import StartFailed

#: A log longer than this is put aside at the next start; the one put aside before is dropped.
LOG_BYTES_MAX = 10 * 1024 * 1024
#: How much of the log an error repeats.
LOG_LINES_SHOWN = 12
LOG_BYTES_SHOWN = 8 * 1024

_FRESH = "data.new-"


class Traces(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for when a server was not stopped: its folder of sockets, and who it was (see processes.Process)."""

    sockets: str
    pid: int | None = None
    began: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of one server, by its absolute path."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Place:
        return cls(folder.absolute())

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def unfinished(self) -> list[Path]:
        """The folders of every initdb that has not finished."""
        return [*self.folder.glob(f"{_FRESH}*")]

    def fresh(self) -> Path:
        """A new folder for initdb. Each has its own name: one that is dying still clears away what has its name."""
        return Path(tempfile.mkdtemp(prefix=_FRESH, dir=self.folder))

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def traces(self) -> Path:
        return self.folder / "server.json"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Own the directory during the block. Raises StartFailed where another node does."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
                raise StartFailed(
                    f"{self.folder} is already in use by process {owner or '(just starting)'}: "
                    "stop that one first, or name another directory"
                ) from error
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # said aloud: a forked copy of us may have the file open as well
        finally:
            os.close(lock)

    def major(self) -> int | None:
        """The version of PostgreSQL that made the data; None where there is none yet."""
        if not self.data.exists():
            return None
        try:
            return int((self.data / "PG_VERSION").read_text("ascii"))
        except (FileNotFoundError, ValueError) as error:
            raise StartFailed(f"{self.data} holds something that is no PostgreSQL database: move it away") from error

    def left_behind(self) -> Traces | None:
        """What the last server would have left, had it been killed; None after an orderly end."""
        try:
            return msgspec.json.decode(self.traces.read_bytes(), type=Traces)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def remember(self, traces: Traces) -> None:
        write_durably(self.traces, msgspec.json.encode(traces))

    def forget(self) -> None:
        self.traces.unlink(missing_ok=True)

    def open_log(self) -> BinaryIO:
        """The server's log, to be appended to."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_BYTES_MAX:
                self.log.replace(self.log.with_name("server.log.1"))
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return open(descriptor, "ab", buffering=0)

    def said(self, since: int) -> str:
        """The last lines of the log after byte ``since``."""
        with self.log.open("rb") as log:
            log.seek(max(since, self.log.stat().st_size - LOG_BYTES_SHOWN))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])


def write_durably(path: Path, content: bytes, owner: Account | None = None) -> None:
    """Replace a file at once: after a power cut it is the old one or the new one, never half of it."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    # Not through a link: where the folder is the server's, root must not be led elsewhere.
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        if owner is not None:
            owner.own(descriptor)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    new.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def opened(folder: Path, account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A name for ``folder`` that the server can use, and the descriptors that it must inherit for that.

    Where root hands a folder to another user, that user may be unable to walk there (a 0700 parent), and no parent is
    to be opened for it. So it gets the folder itself, open, and finds it as its own descriptor.
    (``/proc/self/cwd`` would do the same without one, but fails before PostgreSQL 16.)
    """
    if not account.foreign or sys.platform != "linux":
        if not account.may_enter(folder):
            raise StartFailed(f"the OS user {account.name} cannot walk to {folder}: name a directory that it can reach")
        yield str(folder), ()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)
