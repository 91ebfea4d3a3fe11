"""What was recorded is read as it was at any moment, and an as-of answer never changes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from peaceriver.errors import Conflict, Invalid, NotFound, Withheld
from peaceriver.limits import CONTROL
from peaceriver.node import node as node_module
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.publishing import Publishing
from peaceriver.postgres import Transaction
from peaceriver.query.cutoff import AtPositions, AtTime, parse
from peaceriver.query.lists import parse as parse_list
from peaceriver.shard import rebuild as rebuild_module
from peaceriver.shard import view_tables
from peaceriver.shard.proposal import Receipt
from peaceriver.shard.verify import verify
from peaceriver.shard.view_tables import ViewTable
from peaceriver.shard.views import Views
from peaceriver.stamp import Stamp, end_of
from tests.scenario.trio import until
from tests.scenario.words import cancel, create, modify
from tests.scenario.world import ME, Restart, World


def after(receipt: Receipt) -> Freshness:
    return Freshness(after=(receipt.stamp,), timeout_s=10)


def at(stamp: Stamp) -> Freshness:
    return Freshness(as_of=AtTime(stamp.time), timeout_s=10)


async def test_an_actor_is_read_now_and_as_it_was(world: World) -> None:
    code = await world.department()
    body = '{"total":0.12345678901234567890,"n":123456789012345678901234567890}'
    first = await world.receipt(create(code, "Order/1", body))
    second = await world.receipt(modify(code, "Order/1", '{"n":null,"e":1e5}'))
    third = await world.receipt(cancel(code, "Order/1"))
    read = world.node.reading.actor
    _, now = await read(code, "Order", "1", after(third))
    assert (now.version, now.status, now.document) == (3, "cancelled", '{"total":0.12345678901234567890,"e":1e5}')
    _, then = await read(code, "Order", "1", at(first.stamp))
    assert (then.version, then.status) == (1, "active")
    assert then.document == body
    _, by_version = await read(code, "Order", "1", Freshness(), version=2)
    assert by_version.stamp == second.stamp
    _, by_vector = await read(code, "Order", "1", Freshness(as_of=AtPositions({code: second.position})))
    assert by_vector == by_version
    with pytest.raises(NotFound):
        await read(code, "Order", "1", Freshness(as_of=AtTime(first.stamp.time - 1)))
    with pytest.raises(NotFound):
        await read(code, "Order", "1", Freshness(), version=4)


async def test_an_answer_as_of_a_moment_never_changes(world: World) -> None:
    code, idle = await world.department(), await world.department()
    await world.send(*(create(code, f"Item/{n}", f'{{"n":{n}}}') for n in range(50)))
    moment = datetime.now(UTC)
    query = parse_list([("order", "-n"), ("limit", "1000")])
    freshness = Freshness(as_of=AtTime(end_of(moment)), timeout_s=10)
    first = await world.node.reading.actors([code, idle], "Item", query, freshness)
    assert len(first[1]) == 50
    outcomes = await world.send(
        *(modify(code, f"Item/{n % 50}", f'{{"m":{n}}}') for n in range(9_900)),
        *(create(code, f"Item/new-{n}", '{"n":1}') for n in range(100)),
    )
    last = outcomes[-1]
    assert isinstance(last, Receipt)
    await world.node.reading.actor(code, "Item", "new-99", after(last))
    assert await world.node.reading.actors([code, idle], "Item", query, freshness) == first
    await world.node.rebuild("Item")
    assert await world.node.reading.actors([code, idle], "Item", query, freshness) == first
    by_vector = Freshness(as_of=parse(first[0].vector(), "as_of"), timeout_s=10)
    assert await world.node.reading.actors([code, idle], "Item", query, by_vector) == first


async def test_a_model_that_comes_later_changes_no_earlier_answer(world: World) -> None:
    code = await world.department()
    await world.receipt(create(code, "Mixed/1", '{"t":"007"}'))
    last = await world.receipt(create(code, "Mixed/2", '{"t":7}'))
    freshness = Freshness(as_of=AtTime(last.stamp.time), timeout_s=10)
    queries = [parse_list([each]) for each in (("t", "007"), ("order", "t"), ("t", "gt.6"), ("t", "like.0*"))]
    first = [await world.node.reading.actors([code], "Mixed", query, freshness) for query in queries]
    for kind in ("string", "number"):
        schema = {"type": "object", "properties": {"t": {"type": kind}}}
        before = world.node.views.tables["Mixed"]
        await Publishing(world.node).schema("Mixed", schema, ME)
        await until(lambda before=before: world.node.views.tables["Mixed"] is not before, "view with other columns")
        again = [await world.node.reading.actors([code], "Mixed", query, freshness) for query in queries]
        assert again == first


async def test_a_department_that_comes_later_changes_no_earlier_answer(world: World) -> None:
    code = await world.department()
    receipt = await world.receipt(create(code, "Early/1"))
    freshness = Freshness(as_of=AtTime(receipt.stamp.time), timeout_s=10)
    first = await world.node.reading.actors(None, "Early", parse_list([]), freshness)
    later = await world.department()
    await world.receipt(create(later, "Early/2"))
    assert await world.node.reading.actors(None, "Early", parse_list([]), freshness) == first
    assert later not in first[0].places
    assert [each.id for each in first[1]] == ["1"]


async def test_an_idle_department_answers_for_a_moment_with_one_tick(world: World) -> None:
    code = await world.department()
    moment = end_of(datetime.now(UTC))
    for _ in range(3):
        cutoff = await world.node.cutoffs.resolve([code], Freshness(as_of=AtTime(moment)))
        assert cutoff.places[code].position == 1
    assert len(await world.of_kind(code, "tick")) <= 1


async def test_the_future_cannot_be_read(world: World) -> None:
    code = await world.department()
    for as_of in (AtTime(end_of(datetime.now(UTC) + timedelta(seconds=30))), AtPositions({code: 99})):
        with pytest.raises(Invalid, match="future"):
            await world.node.cutoffs.resolve([code], Freshness(as_of=as_of))


async def test_a_read_that_asks_for_more_than_there_is_gives_up_in_time(world: World) -> None:
    code = await world.department()
    with pytest.raises(Conflict):
        await world.node.cutoffs.resolve([code], Freshness(after=(AtPositions({code: 50}),), timeout_s=0.1))


async def test_a_cutoff_never_shows_half_a_batch(world: World) -> None:
    code = await world.department()
    outcomes = await world.node.sending.send_atomic([create(code, f"Part/{n}") for n in range(3)], ME)
    inside, last = outcomes[0], outcomes[2]
    assert isinstance(inside, Receipt)
    assert isinstance(last, Receipt)
    cutoff, parts, _ = await world.node.reading.actors([code], "Part", parse_list([]), at(inside.stamp))
    assert len(parts) == 3
    assert cutoff.places[code].position == last.position


async def test_whoever_sees_an_effect_sees_its_cause(world: World) -> None:
    here, there = await world.department(), await world.department()
    # The sender's views are held still while the receiver's go on: the worst moment to look.
    async with world.node.folders[here].still:
        receipt = await world.receipt(create(there, "Parcel/1", sender=here))
        await world.delivered(receipt, there)
        await world.node.shards[there].folded.reached(world.node.shards[there].complete.value)
        cutoff, seen, _ = await world.node.reading.actors([here, there], "Parcel", parse_list([]), Freshness())
        assert seen == []
        assert cutoff.places[here].position < receipt.position
        _, alone, _ = await world.node.reading.actors([there], "Parcel", parse_list([]), Freshness())
        assert len(alone) == 1
    cutoff, seen, _ = await world.node.reading.actors(
        [here, there], "Parcel", parse_list([]), Freshness(after=(receipt.stamp,), latest=True)
    )
    assert len(seen) == 1


async def test_history_by_business_time(world: World) -> None:
    code = await world.department()
    day = datetime(2026, 1, 1, tzinfo=UTC)
    await world.receipt(create(code, "Policy/1", '{"premium":100,"a":1}', valid_at=day))
    await world.receipt(modify(code, "Policy/1", '{"premium":300}', valid_at=day + timedelta(days=20)))
    late = await world.receipt(modify(code, "Policy/1", '{"premium":200,"b":2}', valid_at=day + timedelta(days=10)))
    read = world.node.reading.actor

    async def on(days: int) -> str:
        return (await read(code, "Policy", "1", after(late), valid_at=day + timedelta(days=days)))[1].document

    assert await on(5) == '{"premium":100,"a":1}'
    assert await on(15) == '{"premium":200,"a":1,"b":2}'
    assert await on(25) == '{"premium":300,"a":1,"b":2}'
    with pytest.raises(NotFound):
        await on(-1)
    before_late = Freshness(as_of=AtTime(late.stamp.time - 1), timeout_s=10)
    assert (await read(code, "Policy", "1", before_late, valid_at=day + timedelta(days=15)))[1].document == (
        '{"premium":100,"a":1}'
    )


async def test_lists_filter_order_and_page(world: World) -> None:
    code, other = await world.department(), await world.department()
    people = ["Ada", "Alan", "Barbara", "Edsger", "Grace"]
    await world.send(*(create(code, f"Person/{n}", f'{{"name":"{p}","n":{n}.5}}') for n, p in enumerate(people)))
    last = await world.receipt(create(other, "Person/9", '{"name":"Alonzo","n":9,"tall":true}'))

    async def names(shards: list[int], *parameters: tuple[str, str]) -> list[str]:
        _, found, _ = await world.node.reading.actors(shards, "Person", parse_list(parameters), after(last))
        import json

        return [json.loads(each.document)["name"] for each in found]

    await world.node.shards[code].folded.reached(world.node.shards[code].complete.value)
    assert await names([code, other], ("name", "like.A*"), ("order", "name")) == ["Ada", "Alan", "Alonzo"]
    assert await names([code, other], ("n", "gt.1"), ("order", "-n"), ("limit", "2")) == ["Alonzo", "Grace"]
    assert await names([code, other], ("n", "gt.1"), ("order", "-n"), ("limit", "2"), ("offset", "2")) == [
        "Edsger",
        "Barbara",
    ]
    assert await names([code], ("name", "in.Ada,Grace"), ("order", "n")) == ["Ada", "Grace"]
    assert await names([code, other], ("tall", "is.null"), ("n", "lte.1.5")) == ["Ada", "Alan"]
    assert await names([code, other], ("tall", "true")) == ["Alonzo"]
    assert await names([code], ("name", "ne.Ada"), ("n", "1.50")) == ["Alan"]
    assert await names([code], ("actor_id", "3")) == ["Edsger"]


async def test_a_model_gives_a_view_its_columns_also_afterwards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = iter((ConnectionResetError("gone"), Withheld("damaged")))

    async def rebuild(*args: Any) -> ViewTable:
        # Once the database is away, and once what it is folded from is withheld.
        for error in failing:
            raise error
        return await rebuild_module.rebuild(*args)

    monkeypatch.setattr(node_module, "rebuild", rebuild)
    code = await world.department()
    await world.receipt(create(code, "Ticket/1", '{"price":10.50,"at":"2026-01-01T00:00:00+01:00"}'))
    last = await world.receipt(create(code, "Ticket/2", '{"price":"free"}'))
    await world.node.reading.actor(code, "Ticket", "2", after(last))
    schema = {
        "type": "object",
        "properties": {"price": {"type": "number"}, "at": {"type": "string", "format": "date-time"}},
    }
    model, broken = await Publishing(world.node).schema("Ticket", schema, ME)
    assert (model.version, broken) == (1, ())
    columns = {"price", "at"}
    await until(lambda: {each.name for each in world.node.views.tables["Ticket"].columns} == columns, "columns")
    assert next(failing, None) is None
    third = await world.receipt(create(code, "Ticket/3", '{"price":99,"at":"2026-01-01T00:00:00Z"}'))
    query = parse_list([("price", "gt.5"), ("order", "-price")])
    _, found, _ = await world.node.reading.actors([code], "Ticket", query, after(third))
    assert [each.id for each in found] == ["3", "1"]
    outcome = (await world.send(create(code, "Ticket/4", '{"price":"free"}')))[0]
    assert isinstance(outcome, Invalid)
    assert outcome.errors[0].pointer == "/body/price"
    # What was made before there was a model is left alone by it.
    assert (await world.receipt(modify(code, "Ticket/2", '{"price":"cheap"}'))).version == 2


async def test_views_survive_a_restart_and_go_on(own_world: Restart) -> None:
    world = await own_world()
    code = await world.department()
    receipt = await world.receipt(create(code, "Order/1", '{"a":1}'))
    world = await own_world()
    assert (await world.node.reading.actor(code, "Order", "1", after(receipt)))[1].document == '{"a":1}'
    again = await world.receipt(modify(code, "Order/1", '{"b":2}'))
    assert (await world.node.reading.actor(code, "Order", "1", after(again)))[1].document == '{"a":1,"b":2}'


async def test_a_rebuild_that_a_crash_ended_leaves_the_live_view_and_nothing_else_after_the_next_start(
    own_world: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crashed(*_: Any) -> None:
        """Whoever dies clears nothing away."""

    def die(folded: rebuild_module.Folded) -> None:
        if folded.folded:
            raise asyncio.CancelledError

    async def tables(world: World) -> set[str]:
        async with world.node.database.connection() as tx:
            return {row["table_name"] for row in await view_tables.sql.tables.rows(tx)}

    world = await own_world()
    code = await world.department()
    receipt = await world.receipt(create(code, "Order/1", '{"a":1}'))
    await world.node.reading.actor(code, "Order", "1", after(receipt))
    live = world.node.views.tables["Order"]
    before = await tables(world)
    monkeypatch.setattr(rebuild_module, "drop_made", crashed)
    with pytest.raises(asyncio.CancelledError):
        await world.node.rebuild("Order", die)
    assert len(await tables(world)) == len(before) + 1
    assert world.node.views.tables["Order"] == live
    world = await own_world()
    assert await tables(world) == before
    assert world.node.views.tables["Order"] == live
    assert (await world.node.reading.actor(code, "Order", "1", after(receipt)))[1].document == '{"a":1}'


async def test_what_was_left_to_fold_is_folded_on_top_of_what_was_there_however_slow_a_start_is(
    own_world: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await own_world()
    code = await world.department(company="Acme")
    await world.node.folders[CONTROL].stop()
    await Publishing(world.node).department(code, {"name": "Renamed", "company": "Acme"}, ME)
    load = Views.load

    async def slowly(self: Views, tx: Transaction) -> None:
        await asyncio.sleep(0.3)
        await load(self, tx)

    monkeypatch.setattr(Views, "load", slowly)
    node = (await own_world()).node
    await node.shards[CONTROL].folded.reached(node.shards[CONTROL].complete.value)
    assert [each.findings for each in await verify(node.database, node.views, list(node.shards)) if not each.ok] == []


async def test_numbers_of_a_model_are_exact_in_its_columns(world: World) -> None:
    code = await world.department()
    schema = {"type": "object", "properties": {"amount": {"type": "number"}}}
    await Publishing(world.node).schema("Exact", schema, ME)
    amount = "123456789012345678901234567890.12345678901234567890"
    last = await world.receipt(create(code, "Exact/1", f'{{"amount":{amount}}}'))
    await world.node.reading.actor(code, "Exact", "1", after(last))
    async with world.node.database.connection() as tx:
        relation = world.node.views.tables["Exact"].relation
        kept = await tx.fetchval(f"select amount from {relation} where actor_shard = $1", code)
    assert kept == Decimal(amount)


async def test_all_departments_are_read_as_of_a_moment_before_a_restart(own_world: Restart) -> None:
    world = await own_world()
    code = await world.department()
    receipt = await world.receipt(create(code, "Order/1", '{"a":1}'))
    freshness = Freshness(as_of=AtTime(receipt.stamp.time), timeout_s=10)
    first = await world.node.reading.holders("Order", "1", freshness)
    world = await own_world()
    assert await world.node.reading.holders("Order", "1", freshness) == first
    control = world.node.shards[0]
    async with asyncio.timeout(5):
        await world.node.directory.applied.reached(control.complete.value)
