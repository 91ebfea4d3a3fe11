"""Before a server starts: end what a killed node has left running, make the database, write its configuration."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from peaceriver.embedded.account import Account, node_user
from peaceriver.embedded.binaries import Binaries, environment
from peaceriver.embedded.place import Place, Traces, opened, sync_folder, write_durably
from peaceriver.embedded.processes import clear, end_server, follow_parent, is_server_of, occupants
from peaceriver.embedded.settings import server_settings, who_is_who, who_may_enter
from peaceriver.embedded.sockets import remove_sockets
from peaceriver.errors import StartFailed

INITDB_TIMEOUT_S = 120.0
INITDB_LINES_SHOWN = 6
#: Checksums, so that a page the disk has changed is an error and not an answer.
_INITDB = ("-E", "UTF8", "--locale=C", "--data-checksums", "-U", "postgres", "--auth=peer", "--no-instructions")


def recover(place: Place, account: Account) -> None:
    """Leave nothing of a server that ran here before: no process, no lock file that names a stranger, no socket.

    The directory is held, so whatever still works in it has lost its node. Raises StartFailed where it cannot be ended.
    """
    left = place.left_behind()
    began = left.began if left is not None else None
    for pid in {_named_in(place.pid_file), left.pid if left is not None else None} - {None}:
        assert pid is not None
        if is_server_of(pid, place.data, began):
            end_server(pid)
        if is_server_of(pid, place.data, began):
            raise StartFailed(
                f"process {pid} works in {place.data} and cannot be ended: end it, or restart the machine"
            )
    clear(place.data)
    if found := occupants(place.data):
        raise StartFailed(f"the processes {found} work in {place.data} and cannot be ended: restart the machine")
    for each in place.unfinished():
        clear(each)
        shutil.rmtree(each, ignore_errors=True)  # what a dying initdb still writes into goes at the next start
    _drop_stale(place.pid_file)
    if left is not None:
        remove_sockets(Path(left.sockets), account)
        place.forget()


def _named_in(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text("ascii", "replace").partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def _drop_stale(pid_file: Path) -> None:
    """Remove a lock file that PostgreSQL would believe although nobody is there.

    It asks only whether the process exists. That may be a stranger with the same number, or a zombie that nobody reaps
    (process 1 of a container often does not); and half a file, left by a power cut, it refuses. One that names nobody
    is left to it: then it also looks for memory that is still shared.
    """
    if not pid_file.exists():
        return
    pid = _named_in(pid_file)
    if pid is None or pid <= 0 or _exists(pid):
        pid_file.unlink()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def initialise(place: Place, binaries: Binaries, account: Account) -> None:
    """Make the database beside its place and move it there when it is whole. Raises StartFailed with initdb's words."""
    fresh = place.fresh()
    try:
        with opened(fresh, account) as (name, inherited):
            if account.foreign:
                os.chown(fresh, account.uid, account.gid)
            _initdb(place, [str(binaries.initdb), "-D", name, *_INITDB], inherited, account)
        fresh.rename(place.data)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    sync_folder(place.folder)


def _initdb(place: Place, command: list[str], inherited: tuple[int, ...], account: Account) -> None:
    node = os.getpid()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=INITDB_TIMEOUT_S,
            cwd="/",
            env=environment(),
            pass_fds=inherited,
            start_new_session=True,
            preexec_fn=lambda: follow_parent(node, signal.SIGKILL),
            **account.options(),
        )
    except subprocess.TimeoutExpired as error:
        raise StartFailed(
            f"initdb has not made a database in {place.folder} within {INITDB_TIMEOUT_S:.0f} s: look at its disk"
        ) from error
    if done.returncode != 0:
        said = "\n".join(done.stdout.decode("utf-8", "replace").splitlines()[-INITDB_LINES_SHOWN:])
        raise StartFailed(f"{command[0]} could not make a database in {place.folder}; it said:\n{said}")


def configure(place: Place, account: Account, sockets: Path, settings: Mapping[str, str]) -> None:
    """Write the three configuration files, and what to look for should we be killed."""
    place.remember(Traces(sockets=str(sockets)))
    for name, text in {
        "postgresql.conf": server_settings(settings, sockets),
        "pg_hba.conf": who_may_enter(),
        "pg_ident.conf": who_is_who(node_user()),
    }.items():
        write_durably(place.data / name, text.encode(), account)
