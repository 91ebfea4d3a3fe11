"""The command line from its first moment on."""

from __future__ import annotations

import subprocess
import sys

import pytest

_INTERRUPTED = """
import os, signal, sys
from peaceriver.cli import main

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["peaceriver", "--version"]
main.run()
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("module", ["peaceriver.cli.commands", "typer", "httpx", "peaceriver.cli.up", "importlib_gone"])
def test_ctrl_c_while_the_commands_are_loaded_ends_quietly(module: str) -> None:
    ended = python("-c", _INTERRUPTED.format(module=module))
    told = (0, True, "") if module == "importlib_gone" else (130, False, "")
    assert (ended.returncode, bool(ended.stdout), ended.stderr) == told


def test_the_entry_point_loads_little_before_it_can_be_interrupted() -> None:
    loaded = python("-c", "import sys, peaceriver.cli.main; print(*sys.modules)").stdout.split()
    assert "peaceriver.cli.main" in loaded
    assert {"asyncio", "asyncpg", "aiohttp", "httpx", "sqlalchemy", "sqlglot", "typer"}.isdisjoint(loaded)


def test_the_commands_load_nothing_that_only_a_node_needs() -> None:
    loaded = python("-c", "import sys, peaceriver.cli.commands; print(*sys.modules)").stdout.split()
    assert "peaceriver.cli.commands" in loaded
    assert {"aiohttp", "sqlalchemy", "starlette", "uvicorn", "pyarrow"}.isdisjoint(loaded)
