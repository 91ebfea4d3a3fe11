"""Passing on over HTTP: what of a request another node gets, and what of its answer is given back.

Streams are not passed on.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.errors import Refused
from peaceriver.limits import BATCH_BYTES_MAX, SEND_TIMEOUT_S
from peaceriver.node.passing import PASSED_ON, READS, node_for, pass_on

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
#: What of the answer's head is for the client, and not between the nodes.
_ANSWERED = ("Allow", "Content-Type", "ETag", "Location", "Retry-After")


async def passed_on(context: Context, scope: Scope, asked: Asked, refusal: Refused) -> Response | None:
    """The answer of the node that can give one; None where there is none such, or the request was passed on before."""
    to = node_for(context.node, refusal)
    if to is None or is_passed_on(asked):
        return None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in _HEADERS}
    query = scope["query_string"].decode("latin-1")
    target = scope["path"] + (f"?{query}" if query else "")
    body = b"" if asked.method in READS else await asked.body(BATCH_BYTES_MAX)
    timeout_s = asked.parameters.seconds("timeout", SEND_TIMEOUT_S)
    answer = await pass_on(context.node, to, asked.method, target, headers, body, timeout_s=timeout_s)
    heads = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
    return Response(answer.body, answer.status, heads)


def is_passed_on(asked: Asked) -> bool:
    """Whether another node has passed the request on to this one, which answers it by itself."""
    return asked.header(PASSED_ON.encode()) is not None
