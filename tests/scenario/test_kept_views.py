"""A kept aggregate is at every moment what its query would answer, whatever happens to the actors and to the node."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from peaceriver.errors import Invalid, NotFound, Unavailable
from peaceriver.message import Envelope
from peaceriver.node import keeping
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.kept import KeptViews
from peaceriver.node.node import Node
from peaceriver.node.publishing import Publishing
from peaceriver.node.questions import Question
from peaceriver.postgres import Transaction
from peaceriver.query.cutoff import AtPositions
from peaceriver.query.guard import checked as checked_text
from peaceriver.query.kept import Kept, definition
from peaceriver.shard import kept_tables, kept_text
from peaceriver.shard import rebuild as rebuild_module
from peaceriver.shard.kept_tables import Place
from peaceriver.shard.kept_text import KeptTable
from peaceriver.shard.proposal import Receipt
from peaceriver.shard.verify import verify
from peaceriver.shard.view_tables import columns_of
from peaceriver.stamp import OPEN_END
from tests.scenario.damaging import checked, told
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


#: The queries of what is kept, by its name.
TEXTS: dict[str, str] = {}


def kept(name: str, text: str) -> Kept:
    TEXTS[name] = text
    return definition(name, checked_text(text).tree)


def sales_by_region(actor_type: str) -> Kept:
    """Everything that can be kept at once."""
    return kept(
        f"{actor_type}_by_region",
        "select region, paid as is_paid, count(*) as orders, count(total) as priced, sum(total) as turnover,"
        ' avg(total) as mean, min(total) as least, max(total) as most, max("on") as latest, max(actor_stamp) as stamp,'
        " count(*) filter (where actor_status = 'cancelled') as cancelled, min(document->>'note') as note"
        f' from "{actor_type}" group by region, paid',
    )


def overall(actor_type: str) -> Kept:
    return kept(
        f"{actor_type}_overall",
        f'select sum(total) as turnover, count(*) as n, min(total) as least from "{actor_type}" where total > 10',
    )


def changing_keys(actor_type: str) -> Kept:
    return kept(
        f"{actor_type}_by_price",
        "select total * 2.0 as price, actor_version % 2 as turn, count(*) as orders, avg(total) as mean,"
        " sum(actor_version) as versions, avg(actor_version) as version, max(region) as last,"
        " min(total * actor_version) as lowest, sum(total * 1.000) as exactly"
        f" from \"{actor_type}\" where actor_status = 'active' group by 1, 2",
    )


async def check(node: Node, names: Sequence[str], shards: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Compare what is kept with what the query answers, as text; answers the former."""
    answers: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        async with node.database.querying(20) as tx:
            table, rows, places = await answered(node, tx, name, shards)
        assert set(places) == set(shards)
        columns, wanted = await asked(node, TEXTS[name], {code: each.position for code, each in places.items()})
        assert list(map(written, rows)) == list(map(written, wanted)), name
        kinds = kept_text.output_kinds(table.kept, table.shape)
        assert [(each, kinds[each]) for each in table.kept.columns] == columns
        async with node.database.snapshot() as tx:
            table = await node.kept.keeping.table(tx, name)
            for code in shards:
                view = node.views.tables[table.kept.actor_type]
                assert await kept_tables.differences(tx, table, view, code) == []
        answers[name] = [dict(zip(table.kept.columns, row, strict=True)) for row in rows]
    return answers


async def answered(
    node: Node, tx: Transaction, name: str, shards: Sequence[int]
) -> tuple[KeptTable, list[tuple[Any, ...]], Mapping[int, Place]]:
    """What is kept, and where it is true, in a snapshot."""
    table, places = await node.kept.keeping.at(tx, name, shards)
    return table, await keeping.rows(tx, table, shards), places


async def asked(
    node: Node, text: str, positions: Mapping[int, int]
) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    """What a query answers at a vector: its columns, with their types, and its rows."""
    freshness = Freshness(as_of=AtPositions(positions), timeout_s=20)
    answer = await node.querying.ask(Question(sql=text, freshness=freshness))
    return [(each.name, each.kind) for each in answer.columns], answer.rows


def written(row: Sequence[Any]) -> list[str]:
    return list(map(repr, row))


async def folded(world: World, *codes: int) -> None:
    for code in codes:
        shard = world.node.shards[code]
        await shard.folded.reached(shard.complete.value)


