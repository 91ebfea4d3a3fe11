"""Passing on: a request of the public API that only another node can answer is made to that one, once.

That is what needs the leader of one department (an exception's retry, a rule's replay), and a draft, which is with the
node that saw it first. What a node lacks that any other may have (a query's departments) is asked of the others, one
after the other.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

from peaceriver import jsontext
from peaceriver.errors import (
    Behind,
    Invalid,
    KeptElsewhere,
    LedElsewhere,
    NoModel,
    OutcomeUnknown,
    Refused,
    TooLarge,
    TooSlow,
    Unavailable,
    Withheld,
)
from peaceriver.node.levelling import levelled
from peaceriver.node.node import Node
from peaceriver.node.peers import Away, NotReached, Passed, Streamed

T = TypeVar("T")
#: The header of a request that a node has passed on, with its name: it is passed on no further.
PASSED_ON = "peaceriver-passed-on"
#: What only reads: asked again, it does nothing twice.
READS = ("GET", "HEAD")
#: What the other node may take longer than it was asked to wait.
_MARGIN_S = 10.0
#: Refusals that any node would give: by their status; where that is not enough, by their type as well.
_EVERYWHERE = (TooLarge.status, Invalid.status, TooSlow.status)
_TOO_SLOW, _NO_MODEL = f"/problems/{TooSlow.slug}", f"/problems/{NoModel.slug}"
_PROBLEM_BYTES_MAX = 1024 * 1024


def node_for(node: Node, refusal: Refused) -> str | None:
    """The node that can answer what this one has refused; None where there is none such."""
    if isinstance(refusal, KeptElsewhere):
        return refusal.node
    if not isinstance(refusal, LedElsewhere) or refusal.shard is None:
        return None
    shard = node.shards.get(refusal.shard)
    leader = None if shard is None else shard.leader
    return None if leader == node.name else leader


async def pass_on(
    node: Node, to: str, method: str, target: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
) -> Passed:
    """What another node answers; ``timeout_s`` is how long it was asked to wait.

    Raises Unavailable where it does not answer, or OutcomeUnknown where it may have done something.
    """
    try:
        return await node.replication.peers.request(
            to, method, target, {**headers, PASSED_ON: node.name}, body, timeout_s=timeout_s + _MARGIN_S
        )
    except Away as error:
        said = f"{to} has to answer this, and does not ({error!r})"
        if method in READS or isinstance(error, NotReached):
            raise Unavailable(f"{said}; ask again in a moment", retry_after_s=1.0) from error
        raise OutcomeUnknown(f"{said}; it may have done what was asked: look, or ask again") from error


async def here_or_around(
    node: Node, here: Callable[[], Awaitable[T]], around: Callable[[float], Awaitable[T | None]], *, timeout_s: float
) -> T:
    """What this node answers; or where it lacks something, ``around`` in the time that is left, if that has an answer.

    Raises what ``here`` does.
    """
    began = time.monotonic()
    try:
        return await levelled(node, here, timeout_s=timeout_s)
    except (Behind, Withheld):
        left_s = timeout_s - (time.monotonic() - began)
        answer = await around(left_s) if left_s > 0 else None
        if answer is None:
            raise
        return answer


async def pass_around(
    node: Node,
    stack: AsyncExitStack,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    timeout_s: float,
) -> Streamed | None:
    """The answer of the first other node that gives one, as long as ``stack`` lasts; None where none does in the time.

    A refusal is an answer where any node would refuse; where it may be that node's own lack, the next one is asked.
    """
    peers, deadline = node.replication.peers, time.monotonic() + timeout_s
    headers = {**headers, PASSED_ON: node.name}
    names = peers.by_last_word
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        first_s = max(0.01, (deadline - time.monotonic()) / left)
        with suppress(*Away, Unavailable, Invalid):  # then the next one is asked
            async with AsyncExitStack() as own:
                answer = await own.enter_async_context(
                    peers.stream(name, method, target, headers, body, first_s=first_s)
                )
                if 200 <= answer.status < 300:
                    await stack.enter_async_context(own.pop_all())
                    return answer
                problem = await _final(answer)
                if problem is not None:
                    return answer._replace(pieces=_whole(problem))
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


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
