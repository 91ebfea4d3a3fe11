"""Named views: asked for by their names, with typed host variables; listed, published and removed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.responses import Response

from peaceriver.api import answers, tables
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.directory import in_time, object_in, shown
from peaceriver.api.queries import scoped
from peaceriver.directory.pages import VIEWS
from peaceriver.directory.pages import view as page_of
from peaceriver.limits import CONTROL, PAGE_RECORDS_MAX
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.levelling import level, levelled
from peaceriver.node.node import Node
from peaceriver.node.reading import ActorAt
from peaceriver.query import named
from peaceriver.query.cutoff import AtPositions, Cutoff
from peaceriver.query.lists import ListQuery


async def listed(context: Context, asked: Asked) -> Response:
    """``GET /views``: all that there are, or were at a cutoff, with what they ask for."""
    freshness = asked.freshness()
    cutoff, found = await _pages(context.node, freshness)
    pages = [page_of(each.id, each.document, each.version) for each in found if each.status == "active"]
    items = [{"name": each.name, "version": each.version, **each.public()} for each in pages if each.active]
    if freshness.as_of is None:  # what was at a cutoff is told in the same way for ever
        here = await context.node.kept.not_kept()
        items = [each | _kept_here(here[each["name"]]) if each["name"] in here else each for each in items]
    return answers.answered({"cutoff": cutoff.public(), "items": items, "next": None})


def _kept_here(reason: str | None) -> dict[str, Any]:
    """Whether a view is kept on this node, and why it is not."""
    return {"kept_here": True} if reason is None else {"kept_here": False, "reason": reason}


async def _pages(node: Node, freshness: Freshness) -> tuple[Cutoff, list[ActorAt]]:
    """The pages of all views at one cutoff, by their names."""
    query = ListQuery(limit=PAGE_RECORDS_MAX)
    cutoff, found, more = await node.reading.actors([CONTROL], VIEWS, query, freshness)
    again = Freshness(as_of=AtPositions({code: place.position for code, place in cutoff.places.items()}))
    while more:
        query = msgspec.structs.replace(query, offset=len(found))
        _, part, more = await node.reading.actors([CONTROL], VIEWS, query, again)
        found += part
    return cutoff, found


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
    await shown(context, sender.timeout_s)
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
    await shown(context, sender.timeout_s)
    return Response(status_code=204)
