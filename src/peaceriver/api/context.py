"""What the pages of one node's API share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from starlette.responses import Response

from peaceriver.api.asked import Asked
from peaceriver.api.merging import Merging
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing

if TYPE_CHECKING:
    from peaceriver.api.metrics import Metrics
    from peaceriver.api.operations import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One node and what its API keeps beside it; lives as long as the API is served."""

    node: Node
    #: All that the API knows to do.
    operations: tuple[Operation, ...]
    publishing: Publishing
    merging: Merging
    metrics: Metrics
    #: Set when the server stops: who waits for records answers with what there is, and streams end.
    stopping: asyncio.Event
    #: Under which the node is served; empty where that is not known.
    url: str


Page: TypeAlias = Callable[[Context, Asked], Awaitable[Response]]
