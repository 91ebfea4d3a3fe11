"""Passing on: a request of the public API that only another node can answer is made to that one, once.

That is what needs the leader of one department (an exception's retry, a rule's replay), and a draft, which is with the
node that saw it first.
"""

from __future__ import annotations

from collections.abc import Mapping

from peaceriver.errors import KeptElsewhere, LedElsewhere, OutcomeUnknown, Refused, Unavailable
from peaceriver.node.node import Node
from peaceriver.node.peers import Away, NotReached, Passed

#: The header of a request that a node has passed on, with its name: it is passed on no further.
PASSED_ON = "peaceriver-passed-on"
#: What only reads: asked again, it does nothing twice.
READS = ("GET", "HEAD")
#: What the other node may take longer than it was asked to wait.
_MARGIN_S = 10.0


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
