"""``peaceriver export``: journals and views at one cutoff as files for DuckDB, a warehouse, a notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from peaceriver import jsontext
from peaceriver.cli.questions import AfterOption, AsOfOption, ShardsOption
from peaceriver.cli.terminal import (
    EXIT_REFUSED,
    EXIT_USAGE,
    JsonOption,
    UrlOption,
    complain,
    errors_console,
    say,
    say_json,
    with_client,
)
from peaceriver.client import DEFAULT_URL, Client

_FORMATS = ("parquet",)


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where to; it is made, and holds nothing before.")
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="|".join(_FORMATS), help="The format of the files.")
    ] = "parquet",
    models: Annotated[
        str | None, typer.Option(metavar="TYPE,...", help="The types whose views are exported; all by default.")
    ] = None,
    journal: Annotated[bool, typer.Option("--journal/--no-journal", help="Whether journals are exported.")] = True,
    views: Annotated[bool, typer.Option("--views/--no-views", help="Whether views are exported.")] = True,
    as_of: AsOfOption = None,
    after: AfterOption = None,
    shards: ShardsOption = None,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Write journals and views of all departments at one cutoff, as Parquet in DIRECTORY.

    The same cutoff, exported again, gives the same rows. DIRECTORY is there once everything is written, or not at all.
    """
    if form not in _FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(_FORMATS)}, not {form!r}")
    if not journal and not views:
        raise typer.BadParameter("without journals and without views there is nothing to export")
    try:
        from peaceriver.cli import exporting  # here, because pyarrow is an extra that not everybody has
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        complain(
            "peaceriver export writes Parquet with pyarrow, which is not installed: pip install 'peaceriver[export]'"
        )
        raise typer.Exit(EXIT_USAGE) from None
    wanted = exporting.Wanted(
        as_of=as_of,
        after=after,
        shards=shards,
        models=None if models is None else [each for each in models.split(",") if each],
        journal=journal,
        views=views,
    )

    async def write(client: Client) -> int:
        plan = await exporting.plan(client, wanted)
        with _complete(directory) as folder, _progress(plan.rows) as tell:
            told = await exporting.Export(client, folder, plan, tell).run()
            _write(folder / exporting.MANIFEST, jsontext.write(told) + "\n")
        _print_summary(directory, told, as_json=as_json)
        return 0

    try:
        _check(directory)
        with_client(url, write, as_json=as_json)
    except OSError as error:
        complain(f"{directory} cannot be written: {error.strerror or error}")
        raise typer.Exit(EXIT_REFUSED) from None


def _check(directory: Path) -> None:
    """Raise FileExistsError where something would be written over."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(0, "there is something already; name another directory")


@contextmanager
def _complete(directory: Path) -> Iterator[Path]:
    """A folder to write in, which becomes ``directory`` at the end of the block, or goes again where that fails."""
    target = Path(os.path.abspath(directory))
    unfinished = target.with_name(f".{target.name}.{token_hex(4)}.unfinished")
    unfinished.mkdir()
    try:
        yield unfinished
        for each in (*(path for path in unfinished.rglob("*") if path.is_dir()), unfinished):
            _sync(each)
        unfinished.rename(target)
        _sync(target.parent)
    except BaseException:
        rmtree(unfinished, ignore_errors=True)
        raise


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """What a folder holds is on disk before anything says that it is complete."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[str, int], None]]:
    """A bar where somebody looks, on standard error."""
    if not sys.stderr.isatty():
        yield lambda _what, _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
    with Progress(*columns, TimeElapsedColumn(), console=errors_console) as progress:
        task = progress.add_task("reading", total=rows)
        yield lambda what, done: progress.update(task, description=what, completed=done)


def _print_summary(directory: Path, told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json({"directory": str(directory), **told})
        return
    if "journal" in told:
        say(f"journal: {told['journal']['rows']:,} records of {len(told['journal']['shards'])} departments")
    for name, view in told["views"].items():
        say(f"{name}: {view['rows']:,} actors in {len(view['shards'])} departments")
        for each in view["columns"]:
            if "note" in each and each["name"] != "document":
                say(f"  {each['name']}: {each['note']}")
    stamp = told["cutoff"]["stamp"]
    say(f"written to {directory}, as of {told['as_of']}{f' ({stamp})' if stamp else ''}")
