"""Processes that are not, or no longer, our children: what they are, and how they are ended.

A process id alone proves nothing: after a crash the same number may be somebody else's. Nothing here is ended before
it was recognised.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: First ask for an orderly end (a checkpoint is written), then for an immediate one (recovery at the next start); after
#: that the tree is killed. Nothing acknowledged is lost by any of them.
STOP_STEPS: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))
#: How long a killed process may take to be gone.
KILLED_S = 10.0
#: How long the children of a dead postmaster get to notice it by themselves.
CHILDREN_END_S = 5.0
#: How often a process that is not our child is looked at: the kernel sends no word of its end on every system.
LOOK_S = 0.02
LISTING_TIMEOUT_S = 10.0
PR_SET_PDEATHSIG = 1

_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None) if _LINUX else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A living process as the kernel describes it."""

    pid: int
    parent: int
    #: The program's name: at most 15 letters on Linux.
    name: str
    #: When it began, in the kernel's own words: with the pid, this is who it is.
    began: str

    @property
    def is_postgres(self) -> bool:
        return os.path.basename(self.name) in ("postgres", "postmaster")


def look(pid: int) -> Process | None:
    """The process ``pid``; None where there is none, or only a zombie that nobody has reaped."""
    return _look_in_proc(pid) if _LINUX else _look_with_ps(pid)


def _look_in_proc(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    head, _, tail = text.rpartition(")")  # the name stands in brackets, and may contain some
    fields = tail.split()
    if fields[0] in "ZX":
        return None
    return Process(pid=pid, parent=int(fields[1]), name=head.partition("(")[2], began=fields[19])


def _look_with_ps(pid: int) -> Process | None:
    fields = _ps("-o", "ppid=,stat=,lstart=,comm=", "-p", str(pid)).split(None, 7)
    if len(fields) < 8 or fields[1].startswith("Z"):
        return None
    return Process(pid=pid, parent=int(fields[0]), name=fields[7].strip(), began=" ".join(fields[2:7]))


def _ps(*arguments: str) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    return subprocess.run(
        ["ps", "-ww", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=LISTING_TIMEOUT_S,
    ).stdout


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def children(pid: int) -> list[int]:
    """The living children of ``pid``."""
    if _LINUX:
        return [each for each in _pids() if (found := look(each)) is not None and found.parent == pid]
    pairs = (line.split() for line in _ps("-A", "-o", "pid=,ppid=").splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def works_in(pid: int, folder: Path) -> bool | None:
    """Whether the process's working directory is ``folder``; None where the kernel does not tell us."""
    if not _LINUX:
        return None
    try:
        here, there = os.stat(f"/proc/{pid}/cwd"), folder.stat()
    except PermissionError:
        return _works_in_says_its_owner(pid, folder)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _works_in_says_its_owner(pid: int, folder: Path) -> bool | None:
    """The same, asked as the folder's owner: root in a container may not look into the processes of others."""
    try:
        there, owner = folder.stat(), os.stat(f"/proc/{pid}").st_uid
        if owner != there.st_uid:
            return False
        done = subprocess.run(
            ["stat", "-L", "-c", "%d:%i", f"/proc/{pid}/cwd"],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=LISTING_TIMEOUT_S,
            user=there.st_uid,
            group=there.st_gid,
            extra_groups=[],
        )
    except PermissionError:
        return None
    except (FileNotFoundError, ProcessLookupError):
        return False
    return done.stdout.strip() == f"{there.st_dev}:{there.st_ino}" if done.returncode == 0 else None


def command_names(pid: int, folder: Path) -> bool:
    """Whether the process was started with ``-D folder``."""
    if _LINUX:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return os.fsencode(folder) in words
    return f"-D {folder}" in _ps("-o", "command=", "-p", str(pid))


def occupants(folder: Path) -> list[int]:
    """Every process of PostgreSQL that works in ``folder``, as far as the kernel tells: a server, its children."""
    if not _LINUX:
        return []
    return [each for each in _pids() if _is_postgres(each) and works_in(each, folder)]


def _is_postgres(pid: int) -> bool:
    found = look(pid)
    return found is not None and found.is_postgres


def is_server_of(pid: int, data: Path, began: str | None) -> bool:
    """Whether ``pid`` is a living postgres over ``data``; ``began`` is when ours did, where that is known."""
    found = look(pid)
    if found is None or not found.is_postgres:
        return False
    works = works_in(pid, data)
    if works is None:
        return found.began == began or command_names(pid, data)
    return works


def end_server(pid: int) -> None:
    """End a server that is not our child, and wait until it is gone. The caller has made sure of what it is."""
    found = look(pid)
    if found is None:
        return

    def gone() -> bool:
        now = look(pid)
        return now is None or now.began != found.began

    for each, patience_s in STOP_STEPS:
        tell(pid, each)
        if wait_until(gone, patience_s):
            return
    kill_tree(pid)
    wait_until(gone, KILLED_S)


def tell(pid: int, what: signal.Signals) -> None:
    """Send a signal, also to a process that is stopped; one that is gone needs none."""
    with suppress(ProcessLookupError):
        os.kill(pid, what)
        os.kill(pid, signal.SIGCONT)


def kill_tree(pid: int) -> None:
    """SIGKILL a server and its children, as a fault would."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)  # so that it makes no new child while we count them
        for each in (*children(pid), pid):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def clear(folder: Path) -> None:
    """Wait until no process of PostgreSQL works in ``folder`` any more; kill those that do not end by themselves."""

    def empty() -> bool:
        return not occupants(folder)

    if not folder.exists() or wait_until(empty, CHILDREN_END_S):
        return
    for each in occupants(folder):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    wait_until(empty, KILLED_S)


def wait_until(true: Callable[[], bool], patience_s: float) -> bool:
    """Wait for something that we can only look at; answer whether it came true in time."""
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True


def follow_parent(parent: int, how: signal.Signals) -> None:
    """In a new child, before its program runs: let the kernel end it, ``how``, when ``parent`` dies (Linux only).

    The kernel forgets this at a change of user, so it comes after that. It sends the signal when the *thread* that made
    the child ends, not the process: the child must be made by a thread that outlives it.
    """
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(how))
        if os.getppid() != parent:  # it died before we could ask: no signal will come
            os._exit(1)
