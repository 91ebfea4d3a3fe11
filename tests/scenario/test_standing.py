"""What admission and agents go by comes from the journal alone, and goes back with it when its end is taken back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from peaceriver.postgres import DatabaseError
from peaceriver.protocol.members import Members
from peaceriver.record import Record
from peaceriver.shard import replicas, standing
from peaceriver.shard.exceptions import entry_of, exception_id, state_in
from peaceriver.shard.journal import Effects
from peaceriver.shard.offering import groups
from peaceriver.shard.proposal import ANYTHING, Proposal, supplied
from peaceriver.shard.resolving import admission
from peaceriver.shard.shard import Shard
from peaceriver.shard.standing import StandingMoved, catch_up, fold_standing
from peaceriver.shard.stranding import Stranded, strand
from peaceriver.shard.views import Folder, Views
from tests.scenario.histories import Copy, History, everything, trade
from tests.scenario.words import create, modify, wish

MADE = {"everything": everything, "trade": trade}
SEEDS = range(3)
CUTS = 8
ONE_BY_ONE = 120


@pytest.fixture(scope="module")
async def made(module_folder: Path, anyio_backend: Any) -> AsyncIterator[dict[str, History]]:
    async with AsyncExitStack() as stack:
        entering = [stack.enter_async_context(each(module_folder / name)) for name, each in MADE.items()]
        yield dict(zip(MADE, await asyncio.gather(*entering), strict=True))


@pytest.fixture(params=["everything", "trade"])
def history(request: pytest.FixtureRequest, made: dict[str, History]) -> History:
    return made[request.param]


def group_ends(records: list[Record]) -> list[int]:
    return [0, *(each.position for each in records if each.position == each.group_end)]


async def fold_anew(copy: Copy, code: int, chance: random.Random) -> None:
    """Fold a department's standing from nothing, in steps of random sizes."""
    last = (await copy.state(code))["last_position"]
    await copy.empty(code)
    assert (
        await catch_up(copy.database, code, copy.history.directory, records=chance.choice((1, 2, 7, 40, 500))) == last
    )


async def test_the_history_has_everything_in_it_that_is_folded(history: History) -> None:
    async with history.copy() as copy:
        rows = {code: await copy.standing(code) for code in history.codes}
        kinds = {each.kind for code in history.codes for each in await copy.records(code)}
    assert {table for each in rows.values() for table, found in each.items() if found} >= {"actor", "mark", "exception"}
    assert kinds >= {"received", "sent", "mark", "exception", "epoch"}
    if 110 in history.codes and len(history.codes) == 3:
        states = {each["state"] for found in rows.values() for each in found["exception"]}
        assert states == {"open", "retried", "skipped", "answered"}
        assert any(found["timer"] for found in rows.values())
        assert {each["status"] for found in rows.values() for each in found["actor"]} == {"active", "cancelled"}


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_standing_is_what_the_journal_makes_it(history: History, seed: int) -> None:
    chance = random.Random(seed)
    async with history.copy() as led:
        for code in history.codes:
            as_appended = await led.standing(code)
            await fold_anew(led, code, chance)
            assert await led.standing(code) == as_appended


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_follower_folds_the_same_as_records_become_complete(history: History, seed: int) -> None:
    chance = random.Random(seed)
    async with history.copy() as led, history.journals_alone() as copied:
        views = Views(history.directory)
        for code in history.codes:
            rules = history.directory.rules_for(code)
            shard = Shard(copied.database, code, rules, history.directory, lambda: 0)
            folder = Folder(shard, views)
            await folder.start()
            ends = group_ends(await copied.records(code))
            for end in sorted(chance.sample(ends, min(5, len(ends)))):
                shard.complete.advance(end)
                await shard.folded.reached(end)
                assert (await copied.state(code))["standing_position"] == shard.standing == end
            await folder.stop()
            # It takes over: what is not complete yet counts from here on.
            shard.standing = await catch_up(copied.database, code, history.directory)
            assert shard.standing == ends[-1]
            folder = Folder(shard, views)
            await folder.start()
            shard.complete.advance(ends[-1])
            await shard.folded.reached(ends[-1])
            await folder.stop()
            assert await copied.standing(code) == await led.standing(code)


async def test_two_who_fold_at_once_do_not_fold_twice(history: History) -> None:
    async with history.copy() as copy:
        code = history.codes[-1]
        last = (await copy.state(code))["standing_position"]
        async with copy.database.transaction() as tx:
            with pytest.raises(StandingMoved, match=f"is not at {last - 1}"):
                await fold_standing(tx, code, Effects(released=[1]), expected=last - 1, last=last)


