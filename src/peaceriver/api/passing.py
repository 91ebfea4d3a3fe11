"""Passing on: a request that only another node can answer is made to that one, once, and its answer given back.

That is what needs the leader of one department (an exception's retry, a rule's replay), and a draft, which is with the
node that saw it first. Streams are not passed on.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.errors import KeptElsewhere, LedElsewhere, OutcomeUnknown, Refused, Unavailable
from peaceriver.limits import BATCH_BYTES_MAX, SEND_TIMEOUT_S
from peaceriver.node.peers import PASSED_ON, Away, NotReached

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
#: What the other node may take longer than it was asked to wait.
_MARGIN_S = 10.0


async def passed_on(context: Context, scope: Scope, asked: Asked, refusal: Refused) -> Response | None:
    """The answer of the node that can give one; None where there is none such, or the request was passed on before.

    Raises Unavailable where that node does not answer, or OutcomeUnknown where it may have done something.
    """
    node = _node_for(context, refusal)
    if node is None or is_passed_on(asked):
        return None
    given = {name: value for name, value in scope["headers"] if name in _HEADERS}
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in given.items()}
    headers[PASSED_ON] = context.node.name
    query = scope["query_string"].decode("latin-1")
    target = scope["path"] + (f"?{query}" if query else "")
    body = b"" if asked.method in ("GET", "HEAD") else await asked.body(BATCH_BYTES_MAX)
    timeout_s = asked.parameters.seconds("timeout", SEND_TIMEOUT_S) + _MARGIN_S
    try:
        peers = context.node.replication.peers
        answer = await peers.request(node, asked.method, target, headers, body, timeout_s=timeout_s)
    except Away as error:
        said = f"{node} has to answer this, and does not ({error!r})"
        if asked.method in ("GET", "HEAD") or isinstance(error, NotReached):
            raise Unavailable(f"{said}; ask again in a moment", retry_after_s=1.0) from error
        raise OutcomeUnknown(f"{said}; it may have done what was asked: look, or ask again") from error
    heads = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
    return Response(answer.body, answer.status, heads)


def is_passed_on(asked: Asked) -> bool:
    """Whether another node has passed the request on to this one, which answers it by itself."""
    return asked.header(PASSED_ON.encode()) is not None


def _node_for(context: Context, refusal: Refused) -> str | None:
    if isinstance(refusal, KeptElsewhere):
        return refusal.node
    if not isinstance(refusal, LedElsewhere) or refusal.shard is None:
        return None
    shard = context.node.shards.get(refusal.shard)
    leader = None if shard is None else shard.leader
    return None if leader == context.node.name else leader
