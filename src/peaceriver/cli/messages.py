"""``peaceriver send``: messages from the command line, a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from peaceriver import jsontext
from peaceriver.answers import outcome_of
from peaceriver.cli.terminal import EXIT_REFUSED, JsonOption, UrlOption, complain, say, say_raw, with_client
from peaceriver.client import DEFAULT_URL, Client
from peaceriver.errors import Refused
from peaceriver.limits import SEND_TIMEOUT_S
from peaceriver.node.identity import new_id
from peaceriver.shard.proposal import Sent, Spooled

JSON, LINES = "application/json", "application/x-ndjson"


def send(
    message: Annotated[
        str | None,
        typer.Argument(
            metavar="MESSAGE",
            help="A message as JSON, an array of messages, or a file of them (also one message a line); - or nothing: "
            "standard input.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[int | None, typer.Option(help="The receiving department.")] = None,
    sender: Annotated[int | None, typer.Option("--from", help="The sending department.")] = None,
    actor: Annotated[str | None, typer.Option(help="Its type, or TYPE/ID.")] = None,
    action: Annotated[str, typer.Option(help="create, modify or cancel.")] = "create",
    message_type: Annotated[str | None, typer.Option("--type", help="The message type.")] = None,
    body: Annotated[str, typer.Option(help="JSON.")] = "{}",
    message_id: Annotated[str | None, typer.Option("--id", help="A UUID: sent again, it is the same message.")] = None,
    if_version: Annotated[int | None, typer.Option(help="The version that the actor must be at.")] = None,
    valid_at: Annotated[str | None, typer.Option(help="Business time, with its offset.")] = None,
    due: Annotated[str | None, typer.Option(help="Admit it then.")] = None,
    correlation: Annotated[str | None, typer.Option(help="A business key.")] = None,
    cause: Annotated[str | None, typer.Option(help="The stamp of the record that it follows from.")] = None,
    atomic: Annotated[bool, typer.Option("--atomic", help="All of an array, or none.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the receipt.")] = SEND_TIMEOUT_S,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Send messages, and print their receipts."""
    members = {
        "to": to,
        "from": sender,
        "actor": actor,
        "type": message_type,
        "if_version": if_version,
        "valid_at": valid_at,
        "due": due,
        "correlation": correlation,
        "cause": cause,
        "id": message_id,
    }
    if any(value is not None for value in members.values()):
        if message is not None or to is None or actor is None:
            raise typer.BadParameter("give either a MESSAGE, or --to and --actor with what else belongs to it")
        content, kind = _composed(members | {"action": action}, body), JSON
    else:
        content, kind = _given(message)
    parameters = {"timeout": f"{timeout:.3f}s"} | ({"atomic": "true"} if atomic else {})

    async def post(client: Client) -> int:
        answer = await client.request(
            "POST", "/messages", parameters, content=content, content_type=kind, wait_s=timeout
        )
        return _print_outcomes(answer, as_json=as_json)

    with_client(url, post, as_json=as_json)


def _composed(members: dict[str, Any], body: str) -> bytes:
    """A message of its parts; members that were not given are left out, and an id is made here."""
    given = {name: value for name, value in members.items() if value is not None}
    try:
        jsontext.read(body.encode())
    except Refused as error:
        raise typer.BadParameter(f"--body: {error.detail}") from error
    return jsontext.encode({"id": str(new_id())} | given | {"body": msgspec.Raw(body.encode())})


def _given(message: str | None) -> tuple[bytes, str]:
    """What to post, and as what: the text itself, a file, or standard input."""
    if message is None and sys.stdin.isatty():
        raise typer.BadParameter("give a MESSAGE, or --to and --actor, or messages on standard input")
    if message is None or message == "-":
        content = sys.stdin.buffer.read()
    elif message.lstrip().startswith(("{", "[")):
        content = message.encode("utf-8", "surrogateescape")
    else:
        try:
            content = Path(message).read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"{message} is neither JSON nor a file that can be read: {error}") from error
    return content, LINES if _is_lines(content) else JSON


def _is_lines(content: bytes) -> bool:
    """Whether it is one message a line: the first line is a whole JSON object, and more come after it."""
    first, _, rest = content.lstrip().partition(b"\n")
    if not first.startswith(b"{") or not rest.strip():
        return False
    try:
        msgspec.json.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _print_outcomes(answer: bytes, *, as_json: bool) -> int:
    single = not answer.lstrip().startswith(b"[")
    texts = [answer] if single else [bytes(each) for each in msgspec.json.decode(answer, type=list[msgspec.Raw])]
    outcomes = [outcome_of(each) for each in texts]
    if as_json:
        say_raw(answer)
    else:
        for outcome in outcomes:
            _print_outcome(outcome)
    return EXIT_REFUSED if any(isinstance(each, Refused) for each in outcomes) else 0


def _print_outcome(outcome: Sent) -> None:
    if isinstance(outcome, Refused):
        complain(f"refused ({outcome.status}): {outcome.detail}")
        return
    if isinstance(outcome, Spooled):
        say(f"spooled: {outcome.actor} for {outcome.shard}, message {outcome.id}; recorded once there is a leader")
        return
    verb = "recorded before" if outcome.duplicate else "recorded"
    version = "" if outcome.version is None else f", version {outcome.version}"
    say(
        f"{verb}: {outcome.actor} in {outcome.shard} at position {outcome.position}{version}, "
        f"stamp {outcome.stamp}, message {outcome.id}"
    )
