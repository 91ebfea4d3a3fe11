"""A kept aggregate is at every moment what its query would answer, whatever happens to the actors and to the node."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from peaceriver.errors import Invalid, NotFound
from peaceriver.message import Envelope
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing
from peaceriver.query.kept import Kept, definition
from peaceriver.shard import kept_tables, kept_text
from tests.scenario.trio import until
from tests.scenario.words import cancel, create, modify
from tests.scenario.world import ME, Restart, World

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string"},
        "total": {"type": "number"},
        "on": {"type": "string", "format": "date"},
        "paid": {"type": "boolean"},
    },
}


def kept(name: str, text: str) -> Kept:
    select = sqlglot.parse_one(text, dialect="postgres")
    assert isinstance(select, exp.Select)
    return definition(name, select)


def sales_by_region(actor_type: str) -> Kept:
    """Everything that can be kept at once."""
    return kept(
        f"{actor_type}_by_region",
        "select region, paid as is_paid, count(*) as orders, count(total) as priced, sum(total) as turnover, avg(total) as mean,"
        ' min(total) as least, max(total) as most, max("on") as latest, max(actor_stamp) as stamp,'
        " count(*) filter (where actor_status = 'cancelled') as cancelled, min(document->>'note') as note"
        f" from {actor_type} group by region, paid",
    )


def overall(actor_type: str) -> Kept:
    return kept(
        f"{actor_type}_overall",
        f"select sum(total) as turnover, count(*) as orders, min(total) as least from {actor_type} where total > 10",
    )


def changing_keys(actor_type: str) -> Kept:
    return kept(
        f"{actor_type}_by_price",
        "select total as price, actor_version % 2 as turn, count(*) as orders, avg(total) as mean, max(region) as last"
        f" from {actor_type} where actor_status = 'active' group by 1, 2",
    )


async def check(node: Node, names: Sequence[str], shards: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Compare what is kept with what the query answers, as text; answers the former."""
    answers: dict[str, list[dict[str, Any]]] = {}
    async with node.database.snapshot() as tx:
        for name in names:
            table, rows, places = await node.keeping.answer(tx, name, shards)
            view = node.views.tables[table.kept.actor_type]
            relation = kept_text.open_rows(table.kept, view)
            wanted = await tx.fetch(kept_text.computed(table.kept, table.shape, relation), list(shards))
            assert [written(each) for each in rows] == [written(each) for each in wanted]
            assert set(places) == set(shards)
            for code in shards:
                assert await kept_tables.differences(tx, table, view, code) == []
            answers[name] = [dict(each) for each in rows]
    return answers


def written(row: Any) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in row.items()]


async def folded(world: World, *codes: int) -> None:
    for code in codes:
        shard = world.node.shards[code]
        await shard.folded.reached(shard.complete.value)


class History:
    """Messages by chance: few actors, few values, so that keys change, groups empty, and extremes go."""

    def __init__(self, codes: Sequence[int], actor_type: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.codes = codes
        self.actor_type = actor_type
        self.known: dict[tuple[int, str], bool] = {}

    def body(self) -> str:
        chance = self.chance
        fields: dict[str, str] = {
            "region": chance.choice(['"north"', '"south"', '"é"', "null", '""']),
            "total": chance.choice(["1", "1.0", "1.50", "-3", "100.25", "0.00", "1e2", "null", "12345678901234567890.5"]),
            "on": chance.choice(['"2026-01-01"', '"2025-12-31"', "null"]),
            "paid": chance.choice(["true", "false", "null"]),
            "note": chance.choice(['"a"', '"B"', '"b"', "null"]),
        }
        some = [name for name in fields if chance.random() < 0.6]
        return "{" + ",".join(f'"{name}":{fields[name]}' for name in some) + "}"

    def message(self) -> Envelope:
        code, actor_id = self.chance.choice(self.codes), str(self.chance.randrange(12))
        actor, body = f"{self.actor_type}/{actor_id}", self.body()
        body = body.replace("null", '"x"' if "region" in body and False else "null")
        is_active = self.known.get((code, actor_id))
        if is_active is None:
            self.known[code, actor_id] = True
            return create(code, actor, _without_nulls(body))
        if not is_active:
            return self.message()
        if self.chance.random() < 0.05:
            self.known[code, actor_id] = False
            return cancel(code, actor, body)
        return modify(code, actor, body)

    def messages(self) -> list[Envelope]:
        if sum(not each for each in self.known.values()) > 8:
            self.known = {key: value for key, value in self.known.items() if value}
            self.actor_type = self.actor_type
        return [self.message() for _ in range(self.chance.choice([1, 1, 2, 5, 40]))]


def _without_nulls(body: str) -> str:
    return json.dumps({name: value for name, value in json.loads(body).items() if value is not None})


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_kept_is_what_the_query_answers(world: World, seed: int) -> None:
    codes = [await world.department(), await world.department()]
    actor_type = f"Sale{seed}"
    await Publishing(world.node).schema(actor_type, SCHEMA, ME)
    history = History(codes, actor_type, seed)
    for each in await world.send(*history.messages()):
        assert not isinstance(each, Exception), each
    await folded(world, *codes)
    wanted = [sales_by_region(actor_type), overall(actor_type), changing_keys(actor_type)]
    for each in wanted:
        await world.node.keeping.keep(each)
    names = [each.name for each in wanted]
    await check(world.node, names, codes)
    for _ in range(25):
        await world.send(*history.messages())
        await folded(world, *codes)
        answers = await check(world.node, names, codes)
        await check(world.node, names, codes[:1])
    print(answers)
