"""A department on three nodes: copies, fail-over, return, transfer, and who holds it."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peaceriver.api.serving import serve
from peaceriver.embedded import Server
from peaceriver.errors import DiskFull, Invalid, NotFound, OutcomeUnknown, StartFailed, Unavailable
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.launch import node_on_server
from peaceriver.node.overview import Overview
from peaceriver.node.publishing import Publishing
from peaceriver.node.replication import Company, Replication
from peaceriver.node.sending import Sender
from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import Answer, Reply, Standing
from peaceriver.query.cutoff import AtTime
from peaceriver.query.lists import ListQuery
from peaceriver.shard import ahead, rows, views
from peaceriver.shard.keeper import Keeper
from peaceriver.shard.proposal import Outcome, Receipt
from peaceriver.shard.shard import Shard
from peaceriver.stamp import Stamp, logical
from tests.scenario.trio import LEASE_S, ME, NAMES, Trio, trio, until
from tests.scenario.words import create, modify

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
async def shared(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with trio(module_folder) as made:
        yield made


@pytest.fixture
async def three(shared: Trio) -> Trio:
    """The nodes that all tests share, as they were before the last one stopped some."""
    await shared.whole()
    return shared


async def test_any_node_takes_messages_and_all_have_the_same_journal(three: Trio) -> None:
    code = await three.department()
    receipts = [await three.receipt(create(code, f"Order/{name}"), by=name) for name in NAMES]
    assert [each.position for each in receipts] == sorted(each.position for each in receipts)
    assert all(each.complete for each in receipts)
    assert await three.level(code) >= receipts[-1].position
    again = await three.receipt(create(code, "Order/n1", id=receipts[0].id), by="n3")
    assert (again.duplicate, again.position) == (True, receipts[0].position)
    for node in three.nodes.values():
        _, found = await node.reading.actor(code, "Order", "n2", Freshness(as_of=None))
        assert found.version == 1


async def test_a_receipt_of_a_clock_that_is_ahead_is_read_where_it_has_not_come_yet(
    three: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await three.department()
    leader = await three.leader(code)
    follower = (await three.followers(code))[0]
    await three.level(code)
    keeper = three[follower].replication.keepers[code]
    answered = keeper.answered

    async def slowly(node: str, answer: Answer, taken: list[bytes]) -> None:
        await asyncio.sleep(1)
        await answered(node, answer, taken)

    monkeypatch.setattr(keeper, "answered", slowly)
    hour = logical(datetime.now(UTC) + timedelta(hours=1))
    await three[leader].shards[code].tick(hour)
    receipt = await three.receipt(create(code, "Order/1"), by=leader)
    assert receipt.stamp.time > hour
    caused = await three.receipt(create(code, "Order/2", cause=receipt.stamp), by=follower)
    assert caused.stamp > receipt.stamp
    _, found = await three[follower].reading.actor(code, "Order", "1", Freshness(after=(receipt.stamp,), timeout_s=10))
    assert found.version == 1
    made_up = Stamp(receipt.stamp.time + 1_000_000, code)
    with pytest.raises(Invalid, match="future"):
        await three[follower].reading.actor(code, "Order", "1", Freshness(after=(made_up,), timeout_s=10))
    (refused,) = await three.send(create(code, "Order/3", cause=made_up), by=follower)
    assert isinstance(refused, Invalid), refused
    assert "far in the future" in refused.detail


async def test_a_leader_whom_nobody_confirms_does_not_say_that_a_receipt_lies_in_the_future(
    three: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await three.department()
    await three.receipt(create(code, "Order/1"))
    node = three[await three.leader(code)]
    ahead_of_all = Stamp(logical(datetime.now(UTC) + timedelta(hours=1)), code)
    with pytest.raises(Invalid, match="future"):
        await node.reading.actor(code, "Order", "1", Freshness(after=(ahead_of_all,), timeout_s=10))

    async def silent(name: str, codes: list[int]) -> tuple[str, dict[int, Standing]]:
        return name, {}

    # As long as it does not know, another node may lead, and have a clock that is an hour ahead.
    monkeypatch.setattr(node.latest, "_look", silent)
    with pytest.raises(Unavailable, match=f"{code} has no leader that a majority confirms"):
        await node.reading.actor(code, "Order", "1", Freshness(after=(ahead_of_all,), timeout_s=0.5))
    assert (await node.stamps.find([ahead_of_all], 0.5)).behind == {ahead_of_all}


async def test_leaders_are_spread_over_the_nodes(three: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peaceriver.node.membership.BALANCE_AFTER_S", LEASE_S)
    codes = [await three.department() for _ in range(6)]

    def is_spread() -> bool:
        leaders = [three.any.shards[code].leader for code in codes]
        return {leaders.count(name) for name in NAMES} == {2}

    await until(is_spread, "leaders that are spread")


async def test_nobody_is_handed_a_department_that_it_would_first_have_to_fold(
    three: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await three.department()
    first = three.any.replication.keepers[code].replica.first
    assert first is not None
    other = next(each for each in NAMES if each != first)
    await three[await three.leader(code)].membership.transfer(code, other, 10)
    assert await three.leader(code) == other
    folded = Overview.folded
    monkeypatch.setattr("peaceriver.node.membership.BALANCE_AFTER_S", 0.0)
    asked: list[str] = []

    async def nothing(self: Overview, name: str) -> set[int]:
        asked.append(name)
        return set()

    monkeypatch.setattr(Overview, "folded", nothing)
    for node in three.nodes.values():
        monkeypatch.setattr(node.membership, "_folded", node.overview.folded)
    await until(lambda: len(asked) > 1, "looks at who could lead")
    assert await three.leader(code) == other
    monkeypatch.setattr(Overview, "folded", folded)
    for node in three.nodes.values():
        monkeypatch.setattr(node.membership, "_folded", node.overview.folded)
    await until(lambda: three.any.shards[code].leader == first, "hand-over")


async def test_a_leader_without_room_hands_over_to_who_has_some(three: Trio) -> None:
    code = await three.department()
    leader = await three.leader(code)
    room = three[leader].room
    floor = room.free_bytes_min
    try:
        room.free_bytes_min = 2**62
        await until(lambda: three.any.shards[code].leader not in (None, leader), "leader with room")
        assert (await three.receipt(create(code, "Order/1"), by=leader)).complete
        for each in three.nodes.values():
            each.room.free_bytes_min = 2**62
        refused = (await three.send(create(code, "Order/2"), by=leader))[0]
        assert isinstance(refused, DiskFull)
        epoch = three.any.shards[code].epoch
        await asyncio.sleep(3 * LEASE_S)
        assert three.any.shards[code].epoch == epoch, "it is handed to nobody who has no room either"
    finally:
        for each in three.nodes.values():
            each.room.free_bytes_min = floor


async def test_when_the_leader_stops_another_one_goes_on_and_it_comes_back(three: Trio) -> None:
    code = await three.department()
    before = await three.receipt(create(code, "Order/1"))
    leader = await three.leader(code)
    await three.stop(leader)
    during = await three.receipt(modify(code, "Order/1", '{"n":1}', if_version=before.version))
    assert during.version == 2
    assert await three.leader(code) != leader
    await three.start(leader)
    await three.level(code)
    after = await three.receipt(modify(code, "Order/1", '{"n":2}', if_version=2), by=leader)
    assert await three.level(code) >= after.position


async def test_with_one_of_three_nothing_is_recorded_and_reading_goes_on(three: Trio) -> None:
    code = await three.department()
    await three.receipt(create(code, "Order/1"))
    await three.level(code)
    first, second, third = NAMES
    await three.stop(first, second)
    (refused,) = await three.send(create(code, "Order/2"), by=third, sender=Sender(timeout_s=2 * LEASE_S))
    assert isinstance(refused, Unavailable | OutcomeUnknown)
    _, found = await three.nodes[third].reading.actor(code, "Order", "1", Freshness(as_of=None))
    assert found.version == 1
    await three.start(first)
    await three.leader(code)
    await three.receipt(create(code, "Order/3"), by=third)
    await three.start(second)
    await three.level(code)


async def test_a_leader_that_is_cut_off_steps_down_and_its_tail_is_taken_back(three: Trio) -> None:
    code = await three.department()
    await three.receipt(create(code, "Order/1"))
    old = await three.leader(code)
    node = three.nodes[old]
    await three.cut(old)
    (alone,) = await three.send(create(code, "Order/lost"), by=old, sender=Sender(timeout_s=0.2))
    assert isinstance(alone, OutcomeUnknown)
    await until(lambda: not node.shards[code].serving, "end of its reign")
    tail = node.shards[code].tip.position
    # It is stopped and comes back among the others, which went on without it.
    going_on = await three.receipt(create(code, "Order/2"), by=await three.leader(code))
    await three.stop(old)
    await three.start(old)
    position = await three.level(code)
    assert position >= going_on.position
    assert tail > 0
    async with three.nodes[old].database.reading() as tx:
        kept = await tx.fetch("select message_id, state from pending")
    recorded = {each.message_id for each in (await three.nodes[old].reading.journal(code, after=0, limit=1000))[0]}
    assert all(row["message_id"] in recorded or row["state"] == "stranded" for row in kept)


async def test_leadership_is_handed_over_and_nothing_is_refused_meanwhile(three: Trio) -> None:
    code = await three.department()
    sent: list[asyncio.Task[list[Outcome]]] = []
    for turn in range(6):
        leader = await three.leader(code)
        to = next(name for name in NAMES if name != leader)
        for number in range(20):
            wish = create(code, f"Order/{turn}-{number}")
            sent += [asyncio.ensure_future(three.send(wish, by=NAMES[number % 3]))]
        await three.nodes[leader].membership.transfer(code, to, 5.0)
        assert three.nodes[leader].shards[code].leader == to
    outcomes = [outcome for answer in await asyncio.gather(*sent) for outcome in answer]
    assert all(isinstance(each, Receipt) for each in outcomes), [
        each for each in outcomes if not isinstance(each, Receipt)
    ]
    await three.level(code)


async def test_a_wiped_disk_is_filled_again_before_it_counts(three: Trio) -> None:
    code = await three.department()
    for number in range(50):
        await three.receipt(create(code, f"Order/{number}"))
    await three.level(code)
    await three.stop("n2")
    three.wipe("n2")
    await three.start("n2")
    keeper = three.nodes["n2"].replication.keepers[0]
    assert keeper.replica.recovering
    again = three["n2"]
    with pytest.raises(Unavailable, match="does not know all departments yet"):
        again.shards.at(code)
    await until(lambda: code in again.shards, "department")
    while again.shards[code].recovering:
        try:
            _, found = await again.reading.actor(code, "Order", "49", Freshness())
        except Unavailable:
            await asyncio.sleep(0.01)  # it may be there, and this node cannot know
        else:
            assert found.version == 1
    await three.level(code)
    await again.shards.whole()
    assert not any(each.replica.recovering for each in again.replication.keepers.values())
    with pytest.raises(NotFound):
        again.shards.at(9_999)
    assert (await three.receipt(create(code, "Order/after"), by="n2")).complete


async def test_a_replica_that_counts_again_acknowledges_what_it_has_though_nothing_new_is_recorded(
    three: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await three.department()
    await three.receipt(create(code, "Order/1"))
    await three.level(code)
    lost = (await three.followers(code))[0]
    await three.stop(lost)
    three.wipe(lost)
    replied, has_copied = Keeper.replied, asyncio.Event()

    async def late(self: Keeper, node: str, reply: Reply) -> None:
        if self.shard.code != code or has_copied.is_set():
            await replied(self, node, reply)
        elif isinstance(reply, Standing) and reply.leads is not None:
            await self.announced(node, reply.leads)

    monkeypatch.setattr(Keeper, "replied", late)
    await three.start(lost)
    await three.level(code)
    await asyncio.sleep(LEASE_S / 2)  # by then it waits for more
    assert three[lost].replication.keepers[code].replica.recovering
    has_copied.set()
    leader = three[await three.leader(code)].replication.keepers[code]
    await until(lambda: lost in leader.replica.level(time.monotonic()), f"{lost} among the replicas that are level")


async def test_the_views_of_a_replica_that_was_far_behind_go_on_as_soon_as_its_journal_is_level(
    three: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "CHUNK_BYTES_MAX", 2_000)
    monkeypatch.setattr(rows, "PULL_RECORDS_MAX", 4)
    monkeypatch.setattr(views, "FOLD_BEHIND_PAUSE_S", 600.0)
    fell: list[bool] = []
    fall_behind = Shard._fall_behind

    def falling(shard: Shard, behind: bool) -> None:
        fell.append(behind)
        fall_behind(shard, behind)

    code = await three.department()
    follower, _ = await three.followers(code)
    await three.stop(follower)
    for number in range(20):
        await three.receipt(create(code, f"Order/{number}"))
    monkeypatch.setattr(Shard, "_fall_behind", falling)
    await three.start(follower)
    await three.level(code)
    assert True in fell
    # Whether its views had begun to rest by then is chance; where they had, this ends it.
    shard = three[follower].shards[code]
    shard.folded.wanted.clear()
    shard._fall_behind(True)
    assert not shard.folded.wanted.is_set()
    shard._fall_behind(False)
    assert shard.folded.wanted.is_set()


async def test_a_leader_does_not_call_a_receipt_void_that_another_leader_may_have_given(three: Trio) -> None:
    code = await three.department()
    await three.receipt(create(code, "Order/1"))
    node = three[await three.leader(code)]
    unknown = Stamp(node.shards[code].tip.stamp + 1, code)
    assert (await node.stamps.find([unknown], 0.0)).behind == {unknown}
    # A later record that a majority has proves that there is none.
    found = await node.stamps.find([unknown], 5.0)
    assert (found.records, found.behind) == ({}, frozenset())


def copied(source: Path, to: Path) -> None:
    """A copy of a directory, with whom its files belong to."""
    subprocess.run(["cp", "-a", str(source), str(to)], check=True)


async def test_a_restored_backup_is_noticed_each_time(
    three: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[int, bool] = {}
    open_replica = Replication.open

    async def noted(self: Replication, shard: Shard, founders: Members, *, born: int, first: str | None) -> Keeper:
        keeper = await open_replica(self, shard, founders, born=born, first=first)
        if self.name == "n3":
            opened[shard.code] = keeper.replica.recovering
        return keeper

    monkeypatch.setattr(Replication, "open", noted)
    code = await three.department()
    await three.receipt(create(code, "Order/1"))
    await three.level(code)
    await three.stop("n3")
    copied(three.data("n3"), tmp_path / "backup")
    await three.start("n3")
    await three.level(code)
    # What it has promised and acknowledged here is in no backup.
    later = await three.department()
    for number in range(2, 20):
        await three.receipt(create(later, f"Order/{number}"), by="n3")
    await three.level(later)
    known = [three["n3"].replication.peers.identity.incarnation]
    for _ in range(2):
        await three.stop("n3")
        three.wipe("n3")
        copied(tmp_path / "backup", three.data("n3"))
        opened.clear()
        await three.start("n3")
        await until(
            lambda: three["n3"].replication.peers.identity.incarnation not in known, "notice of the restored backup"
        )
        known.append(three["n3"].replication.peers.identity.incarnation)
        await three.level(later)
        assert opened[later], "it may have been held by this node before"
        for each in (code, later):
            keeper = three["n3"].replication.keepers[each]
            await until(lambda keeper=keeper: not keeper.replica.recovering, f"replica of {each} that counts again")


async def test_a_node_joins_and_takes_the_place_of_another(tmp_path: Path) -> None:
    async with trio(tmp_path) as three:
        await joined(three)


async def joined(three: Trio) -> None:
    code = await three.department()
    for number in range(30):
        await three.receipt(create(code, f"Order/{number}"))
    await three.enter()
    await three.start("n4")
    await three.enter()

    def members() -> Members:
        return three.any.replication.keepers[code].replica.members

    await until(lambda: "n4" in members().learners, "learner")
    await three.level(code)
    await Publishing(three.any).node("n3", {"url": three.urls["n3"], "leaving": True}, ME)
    await until(lambda: set(members().voters) == {"n1", "n2", "n4"} and "n3" not in members().all, "change of members")
    await until(
        lambda: set(three.any.replication.keepers[0].replica.members.voters) == {"n1", "n2", "n4"}, "change of shard 0"
    )
    await three.stop("n3", "n1")
    await three.leader(code)
    await three.receipt(create(code, "Order/with-two"), by="n4")


async def test_everything_stopped_at_once_is_there_again(three: Trio) -> None:
    code = await three.department()
    receipts = [await three.receipt(create(code, f"Order/{number}")) for number in range(20)]
    await three.stop()
    await three.start()
    assert await three.leader(code) in NAMES
    await three.level(code)
    for node in three.nodes.values():
        recorded = {each.message_id for each in (await node.reading.journal(code, after=0, limit=1000))[0]}
        assert {each.id for each in receipts} <= recorded


async def test_a_moment_is_answered_alike_by_every_node(three: Trio) -> None:
    code, other = await three.department(), await three.department()
    stamps = [(await three.receipt(create(code, f"Order/{number}"), by=NAMES[number % 3])).stamp for number in range(9)]
    await three.receipt(create(other, "Order/x", sender=code))
    for stamp in stamps:
        answers = []
        for node in three.nodes.values():
            freshness = Freshness(as_of=AtTime(stamp.time), timeout_s=10)
            cutoff, found, _ = await node.reading.actors(None, "Order", ListQuery(), freshness)
            answers.append((cutoff.public(), [(each.id, each.shard, each.stamp, each.document) for each in found]))
        assert answers[0] == answers[1] == answers[2]


async def test_a_cluster_goes_on_only_with_those_who_founded_it(tmp_path: Path) -> None:
    server = await Server.start(tmp_path / "postgres")
    try:
        node = await node_on_server("n1", server, company=Company(founders=("n1",)))
        await node.stop()
        with pytest.raises(StartFailed, match="founded by n1, and n1, n2, n3 are named now"):
            await node_on_server("n1", server, company=Company(founders=NAMES))
        node = await node_on_server("n1", server, company=Company(founders=("n1",)))
        await node.stop()
    finally:
        await server.stop()


async def test_a_node_of_another_cluster_is_not_listened_to_and_is_told_why(tmp_path: Path) -> None:
    async with trio(tmp_path) as three:
        code = await three.department()
        server = await Server.start(tmp_path / "stranger")
        try:
            stranger = await node_on_server("n9", server, company=Company(founders=("n9",), lease_s=LEASE_S))
            door = await serve(stranger)
            try:
                stranger.replication.place("n1", three.urls["n1"])
                three["n1"].replication.place("n9", door.url)
                for one, other in ((stranger, "n1"), (three["n1"], "n9")):
                    puller = one.replication.pullers[other]
                    why = await until(lambda puller=puller: puller.trouble().get("why"), "reason why it is not heard")
                    assert "founded" in why
                assert (await three.receipt(create(code, "Order/1"), by="n1")).complete
                assert three["n1"].shards[0].leader in NAMES
                assert stranger.shards[0].leader == "n9"
            finally:
                await door.stop()
                await stranger.stop()
        finally:
            await server.stop()
