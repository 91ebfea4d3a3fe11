"""Passing on over HTTP: what of a request another node gets, and what of its answer is given back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from starlette.responses import Response, StreamingResponse

from peaceriver.answers import CUTOFF, MISSING, STAMP
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.errors import Refused
from peaceriver.limits import BATCH_BYTES_MAX, SEND_TIMEOUT_S
from peaceriver.node.passing import PASSED_ON, READS, node_for, pass_around, pass_on
from peaceriver.node.peers import Streamed

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

    Streams are passed on as they come: where the other node breaks off, so does the answer.
    """
    if is_passed_on(asked):
        return None
    body = b"" if asked.method in READS else await asked.body(BATCH_BYTES_MAX)
    stack = AsyncExitStack()
    answer = await pass_around(
        context.node, stack, asked.method, asked.target, asked.headers(_HEADERS), body, timeout_s=timeout_s
    )
    if answer is None:
        return None
    heads = {each: answer.headers[each] for each in (*_ANSWERED, *_TABLES) if each in answer.headers}
    return StreamingResponse(_pieces(stack, answer), answer.status, heads)


async def _pieces(stack: AsyncExitStack, answer: Streamed) -> AsyncIterator[bytes]:
    async with stack:
        async for piece in answer.pieces:
            yield piece


def is_passed_on(asked: Asked) -> bool:
    """Whether another node has passed the request on to this one, which answers it by itself."""
    return asked.header(PASSED_ON.encode()) is not None
