"""What stands in the journals of a running cluster, as its API shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from peaceriver import Client
from peaceriver.errors import Unavailable
from peaceriver.rule import Rule

Record = dict[str, Any]


async def journals(url: str, read: Mapping[int, list[Record]] = {}) -> dict[int, list[Record]]:
    """Everything that is complete, by department; what was ``read`` a moment ago is not asked for again."""
    found: dict[int, list[Record]] = {}
    async with Client(url) as client:
        for code in await client.departments():
            records = [*read.get(code, ())]
            while True:
                try:
                    page = await client.journal(code, after=len(records))
                except Unavailable:
                    # It is in the directory already, and brought up at this moment.
                    await asyncio.sleep(0.05)
                    continue
                records += page.records
                if len(records) >= page.complete:
                    break
            found[code] = records
    return found


def of_kind(found: dict[int, list[Record]], *kinds: str) -> list[Record]:
    return [each for records in found.values() for each in records if each["kind"] in kinds]


def looks_at(rule: Rule, record: Record) -> bool:
    """Whether a rule has to say something to a record of its department."""
    if record["shard"] != rule.at or record["kind"] != rule.on.kind:
        return False
    return rule.on.covers(record["actor"].partition("/")[0], record["action"], record["type"])
