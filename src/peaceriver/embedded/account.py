"""Which OS user runs the server: PostgreSQL refuses to run as root, so a node that is root needs another one.

The node itself stays who it is. It enters the server's files as root; the server cannot enter the node's.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peaceriver.errors import StartFailed

#: Looked for in this order. ``_postgres`` is what macOS calls it.
SYSTEM_USERS = ("postgres", "_postgres", "peaceriver")
#: Made where none of them exists.
MADE_USER = "peaceriver"
MAKE_USER_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The OS user of the server's processes."""

    uid: int
    gid: int
    name: str
    #: The node is root and this is somebody else; where False, the server runs as the node does.
    foreign: bool

    def options(self) -> dict[str, Any]:
        """What ``subprocess`` needs to start a program as this user, with no group of the node's left."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.foreign else {}

    def own(self, descriptor: int) -> None:
        """Give an open file or directory to this user."""
        if self.foreign:
            os.fchown(descriptor, self.uid, self.gid)

    def may_enter(self, folder: Path) -> bool:
        """Whether this user reaches what is in ``folder``, judged by owner, group and mode of all on the way."""
        whole = Path(os.path.realpath(folder))
        return all(self._may_search(each.stat()) for each in (whole, *whole.parents))

    def _may_search(self, found: os.stat_result) -> bool:
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def node_user() -> str:
    """The name of the OS user that this process is: the one that the server lets in.

    Raises StartFailed where the user has no name, because peer authentication compares names.
    """
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise StartFailed(
            f"the OS user {os.geteuid()} has no name, by which PostgreSQL could know it: "
            "add it to the user database (/etc/passwd), or run as a user who is in it"
        ) from error
    if any(letter in '"\n\r' for letter in name) or name.startswith("/"):
        raise StartFailed(f"the OS user {name!r} has a name that pg_ident.conf cannot hold: run as another user")
    return name


def account_for(data: Path) -> Account:
    """The OS user to run the server over ``data``: its owner, if it exists, so that what was begun can be gone on with.

    Raises StartFailed where there is no such user, or where it is not ours to choose.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        return _own_account(data, owner)
    if owner == 0:
        raise StartFailed(
            f"{data} belongs to root, as whom PostgreSQL refuses to run: give it back to the user it was made by, "
            f"for example with chown -R {SYSTEM_USERS[0]}"
        )
    return _foreign(_user_of(data) if owner is not None else _system_user())


def _own_account(data: Path, owner: int | None) -> Account:
    if owner not in (None, os.geteuid()):
        raise StartFailed(
            f"{data} belongs to the OS user {owner}: run as that user or as root, or name another directory"
        )
    return Account(uid=os.geteuid(), gid=os.getegid(), name=node_user(), foreign=False)


def _user_of(data: Path) -> pwd.struct_passwd:
    owner = data.stat().st_uid
    try:
        return pwd.getpwuid(owner)
    except KeyError as error:
        raise StartFailed(
            f"{data} belongs to the OS user {owner}, who does not exist here: "
            f"give it to one who does, for example with chown -R {SYSTEM_USERS[0]}"
        ) from error


def _foreign(user: pwd.struct_passwd) -> Account:
    return Account(uid=user.pw_uid, gid=user.pw_gid, name=user.pw_name, foreign=True)


def _system_user() -> pwd.struct_passwd:
    found = _first_user(SYSTEM_USERS)
    if found is None:
        said = _make_user()
        found = _first_user((MADE_USER,))  # asked again even after a failure: another node may have been first
        if found is None:
            raise StartFailed(
                f"PostgreSQL refuses to run as root, and the system user {MADE_USER} could not be made ({said}): "
                f"make it (useradd --system {MADE_USER}), or run as an ordinary user"
            )
    return found


def _first_user(names: tuple[str, ...]) -> pwd.struct_passwd | None:
    for name in names:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if user.pw_uid != 0:
            return user
    return None


def _make_user() -> str:
    """Make the system user, and say what came of it."""
    ways = {
        "useradd": ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "--user-group", MADE_USER],
        "adduser": ["-S", "-D", "-H", "-s", "/sbin/nologin", MADE_USER],  # BusyBox
    }
    if sys.platform == "darwin":
        return "macOS does not let a program do that"
    for program, arguments in ways.items():
        path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if path is not None:
            done = subprocess.run(
                [path, *arguments], capture_output=True, text=True, check=False, timeout=MAKE_USER_TIMEOUT_S
            )
            return done.stderr.strip() or f"{program} ended with code {done.returncode}"
    return "there is neither useradd nor adduser"
