"""``peaceriver doctor``: what this machine and this node need, each with what to do where it is missing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from peaceriver.cli.terminal import EXIT_REFUSED, EXIT_UNREACHABLE, JsonOption, UrlOption, finish, say, say_json
from peaceriver.cli.up import DIRECTORY
from peaceriver.client import CONNECT_TIMEOUT_S, DEFAULT_URL, Client
from peaceriver.embedded import find_binaries
from peaceriver.errors import PeaceRiverError, StartFailed, Unreachable
from peaceriver.limits import DISK_FREE_BYTES_MIN
from peaceriver.stamp import Stamp

PYTHON_MIN = (3, 11)
#: When this was written: a clock before it is wrong.
CLOCK_MIN = datetime(2025, 1, 1, tzinfo=UTC)
#: How far ahead of the clock the newest record may be before the clock is to blame.
AHEAD_MAX = timedelta(seconds=5)
_MEBIBYTE = 1024 * 1024
_READ_LOG = "wait a moment and ask again; if it stays so, the node's log says why"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str
    #: What to do about it, where it is not ok.
    todo: str | None = None


def doctor(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Where `peaceriver up` keeps everything.")] = DIRECTORY,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Look at this machine and at the node, and say what to do."""
    source = context.get_parameter_source("url")
    asked_for = source is not None and source.name != "DEFAULT"
    finish(_examine(data, url, asked_for, as_json=as_json), as_json=as_json)


async def _examine(data: Path, url: str, asked_for: bool, *, as_json: bool) -> int:
    node = await check_node(url, asked_for=asked_for)
    findings = [
        check_python(),
        check_postgres(),
        check_directory(data),
        check_disk(data),
        check_port(url, served=node.served),
        node.finding,
        check_clock(datetime.now(UTC), node.newest),
    ]
    if as_json:
        say_json(findings)
    else:
        for each in findings:
            say(f"{'ok     ' if each.ok else 'PROBLEM'}  {each.check}: {each.detail}")
            if each.todo is not None:
                say(f"         {each.todo}")
    if asked_for and not node.served:
        return EXIT_UNREACHABLE
    return 0 if all(each.ok for each in findings) else EXIT_REFUSED


def check_python() -> Finding:
    found = platform.python_version()
    wanted = ".".join(map(str, PYTHON_MIN))
    if sys.version_info >= PYTHON_MIN:
        return Finding(check="Python", ok=True, detail=found)
    return Finding(check="Python", ok=False, detail=f"{found} is too old", todo=f"install Python {wanted} or later")


def check_postgres() -> Finding:
    try:
        found = find_binaries()
    except StartFailed as error:
        return Finding(check="PostgreSQL", ok=False, detail="was not found", todo=str(error))
    return Finding(check="PostgreSQL", ok=True, detail=f"{found.release} in {found.folder}")


def check_directory(data: Path) -> Finding:
    """Whether the data directory can be used, or made."""
    place = data.absolute()
    existing = _existing(place)
    if not existing.is_dir():
        todo = "name another directory with --data"
        return Finding(check="data", ok=False, detail=f"{existing} is not a directory", todo=todo)
    if not os.access(existing, os.W_OK | os.X_OK):
        todo = f"make {existing} writable, or name another directory with --data"
        return Finding(check="data", ok=False, detail=f"{existing} may not be written to", todo=todo)
    return Finding(check="data", ok=True, detail=f"{place}{'' if existing == place else ' can be made'}")


def _existing(place: Path) -> Path:
    """The place, or what there is of the way to it."""
    return next(each for each in (place, *place.parents) if each.exists())


def check_disk(data: Path) -> Finding:
    free = shutil.disk_usage(_existing(data.absolute())).free
    detail = f"{free // _MEBIBYTE:,} MiB are free"
    if free >= DISK_FREE_BYTES_MIN:
        return Finding(check="disk", ok=True, detail=detail)
    todo = f"below {DISK_FREE_BYTES_MIN // _MEBIBYTE:,} MiB messages are refused: free some, or name another directory"
    return Finding(check="disk", ok=False, detail=detail, todo=todo)


def check_port(url: str, *, served: bool) -> Finding:
    """Whether the node's port is its own, or free for it."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if served:
        return Finding(check="port", ok=True, detail=f"{port} is the node's")
    with socket.socket() as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        taken = probe.connect_ex((parts.hostname or "127.0.0.1", port)) == 0
    if not taken:
        return Finding(check="port", ok=True, detail=f"{port} is free")
    todo = "stop that program, or give the node another port with --port"
    return Finding(check="port", ok=False, detail=f"{port} is taken by another program", todo=todo)


class NodeFound(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the node."""

    finding: Finding
    served: bool
    #: The newest stamp of its directory.
    newest: Stamp | None = None


async def check_node(url: str, *, asked_for: bool) -> NodeFound:
    """Whether a node answers and is ready. None at all is a problem only where one was named."""
    async with Client(url) as client:
        try:
            ready = await client.ready()
            newest = (await client.list("departments", 0)).cutoff.stamp if ready else None
        except Unreachable as error:
            detail, todo = (error.detail, None) if asked_for else ("none runs yet; `peaceriver up` starts one", None)
            return NodeFound(finding=Finding(check="node", ok=not asked_for, detail=detail, todo=todo), served=False)
        except PeaceRiverError as error:
            return NodeFound(finding=Finding(check="node", ok=False, detail=str(error), todo=_READ_LOG), served=True)
    if not ready:
        detail = f"{url} answers, and not every department has a leader"
        return NodeFound(finding=Finding(check="node", ok=False, detail=detail, todo=_READ_LOG), served=True)
    finding = Finding(check="node", ok=True, detail=f"{url} is ready")
    return NodeFound(finding=finding, served=True, newest=None if newest is None else Stamp.parse(newest))


def check_clock(now: datetime, newest: Stamp | None) -> Finding:
    """Whether the clock is behind what was recorded, or behind this program."""
    todo = "set the clock (order is safe, it never depends on clocks; recorded times are not)"
    if now < CLOCK_MIN:
        return Finding(check="clock", ok=False, detail=f"{now.isoformat()} lies in the past", todo=todo)
    if newest is not None and newest.wall - now > AHEAD_MAX:
        detail = f"{now.isoformat()} is before the last record, of {newest.wall.isoformat()}"
        return Finding(check="clock", ok=False, detail=detail, todo=todo)
    return Finding(check="clock", ok=True, detail=now.isoformat(timespec="seconds"))
