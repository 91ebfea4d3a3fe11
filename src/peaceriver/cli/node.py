"""``peaceriver node``: one node, in production beside its own PostgreSQL, or as a child of ``peaceriver up``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, TextIO

import structlog
import typer

from peaceriver import jsontext
from peaceriver.cli.terminal import JsonOption, told
from peaceriver.embedded.processes import follow_parent
from peaceriver.errors import PeaceRiverError


def node(
    config: Annotated[Path, typer.Option(help="Its configuration, a TOML file.", show_default=False)],
    supervisor: Annotated[int | None, typer.Option(hidden=True)] = None,
    as_json: JsonOption = False,
) -> None:
    """Run one node until SIGTERM or Ctrl-C; a second Ctrl-C ends it at once."""
    if supervisor is not None:
        follow_parent(supervisor, signal.SIGINT)
    words = _words() if as_json else sys.stdout
    _log_to_standard_error()
    # Here, because no other command needs a server and its database.
    import uvloop

    from peaceriver.api.serving import serve
    from peaceriver.node.configuration import read_configuration
    from peaceriver.node.process import run_node

    def ready(url: str) -> None:
        said = jsontext.write({"url": url, "pid": os.getpid()}) if as_json else f"{url} takes messages; Ctrl-C stops it"
        print(said, file=words, flush=True)

    try:
        code = uvloop.run(run_node(read_configuration(config), serve, ready=ready))
    except PeaceRiverError as error:
        if as_json:
            print(jsontext.write({"detail": str(error)}), file=words, flush=True)
        code = told(error, as_json=False)
    raise typer.Exit(code)


def _words() -> TextIO:
    """Standard output, for ourselves alone: what an application prints goes to standard error, among the log."""
    sys.stdout.flush()
    words = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return words


def _log_to_standard_error() -> None:
    """Lines of JSON for programs; for a person who looks on, words."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
