"""``/drafts``: preliminary messages, which may be wrong and are not history."""

from __future__ import annotations

from uuid import UUID

from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.messages import receipt_or_problem
from peaceriver.api.passing import is_passed_on
from peaceriver.api.reads import LIMIT
from peaceriver.limits import BODY_BYTES_MAX, PAGE_RECORDS_MAX
from peaceriver.query.lists import OFFSET_MAX


async def put(context: Context, asked: Asked) -> Response:
    """``PUT /drafts/{id}``: keep any part of a message."""
    draft_id = await _found(context, asked)
    return answers.answered(await context.node.drafts.put(draft_id, await asked.body(BODY_BYTES_MAX)))


async def get(context: Context, asked: Asked) -> Response:
    """``GET /drafts/{id}``."""
    return answers.answered(await context.node.drafts.get(await _found(context, asked)))


async def delete(context: Context, asked: Asked) -> Response:
    """``DELETE /drafts/{id}``."""
    await context.node.drafts.delete(await _found(context, asked))
    return Response(status_code=204)


async def all_of_them(context: Context, asked: Asked) -> Response:
    """``GET /drafts``: the last changed first."""
    limit = asked.parameters.number("limit", LIMIT, 1, PAGE_RECORDS_MAX)
    offset = asked.parameters.number("offset", 0, 0, OFFSET_MAX)
    found = await context.node.drafts.everywhere(limit=limit + 1, offset=offset)
    following = f"/drafts?limit={limit}&offset={offset + limit}" if len(found) > limit else None
    return answers.answered({"items": found[:limit], "next": following})


async def _found(context: Context, asked: Asked) -> UUID:
    """The draft's id; raises KeptElsewhere where another node keeps it, unless that is who passed the request on."""
    draft_id = asked.uuid()
    if not is_passed_on(asked):
        await context.node.drafts.find(draft_id)
    return draft_id


async def send(context: Context, asked: Asked) -> Response:
    """``POST /drafts/{id}/send``: the draft becomes a message under its own id, or stays."""
    return receipt_or_problem(await context.node.drafts.send(await _found(context, asked), asked.sender()))