async def cut(copy: Copy, code: int, after: int) -> Stranded | None:
    """Take back what comes after a position, as if it had never been complete."""
    state = await copy.state(code)
    await copy.admin.execute("update shard_state set complete_position = $2 where shard = $1", code, after)
    async with copy.database.transaction() as tx:
        return await strand(
            tx,
            code,
            after,
            epoch=state["promised"] + 1,
            position=state["last_position"],
            chain=state["last_chain"],
            models=copy.history.directory,
        )


def from_outside(stranded: list[Record]) -> list[Record]:
    """What is offered again, said once more: nobody here made it, and nothing here will make it again."""
    return [
        each
        for each in stranded
        if each.kind in ("received", "sent", "timer") and each.rule is None and each.source_position is None
    ]


@pytest.mark.parametrize("seed", SEEDS)
async def test_taken_back_it_is_what_the_records_that_are_left_make_it(history: History, seed: int) -> None:
    chance = random.Random(seed)
    async with history.copy() as copy:
        for code in history.codes:
            records = await copy.records(code)
            ends = group_ends(records)
            for after in sorted({*chance.sample(ends, min(CUTS, len(ends))), 0}, reverse=True):
                await check_cut(copy, code, after, records)
                records = records[:after]


async def test_taken_back_group_by_group_it_is_what_it_was_before_each(history: History) -> None:
    async with history.copy() as copy:
        code = history.codes[1]
        records = await copy.records(code)
        for after in reversed(group_ends(records)[-ONE_BY_ONE:-1]):
            await check_cut(copy, code, after, records)
            records = records[:after]


async def check_cut(copy: Copy, code: int, after: int, records: list[Record]) -> None:
    last = (await copy.state(code))["standing_position"]
    kept = from_outside(records[after:])
    assert await cut(copy, code, after) == Stranded(removed=len(records) - after, kept=len(kept)), (code, after)
    assert await copy.records(code) == records[:after]
    state = await copy.state(code)
    end = records[after - 1] if after else None
    assert (state["last_position"], state["last_epoch"], state["last_stamp"]) == (
        (end.position, end.epoch, end.stamp) if end else (0, 0, 0)
    )
    assert (state["leads"], state["standing_position"]) == (None, min(last, after))
    taken_back = await copy.standing(code)
    await fold_anew(copy, code, random.Random(after))
    assert await copy.standing(code) == taken_back, (code, after)


