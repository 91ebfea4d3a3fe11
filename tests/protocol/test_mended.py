"""What the simulation found, or reading beside it: a story for each mistake that the protocol once had."""

from __future__ import annotations

from tests.protocol.machine import LEASE_S
from tests.protocol.stage import Stage


def test_a_replica_with_a_new_disk_is_counted_again_in_the_same_reign() -> None:
    """Its requests are numbered from one again, and the leader took all of them for old ones."""
    stage = Stage(3).opening()
    for _ in range(3):
        stage.crash("b")
        stage.start_again("b")
        stage.until(lambda: stage.complete("b") == stage.complete("a"))
    stage.wipe("b")
    stage.until(lambda: not stage.disks["b"].recovering)
    stage.split("ab", "c")
    stage.record("a", "m")
    stage.until(lambda: stage.complete("a") == 2)
    assert stage.leads("a") == 1
    stage.equal()


def test_who_has_forgotten_says_nothing_about_what_was_promised() -> None:
    """Two of five lose their disks after an election that only they and the winner took part in."""
    stage = Stage(5).opening()
    stage.split("ad", "bce")
    stage.elect("b")
    stage.split("acde", "b")
    stage.wait(0.003)
    stage.wipe("c")
    stage.wipe("e")
    stage.wait(LEASE_S / 2)
    assert stage.leads("a") == 1, "it hears of a majority, though half of that remembers nothing"
    assert stage.disks["c"].recovering
    assert stage.disks["e"].recovering, "only b could tell it of epoch 2"
    stage.send("a", "m")
    stage.wait(LEASE_S / 4)
    assert stage.complete("a") == 1
    stage.equal()


def test_nobody_remembers_by_a_majority_of_members_that_are_not_complete() -> None:
    """A majority of four need not meet those two of three who know of the epoch, where one of the two has forgotten."""
    stage = Stage(3, spares=1).opening()
    stage.want(("a", "b", "c", "d"))
    stage.until(lambda: "d" in stage.disks["c"].members.learners and not stage.disks["d"].recovering, LEASE_S)
    stage.until(lambda: stage.complete("a") == 2)
    stage.split("ad", "bc")
    stage.elect("b")
    stage.split("acd", "b")
    stage.wait(0.003)
    stage.wipe("c")
    stage.until(lambda: "d" in stage.disks["c"].members.voters, LEASE_S)
    stage.wait(LEASE_S)
    assert stage.leads("a") == 1
    assert stage.disks["c"].recovering
    assert stage.complete("a") == 2, "the change is on two of four"
    stage.equal()


def test_a_place_that_was_found_below_the_end_is_gone_on_from() -> None:
    """The leader names a place that this journal lacks, and the next lower one is in both: what follows goes."""
    stage = Stage(5).opening()
    stage.split("ab", "cde")
    stage.record("a", "m")
    stage.until(lambda: stage.end("b") == (1, 2))
    stage.crash("a", "b")
    stage.elect("c")
    stage.crash("c")
    stage.start_again("a", "b")
    stage.split("abde", "c")
    stage.elect("a")
    assert stage.end("a") == (3, 3)
    assert stage.end("c") == (2, 2)
    stage.equal()


def test_one_of_five_that_promised_more_than_its_leader_leads_gets_a_leader() -> None:
    stage = Stage(5).opening()
    stage.hold("ea", "eb", "ec")
    stage.campaign("e")
    stage.deliver("eb", "asked")
    stage.deliver("ec", "asked")
    stage.until(lambda: stage.disks["d"].promised == 2)
    stage.crash("e")
    stage.network.waiting.clear()
    stage.hold()
    stage.split("abcd", "e")
    stage.until(lambda: stage.leader is not None and (stage.leader.replica.leads or 0) > 2, 4 * LEASE_S)
    stage.until(lambda: stage.end("d") == stage.end("a"), LEASE_S)
    stage.equal()


