"""Rules that are replayed, or begun late: when they have caught up, and that nothing came of it a second time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from peaceriver import Client, jsontext
from peaceriver.errors import PeaceRiverError
from peaceriver.rule import Rule
from peaceriver.shard.shard import DELIVERY
from peaceriver.shard.steps import reader_of
from tests.acceptance.journals import Record, journals, looks_at, of_kind

PATIENCE_S = 120
Shards = dict[int, dict[str, Any]]


async def replay(url: str, rules: Sequence[Rule]) -> None:
    """Let rules act anew from the start, one after the other."""
    async with Client(url) as client:
        for each in rules:
            answer = await client.request("POST", f"/directory/rules/{each.name}/replay", content=b'{"from": "start"}')
            assert jsontext.read(answer) == {"rule": each.name, "from": 0}


async def until(client: Client, true: Callable[[Shards], bool]) -> None:
    """Look at the cluster until something holds; a node that is away comes back."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                shards = {each["shard"]: each for each in (await client.cluster())["shards"]}
                if true(shards):
                    return
            except (PeaceRiverError, KeyError):
                pass  # it is being started, and has not all departments yet
            await asyncio.sleep(0.05)


async def caught_up(url: str, rules: Sequence[Rule], events: dict[int, list[Record]]) -> dict[int, list[Record]]:
    """All journals, once the rules have acted on what is among the records, and what they sent has arrived."""
    async with Client(url) as client:
        await until(client, lambda shards: _have_acted(shards, rules, events))
        sent = await journals(url)
        await until(client, lambda shards: _has_arrived(shards, sent))
    return await journals(url, sent)


def _have_acted(shards: Shards, rules: Sequence[Rule], found: dict[int, list[Record]]) -> bool:
    """Whether no rule has anything left to do with the records."""
    standing = {each["rule"]: each for shard in shards.values() for each in shard["rules"]}
    return all(standing[each.name]["acted"] >= _last_for(each, found[each.at]) for each in rules)


def _last_for(rule: Rule, records: list[Record]) -> int:
    """The position of the last record that a rule looks at; 0 where there is none."""
    return max((each["position"] for each in records if looks_at(rule, each)), default=0)


def _has_arrived(shards: Shards, found: dict[int, list[Record]]) -> bool:
    """Whether every receiver's mark has passed what was sent to it among the records."""
    return all(
        shards[each["to"]]["marks"].get(DELIVERY, {}).get(str(each["shard"]), 0) >= each["position"]
        for each in of_kind(found, "sent")
    )


def check_nothing_new(found: dict[int, list[Record]], first: dict[int, list[Record]], rules: Sequence[Rule]) -> None:
    """After what was there only marks have come, of every rule the one that it began anew with."""
    new = {code: records[len(first[code]) :] for code, records in found.items()}
    assert {code: records[: len(first[code])] for code, records in found.items()} == first
    assert {each["kind"] for records in new.values() for each in records} <= {"mark", "tick", "epoch"}
    assert {each["body"]["reader"] for each in of_kind(new, "mark")} >= {reader_of(each.name) for each in rules}
