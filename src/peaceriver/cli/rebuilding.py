"""``peaceriver rebuild``: fold a type's view anew from the journals, with progress, while reads go on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from time import monotonic
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from peaceriver import jsontext
from peaceriver.answers import exact, refusal_of
from peaceriver.cli.terminal import JsonOption, UrlOption, complain, errors_console, say, say_raw, told, with_client
from peaceriver.client import DEFAULT_URL, Client
from peaceriver.errors import Unreachable

#: How long a node may say nothing: it says how far it is every second.
_SILENCE_S = 30.0
#: Where nobody looks at a bar: a line after so many parts of a department.
_LINES = 10


def rebuild(
    actor_type: Annotated[str, typer.Argument(metavar="TYPE", help="The type of actors, as in Order.")],
    everywhere: Annotated[bool, typer.Option("--all", help="On all nodes, one after the other.")] = False,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Fold a type's view anew from the journals, on one node or on all, while reads go on; Ctrl-C ends it, undone."""

    async def work(client: Client) -> int:
        if not everywhere:
            await _on(client, actor_type, as_json=as_json)
            return 0
        code = 0
        for node in exact(await client.request("GET", "/cluster"))["nodes"]:
            async with Client(node["url"]) as other:
                try:
                    await _on(other, actor_type, as_json=as_json)
                except Unreachable as error:  # the others need not wait for it
                    code = told(error, as_json=as_json)
        return code

    with_client(url, work, as_json=as_json)


async def _on(client: Client, actor_type: str, *, as_json: bool) -> None:
    """Rebuild on one node; raises the refusal that it ended with, or Unreachable where it broke off."""
    content, started, last = jsontext.write({"type": actor_type}).encode(), monotonic(), None
    with ExitStack() as stack:
        show = _nothing if as_json else stack.enter_context(_Bars()).show if sys.stderr.isatty() else _Lines().show
        async with client.stream(
            "POST", "/cluster/rebuild", accept="application/x-ndjson", content=content, wait_s=_SILENCE_S
        ) as answer:
            async for line in answer.lines():
                last = exact(line)
                if as_json:
                    say_raw(line)
                show(last)
    if last is None or last["state"] not in ("done", "failed"):
        raise Unreachable(f"{client.url} broke off; the view is as it was: ask again")
    if last["state"] == "failed":
        refusal = refusal_of(jsontext.encode(last["problem"]), last["problem"]["status"], None)
        assert refusal is not None, "a problem of ours"
        raise refusal
    if not as_json:
        records = sum(each["records"] for each in last["shards"])
        seconds = monotonic() - started
        say(f"{last['node']}: the view of {actor_type} is folded anew, {records:,} records in {seconds:.1f} s")


def _nothing(news: Mapping[str, Any]) -> None:
    """Programs read the lines themselves."""


class _Bars:
    """A bar for each department, at a terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=errors_console)
        self._tasks: dict[int, TaskID] = {}
        self._waiting: TaskID | None = None

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, news: Mapping[str, Any]) -> None:
        if news["state"] == "waiting" and self._waiting is None:
            self._waiting = self._progress.add_task(f"{news['node']} waits for another one", total=None)
        elif news["state"] != "waiting" and self._waiting is not None:
            self._progress.update(self._waiting, visible=False)
        for each in news["shards"]:
            code = each["shard"]
            if code not in self._tasks:
                self._tasks[code] = self._progress.add_task(f"{news['node']} {code}", total=each["records"])
            self._progress.update(self._tasks[code], completed=each["folded"])


class _Lines:
    """A line for each tenth of a department, where nobody looks at bars."""

    def __init__(self) -> None:
        self._told: dict[int, int] = {}
        self._waits = False

    def show(self, news: Mapping[str, Any]) -> None:
        if news["state"] == "waiting" and not self._waits:
            self._waits = True
            complain(f"{news['node']} waits for another one")
        for each in news["shards"]:
            part = _LINES * each["folded"] // each["records"]
            if part > self._told.get(each["shard"], 0):
                self._told[each["shard"]] = part
                complain(f"{news['node']} {each['shard']}: {each['folded']:,} of {each['records']:,} records")
