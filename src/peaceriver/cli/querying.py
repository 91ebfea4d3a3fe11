"""``peaceriver query`` and ``peaceriver view``: SQL and named views, as tables, CSV or JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from peaceriver import jsontext
from peaceriver.answers import CUTOFF, MISSING, STAMP, exact
from peaceriver.asking import Ask, question_body, segment, table_of
from peaceriver.cli.answering import missing_told, print_table
from peaceriver.cli.questions import (
    AfterOption,
    AsOfOption,
    Form,
    FormatOption,
    LatestOption,
    PartialOption,
    ShardsOption,
    TextOption,
    TimeoutOption,
    VarOption,
    advised,
    asked,
    form_of,
    texts_of,
    values_of,
)
from peaceriver.cli.terminal import JsonOption, UrlOption, complain, say, say_json, say_raw, with_client
from peaceriver.client import DEFAULT_URL, Client
from peaceriver.errors import Invalid, NotFound, TooLarge

_MEDIA = {"csv": "text/csv", "ndjson": "application/x-ndjson"}


def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One SELECT; without it, or as -, from standard input.")
    ] = None,
    var: VarOption = None,
    text: TextOption = None,
    as_of: AsOfOption = None,
    after: AfterOption = None,
    latest: LatestOption = False,
    shards: ShardsOption = None,
    allow_partial: PartialOption = False,
    timeout: TimeoutOption = None,
    form: FormatOption = None,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Ask in SQL, at one cutoff: models are tables, and :name is a host variable.

    peaceriver query 'select actor_id, total from "Order" where total > :least' --var least=100
    """
    chosen = form_of(form, as_json=as_json, at_terminal=sys.stdout.isatty())
    values = values_of(var, text)
    asking = asked(as_of, after, latest, shards, allow_partial, timeout)
    if sql in (None, "-"):
        if sys.stdin.isatty():
            raise typer.BadParameter("give the SQL, or send it to standard input")
        sql = sys.stdin.read()
    content = question_body(sql or "", values, asking)

    async def ask(client: Client) -> int:
        try:
            return await _answer(client, chosen, asking, "POST", "/query", content=content)
        except Invalid as refusal:
            raise advised(refusal, values) from None

    with_client(url, ask, as_json=chosen == "json")


def view(
    name: Annotated[str | None, typer.Argument(help="The view; without it, all are listed.")] = None,
    var: VarOption = None,
    text: TextOption = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the view's definition instead of its rows.")] = False,
    as_of: AsOfOption = None,
    after: AfterOption = None,
    latest: LatestOption = False,
    shards: ShardsOption = None,
    allow_partial: PartialOption = False,
    timeout: TimeoutOption = None,
    form: FormatOption = None,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Ask a named view; without a name, list the views that there are.

    peaceriver view open_orders --var customer=A% --var top=10

    An array is given by repeating its --var.
    """
    chosen = form_of(form, as_json=as_json, at_terminal=sys.stdout.isatty())
    asking = asked(as_of, after, latest, shards, allow_partial, timeout)
    pairs = (*texts_of(var), *texts_of(text), *asking.parameters().items())
    if name is None and pairs:
        raise typer.BadParameter("say which view; without options, all are listed")

    async def ask(client: Client) -> int:
        if name is None or sql:
            return _print_views(await client.request("GET", "/views"), name, as_json=chosen == "json")
        return await _answer(client, chosen, asking, "GET", f"/views/{segment(name)}", pairs)

    with_client(url, ask, as_json=chosen == "json")


async def _answer(
    client: Client,
    form: Form,
    asking: Ask,
    method: str,
    path: str,
    pairs: tuple[tuple[str, str], ...] | None = None,
    content: bytes | None = None,
) -> int:
    """Ask, and print the answer as it comes, or as a whole."""
    if form in _MEDIA:
        async with client.stream(
            method, path, pairs, accept=_MEDIA[form], content=content, wait_s=asking.wait_s
        ) as answer:
            async for part in answer.parts():
                typer.echo(part, nl=False)
            stamp = answer.head(STAMP)
            complain(f"as of {answer.head(CUTOFF) or 'nothing recorded'}{f' ({stamp})' if stamp else ''}")
            missing_told({"shard": each} for each in (answer.head(MISSING) or "").split(",") if each)
        return 0
    try:
        text = await client.request(method, path, pairs, content=content, wait_s=asking.wait_s)
    except TooLarge as refusal:
        refusal.detail += "; --format csv and --format ndjson print them all"
        raise
    told = table_of(text)
    if form == "json":
        say_raw(text)
    else:
        print_table(told)
    missing_told(told.missing)
    return 0


def _print_views(answer: bytes, name: str | None, *, as_json: bool) -> int:
    """All views, or the definition of one; raises NotFound."""
    listed: Sequence[Mapping[str, Any]] = exact(answer)["items"]
    if name is None and as_json:
        say_raw(answer)
    elif name is None:
        _print_list(listed)
    else:
        found = next((each for each in listed if each["name"] == name), None)
        if found is None:
            raise NotFound(f"there is no view {name[:80]!r}; `peaceriver view` lists those that there are")
        if as_json:
            say_json(found)
        else:
            _print_definition(found)
    return 0


def _print_list(listed: Sequence[Mapping[str, Any]]) -> None:
    if not listed:
        say("there are no views; PUT /views/NAME publishes one")
        return
    for each in listed:
        say(" ".join((each["name"], *(_variable(name, kind) for name, kind in each["variables"].items()))))
        for line in each["description"].splitlines():
            say(f"    {line}")


def _variable(name: str, variable: Mapping[str, Any]) -> str:
    """A host variable with its type, and its default where it has one."""
    default = f"={jsontext.write(variable['default'])}" if "default" in variable else ""
    return f"{name}:{variable['type']}{default}"


def _print_definition(view: Mapping[str, Any]) -> None:
    for line in view["description"].splitlines():
        say(f"-- {line}")
    for name, variable in view["variables"].items():
        told = f": {variable['description']}" if "description" in variable else ""
        say(f"-- :{_variable(name, variable).replace(':', ' ', 1)}{told}")
    say(view["sql"])
