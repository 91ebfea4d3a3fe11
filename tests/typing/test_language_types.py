"""The types themselves are under test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_language_is_typed_as_it_is_meant(tmp_path: Path) -> None:
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path}"]
    check = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(HERE / "language.py")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr
