"""What the README says is true: its program runs, and its commands are there."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PROGRAM = re.search(r"```python\n(.*?)```", README, re.DOTALL)


async def test_the_program_runs_as_it_stands(tmp_path: Path) -> None:
    assert PROGRAM is not None
    program = tmp_path / "shop.py"
    program.write_text(PROGRAM[1])
    process = await asyncio.create_subprocess_exec(sys.executable, str(program), stdout=PIPE, stderr=STDOUT)
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    lines = out.decode().splitlines()
    assert [line.split()[-1] for line in lines] == ["None", "create", "modify"]


async def test_the_programs_file_is_served_by_up_as_well(tmp_path: Path) -> None:
    from peaceriver import Client
    from tests.acceptance.processes import running

    assert PROGRAM is not None
    program = tmp_path / "shop.py"
    program.write_text(PROGRAM[1])
    async with running(tmp_path / "data", program) as up, Client(up.url) as client:
        assert await client.departments() == {100: "Sales"}
        models = await client.directory("models")
        assert [each["type"] for each in models] == ["Order"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", README, re.MULTILINE))))
def test_every_make_command_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_every_command_of_the_readme_is_offered() -> None:
    from typer.main import get_command

    from peaceriver.cli.commands import app

    offered = set(get_command(app).commands)  # type: ignore[attr-defined]  # an app with several commands is a group
    assert set(re.findall(r"peaceriver ([a-z]+)", README)) <= offered
