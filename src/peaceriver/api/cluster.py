"""The cluster as it is now: who leads what and how far, whether it lives and is ready."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.errors import Unavailable
from peaceriver.limits import CONTROL
from peaceriver.node.node import Node
from peaceriver.shard.shard import Shard
from peaceriver.shard.steps import is_behind
from peaceriver.shard.verify import verify as verified

_READ_TIMEOUT_S = 2.0
#: How the fold of the live views is called among a department's marks.
VIEWS = "views"


async def get(context: Context, asked: Asked) -> Response:
    """``GET /cluster``."""
    node = context.node
    url = context.url or f"http://{asked.header(b'host') or 'localhost'}"
    shards = [_shard(node, shard) for _, shard in sorted(node.shards.items())]
    return answers.answered({"nodes": [{"name": node.name, "url": url, "alive": True}], "shards": shards})


def _shard(node: Node, shard: Shard) -> dict[str, Any]:
    department = node.directory.departments.get(shard.code)
    position = shard.tip.position
    marks: dict[str, dict[str, int]] = {}
    for (reader, source), mark in sorted(shard.marks.items()):
        # Actors that wait behind an exception have marks of their own; they are counted with their rule.
        if not is_behind(reader):
            marks.setdefault(reader, {})[str(source)] = mark
    marks[VIEWS] = {str(shard.code): shard.folded.value}
    return {
        "shard": shard.code,
        "name": "control" if department is None else department.name,
        "leader": node.name if shard.serving else None,
        "epoch": shard.epoch,
        "position": position,
        "complete": shard.complete.value,
        "replicas": [
            {"node": node.name, "position": position, "lag": 0, "state": "leader" if shard.serving else "waiting"}
        ],
        "marks": marks,
        "rules": [
            {
                "rule": each.rule,
                "version": each.version,
                "acted": each.acted.value,
                "waiting": each.waiting,
                "parked": len(each.parked),
            }
            for each in node.agents.at(shard.code)
        ],
    }


async def verify(context: Context, asked: Asked) -> Response:
    """``POST /cluster/verify``: every journal against its chain, every view against its journal."""
    node = context.node
    verdicts = await verified(node.database, node.views, list(node.shards))
    return answers.answered({"ok": all(each.ok for each in verdicts), "shards": [each.public() for each in verdicts]})


async def healthz(context: Context, asked: Asked) -> Response:
    """``GET /healthz``: the process lives."""
    return answers.answered({"alive": True, "node": context.node.name})


async def readyz(context: Context, asked: Asked) -> Response:
    """``GET /readyz``: every department of the directory has a serving leader, its rules are active, and reads work."""
    node = context.node
    waiting = sorted(
        code
        for code in {CONTROL, *node.directory.departments}
        if code not in node.shards or not node.shards[code].serving
    )
    if waiting or not node.ready:
        raise Unavailable(f"departments {waiting} have no serving leader yet; ask again in a moment", retry_after_s=1.0)
    if node.agents.waiting:
        raise Unavailable(f"rules {node.agents.waiting} are not active yet; ask again in a moment", retry_after_s=1.0)
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            await node.reading.journal(CONTROL, after=0, limit=1)
    except TimeoutError:
        raise Unavailable("reads take too long; ask again in a moment", retry_after_s=1.0) from None
    return answers.answered({"ready": True, "departments": len(node.directory.departments)})
