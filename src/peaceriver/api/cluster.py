"""The cluster as it is now: who leads what and how far, whether it lives and is ready."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.errors import Invalid, Malformed, Offence, Unavailable
from peaceriver.limits import BODY_BYTES_MAX, CONTROL
from peaceriver.node.wire import Checked
from peaceriver.wording import named

_READ_TIMEOUT_S = 2.0


async def get(context: Context, asked: Asked) -> Response:
    """``GET /cluster``: who leads what, who lags, since when and why."""
    url = context.url or f"http://{asked.header(b'host') or 'localhost'}"
    incidents = list(context.node.directory.incidents.values())
    return answers.answered(await context.node.overview.cluster(url) | {"incidents": incidents})


async def verify(context: Context, asked: Asked) -> Response:
    """``POST /cluster/verify``: every journal against its chain, every view against its journal, on every node.

    What is damaged is repaired. ``ok``: nothing is left that is damaged, and every node has answered.
    """
    found = await context.node.verifying.everywhere()
    shards: dict[int, dict[str, Any]] = {}
    for each in found:
        for checked in each.checked or ():
            _add(shards.setdefault(checked.shard, _unseen(checked.shard)), each.node, checked)
    nodes = [
        {"node": each.node, "verified": each.checked is not None} | ({"detail": each.detail} if each.detail else {})
        for each in found
    ]
    ok = all(each["verified"] for each in nodes) and all(each["ok"] for each in shards.values())
    return answers.answered({"ok": ok, "nodes": nodes, "shards": [shards[code] for code in sorted(shards)]})


def _unseen(code: int) -> dict[str, Any]:
    return {"shard": code, "records": 0, "ok": True, "damaged": []}


def _add(shard: dict[str, Any], node: str, checked: Checked) -> None:
    """Add what one node found in its replica."""
    shard["records"] = max(shard["records"], checked.records)
    shard["ok"] = shard["ok"] and all(each.repaired for each in checked.flaws)
    shard["damaged"] += [
        {
            "node": node,
            "where": each.where,
            "place": each.place,
            "detail": each.detail,
            "state": "repaired" if each.repaired else "open",
        }
        for each in checked.flaws
    ]


class _Transfer(msgspec.Struct, forbid_unknown_fields=True):
    to: str


async def transfer(context: Context, asked: Asked) -> Response:
    """``POST /shards/{code}/transfer``: hand the leadership of a department over, without a refused message."""
    code, sender = asked.code(), asked.sender()
    context.node.shards.at(code)
    try:
        wanted = msgspec.json.decode(await asked.body(BODY_BYTES_MAX), type=_Transfer)
    except msgspec.ValidationError as error:
        raise Invalid('say to which node: {"to": "n2"}', errors=(Offence("/to", str(error)),)) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    await context.node.membership.transfer(code, wanted.to, sender.timeout_s)
    return answers.answered({"shard": code, "leader": wanted.to})


async def healthz(context: Context, asked: Asked) -> Response:
    """``GET /healthz``: the process lives."""
    return answers.answered({"alive": True, "node": context.node.name})


async def readyz(context: Context, asked: Asked) -> Response:
    """``GET /readyz``: every department of the directory has a leader, its rules are active, and reads work."""
    node = context.node
    if node.waiting:
        said = named("department", node.waiting, one="has", more="have")
        raise Unavailable(f"{said} no leader yet; ask again in a moment", retry_after_s=1.0)
    if node.agents.waiting:
        said = named("rule", node.agents.waiting, one="is", more="are")
        raise Unavailable(f"{said} not active yet; ask again in a moment", retry_after_s=1.0)
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            await node.reading.journal(CONTROL, after=0, limit=1)
    except TimeoutError:
        raise Unavailable("reads take too long; ask again in a moment", retry_after_s=1.0) from None
    return answers.answered({"ready": True, "departments": len(node.directory.departments)})
