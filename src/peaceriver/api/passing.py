"""Passing on over HTTP: what of a request another node gets, and what of its answer is given back.

What a node lacks that any other may have is asked of the others, one after the other.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

from starlette.responses import Response, StreamingResponse

from peaceriver import jsontext
from peaceriver.answers import CUTOFF, MISSING, STAMP
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.errors import Invalid, NoModel, Refused, TooLarge, TooSlow, Unavailable
from peaceriver.limits import BATCH_BYTES_MAX, SEND_TIMEOUT_S
from peaceriver.node.passing import PASSED_ON, READS, node_for, pass_on
from peaceriver.node.peers import Away, Streamed

#: What of the request's head means anything to a page.
_HEADERS = (
    b"accept",
    b"content-encoding",
    b"content-type",
    b"idempotency-key",
    b"if-match",
    b"peaceriver-after",
    b"peaceriver-principal",
    b"traceparent",
)
#: What of the answer's head is for the client, and not between the nodes; and what a table's head has besides.
_ANSWERED = ("Allow", "Content-Type", "ETag", "Location", "Retry-After")
_TABLES = (CUTOFF, STAMP, MISSING)
#: Refusals that any node would give: by their status; where that is not enough, by their type as well.
_EVERYWHERE = (TooLarge.status, Invalid.status, TooSlow.status)
_TOO_SLOW, _NO_MODEL = f"/problems/{TooSlow.slug}", f"/problems/{NoModel.slug}"
_PROBLEM_BYTES_MAX = 1024 * 1024


async def passed_on(context: Context, asked: Asked, refusal: Refused) -> Response | None:
    """The answer of the node that can give one; None where there is none such, or the request was passed on before."""
    to = node_for(context.node, refusal)
    if to is None or is_passed_on(asked):
        return None
    body = b"" if asked.method in READS else await asked.body(BATCH_BYTES_MAX)
    timeout_s = asked.parameters.seconds("timeout", SEND_TIMEOUT_S)
    answer = await pass_on(
        context.node, to, asked.method, asked.target, asked.headers(_HEADERS), body, timeout_s=timeout_s
    )
    heads = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
    return Response(answer.body, answer.status, heads)


async def passed_around(context: Context, asked: Asked, *, timeout_s: float) -> Response | None:
    """The answer of the first other node that has what this one lacks; None where there is none such in the time.

    A refusal is an answer where any node would refuse; where it may be that node's own lack, the next one is asked.
    Streams are passed on as they come: where the other node breaks off, so does the answer.
    """
    if is_passed_on(asked):
        return None
    peers, deadline = context.node.replication.peers, time.monotonic() + timeout_s
    body = b"" if asked.method in READS else await asked.body(BATCH_BYTES_MAX)
    headers = {**asked.headers(_HEADERS), PASSED_ON: context.node.name}
    names = peers.by_last_word
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        first_s = max(0.01, (deadline - time.monotonic()) / left)
        with suppress(*Away, Unavailable, Invalid):  # then the next one is asked
            async with AsyncExitStack() as stack:
                answer = await stack.enter_async_context(
                    peers.stream(name, asked.method, asked.target, headers, body, first_s=first_s)
                )
                heads = {each: answer.headers[each] for each in (*_ANSWERED, *_TABLES) if each in answer.headers}
                if 200 <= answer.status < 300:
                    return StreamingResponse(_pieces(stack.pop_all(), answer), answer.status, heads)
                problem = await _final(answer)
                if problem is not None:
                    return Response(problem, answer.status, heads)
    return None


async def _final(answer: Streamed) -> bytes | None:
    """A refusal that any node would give; None where another one may answer. Raises one of Away."""
    if answer.status not in _EVERYWHERE:
        return None
    content = b""
    async for piece in answer.pieces:
        content += piece
        if len(content) > _PROBLEM_BYTES_MAX:
            return None
    problem = jsontext.read(content)
    if not isinstance(problem, dict):
        return None
    if answer.status == TooSlow.status:
        return content if problem.get("type") == _TOO_SLOW else None
    return None if problem.get("type") == _NO_MODEL else content


async def _pieces(stack: AsyncExitStack, answer: Streamed) -> AsyncIterator[bytes]:
    async with stack:
        async for piece in answer.pieces:
            yield piece


def is_passed_on(asked: Asked) -> bool:
    """Whether another node has passed the request on to this one, which answers it by itself."""
    return asked.header(PASSED_ON.encode()) is not None
