"""Commands as people give them."""

from __future__ import annotations

import json
import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from peaceriver.cli.commands import app

COMMAND = [sys.executable, "-m", "peaceriver.cli.main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def peaceriver(*arguments: str, url: str | None = None, stdin: str | None = None, folder: Path | None = None) -> Said:
    """Run a command that ends by itself, in this process: starting Python for each would be most of the time."""
    with chdir(folder or Path.cwd()):
        done = CliRunner().invoke(app, list(arguments), input=stdin or "", env={"PEACERIVER_URL": url})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(code=done.exit_code, out=done.stdout, err=done.stderr)