def test_two_who_gave_up_do_not_keep_each_other_waiting() -> None:
    """Both told the other that they hear of a leader, since giving up looked like hearing from one."""
    for tenths in range(40):
        stage = Stage(3).opening()
        stage.split("a", "b", "c")
        stage.crash("a")
        stage.wait(2 * LEASE_S + tenths / 10)
        stage.split("bc", "a")
        stage.until(lambda stage=stage: stage.leader is not None, 2.5 * LEASE_S)


def test_an_older_disk_is_betrayed_by_what_it_had_acknowledged() -> None:
    """A backup that nobody noticed asks from a place before the one that its leader knows: it has forgotten."""
    stage = Stage(3).opening()
    stage.backups["b"] = stage.disks["b"].copy()
    stage.record("a", "m")
    stage.until(lambda: stage.matched("a")["b"] == 2)
    stage.crash("b")
    stage.restore("b", recovering=False)
    stage.start_again("b")
    stage.until(lambda: stage.disks["b"].recovering, LEASE_S)
    stage.until(lambda: not stage.disks["b"].recovering and stage.end("b") == (1, 2), LEASE_S)
    stage.equal()


def test_an_older_disk_is_betrayed_by_how_often_it_was_started() -> None:
    """Its requests looked like late ones of an earlier process, and were not answered for the rest of the reign."""
    stage = Stage(3).opening()
    stage.backups["b"] = stage.disks["b"].copy()
    for _ in range(2):
        stage.crash("b")
        stage.start_again("b")
        stage.until(lambda: stage.machines["b"].replica.source == "a")
        stage.wait(0.01)
    stage.crash("b")
    stage.restore("b", recovering=False)
    stage.start_again("b")
    stage.until(lambda: stage.disks["b"].recovering, LEASE_S)
    stage.until(lambda: not stage.disks["b"].recovering, LEASE_S)
    assert stage.leads("a") == 1
    stage.equal()


def test_nobody_is_sent_away_whom_a_majority_needs() -> None:
    stage = Stage(3).opening()
    stage.crash("c")
    stage.wait(1.5 * LEASE_S)
    stage.want(("a", "c"))
    stage.wait(LEASE_S)
    assert stage.disks["a"].members.voters == ("a", "b", "c"), "without b it would wait for c"
    stage.record("a", "m")
    stage.until(lambda: stage.complete("a") == 2)
    stage.equal()
    stage.until(lambda: stage.disks["a"].members.voters == ("a", "c"), LEASE_S)


def test_members_change_only_in_a_reign_that_has_completed_something() -> None:
    """Else two leaders could each take in what the other has not seen (Raft's single-server changes, July 2015)."""
    stage = Stage(3, spares=1).opening()
    stage.hold("ca", "cb")
    stage.crash("a")
    stage.campaign("b")
    while stage.leads("b") is None:
        stage.until(lambda: ("c", "b", "replied") in stage.waits())
        stage.deliver("cb", "replied")
    stage.want(("b", "c", "d"))
    stage.wait(LEASE_S / 2)
    assert stage.leads("b") is not None
    assert all(row.kind != "member" for row in stage.disks["b"].rows)
    stage.equal()


def test_what_was_under_way_when_a_leader_stepped_down_is_known_of() -> None:
    stage = Stage(3).opening()
    machine = stage.machines["a"]
    stage.send("a", "m")
    stage.wait(0.0001)
    machine.perform(machine.replica.state.step_down(machine.now(), "the test wants it"))
    stage.until(lambda: stage.end("a") == (1, 2))
    assert machine.replica.state.end == (1, 2)
    stage.equal()


def test_a_shard_of_one_that_lost_its_disk_does_not_begin_anew() -> None:
    """Whoever founds a shard of one replica knows that; an empty disk alone may have held anything."""
    stage = Stage(1, knowing=False)
    stage.start()
    stage.wait(4 * LEASE_S)
    assert stage.leader is None
