"""Named views: asked for by their names, with typed host variables; listed, published and removed."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from peaceriver.api import answers, tables
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.directory import in_time, object_in
from peaceriver.api.levelling import level, levelled
from peaceriver.api.queries import scoped
from peaceriver.directory.pages import ViewPage
from peaceriver.query import named


async def listed(context: Context, asked: Asked) -> Response:
    """``GET /views``: all that there are, with what they ask for."""
    pages = sorted(context.node.directory.views.items())
    return answers.answered({"items": [_shown(name, page) for name, page in pages if page.active], "next": None})


def _shown(name: str, page: ViewPage) -> dict[str, Any]:
    return {"name": name, "version": page.version, **page.public()}


async def get(context: Context, asked: Asked) -> Response:
    """``GET /views/{name}``: its rows at a cutoff."""
    latest = asked.freshness().latest
    view = await context.node.querying.view(asked.part("name"), latest=latest)
    variables = named.given(view, asked.parameters.pairs)
    question = scoped(view.sql, asked, asked.parameters)
    kept = view if view.kept else None
    return await tables.answered(context, question, asked, variables=variables, kinds=view.kinds, kept=kept)


async def put(context: Context, asked: Asked) -> Response:
    """``PUT /views/{name}``: 201 where the view is new."""
    sender = asked.sender()
    # In a thread: a long text takes long to read.
    view = await asyncio.to_thread(named.read, asked.part("name"), await object_in(asked))
    before = context.node.directory.views.get(view.name)
    async with in_time(sender):
        published = await levelled(
            context.node, lambda: context.publishing.view(view, "", sender), timeout_s=sender.timeout_s
        )
    receipt = published.receipt
    told = published.page | {"receipt": None if receipt is None else receipt.public()}
    return answers.answered(told, 200 if before is not None and before.active else 201)


async def delete(context: Context, asked: Asked) -> Response:
    """``DELETE /views/{name}``."""
    name, sender = asked.part("name"), asked.sender()
    async with in_time(sender):
        found = context.node.directory.views.get(name)
        if found is None or not found.active:
            await level(context.node, sender.timeout_s)
        await context.publishing.remove_view(name, sender)
    return Response(status_code=204)
