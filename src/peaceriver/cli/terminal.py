"""What every command shares: its options, what it prints, and the code that it ends with.

0: done. 1: refused, or not possible. 2: wrong usage. 3: no node answers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from peaceriver import jsontext
from peaceriver.asking import is_url
from peaceriver.cli import EXIT_INTERRUPTED
from peaceriver.client import DEFAULT_URL, Client
from peaceriver.errors import PeaceRiverError, Refused, Unreachable

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
#: The width of tables where nobody looks: a file, a pipe.
WIDTH_UNSEEN = 160
_ID_LETTERS = 36

console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_UNSEEN)
errors_console = Console(stderr=True, highlight=False, soft_wrap=True)


def _checked_url(url: str) -> str:
    if not is_url(url):
        raise typer.BadParameter(f"{url!r} is not the URL of a node; it looks like {DEFAULT_URL}")
    return url


UrlOption = Annotated[
    str,
    typer.Option("--url", envvar="PEACERIVER_URL", callback=_checked_url, metavar="URL", help="The node to speak to."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def finish(work: Coroutine[Any, Any, int], *, as_json: bool, interrupted: int = EXIT_INTERRUPTED) -> None:
    """Run a command to its end, and end the process with its exit code."""
    try:
        code = asyncio.run(work)
    except KeyboardInterrupt:
        code = interrupted
    except PeaceRiverError as error:
        code = told(error, as_json=as_json)
    raise typer.Exit(code)


def with_client(url: str, work: Callable[[Client], Awaitable[int]], *, as_json: bool, interrupted: int = 130) -> None:
    """``finish`` for a command that speaks to one node."""

    async def connected() -> int:
        async with Client(url) as client:
            return await work(client)

    finish(connected(), as_json=as_json, interrupted=interrupted)


def told(error: PeaceRiverError, *, as_json: bool) -> int:
    """Tell of an error, to people on standard error or to programs on standard output; answer its exit code."""
    problem = _problem(error)
    if as_json:
        say_json(problem)
    else:
        complain(f"refused ({problem['status']}): {problem['detail']}" if "status" in problem else problem["detail"])
        for each in problem.get("errors", ()):
            complain(f"  {each['pointer'] or '(the message)'}: {each['detail']}")
        if "id" in problem:
            complain(f"  message id: {problem['id']}")
    return EXIT_UNREACHABLE if isinstance(error, Unreachable) else EXIT_REFUSED


def _problem(error: PeaceRiverError) -> dict[str, Any]:
    """An error as a problem (RFC 9457); one that no server answered with has no status."""
    if isinstance(error, Refused):
        return error.problem()
    members: dict[str, Any] = {"type": "about:blank", "title": type(error).__name__, "detail": str(error)}
    if isinstance(error, Unreachable) and error.message_id is not None:
        members |= {"id": error.message_id, "outcome": "unknown"}
    return members


def say(line: str) -> None:
    """One line for people, as it is."""
    typer.echo(line)


def complain(line: str) -> None:
    """One line about what is not as it should be."""
    typer.echo(line, err=True)


def say_json(value: Any) -> None:
    """One line of JSON; numbers as exact as they came."""
    say_raw(jsontext.encode(value))


def say_raw(text: bytes) -> None:
    """One line of JSON as it came."""
    typer.echo(text)


def table(*columns: str, right: tuple[str, ...] = (), ids: tuple[str, ...] = ()) -> Table:
    """An empty table; ``right`` are the columns of numbers, and ``ids`` those that are never cut: people copy them."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=justify, min_width=_ID_LETTERS if column in ids else None)
    return made
