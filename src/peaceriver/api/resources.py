"""``/shards/{code}/{type}``: the same messages as resources, for clients that think in documents."""

from __future__ import annotations

import re
from urllib.parse import quote
from uuid import UUID

from starlette.responses import Response

from peaceriver.api import answers, messages
from peaceriver.api.asked import Asked, uuid_of
from peaceriver.api.context import Context
from peaceriver.errors import Invalid, Malformed, Offence, VersionConflict
from peaceriver.limits import BODY_BYTES_MAX
from peaceriver.message import VERSION_MAX, Action, Envelope
from peaceriver.shard.proposal import Receipt, Spooled

#: What a PATCH may come as; the second is how most clients call the first.
PATCHES = ("application/merge-patch+json", "application/json")
_ENTITY_TAG = re.compile(r'"([\x21\x23-\x7e\x80-\xff]*)"')
PRECONDITION_FAILED = 412


async def create(context: Context, asked: Asked) -> Response:
    """``POST /shards/{code}/{type}``: create an actor; the body is its document."""
    envelope = await _envelope(asked, "create")
    return _answered(await messages.send_one(context, envelope, asked.sender()), located=True)


async def modify(context: Context, asked: Asked) -> Response:
    """``PATCH /shards/{code}/{type}/{id}``: modify it by a JSON Merge Patch (RFC 7396)."""
    came_as = asked.media_type()
    if came_as and came_as not in PATCHES:
        raise Malformed(f"a modify is a JSON Merge Patch, and not {came_as[:60]!r}; send it as {PATCHES[0]}")
    return await _change(context, asked, "modify")


async def cancel(context: Context, asked: Asked) -> Response:
    """``DELETE /shards/{code}/{type}/{id}``: cancel it; the body may give a reason."""
    return await _change(context, asked, "cancel")


async def _change(context: Context, asked: Asked, action: Action) -> Response:
    try:
        envelope = await _envelope(asked, action)
        return _answered(await messages.send_one(context, envelope, asked.sender()))
    except VersionConflict as refusal:
        # The version came as If-Match: RFC 9110, section 13.1.1, has a status of its own for that.
        return answers.problem(refusal, status=PRECONDITION_FAILED)


async def _envelope(asked: Asked, action: Action) -> Envelope:
    raw = await asked.body(BODY_BYTES_MAX)
    try:
        body = raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: byte {error.start} cannot be decoded") from error
    return Envelope(
        to=asked.code(),
        actor_type=asked.actor_type(),
        actor_id=None if action == "create" else asked.part("id"),
        action=action,
        body="{}" if action == "cancel" and not body.strip() else body,
        id=_message_id(asked),
        if_version=_expected(asked),
    )


def _message_id(asked: Asked) -> UUID | None:
    key = asked.header(b"idempotency-key")
    # The draft standard writes the key as a structured string, in quotes.
    return None if key is None else uuid_of(key.removeprefix('"').removesuffix('"'), "Idempotency-Key")


def _expected(asked: Asked) -> int | None:
    """The version that ``If-Match`` names; raises Invalid, or VersionConflict for a tag that no actor ever has."""
    given = asked.header(b"if-match")
    if given is None or given.strip() == "*":
        return None
    match = _ENTITY_TAG.fullmatch(given.strip())
    if match is None:
        detail = 'must be one entity tag in quotes, such as "3"'
        raise Invalid(f"the header If-Match {detail}", errors=(Offence("If-Match", detail),))
    tag = match[1]
    if not tag.isascii() or not tag.isdigit() or tag.startswith("0") or len(tag) > 10 or int(tag) > VERSION_MAX:
        raise VersionConflict(
            f"no actor is ever at version {tag[:40]!r}; read it again and decide anew",
            errors=(Offence("If-Match", "is not the ETag of any version"),),
        )
    return int(tag)


def _answered(receipt: Receipt | Spooled, *, located: bool = False) -> Response:
    headers: dict[str, str] = {}
    if isinstance(receipt, Spooled):
        return answers.answered(receipt.public(), messages.SPOOLED)
    if receipt.version is not None:
        headers["ETag"] = answers.entity_tag(receipt.version)
    if located:
        headers["Location"] = path_of(receipt.shard, receipt.actor)
    created = located and not receipt.duplicate
    return answers.answered(receipt.public(), 201 if created else 200, headers)


def path_of(shard: int, actor: str) -> str:
    """Where an actor is read; whatever its id holds is percent-encoded."""
    actor_type, _, actor_id = actor.partition("/")
    return f"/shards/{shard}/{actor_type}/{quote(actor_id, safe='')}"
