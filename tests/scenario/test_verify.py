"""What was altered behind the journal's back is found, and named."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from peaceriver.postgres import DATABASE, connect
from peaceriver.shard import comparing as comparing_module
from peaceriver.shard import verify as verify_module
from peaceriver.shard.damage import Finding
from peaceriver.shard.verify import verify
from tests.scenario.words import create, modify
from tests.scenario.world import Restart, World


async def findings(world: World, code: int) -> list[tuple[str, str]]:
    verdicts = await verify(world.node.database, world.node.views, [code])
    return [(each.part, each.place) for each in verdicts[0].findings]


async def as_superuser(world: World, *statements: str) -> None:
    """Do what only a superuser who means it can do."""
    connection = await connect(world.server.connection("postgres", DATABASE))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def filled(world: World) -> int:
    code = await world.department()
    await world.send(*(create(code, f"Item/{n}", f'{{"n":{n}}}') for n in range(20)))
    last = await world.receipt(modify(code, "Item/7", '{"n":70}'))
    await world.node.shards[code].folded.reached(last.position)
    return code


async def test_an_honest_department_has_nothing_to_hide(own_world: Restart) -> None:
    world = await own_world()
    code = await filled(world)
    assert await findings(world, code) == []


@pytest.mark.parametrize(
    "change",
    [
        "update journal set body = '{\"n\":8}' where shard = {code} and position = 9",
        "update journal set principal = 'somebody else' where shard = {code} and position = 9",
        "update journal set valid_at = now() where shard = {code} and position = 9",
        "update journal set body = 'zz' where shard = {code} and position = 9",
        "update journal set chain = sha256(chain) where shard = {code} and position = 9",
        "update journal set chain = '\\x00' where shard = {code} and position = 9",
    ],
)
async def test_an_altered_row_is_named(own_world: Restart, change: str) -> None:
    world = await own_world()
    code = await filled(world)
    await as_superuser(
        world,
        f"alter table journal_{code} disable trigger append_only",
        change.replace("{code}", str(code)),
        f"alter table journal_{code} enable always trigger append_only",
    )
    found = await findings(world, code)
    assert ("journal", "9") in found
    assert {where for where, _ in found} == {"journal"}
    assert {place for _, place in found} <= {"9", "10"}


@pytest.mark.parametrize("rows", [1, 4, 9])
async def test_a_journal_of_many_copies_is_walked_to_its_end(
    own_world: Restart, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(verify_module, "_COPIED_ROWS", rows)
    world = await own_world()
    code = await filled(world)
    assert await findings(world, code) == []
    await as_superuser(
        world,
        f"alter table journal_{code} disable trigger append_only",
        f"update journal set trace = 't' where shard = {code} and position in (9, 20)",
        f"delete from journal where shard = {code} and position between 12 and 14",
    )
    assert await findings(world, code) == [("journal", place) for place in ("9", "12", "20")]


async def test_a_row_that_was_removed_is_named(own_world: Restart) -> None:
    world = await own_world()
    code = await filled(world)
    await as_superuser(
        world,
        f"alter table journal_{code} disable trigger append_only",
        f"delete from journal where shard = {code} and position = 9",
    )
    assert ("journal", "9") in await findings(world, code)


async def test_a_journal_that_was_cut_short_is_noticed(own_world: Restart) -> None:
    world = await own_world()
    code = await filled(world)
    await as_superuser(
        world,
        f"alter table journal_{code} disable trigger append_only",
        f"delete from journal where shard = {code} and position > 20",
    )
    assert await findings(world, code) == [("journal", "21 to 22")]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ("update {view} set document = '{\"n\":1000}' where actor_id = '7' and actor_version = 1", "altered"),
        ("delete from {view} where actor_id = '7' and actor_version = 1", "missing"),
        ("update {view} set actor_until = actor_until - 1 where actor_id = '7' and actor_version = 1", "altered"),
    ],
)
async def test_a_view_that_no_longer_fits_its_records_is_named_and_rebuilt(
    own_world: Restart, change: str, detail: str
) -> None:
    world = await own_world()
    code = await filled(world)
    await as_superuser(world, change.replace("{view}", world.node.views.tables["Item"].relation))
    verdict = (await verify(world.node.database, world.node.views, [code]))[0]
    assert len(verdict.findings) == 1
    finding: Finding = verdict.findings[0]
    assert (finding.part, finding.place) == ("view", "Item/7 version 1")
    assert detail in finding.detail
    await world.node.rebuild("Item")
    assert await findings(world, code) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("update actor set document = '{}' where id = '7'", "actor"),
        ("update actor set version = 77 where id = '7'", "actor"),
        ("delete from actor where id = '7'", "actor"),
        ("update mark set position = position - 1", "mark"),
        ("delete from mark", "mark"),
        ("delete from timer", "timer"),
        ("update timer set due = due + interval '1 second'", "timer"),
        ("delete from exception", "exception"),
        ("update exception set attempt = 2", "exception"),
        ("update exception set state = 'skipped'", "exception"),
    ],
)
async def test_what_admission_and_readers_go_by_is_compared_with_the_journal(
    own_world: Restart, change: str, where: str
) -> None:
    world = await own_world()
    code = await filled(world)
    sender = await world.department()
    await world.receipt(create(code, "Later/1", due=datetime.now(UTC) + timedelta(days=1)))
    for _ in range(2):
        # The second one is refused where it arrives.
        last = await world.receipt(create(code, "Other/1", sender=sender))
    await world.delivered(last, code)
    assert await findings(world, code) == []
    await as_superuser(world, change)
    assert [each for each, _ in await findings(world, code)] == [where]


@pytest.fixture(params=[1, 4])
def small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So few rows make a piece that there are many."""
    monkeypatch.setattr(verify_module, "_COPIED_ROWS", request.param)
    monkeypatch.setattr(comparing_module, "_PIECE_RECORDS", request.param)