async def test_a_follower_that_has_not_folded_its_tail_has_nothing_to_undo(history: History) -> None:
    async with history.journals_alone() as copy:
        code = history.codes[-1]
        ends = group_ends(await copy.records(code))
        middle, later = ends[len(ends) // 3], ends[2 * len(ends) // 3]
        await copy.admin.execute("update shard_state set last_position = $2 where shard = $1", code, middle)
        await catch_up(copy.database, code, history.directory)
        before = await copy.standing(code)
        await copy.admin.execute("update shard_state set last_position = $2 where shard = $1", code, ends[-1])
        assert await cut(copy, code, later) is not None
        assert await copy.standing(code) == before
        assert (await copy.state(code))["standing_position"] == middle


async def test_nothing_is_taken_back_that_has_moved_or_is_promised_to_a_later_epoch(history: History) -> None:
    async with history.copy() as copy:
        code = history.codes[-1]
        state = await copy.state(code)
        await copy.admin.execute("update shard_state set complete_position = 0")
        for epoch, position, chain in (
            (state["promised"], state["last_position"] - 1, state["last_chain"]),
            (state["promised"], state["last_position"], bytes(32)),
            (state["promised"] - 1, state["last_position"], state["last_chain"]),
        ):
            async with copy.database.transaction() as tx:
                models = history.directory
                assert await strand(tx, code, 0, epoch=epoch, position=position, chain=chain, models=models) is None
        assert (await copy.state(code))["last_position"] == state["last_position"]


async def test_it_is_refused_to_take_back_what_is_complete_or_a_part_of_a_group(history: History) -> None:
    async with history.copy() as copy:
        inside = {
            code: [each.position for each in await copy.records(code) if each.position < each.group_end]
            for code in history.codes
        }
        code = next(each for each, positions in inside.items() if positions)
        state = await copy.state(code)

        async def try_to(after: int) -> None:
            async with copy.database.transaction() as tx:
                await standing.sql.strand.row(
                    tx,
                    shard=code,
                    after=after,
                    epoch=state["promised"],
                    position=state["last_position"],
                    chain=state["last_chain"],
                )

        with pytest.raises(DatabaseError, match="are complete: they are history"):
            await try_to(state["last_position"] - 1)
        await copy.admin.execute("update shard_state set complete_position = 0")
        for after in (inside[code][0], state["last_position"] + 1, -1):
            with pytest.raises(DatabaseError, match=r"not the end of a group|are complete"):
                await try_to(after)
        assert len(await copy.records(code)) == state["last_position"]


async def test_whatever_came_from_outside_is_kept_to_the_letter_and_offered_again(history: History) -> None:
    async with history.copy() as copy:
        for code in history.codes:
            records = await copy.records(code)
            last: dict[tuple[str | None, str | None], UUID | None] = {}
            expected: list[tuple[Record, object]] = []
            for each in records:
                based_on = last.get((each.actor_type, each.actor_id)) if each.kind == "received" else ANYTHING
                if from_outside([each]):
                    expected.append((each, based_on))
                if each.kind == "received":
                    last[each.actor_type, each.actor_id] = each.message_id
            await cut(copy, code, 0)
            rows = await copy.admin.fetch("select * from pending where shard = $1 order by random()", code)
            found = [(each, group) for group in groups(rows) for each in group.wishes]
            assert [each.id for each, _ in found] == [record.message_id for record, _ in expected]
            for (offered, group), (record, based_on) in zip(found, expected, strict=True):
                assert (offered.envelope, offered.kind, offered.root) == (supplied(record), record.kind, record.root)
                assert (offered.principal, offered.trace, offered.hops) == (record.principal, record.trace, record.hops)
                assert (offered.based_on, offered.rule, offered.source_position) == (based_on, None, None)
                assert offered.received_time >= record.stamp
                together = {each.group_end for each, _ in expected if each.message_id in {w.id for w in group.wishes}}
                assert together == {record.group_end}


async def lead(shard: Shard) -> None:
    """Lead a shard anew, as if this were its only replica."""
    async with shard.database.transaction() as tx:
        there = await replicas.reread(tx, shard.code, Members(("n1",)))
        promised = await replicas.promise(tx, shard.code, there.stored.promised + 1, "n1")
    await shard.take_up(there)
    assert await shard.lead(promised.promised, "n1", promised.end) is not None
    shard.serve()


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_that_was_acknowledged_is_lost_when_it_is_offered_again(history: History, seed: int) -> None:
    chance = random.Random(seed)
    async with history.copy() as copy:
        code = history.codes[1]
        records = await copy.records(code)
        after = chance.choice(group_ends(records))
        await cut(copy, code, after)
        shard = Shard(copy.database, code, history.directory.rules_for(code), history.directory, lambda: 0)
        await lead(shard)
        for group in groups(await copy.admin.fetch("select * from pending where shard = $1", code)):
            for _ in range(2):
                await shard.append(group)
        recorded = {each.message_id: each for each in await copy.records(code)}
        for each in from_outside(records[after:]):
            assert each.message_id is not None
            again = recorded.get(each.message_id) or recorded[exception_id(each.message_id, code)]
            assert again.stamp > each.stamp
        shard.step_down("the test is over")
        await shard.stop_leading()
        appended = await copy.standing(code)
        await fold_anew(copy, code, chance)
        assert await copy.standing(code) == appended


async def test_what_was_retried_is_not_offered_again_its_exception_is_retried(made: dict[str, History]) -> None:
    async with made["everything"].copy() as copy:
        code = copy.history.codes[-1]
        shard = Shard(copy.database, code, copy.history.directory.rules_for(code), copy.history.directory, lambda: 0)
        await lead(shard)
        await shard.append(Proposal(wishes=(wish(create(code, "Thing/1")),)))
        overtaken = wish(modify(code, "Thing/1", '{"n":1}'), uuid4())
        await shard.append(Proposal(wishes=(overtaken,), offered="stranded"))
        opened = shard.tip.position
        opening = (await copy.records(code))[-1]
        await shard.append(admission(entry_of(opening, state_in(opening)), code, "somebody"))
        await shard.append(Proposal(wishes=(wish(modify(code, "Thing/1", '{"n":2}')),)))
        shard.step_down("the test is over")
        await shard.stop_leading()
        recorded = [each.message_id for each in await copy.records(code)]
        assert overtaken.id in recorded
        assert await cut(copy, code, opened) == Stranded(removed=3, kept=1)
        kept = await copy.admin.fetch("select * from pending where shard = $1", code)
        assert [(row["message_id"], row["based_on"]) for row in kept] == [(recorded[-1], overtaken.id)]
        (exception,) = [row for row in (await copy.standing(code))["exception"] if row["id"] == opening.message_id]
        assert exception["state"] == "open"