class History:
    """Messages by chance: few actors, few values, so that keys change, groups empty, and extremes go."""

    def __init__(self, codes: Sequence[int], actor_type: str, seed: int) -> None:
        self._chance = random.Random(seed)
        self._codes = codes
        self._type = actor_type
        #: Actors that are not cancelled.
        self._active: list[tuple[int, str]] = []
        self._ids = itertools.count()

    def messages(self) -> list[Envelope]:
        return [self._message() for _ in range(self._chance.choice([1, 1, 2, 5, 40]))]

    def _message(self) -> Envelope:
        chance = self._chance
        if len(self._active) < 3 or (len(self._active) < 25 and chance.random() < 0.2):
            self._active.append((chance.choice(self._codes), f"{self._type}/{next(self._ids)}"))
            return create(*self._active[-1], self._body({"null"}))
        if chance.random() < 0.08:
            return cancel(*self._active.pop(chance.randrange(len(self._active))))
        return modify(*chance.choice(self._active), self._body(set()))

    def _body(self, without: set[str]) -> str:
        """Fields as JSON; a null takes a field away, which only a modify can."""
        values = {
            "region": ['"north"', '"south"', '"é"', "null", '""'],
            "total": ["1", "1.0", "1.50", "-3", "100.25", "0.00", "1e2", "null", "12345678901234567890.5", "1e-30"],
            "on": ['"2026-01-01"', '"2025-12-31"', "null"],
            "paid": ["true", "false", "null"],
            "note": ['"a"', '"B"', '"b"', "null"],
        }
        said = {name: self._chance.choice(some) for name, some in values.items() if self._chance.random() < 0.6}
        return "{" + ",".join(f'"{name}":{value}' for name, value in said.items() if value not in without) + "}"


async def sent(world: World, messages: Sequence[Envelope]) -> None:
    for outcome in await world.send(*messages):
        assert isinstance(outcome, Receipt), outcome


