"""``peaceriver import``: an event log becomes departments, cases and hand-overs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from peaceriver.cli.loading import Load, Summary
from peaceriver.cli.terminal import (
    EXIT_REFUSED,
    JsonOption,
    UrlOption,
    complain,
    errors_console,
    say,
    say_json,
    with_client,
)
from peaceriver.client import DEFAULT_URL, Client
from peaceriver.imports import Columns, ImportPlan, LogFormat, plan_import, read_log

_FORMATS: dict[str, LogFormat] = {"csv": "csv", "xes": "xes"}
_DEFAULTS = Columns()
#: Where nobody looks at a bar: a line after so many parts of the whole.
_LINES = 10


def import_log(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The log, plain or gzipped.")
    ],
    log_format: Annotated[
        str | None, typer.Option("--format", help="csv or xes; without it, what the file's name says.")
    ] = None,
    department: Annotated[str, typer.Option(help="The column of the department.")] = _DEFAULTS.department,
    case: Annotated[str, typer.Option(help="The column of the case.")] = _DEFAULTS.case,
    time: Annotated[str, typer.Option(help="The column of the event's time.")] = _DEFAULTS.time,
    activity: Annotated[str, typer.Option(help="The column of what was done.")] = _DEFAULTS.activity,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Load an event log; repeating it records nothing twice."""
    chosen = _format_of(file, log_format)
    columns = Columns(case=case, activity=activity, time=time, department=department)

    async def load(client: Client) -> int:
        names = await client.departments()
        known = {name: code for code, name in names.items()}
        plan = await asyncio.to_thread(
            lambda: plan_import(read_log(file, chosen, columns), known, default_department=_stem(file), taken=names)
        )
        summary = await _shown(Load(client, plan), plan, quiet=as_json)
        _print_summary(summary, as_json=as_json)
        return EXIT_REFUSED if summary.exceptions else 0

    with_client(url, load, as_json=as_json)


def _format_of(file: Path, given: str | None) -> LogFormat:
    suffixes = [each.removeprefix(".").lower() for each in file.suffixes]
    name = given or next((each for each in suffixes if each in _FORMATS), "")
    if name not in _FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(_FORMATS)}, and {file.name} does not say which")
    return _FORMATS[name]


def _stem(file: Path) -> str:
    """What a log without departments is called."""
    return file.name.partition(".")[0] or file.name


async def _shown(load: Load, plan: ImportPlan, *, quiet: bool) -> Summary:
    """Run a load, with its progress on standard error."""
    if quiet:
        return await load.run()
    if sys.stderr.isatty():
        return await _with_bar(load, plan)
    step, told = max(1, plan.events // _LINES), 0

    def tell() -> None:
        nonlocal told
        if load.recorded // step > told or load.recorded == plan.events > told * step:
            told = load.recorded // step
            complain(f"{load.recorded:,} of {plan.events:,} events recorded")

    load.on_progress = tell
    return await load.run()


async def _with_bar(load: Load, plan: ImportPlan) -> Summary:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors_console) as progress:
        task = progress.add_task("recording", total=plan.events)

        def tell() -> None:
            stage = "waiting for the node" if load.waiting_for else "recording"
            progress.update(task, completed=load.recorded, description=stage)

        load.on_progress = tell
        return await load.run()


def _print_summary(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        say_json(summary.public())
        return
    say(
        f"{summary.events:,} events of {summary.cases:,} cases in {summary.departments} departments are received, "
        f"with {summary.hand_overs:,} hand-overs, in {summary.seconds:.1f} s ({summary.events_per_s:,.0f} events/s)"
    )
    if summary.recorded_before:
        say(f"{summary.recorded_before:,} of them had been recorded before, and were not recorded again")
    if summary.exceptions:
        complain(f"{summary.exceptions:,} hand-overs were refused where they arrived: see GET /exceptions")