@pytest.mark.usefixtures("small_pieces")
async def test_what_is_folded_is_compared_piece_by_piece(own_world: Restart) -> None:
    world = await own_world()
    code = await filled(world)
    sender = await world.department()
    await world.delivered(await world.receipt(create(code, "Other/1", sender=sender)), code)
    await world.node.shards[code].folded.reached(world.node.shards[code].complete.value)
    assert await findings(world, code) == []
    view = world.node.views.tables["Item"].relation
    too_many = "insert into actor values ({code}, 'Item', '{id}', 1, 1, 'active', null, '{{}}')"
    await as_superuser(
        world,
        "delete from actor where id = '7'",
        "delete from actor where id = '9'",
        *(too_many.format(code=code, id=each) for each in ("!", "5a", "z")),
        f"delete from {view} where actor_id = '12'",
        f"update {view} set document = '{{}}' where actor_id = '7' and actor_version = 2",
        "delete from mark",
    )
    assert sorted(await findings(world, code)) == sorted(
        [
            ("mark", f"delivery of {sender}"),
            *(("actor", f"Item/{each}") for each in ("!", "5a", "7", "9", "z")),
            ("view", "Item/12 version 1"),
            ("view", "Item/7 version 2"),
        ]
    )


@pytest.mark.usefixtures("small_pieces")
async def test_no_transaction_is_open_while_verification_rests(own_world: Restart) -> None:
    world = await own_world()
    code = await filled(world)
    await as_superuser(
        world, "alter system set idle_in_transaction_session_timeout = '50ms'", "select pg_reload_conf()"
    )
    rests = 0

    async def rest() -> None:
        nonlocal rests
        rests += 1
        # Not each: there are some hundred.
        if rests % 9 == 5:
            await asyncio.sleep(0.2)

    (verdict,) = await verify(world.node.database, world.node.views, [code], rest=rest)
    assert verdict.ok
    assert rests > 9


@pytest.mark.usefixtures("small_pieces")
async def test_work_goes_on_while_verification_rests(own_world: Restart) -> None:
    world = await own_world()
    code = await filled(world)
    rests = 0

    async def rest() -> None:
        nonlocal rests
        rests += 1
        # Seldom: what is appended makes the way longer.
        if rests % 16:
            return
        await world.send(
            modify(code, f"Item/{rests % 20}", f'{{"n":{rests}}}'),
            create(code, f"Item/{rests % 20}.{rests}"),
            create(code, f"Later/{rests}", due=datetime.now(UTC) + timedelta(days=rests % 2)),
        )
        if rests % 64 == 0:
            await world.node.rebuild("Item")

    async with asyncio.timeout(60):
        (verdict,) = await verify(world.node.database, world.node.views, [code], rest=rest)
    assert verdict.findings == ()
    assert rests > 16