@pytest.fixture(autouse=True)
def only_what_tests_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept here is in no directory, which would have it dropped."""

    async def level(_: KeptViews) -> None:
        return

    monkeypatch.setattr(KeptViews, "level", level)


async def modelled(world: World, actor_type: str, schema: dict[str, Any]) -> None:
    """Publish a model, and wait until the view has its columns."""
    await Publishing(world.node).schema(actor_type, schema, ME)

    def has_them() -> bool:
        table = world.node.views.tables.get(actor_type)
        return table is None or table.columns == columns_of(world.node.directory.versions(actor_type))

    await until(has_them, "columns of the model")


async def with_history(world: World, actor_type: str, seed: int) -> tuple[list[int], History, list[str]]:
    """Two departments with actors in them, and all of the kept views over these."""
    codes = [await world.department(), await world.department()]
    await modelled(world, actor_type, SCHEMA)
    history = History(codes, actor_type, seed)
    for _ in range(5):
        await sent(world, history.messages())
    await folded(world, *codes)
    wanted = [sales_by_region(actor_type), overall(actor_type), changing_keys(actor_type)]
    for each in wanted:
        await world.node.kept.keeping.keep(each)
    names = [each.name for each in wanted]
    await check(world.node, names, codes)
    return codes, history, names


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_kept_is_what_the_query_answers(world: World, seed: int) -> None:
    codes, history, names = await with_history(world, f"Sale{seed}", seed)
    for _ in range(25):
        await sent(world, history.messages())
        await folded(world, *codes)
        await check(world.node, names, codes)
        await check(world.node, names, codes[:1])
    answers = await check(world.node, names, codes)
    assert all(answers[name] for name in names)


async def test_what_is_kept_is_true_at_the_marks_of_its_snapshot_while_messages_come(world: World) -> None:
    codes, history, names = await with_history(world, "Torrent", 11)
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(20):
            await sent(world, history.messages())
            await folded(world, *codes)
        done.set()

    seen: set[int] = set()
    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        while not done.is_set():
            await check(world.node, names, codes)
            async with world.node.database.snapshot() as tx:
                seen |= {each.position for each in (await answered(world.node, tx, names[0], codes))[2].values()}
    assert len(seen) > 3
    await folded(world, *codes)
    await check(world.node, names, codes)


async def test_a_view_is_made_anew_while_messages_come(world: World) -> None:
    codes, history, names = await with_history(world, "Rush", 5)
    again = [sales_by_region("Rush"), changing_keys("Rush")]

    async def write() -> None:
        for _ in range(60):
            await sent(world, history.messages())

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        while not writing.done():
            before = world.node.views.tables["Rush"]
            await world.node.rebuild("Rush")
            assert world.node.views.tables["Rush"] != before
            await check(world.node, names, codes)
            for each in again:
                await world.node.kept.keeping.keep(each)
                await check(world.node, names, codes)
    await folded(world, *codes)
    await check(world.node, names, codes)


async def test_what_is_kept_goes_on_after_a_restart_and_in_departments_that_come_later(own_world: Restart) -> None:
    world = await own_world()
    codes, history, names = await with_history(world, "Sale", 1)
    # Some of it is appended and not folded when the node stops.
    for code in codes:
        await world.node.folders[code].stop()
    await sent(world, history.messages())
    world = await own_world()
    await folded(world, *codes)
    before = await check(world.node, names, codes)
    codes.append(await world.department())
    assert await check(world.node, names, codes) == before
    await sent(world, [*history.messages(), create(codes[2], "Sale/late", '{"region":"late","total":20}')])
    await folded(world, *codes)
    assert "late" in {each["region"] for each in (await check(world.node, names, codes))[names[0]]}
    assert {each.name for each in (await world.node.kept.keeping.known())[0]} == set(names)


async def test_a_step_is_made_with_what_is_kept_or_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, history, names = await with_history(world, "Half", 3)
    failures = iter([ConnectionResetError("gone"), ConnectionResetError("gone")])
    mend = kept_tables.mend

    async def failing(*args: Any, **more: Any) -> None:
        await mend(*args, **more)
        for error in failures:
            raise error

    monkeypatch.setattr(kept_tables, "mend", failing)
    await sent(world, history.messages())
    await until(lambda: next(failures, None) is None, "failures")
    await check(world.node, names, codes)
    await folded(world, *codes)
    await check(world.node, names, codes)


async def test_a_column_of_another_kind_ends_what_is_kept_of_it_until_it_is_as_it_was(world: World) -> None:
    codes, history, names = await with_history(world, "Order2", 7)
    other = SCHEMA["properties"] | {"total": {"type": "string"}}
    await modelled(world, "Order2", {"type": "object", "properties": other})
    async with world.node.database.snapshot() as tx:
        with pytest.raises(Invalid, match="not kept any more"):
            await world.node.kept.keeping.table(tx, names[0])
    assert names[0] in {each.kept.name for each in (await world.node.kept.keeping.known())[1]}
    await sent(world, history.messages())
    await folded(world, *codes)
    await modelled(world, "Order2", SCHEMA)
    await check(world.node, names, codes)


async def test_no_document_stops_a_view_because_of_what_is_kept_of_it(world: World) -> None:
    codes, history, names = await with_history(world, "Odd", 9)
    risky = kept("Odd_risky", "select sum((document->>'loose')::numeric) as loose, count(*) as n from \"Odd\"")
    await world.node.kept.keeping.keep(risky)
    await sent(world, [create(codes[0], "Odd/fine", '{"loose":"1.5"}'), create(codes[0], "Odd/two", '{"loose":"2"}')])
    await folded(world, *codes)
    answers = await check(world.node, [*names, "Odd_risky"], codes)
    assert answers["Odd_risky"][0]["loose"] == Decimal("3.5")
    # What is no finite number cannot be taken out of a sum again.
    for value, wanted in (("NaN", "NaN"), ("Infinity", "Infinity"), ("1", "3")):
        await sent(world, [modify(codes[0], "Odd/fine", f'{{"loose":"{value}"}}')])
        await folded(world, *codes)
        answers = await check(world.node, [*names, "Odd_risky"], codes)
        assert str(answers["Odd_risky"][0]["loose"]) == wanted
    await sent(world, [modify(codes[0], "Odd/fine", '{"loose":"none"}'), *history.messages()])
    await folded(world, *codes)
    await check(world.node, names, codes)
    async with world.node.database.snapshot() as tx:
        with pytest.raises(Invalid, match=r'not kept any more: .*"none"'):
            await world.node.kept.keeping.table(tx, "Odd_risky")
    with pytest.raises(Invalid, match="cannot be kept"):
        await world.node.kept.keeping.keep(risky)
    await sent(world, [modify(codes[0], "Odd/fine", '{"loose":null}'), *history.messages()])
    await folded(world, *codes)
    await world.node.kept.keeping.keep(risky)
    await check(world.node, [*names, "Odd_risky"], codes)


async def test_keys_and_extremes_may_be_as_long_as_a_body(world: World) -> None:
    code = await world.department()
    await modelled(world, "Long", SCHEMA)
    await sent(world, [create(code, "Long/0", '{"region":"x"}')])
    await folded(world, code)
    by_text = kept("long", 'select region, max(region) as last, count(*) as n from "Long" group by region')
    await world.node.kept.keeping.keep(by_text)
    long = "".join(random.Random(1).choices("abcdefgh", k=100_000))
    await sent(world, [create(code, f"Long/{n}", f'{{"region":"{long[n:]}"}}') for n in (1, 2)])
    await folded(world, code)
    answers = await check(world.node, ["long"], [code])
    assert len(answers["long"]) == 3
    await sent(world, [modify(code, "Long/1", '{"region":"x"}')])
    await folded(world, code)
    await check(world.node, ["long"], [code])


async def test_a_repaired_view_has_what_is_kept_of_it_repaired(world: World) -> None:
    codes, _, names = await with_history(world, "Fixed", 13)
    view = world.node.views.tables["Fixed"]
    async with world.node.database.connection() as tx:
        await tx.execute(f"update {view.relation} set total = 7, region = 'wrong' where actor_until = $1", OPEN_END)
        ids = await tx.fetch(f"select distinct actor_shard, actor_id from {view.relation}")
    for code in codes:
        wrong = {row["actor_id"] for row in ids if row["actor_shard"] == code}
        await rebuild_module.fold_again(world.node.database, world.node.views, world.node.folders[code], "Fixed", wrong)
    answers = await check(world.node, names, codes)
    assert "wrong" not in {each["region"] for each in answers[names[0]]}


async def test_a_kept_view_that_was_altered_is_found_and_computed_anew(world: World) -> None:
    codes, _, names = await with_history(world, "Off", 17)
    table = world.node.views.kept["Off"][0]
    assert (await verify(world.node.database, world.node.views, codes))[0].ok
    relations = [table.relation, *(each.relation for each in table.tallies)]
    assert len(relations) == 3
    for relation in relations:
        async with world.node.database.connection() as tx:
            await tx.execute(f"update {relation} set n = n + 1 where shard = $1", codes[0])
            found = await kept_tables.differences(tx, table, world.node.views.tables["Off"], codes[0])
        assert {each["side"] for each in found} == {"kept", "view"}
        verdict = (await verify(world.node.database, world.node.views, codes))[0]
        assert [(each.part, each.place) for each in verdict.findings] == [("view", names[0])]
        assert told(await checked(world.node, codes[0])) == [("view", names[0], True)]
        await check(world.node, names, codes)


async def test_a_view_that_is_not_wanted_any_more_goes(world: World) -> None:
    codes, history, names = await with_history(world, "Gone", 19)
    await world.node.kept.keeping.discard(names[0])
    await sent(world, history.messages())
    await folded(world, *codes)
    await check(world.node, names[1:], codes)
    async with world.node.database.snapshot() as tx:
        with pytest.raises(NotFound):
            await world.node.kept.keeping.table(tx, names[0])
    with pytest.raises(NotFound):
        await world.node.kept.keeping.discard(names[0])


async def test_a_table_that_nobody_brings_along_is_not_read(world: World) -> None:
    codes, _, names = await with_history(world, "Switched", 29)
    # Where the database fails as it is switched to, a node may not know that it was.
    world.node.views.let_go(names[:1])
    async with world.node.database.snapshot() as tx:
        with pytest.raises(Unavailable, match="is being made anew"):
            await answered(world.node, tx, names[0], codes)
    await world.node.kept.keeping.keep(sales_by_region("Switched"))
    await check(world.node, names, codes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('select missing, count(*) as n from "Thing" group by 1', "no column missing"),
        ('select sum(region) as s from "Thing"', "the type text"),
        ('select min(paid) as s from "Thing"', "the type boolean"),
        ('select document, count(*) as n from "Thing" group by 1', "the type json"),
        ('select count(*) as n from "Thing" where total', "condition is of the type numeric"),
        (
            'select total / 0 as s, count(*) as n from "Thing" where total = region group by 1',
            "operator does not exist",
        ),
    ],
)
async def test_what_cannot_be_computed_is_refused(world: World, text: str, why: str) -> None:
    await modelled(world, "Thing", SCHEMA)
    with pytest.raises(Invalid, match=why):
        await world.node.kept.keeping.keep(kept("unfit", text))
    assert "unfit" not in {each.name for each in (await world.node.kept.keeping.known())[0]}


async def test_departments_that_come_while_a_view_is_made_anew_are_in_it(world: World) -> None:
    codes, history, names = await with_history(world, "Grown", 23)

    async def grow() -> None:
        for number in range(5):
            codes.append(await world.department())
            await sent(world, [create(codes[-1], f"Grown/new-{number}", '{"region":"new","total":20}')])

    async with asyncio.TaskGroup() as group:
        growing = group.create_task(grow())
        while not growing.done():
            await world.node.rebuild("Grown")
            await world.node.kept.keeping.keep(sales_by_region("Grown"))
    await sent(world, history.messages())
    await folded(world, *codes)
    answers = await check(world.node, names, codes)
    assert sum(each["orders"] for each in answers[names[0]] if each["region"] == "new") == 5


async def test_a_type_that_has_no_actors_yet_can_be_kept(world: World) -> None:
    code = await world.department()
    await modelled(world, "Later", SCHEMA)
    await world.node.kept.keeping.keep(overall("Later"))
    assert (await check(world.node, ["Later_overall"], [code]))["Later_overall"] == [
        {"turnover": None, "n": 0, "least": None}
    ]
    await sent(world, [create(code, "Later/1", '{"total":11}')])
    await folded(world, code)
    assert (await check(world.node, ["Later_overall"], [code]))["Later_overall"][0]["n"] == 1
