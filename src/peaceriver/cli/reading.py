"""``peaceriver get`` and ``peaceriver journal``: an actor, its history, a department's records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from peaceriver import jsontext
from peaceriver.answers import exact
from peaceriver.cli import EXIT_INTERRUPTED
from peaceriver.cli.terminal import (
    EXIT_REFUSED,
    JsonOption,
    UrlOption,
    complain,
    say,
    say_raw,
    with_client,
)
from peaceriver.client import DEFAULT_URL, Client
from peaceriver.errors import Unreachable
from peaceriver.limits import PAGE_RECORDS_MAX

#: How long one long poll of a follower waits, and how long a follower rests while no node answers.
FOLLOW_WAIT_S = 10.0
FOLLOW_PAUSE_S = 0.5


def get(
    actor: Annotated[str, typer.Argument(metavar="TYPE/ID", help="The actor.")],
    shard: Annotated[int | None, typer.Option(help="Its department; without it every one that holds it.")] = None,
    as_of: Annotated[str | None, typer.Option(help="A stamp, a time, or positions such as 100:17,110:4.")] = None,
    after: Annotated[str | None, typer.Option(help="What the answer must have passed: a receipt's stamp.")] = None,
    version: Annotated[int | None, typer.Option(help="As it was at this version.")] = None,
    valid_at: Annotated[str | None, typer.Option(help="As it was by business time.")] = None,
    records: Annotated[bool, typer.Option("--records", help="Its records, oldest first.")] = False,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Print an actor: as it is, or as it was."""
    actor_type, slash, actor_id = actor.partition("/")
    if not slash or not actor_type or not actor_id:
        raise typer.BadParameter(f"{actor!r} is not TYPE/ID, as in Order/SO-1")
    if shard is None and (version is not None or valid_at is not None or records):
        raise typer.BadParameter("--version, --valid-at and --records are about one department: name it with --shard")
    given = {"as_of": as_of, "after": after, "version": version, "valid_at": valid_at}
    parameters = {name: str(value) for name, value in given.items() if value is not None}
    where = "/actors" if shard is None else f"/shards/{shard}"
    path = f"{where}/{quote(actor_type, safe='')}/{quote(actor_id, safe='')}" + ("/records" if records else "")

    async def read(client: Client) -> int:
        answer = await client.request("GET", path, parameters)
        found = exact(answer)
        if as_json:
            say_raw(answer)
        elif records:
            await _print_records(client, found)
        else:
            for each in found["items"] if shard is None else [found]:
                _print_actor(each)
        if shard is None and not found["items"]:
            if not as_json:
                complain(f"no department holds {actor} at this cutoff")
            return EXIT_REFUSED
        return 0

    with_client(url, read, as_json=as_json)


async def _print_records(client: Client, page: Mapping[str, Any]) -> None:
    """All records, page after page."""
    while True:
        for each in page["records"]:
            say(_record_line(each))
        if page["next"] is None:
            return
        page = exact(await client.request("GET", page["next"]))


def _print_actor(actor: Mapping[str, Any]) -> None:
    say(f"{actor['actor']} in {actor['shard']}, version {actor['version']}, {actor['status']}, stamp {actor['stamp']}")
    say(_indented(actor["document"]))


def _indented(document: Any) -> str:
    return msgspec.json.format(jsontext.encode(document), indent=2).decode()


class _Records(msgspec.Struct):
    """A page of a journal, its records as they came."""

    records: list[msgspec.Raw]
    next: Any
    complete: Any = None


def journal(
    shard: Annotated[
        int | None, typer.Argument(metavar="[SHARD]", help="The department; without it all, in the order of stamps.")
    ] = None,
    after: Annotated[str, typer.Option(help="A position, or a stamp where no department is named.")] = "0",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Print complete records in order, one a line."""
    path = "/journal" if shard is None else f"/shards/{shard}/journal"

    async def read(client: Client) -> int:
        page = await _page(client, path, after, 0.0)
        place = after
        while page.records or follow:
            for raw in page.records:
                if as_json:
                    say_raw(bytes(raw))
                else:
                    say(_record_line(exact(bytes(raw))))
            place = place if page.next is None else str(page.next)
            page = await (_next_page(client, path, place) if follow else _page(client, path, place, 0.0))
        return 0

    with_client(url, read, as_json=as_json, interrupted=0 if follow else EXIT_INTERRUPTED)


async def _page(client: Client, path: str, after: str, wait_s: float) -> _Records:
    parameters = {"after": after, "limit": str(PAGE_RECORDS_MAX)} | ({"wait": f"{wait_s:g}s"} if wait_s else {})
    return msgspec.json.decode(await client.request("GET", path, parameters, wait_s=wait_s), type=_Records)


async def _next_page(client: Client, path: str, after: str) -> _Records:
    """The next page, when there is one; where the node is away, when it is there again: a follower misses nothing."""
    told = False
    while True:
        try:
            return await _page(client, path, after, FOLLOW_WAIT_S)
        except Unreachable as error:
            if not told:
                complain(f"{error.detail}; waiting for it")
            told = True
        await asyncio.sleep(FOLLOW_PAUSE_S)


def _record_line(record: Mapping[str, Any]) -> str:
    """A record as one line: where and when, what, whose, and between whom."""
    way = ""
    if record["kind"] == "sent":
        way = f" to {record['to']}"
    elif record["kind"] == "received" and record["from"] is not None:
        way = f" from {record['from']}"
    what = " ".join(str(record[name]) for name in ("action", "actor") if record[name] is not None)
    kind = f" ({record['type']})" if record["type"] is not None else ""
    body = jsontext.write(record["body"])
    return f"{record['shard']}:{record['position']} {record['recorded_at']} {record['kind']}{way} {what}{kind} {body}"
