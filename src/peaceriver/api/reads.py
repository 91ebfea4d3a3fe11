"""Reads of actors: one, its records, lists in one department and across all. Each answer names its cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.parameters import FRESH
from peaceriver.errors import Invalid, Offence
from peaceriver.limits import PAGE_RECORDS_MAX, POSITION_MAX
from peaceriver.message import VERSION_MAX
from peaceriver.query import lists
from peaceriver.query.cutoff import Cutoff
from peaceriver.query.lists import ListQuery

LIMIT = 100


async def actor(context: Context, asked: Asked) -> Response:
    """``GET /shards/{code}/{type}/{id}``: one actor, as it is or was."""
    version = asked.parameters.number("version", 0, 1, VERSION_MAX) or None
    valid_at = asked.parameters.moment("valid_at")
    if version is not None and valid_at is not None:
        detail = "cannot be asked together with valid_at: a version is a state of knowledge, and so is a business time"
        raise Invalid(f"version {detail}", errors=(Offence("version", detail),))
    cutoff, found = await context.node.reading.actor(
        asked.code(), asked.actor_type(), asked.part("id"), asked.freshness(), version=version, valid_at=valid_at
    )
    headers = {"ETag": answers.entity_tag(found.version)}
    return answers.answered(found.public() | {"cutoff": cutoff.public()}, headers=headers)


async def records(context: Context, asked: Asked) -> Response:
    """``GET /shards/{code}/{type}/{id}/records``: its records, oldest first.

    ``after`` is a position here where it is a number alone, and what every read knows where it is a stamp or a vector.
    """
    wanted = asked.parameters.text("after")
    paged = wanted is not None and wanted.isascii() and wanted.isdigit()
    after = asked.parameters.number("after", 0, 0, POSITION_MAX) if paged else 0
    limit = asked.parameters.number("limit", PAGE_RECORDS_MAX, 1, PAGE_RECORDS_MAX)
    code, actor_type, actor_id = asked.code(), asked.actor_type(), asked.part("id")
    cutoff, found = await context.node.reading.records(
        code, actor_type, actor_id, asked.freshness(after=not paged), after=after, limit=limit + 1
    )
    page = found[:limit]
    following = None
    if len(found) > limit:
        path = f"/shards/{code}/{actor_type}/{quote(actor_id, safe='')}/records"
        following = _next(path, (("limit", str(limit)),), cutoff, after=str(page[-1].position))
    return answers.answered({"cutoff": cutoff.public(), "records": [each.public() for each in page], "next": following})


async def in_department(context: Context, asked: Asked) -> Response:
    """``GET /shards/{code}/{type}``: a list of one department's actors."""
    return await _list(context, asked, [asked.code()], f"/shards/{asked.code()}/{asked.actor_type()}")


async def everywhere(context: Context, asked: Asked) -> Response:
    """``GET /actors/{type}``: a list of all departments' actors."""
    return await _list(context, asked, None, f"/actors/{asked.actor_type()}")


async def _list(context: Context, asked: Asked, codes: Sequence[int] | None, path: str) -> Response:
    query = lists.parse(asked.parameters.pairs)
    cutoff, found, more = await context.node.reading.actors(codes, asked.actor_type(), query, asked.freshness())
    return answers.answered(
        {
            "cutoff": cutoff.public(),
            "items": [each.public() for each in found],
            "next": next_page(path, asked, query, cutoff) if more else None,
        }
    )


async def types(context: Context, asked: Asked) -> Response:
    """``GET /actors``: what a query may name, with the columns of the newest model; all have the system's columns."""
    items = []
    for each in context.node.querying.models:
        model = context.node.directory.newest(each)
        columns = () if model is None else model.columns
        items.append({"type": each, "columns": [{"name": column.name, "type": column.kind} for column in columns]})
    return answers.answered({"items": items, "next": None})


async def holders(context: Context, asked: Asked) -> Response:
    """``GET /actors/{type}/{id}``: an actor in every department that holds it."""
    cutoff, found = await context.node.reading.holders(asked.actor_type(), asked.part("id"), asked.freshness())
    return answers.answered({"cutoff": cutoff.public(), "items": [each.public() for each in found]})


def next_page(path: str, asked: Asked, query: ListQuery, cutoff: Cutoff) -> str:
    """Where the next page of a list is, at the same cutoff, so that the pages agree."""
    kept = tuple(each for each in asked.parameters.pairs if each[0] not in (*FRESH, "offset"))
    return _next(path, kept, cutoff, offset=str(query.offset + query.limit))


def _next(path: str, kept: Sequence[tuple[str, str]], cutoff: Cutoff, **turned: Any) -> str:
    return f"{path}?{urlencode([*kept, *turned.items(), ('as_of', cutoff.vector())], safe=':,')}"
