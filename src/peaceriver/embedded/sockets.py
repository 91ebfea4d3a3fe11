"""The server's private folder of sockets: short enough for one, held while its node lives, swept when that was killed.

It cannot lie in the server's directory, whose path may be too long for a socket or closed to the server's OS user. So
the next start of the same directory is not the only one that must find what a killed node leaves behind: that directory
may never be started again, or be gone.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from peaceriver.embedded.account import Account
from peaceriver.embedded.processes import look
from peaceriver.errors import StartFailed

#: Only a part of the socket's name: nothing listens on a network.
PORT = 5432
#: The shortest limit of the systems we run on (macOS: 104 with the closing zero).
SOCKET_PATH_BYTES_MAX = 103
#: A folder that is younger may have been made by a node that has not come to holding it.
LEFT_S = 60.0

_PREFIX = "peaceriver-"
#: Of what ``tempfile.mkdtemp`` appends.
_SUFFIX_LENGTH = 8
_SOCKET = f".s.PGSQL.{PORT}"
_LOCK = f"{_SOCKET}.lock"
_HOMES = ("/tmp", "/var/tmp", "/run")


@contextmanager
def private_sockets(account: Account) -> Iterator[Path]:
    """A new folder for the block, which nobody sweeps meanwhile. Raises StartFailed where there is no place for one."""
    made = make_sockets(account)
    try:
        held = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield made
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)  # said aloud: a forked copy of us may have the folder open as well
            os.close(held)
    finally:
        remove_sockets(made, account)


def make_sockets(account: Account) -> Path:
    """A new private folder, where those that killed nodes have left are gone. Raises StartFailed as above."""
    tried = list(dict.fromkeys([tempfile.gettempdir(), *_HOMES]))
    for home in map(Path, tried):
        longest = len(os.fsencode(home / f"{_PREFIX}{'x' * _SUFFIX_LENGTH}" / _SOCKET))
        usable = home.is_dir() and os.access(home, os.W_OK | os.X_OK) and account.may_enter(home)
        if not usable or longest > SOCKET_PATH_BYTES_MAX:
            continue
        sweep(home, account)
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
        if account.foreign:
            os.chown(made, account.uid, account.gid)
        return made
    raise StartFailed(
        f"no short folder for a socket that the OS user {account.name} can reach ({', '.join(tried)}): "
        "set TMPDIR to one that everybody may write to"
    )


def remove_sockets(folder: Path, account: Account) -> None:
    """Remove a folder that ``make_sockets`` made; anything else under that name is left alone."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or not _is_ours(found, account) or not folder.name.startswith(_PREFIX):
        return
    for name in (_SOCKET, _LOCK):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def sweep(home: Path, account: Account) -> None:
    """Remove from ``home`` the folders of sockets whose node and server are gone."""
    # Only what has a name like those that are made here: people name folders after us as well.
    for folder in home.glob(f"{_PREFIX}{'?' * _SUFFIX_LENGTH}"):
        # Held by its node, not ours to open, no folder of sockets and not empty, or gone: not left behind.
        with suppress(OSError):
            _remove_if_left(folder, account)


def _remove_if_left(folder: Path, account: Account) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = os.fstat(opened)
        if not _is_ours(found, account) or time.time() - found.st_mtime < LEFT_S:
            return
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_served(folder):
            return
        for name in (_SOCKET, _LOCK):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=opened)
        folder.rmdir()
    finally:
        os.close(opened)


def _is_ours(found: os.stat_result, account: Account) -> bool:
    return found.st_uid in (account.uid, os.geteuid())


def _is_served(folder: Path) -> bool:
    """Whether the server that has made a socket here lives: one that has outlived its node ends by itself."""
    try:
        return look(int((folder / _LOCK).read_text("ascii").partition("\n")[0])) is not None
    except (FileNotFoundError, ValueError):
        return False
