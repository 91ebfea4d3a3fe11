"""``peaceriver exceptions``, ``retry``, ``skip``, ``answer`` and ``replay``: what could not be done, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import typer

from peaceriver import jsontext
from peaceriver.cli.terminal import JsonOption, UrlOption, console, say, say_json, say_raw, table, with_client
from peaceriver.client import DEFAULT_URL, Client, How
from peaceriver.message import read

ExceptionArgument = Annotated[
    UUID, typer.Argument(metavar="EXCEPTION", help="Its id, as `peaceriver exceptions` shows.")
]


class Shown(StrEnum):
    """Which exceptions."""

    OPEN = "open"
    RETRIED = "retried"
    SKIPPED = "skipped"
    ANSWERED = "answered"
    ALL = "all"


def exceptions(
    state: Annotated[Shown, typer.Option(help="Which ones.")] = Shown.OPEN,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """List what could not be done: which actor, why, how often it was tried, and when it is tried again."""

    async def work(client: Client) -> int:
        found = await client.exceptions(state.value)
        if as_json:
            say_json(found)
        elif not found:
            say("none" if state is Shown.ALL else f"none is {state.value}")
        else:
            shown = table(
                "exception", "shard", "actor", "rule", "state", "attempts", "tried again", "why", ids=("exception",)
            )
            for each in found:
                shown.add_row(*_cells(each))
            console.print(shown)
        return 0

    with_client(url, work, as_json=as_json)


def _cells(found: Mapping[str, Any]) -> tuple[str, ...]:
    again = found["retry_at"] or ("when asked" if found["state"] == "open" else "")
    return (
        found["id"],
        str(found["shard"]),
        found["actor"],
        # A message that was refused may have been made by a rule, which did its part.
        "" if "message" in found["body"] else found["rule"] or "",
        found["state"],
        str(found["attempt"]),
        again[:19].replace("T", " "),
        found["detail"],
    )


def retry(exception: ExceptionArgument, url: UrlOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """Try again what could not be done; exit code 1 where it fails again."""
    _resolve(url, exception, "retry", None, as_json=as_json)


def skip(exception: ExceptionArgument, url: UrlOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """Leave undone what could not be done; what waits behind it goes on."""
    _resolve(url, exception, "skip", None, as_json=as_json)


def answer(
    exception: ExceptionArgument,
    message: Annotated[str, typer.Argument(help="The message, as JSON: to, actor, action, type, body.")],
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Let a message take the place of what could not be done."""
    _resolve(url, exception, "answer", message, as_json=as_json)


def _resolve(url: str, exception: UUID, how: How, message: str | None, *, as_json: bool) -> None:
    async def work(client: Client) -> int:
        envelope = None if message is None else read(message.encode())
        standing = await client.resolve(exception, how, envelope)
        if as_json:
            say_json(standing)
        elif standing["state"] == "open":
            say(f"{standing['actor']} failed again, attempt {standing['attempt']}: {standing['detail']}")
        else:
            say(f"{standing['actor']} is {standing['state']}")
        return 1 if standing["state"] == "open" else 0

    with_client(url, work, as_json=as_json)


def replay(
    rule: Annotated[str, typer.Argument(help="The name of an active rule.")],
    start: Annotated[str, typer.Option("--from", help='"start", "now", or a position of the department.')] = "start",
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Let a rule act anew on what is recorded already; what it made before is not made a second time."""
    wanted: dict[str, Any] = {"from": int(start) if start.isdecimal() else start}

    async def work(client: Client) -> int:
        path = f"/directory/rules/{quote(rule, safe='')}/replay"
        text = await client.request("POST", path, content=jsontext.encode(wanted))
        if as_json:
            say_raw(text)
        else:
            say(f"{rule} acts anew on what comes after position {jsontext.read(text)['from']}")
        return 0

    with_client(url, work, as_json=as_json)
