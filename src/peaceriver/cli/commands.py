"""All commands of ``peaceriver``, by their names."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from peaceriver.cli import (
    cluster,
    demo,
    doctor,
    exceptions,
    explaining,
    export,
    importing,
    messages,
    node,
    querying,
    reading,
    rebuilding,
    up,
)

app = typer.Typer(
    name="peaceriver",
    help="An active database cluster: messages between departments, recorded once, read as of any moment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # what is expected is told in a sentence; the rest is a fault and shows its trace
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("peaceriver"))
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The options before a command."""


app.command("up")(up.up)
app.command("node")(node.node)
app.command("demo")(demo.demo)
app.command("send")(messages.send)
app.command("get")(reading.get)
app.command("journal")(reading.journal)
app.command("query")(querying.query)
app.command("view")(querying.view)
app.command("status")(cluster.status)
app.command("explain")(explaining.explain)
app.command("exceptions")(exceptions.exceptions)
app.command("retry")(exceptions.retry)
app.command("skip")(exceptions.skip)
app.command("answer")(exceptions.answer)
app.command("replay")(exceptions.replay)
app.command("import")(importing.import_log)
app.command("export")(export.export)
app.command("verify")(cluster.verify)
app.command("rebuild")(rebuilding.rebuild)
app.command("doctor")(doctor.doctor)
