"""The API of one node as an ASGI application."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from peaceriver.api.context import Context
from peaceriver.api.endpoint import Endpoint
from peaceriver.api.merging import Merging
from peaceriver.api.metrics import Metrics
from peaceriver.api.operations import Operation
from peaceriver.api.replication import BETWEEN_NODES
from peaceriver.api.routes import OPERATIONS
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing

#: How metrics name whatever path is not there.
NOWHERE = "(none)"


class Application(Starlette):
    """One node's API. Paths are matched as they came: an actor's id may hold a slash, in percent encoding."""

    def __init__(self, context: Context) -> None:
        by_path: dict[str, list[Operation]] = {}
        for each in (*context.operations, *BETWEEN_NODES):
            by_path.setdefault(each.path, []).append(each)
        endpoints = [Endpoint(path, operations, context) for path, operations in by_path.items()]
        super().__init__(routes=[Route(each.path, each) for each in endpoints])
        self.router.redirect_slashes = False
        self.router.default = Endpoint(NOWHERE, (), context)
        self.context = context
        #: Paths without parameters need no search.
        self._fixed = {each.path: each for each in endpoints if "{" not in each.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        raw = scope.get("raw_path")
        scope["path"] = raw.decode("latin-1") if raw is not None else quote(scope["path"])
        endpoint = self._fixed.get(scope["path"])
        if endpoint is not None:
            await endpoint(scope, receive, send)
        else:
            # Endpoints answer whatever goes wrong themselves, so the layers around the router have nothing to do.
            await self.router(scope, receive, send)


def application(node: Node, *, url: str = "") -> Application:
    """The API of a node; ``url`` is where it is served, if that is known."""
    return Application(
        Context(
            node=node,
            operations=OPERATIONS,
            publishing=Publishing(node),
            merging=Merging(node),
            metrics=Metrics(node),
            stopping=asyncio.Event(),
            url=url,
        )
    )
