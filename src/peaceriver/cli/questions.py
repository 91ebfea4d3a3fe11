"""What queries and named views are asked with on the command line: options, host variables, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import typer

from peaceriver import jsontext
from peaceriver.asking import Ask
from peaceriver.errors import Refused

#: How an answer is printed: for people, for programs line by line, or as the API has it.
Form = Literal["table", "csv", "json", "ndjson"]

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s)?", re.ASCII)
_CODES = re.compile(r"\d{1,10}(,\d{1,10})*", re.ASCII)


def duration(text: str) -> float:
    """Seconds, of a duration such as 5s or 500ms."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration such as 5s or 500ms")
    return float(match[1]) / (1_000 if match[2] == "ms" else 1)


def codes(text: str) -> tuple[int, ...]:
    """Sharding codes, of a list such as 100,110."""
    if not _CODES.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not a list of sharding codes such as 100,110")
    return tuple(map(int, text.split(",")))


VarOption = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=VALUE",
        help="A host variable. A number, true, false, null, or a JSON array or object is what JSON says; else text.",
    ),
]
TextOption = Annotated[
    list[str] | None,
    typer.Option("--text", metavar="NAME=VALUE", help="A host variable that is text, whatever it looks like."),
]
AsOfOption = Annotated[
    str | None,
    typer.Option(help="Answer as of a stamp, a time with an offset, or positions such as 100:17,110:4."),
]
AfterOption = Annotated[
    str | None, typer.Option(help="What the answer must have passed: a receipt's stamp, or positions.")
]
LatestOption = Annotated[bool, typer.Option("--latest", help="Ask the leaders first: nothing acknowledged is missing.")]
ShardsOption = Annotated[
    Any, typer.Option(parser=codes, metavar="CODE,...", help="The departments that are asked; all by default.")
]
PartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Leave out departments that cannot answer, and name them.")
]
TimeoutOption = Annotated[
    Any, typer.Option(parser=duration, metavar="5s", help="How long the answer may take, as 5s or 500ms.")
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="|".join(get_args(Form)), help="table by default at a terminal, csv in a file or a pipe."
    ),
]


def form_of(given: str | None, *, as_json: bool, at_terminal: bool) -> Form:
    """How an answer is to be printed."""
    if as_json and given not in (None, "json"):
        raise typer.BadParameter(f"--json and --format {given} are two forms; give one")
    if given is None:
        return "json" if as_json else "table" if at_terminal else "csv"
    for each in get_args(Form):
        if given == each:
            form: Form = each
            return form
    raise typer.BadParameter(f"--format is one of {', '.join(get_args(Form))}, not {given!r}")


def asked(
    as_of: str | None,
    after: str | None,
    latest: bool,
    shards: Sequence[int] | None,
    allow_partial: bool,
    timeout: float | None,
) -> Ask:
    """How a query is to be answered, of the options for it."""
    return Ask(as_of=as_of, after=after, latest=latest, shards=shards, allow_partial=allow_partial, timeout_s=timeout)


def texts_of(variables: Sequence[str] | None) -> list[tuple[str, str]]:
    """Names and values of NAME=VALUE."""
    found: list[tuple[str, str]] = []
    for each in variables or ():
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE")
        found.append((name, value))
    return found


def values_of(variables: Sequence[str] | None, texts: Sequence[str] | None) -> dict[str, Any]:
    """The values of a query's host variables; ``texts`` are text, whatever they look like."""
    values: dict[str, Any] = {}
    pairs = [(name, value_of(text)) for name, text in texts_of(variables)]
    for name, value in (*pairs, *texts_of(texts)):
        if name in values:
            raise typer.BadParameter(f"the host variable {name} is given twice; give an array as --var {name}='[1, 2]'")
        values[name] = value
    return values


def value_of(text: str) -> Any:
    """What a value on the command line stands for: what JSON says of it, but for texts in quotes; else the text."""
    try:
        value = jsontext.read(text.encode())
    except (Refused, UnicodeEncodeError):
        return text
    return text if isinstance(value, str) else value


def advised(refusal: Refused, values: dict[str, Any]) -> Refused:
    """A refusal with what to do where a value was not meant to be what JSON says of it."""
    wrong = {each.pointer.removeprefix("/variables/") for each in refusal.errors if each.detail == "must be text"}
    told = [each for each in values if each in wrong]
    if told:
        refusal.detail += "; " + ", ".join(f"give it as --text {each}={jsontext.write(values[each])}" for each in told)
    return refusal
