"""``/exceptions`` and ``/explain``: what could not be done and how it is resolved, and what follows from what."""

from __future__ import annotations

from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.reads import LIMIT
from peaceriver.limits import PAGE_RECORDS_MAX
from peaceriver.message import MESSAGE_BYTES_MAX, read
from peaceriver.node.exceptions import How
from peaceriver.query.lists import OFFSET_MAX
from peaceriver.stamp import Stamp

STATES = ("open", "retried", "skipped", "answered")
_ANY = "all"
_SETTLED_TIMEOUT_S = 10.0


async def listed(context: Context, asked: Asked) -> Response:
    """``GET /exceptions``: what could not be done, oldest first."""
    state = asked.parameters.choice("state", (_ANY, *STATES))
    limit = asked.parameters.number("limit", LIMIT, 1, PAGE_RECORDS_MAX)
    offset = asked.parameters.number("offset", 0, 0, OFFSET_MAX)
    wanted = None if state == _ANY else state
    found = await context.node.exceptions.listed(state=wanted, limit=limit + 1, offset=offset)
    following = f"/exceptions?state={state}&limit={limit}&offset={offset + limit}" if len(found) > limit else None
    return answers.answered({"items": [each.public() for each in found[:limit]], "next": following})


async def one(context: Context, asked: Asked) -> Response:
    """``GET /exceptions/{id}``."""
    return answers.answered((await context.node.exceptions.at(asked.uuid())).public())


async def retry(context: Context, asked: Asked) -> Response:
    """``POST /exceptions/{id}/retry``: answers how it stands after the attempt."""
    return await _resolved(context, asked, "retry")


async def skip(context: Context, asked: Asked) -> Response:
    """``POST /exceptions/{id}/skip``: leave it undone."""
    return await _resolved(context, asked, "skip")


async def answer(context: Context, asked: Asked) -> Response:
    """``POST /exceptions/{id}/answer``: a message takes the place of what could not be done."""
    message = read(await asked.body(MESSAGE_BYTES_MAX))
    standing = await context.node.exceptions.resolve(asked.uuid(), "answer", asked.sender(), message)
    return answers.answered(standing.public())


async def _resolved(context: Context, asked: Asked, how: How) -> Response:
    return answers.answered((await context.node.exceptions.resolve(asked.uuid(), how, asked.sender())).public())


async def settled(context: Context, asked: Asked) -> Response:
    """``GET /messages/{id}/settled``: whether every consequence was acted on, after a bounded wait."""
    timeout_s = asked.parameters.seconds("timeout", _SETTLED_TIMEOUT_S)
    return answers.answered((await context.node.consequences.settled(asked.uuid(), timeout_s)).public())


async def explain(context: Context, asked: Asked) -> Response:
    """``GET /explain/{stamp}``: where a record is from, and what it led to."""
    stamp = Stamp.parse(asked.part("stamp"), pointer="stamp")
    return answers.answered((await context.node.consequences.explain(stamp)).public())
