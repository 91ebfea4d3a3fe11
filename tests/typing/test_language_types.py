"""The types themselves are under test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_language_is_typed_as_it_is_meant() -> None:
    # As `make check` does it, which has looked at most of it before.
    check = subprocess.run(
        [sys.executable, "-m", "mypy", str(HERE / "language.py"), str(HERE / "query_language.py")],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr
