"""``/messages``: the way in for everything that is to be recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked, uuid_of
from peaceriver.api.context import Context
from peaceriver.errors import Invalid, Malformed, Refused
from peaceriver.limits import BATCH_BYTES_MAX
from peaceriver.message import Envelope, read, read_batch, read_lines
from peaceriver.node.identity import new_id
from peaceriver.node.sending import Sender
from peaceriver.shard.proposal import Receipt, Sent, Spooled

LINES = "application/x-ndjson"
#: The status of what waits here until its department has a leader.
SPOOLED = 202
_WHITE_SPACE = b" \t\r\n"


async def post(context: Context, asked: Asked) -> Response:
    """``POST /messages``: one message, an array, or one a line."""
    sender = asked.sender()
    atomic = asked.parameters.flag("atomic")
    raw = await asked.body(BATCH_BYTES_MAX)
    if asked.media_type() == LINES:
        return await _post_all(context, read_lines(raw), sender, atomic=atomic)
    if raw.lstrip(_WHITE_SPACE)[:1] == b"[":
        return await _post_all(context, read_batch(raw), sender, atomic=atomic)
    message = _read(raw)
    return receipt_or_problem((await _sent(context, [message], sender))[0])


def receipt_or_problem(outcome: Sent) -> Response:
    """201 for what was recorded now, 200 for what was recorded before, 202 for what is spooled, else the problem."""
    if isinstance(outcome, Refused):
        return answers.problem(outcome)
    if isinstance(outcome, Spooled):
        return answers.answered(outcome.public(), SPOOLED)
    return answers.answered(outcome.public(), 200 if outcome.duplicate else 201)


async def send_one(context: Context, envelope: Envelope, sender: Sender) -> Receipt | Spooled:
    """Send one message; raises its refusal."""
    outcome = (await _sent(context, [envelope], sender))[0]
    if isinstance(outcome, Refused):
        raise outcome
    return outcome


async def _post_all(context: Context, texts: Sequence[bytes], sender: Sender, *, atomic: bool) -> Response:
    messages = [_read(each) for each in texts]
    if atomic:
        outcomes = await _sent_atomic(context, messages, sender)
    else:
        outcomes = await _sent(context, messages, sender)
    return answers.answered([_public(each) for each in outcomes])


def _public(outcome: Sent) -> dict[str, Any]:
    return {"error": outcome.problem()} if isinstance(outcome, Refused) else outcome.public()


async def _sent(context: Context, messages: Sequence[Envelope | Refused], sender: Sender) -> list[Sent]:
    started = time.perf_counter()
    outcomes = await context.node.spooling.send(messages, sender)
    context.metrics.sent(outcomes, time.perf_counter() - started)
    return outcomes


async def _sent_atomic(context: Context, messages: Sequence[Envelope | Refused], sender: Sender) -> list[Sent]:
    envelopes: list[Envelope] = []
    for index, each in enumerate(messages):
        if isinstance(each, Refused):
            raise each.of_batch(index)
        envelopes.append(each)
    started = time.perf_counter()
    try:
        outcomes = await context.node.spooling.send_atomic(envelopes, sender)
    except Refused as refusal:
        context.metrics.sent([refusal] * len(envelopes), time.perf_counter() - started)
        raise
    context.metrics.sent(outcomes, time.perf_counter() - started)
    return outcomes


def _read(text: bytes) -> Envelope | Refused:
    """A message, or why it is none; the refusal carries the message's id, made here where it has none."""
    try:
        return read(text)
    except Malformed as refusal:
        return refusal
    except Refused as refusal:
        refusal.message_id = _id_of(text)
        return refusal


class _Named(msgspec.Struct):
    id: Any = None


_named = msgspec.json.Decoder(_Named)


def _id_of(text: bytes) -> str | None:
    """The id of something that is not a message, but tries to be one; None where its id is no UUID either."""
    try:
        given = _named.decode(text).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if given is None:
        return str(new_id())
    try:
        return str(uuid_of(str(given), "/id"))
    except Invalid:
        return None


async def get(context: Context, asked: Asked) -> Response:
    """``GET /messages/{id}``: what became of a message."""
    seen = await context.node.receipts.of(asked.uuid())
    return answers.answered(msgspec.Raw(seen.text.encode()))
