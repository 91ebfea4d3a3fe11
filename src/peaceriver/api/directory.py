"""``/directory``: companies, departments, models, rules and periods, as they are or were; and how to change them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from peaceriver import jsontext
from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.reads import next_page
from peaceriver.directory.pages import DEPARTMENTS, MODELS, SECTIONS, VIEWS
from peaceriver.errors import Invalid, NotFound, Offence, OutcomeUnknown
from peaceriver.limits import BODY_BYTES_MAX, CONTROL
from peaceriver.message import VERSION_MAX
from peaceriver.model import definition, model_of_schema
from peaceriver.node.publishing import Published
from peaceriver.node.reading import ActorAt
from peaceriver.node.sending import Sender
from peaceriver.query import lists


class _Replay(msgspec.Struct, forbid_unknown_fields=True):
    start: Literal["now", "start"] | Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="from")


async def section(context: Context, asked: Asked) -> Response:
    """``GET /directory/{section}``: its pages."""
    name = _section(asked)
    query = lists.parse(asked.parameters.pairs)
    cutoff, found, more = await context.node.reading.actors([CONTROL], name, query, asked.freshness())
    return answers.answered(
        {
            "cutoff": cutoff.public(),
            "items": [_page(each) for each in found],
            "next": next_page(f"/directory/{name}", asked, query, cutoff) if more else None,
        }
    )


async def department(context: Context, asked: Asked) -> Response:
    """``GET /directory/departments/{code}``: a Yellow Page."""
    return await _one(context, asked, DEPARTMENTS, str(asked.code()))


async def model(context: Context, asked: Asked) -> Response:
    """``GET /directory/models/{type}``: a Blue Page."""
    return await _one(context, asked, MODELS, asked.actor_type())


async def page(context: Context, asked: Asked) -> Response:
    """``GET /directory/{section}/{key}``: any other page."""
    return await _one(context, asked, _section(asked), asked.part("key"))


async def put_department(context: Context, asked: Asked) -> Response:
    """``PUT /directory/departments/{code}``: answers when the department takes messages."""
    code, sender = asked.code(), asked.sender()
    page = await object_in(asked)
    async with in_time(sender):
        published = await context.publishing.department(code, page, sender)
    return await _published(context, published, sender)


async def put_node(context: Context, asked: Asked) -> Response:
    """``PUT /directory/nodes/{key}``: a node joins, moves, or is to leave; replicas follow by and by."""
    name, sender = asked.part("key"), asked.sender()
    page = await object_in(asked)
    async with in_time(sender):
        published = await context.publishing.node(name, page, sender)
    return await _published(context, published, sender)


async def put_model(context: Context, asked: Asked) -> Response:
    """``PUT /directory/models/{type}``: publish a model as a JSON Schema; one that breaks the last stands beside it."""
    actor_type, sender = asked.actor_type(), asked.sender()
    schema = await object_in(asked)
    before = context.node.directory.newest(actor_type)
    wanted = definition(model_of_schema(actor_type, schema))
    if before is not None:
        # A schema says nothing about message types: those that came with the class stay.
        wanted = definition(before) | {"schema": schema}
    async with in_time(sender):
        after, broken = await context.publishing.model(actor_type, wanted, sender)
    await shown(context, sender.timeout_s)
    told = {
        "type": actor_type,
        "version": after.version,
        "compatible": not broken,
        "breaks": [{"pointer": each.pointer, "detail": each.detail} for each in broken],
    }
    return answers.answered(told, 201 if before is None or after.version != before.version else 200)


async def replay(context: Context, asked: Asked) -> Response:
    """``POST /directory/rules/{key}/replay``: let a rule act anew on what is recorded already."""
    wanted, sender = await object_in(asked), asked.sender()
    try:
        start = msgspec.convert(wanted, _Replay).start
    except msgspec.ValidationError:
        detail = 'say where from: {"from": "start"}, {"from": "now"}, or a position from 0'
        raise Invalid(detail, errors=(Offence("/from", detail),)) from None
    name = asked.part("key")
    async with in_time(sender):
        position = await context.publishing.replay(name, start)
    return answers.answered({"rule": name, "from": position})


async def _published(context: Context, published: Published, sender: Sender) -> Response:
    """The answer to a page's change, once the directory shows it: 201 where the page is new."""
    await shown(context, sender.timeout_s)
    receipt = published.receipt
    made = receipt is not None and receipt.version == 1
    told = published.page | {"receipt": None if receipt is None else receipt.public()}
    return answers.answered(told, 201 if made else 200)


async def _one(context: Context, asked: Asked, name: str, key: str) -> Response:
    version = asked.parameters.number("version", 0, 1, VERSION_MAX) or None
    cutoff, found = await context.node.reading.actor(CONTROL, name, key, asked.freshness(), version=version)
    return answers.answered(
        _page(found) | {"cutoff": cutoff.public()}, headers={"ETag": answers.entity_tag(found.version)}
    )


def _section(asked: Asked) -> str:
    name = asked.part("section")
    if name not in SECTIONS:
        raise NotFound(f"the directory has no section {name[:80]!r}; it has {', '.join(SECTIONS)}")
    return name


def _page(found: ActorAt) -> dict[str, Any]:
    """A page as it is shown: what it says, under which key, and since when."""
    said: dict[str, Any] = jsontext.read(found.document.encode())
    if found.type == DEPARTMENTS:
        said = {"code": int(found.id)} | said
    elif found.type == MODELS:
        said = {"type": found.id} | jsontext.read(said["definition"].encode())
    elif found.type == VIEWS:
        definition = said.pop("definition")
        said = {"name": found.id} | said | jsontext.read(definition.encode())
    known = {"key": found.id, "version": found.version, "status": found.status, "stamp": str(found.stamp)}
    return known | said


async def object_in(asked: Asked) -> dict[str, Any]:
    """The request's body, a JSON object; raises Malformed, Invalid or TooLarge."""
    value = jsontext.read(await asked.body(BODY_BYTES_MAX))
    if not isinstance(value, dict):
        raise Invalid("a page of the directory is a JSON object", errors=(Offence("", "not an object"),))
    return value


@asynccontextmanager
async def in_time(sender: Sender) -> AsyncIterator[None]:
    """A change of the directory is answered once it counts on this node, or not at all: raises OutcomeUnknown."""
    try:
        async with asyncio.timeout(sender.timeout_s):
            yield
    except TimeoutError:
        raise OutcomeUnknown(
            f"the change does not count on this node within {sender.timeout_s:g} s; it may be recorded and count soon: "
            "look at the page again, or make the same change again"
        ) from None


async def shown(context: Context, timeout_s: float) -> None:
    """Let the directory's views catch up, so that whoever changed a page and looks at it sees the change."""
    control = context.node.shards[CONTROL]
    try:
        async with asyncio.timeout(timeout_s):
            await control.folded.reached(control.complete.value)
    except TimeoutError:
        return  # the change is recorded and counts; only its view is late
