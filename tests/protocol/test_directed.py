"""Stories that chance hardly ever tells: each once broke a protocol of this kind, here or in the literature."""

from __future__ import annotations

from peaceriver.protocol.messages import Place
from tests.protocol.machine import LEASE_S
from tests.protocol.stage import Stage


def test_old_records_on_a_majority_are_not_complete_yet() -> None:
    """Figure 8 of the Raft paper: an old epoch's record reaches a majority, and is overwritten all the same."""
    stage = Stage(5, chunk_records=1).opening()
    stage.split("ab", "cde")
    stage.record("a", "old")
    stage.until(lambda: stage.end("b") == (1, 2))
    stage.crash("a", "b")
    stage.elect("e")
    stage.crash("e")
    assert stage.end("e") == (2, 2)
    stage.start_again("a", "b")
    stage.split("abc", "d", "e")
    stage.elect("a")
    stage.hold("ab", "ac")
    stage.wait(0.01)
    stage.deliver("ac", "answered")
    stage.wait(0.01)
    assert stage.matched("a") == {"b": 2, "c": 2}, "three of five hold the old record"
    assert stage.complete("a") == 1
    stage.crash("a")
    stage.start_again("e")
    stage.split("cde", "a", "b")
    stage.elect("e")
    stage.equal()
    assert stage.disks["e"].ids["old"] > 2, "it was taken back, and offered again"


def test_a_leader_whose_followers_promised_more_finds_out() -> None:
    """The zombie of pull replication (KIP-595): nobody asks it any more, and it believes that it leads."""
    stage = Stage(3).opening()
    stage.split("a", "bc")
    stage.campaign("c")
    stage.until(lambda: stage.disks["b"].promised == 2)
    stage.crash("c")
    assert stage.leads("a") == 1
    stage.split("ab", "c")
    answers = stage.send("a", "m", quorum=True)
    stage.until(lambda: stage.leads("a") is None, LEASE_S / 2)
    stage.until(lambda: stage.leader is not None and stage.complete(stage.leader.node) > 1, 4 * LEASE_S)
    assert answers == [None], "what became of it was not known, and that is what was said"
    stage.equal()
    assert max(stage.checkers.writers) > 2


def test_a_group_is_cut_by_no_chunk_and_by_no_election() -> None:
    stage = Stage(3, chunk_records=1).opening()
    stage.hold("ac")
    stage.record("a", "one", "two", "three")
    stage.until(lambda: len(stage.disks["b"].rows) > 1)
    assert stage.end("b") == (1, 4), "the group as a whole came in a chunk of one record"
    stage.crash("a")
    stage.elect("c")
    assert stage.end("c") == (2, 5), "and as a whole it was taken over"
    stage.equal()


def test_an_offered_message_does_not_overtake_what_its_actor_has_done_since() -> None:
    """Stranded messages of one actor come back in their order: behind a later record all of them are exceptions."""
    stage = Stage(3).opening()
    stage.split("a", "bc")
    stage.record("a", "m1")
    stage.record("a", "m2")
    stage.record("a", "n1", actor="bob")
    stage.record("a", "n2", actor="bob")
    stage.elect("b")
    stage.record("b", "m3")
    stage.equal()
    journal = stage.disks["b"]
    assert journal.answers.keys() == {"m1", "m2"}
    assert journal.ids["n1"] < journal.ids["n2"], "nobody was in the way of these"
    assert journal.answers["m1"] < journal.answers["m2"]


def test_a_promise_that_a_disk_forgot_is_not_counted() -> None:
    """Of five, one loses its disk between its promise and the count: see docs/decisions/0010."""
    stage = Stage(5).opening()
    stage.hold("ac", "ea", "ec", "ed")
    stage.campaign("e")
    stage.deliver("ec", "asked")
    stage.until(lambda: stage.disks["b"].promised == 2)
    stage.wait(0.002)
    stage.split("abcd", "e")
    stage.wipe("b")
    stage.until(lambda: not stage.disks["b"].recovering)
    assert stage.disks["b"].promised == 1, "nobody could tell it of epoch 2"
    stage.record("a", "m")
    stage.until(lambda: stage.complete("a") == 2)
    assert stage.end("c") == (1, 1)
    # Only now the candidate hears of one more promise, and has three of five.
    stage.split("bce", "ad")
    stage.deliver("ec", "asked")
    stage.hold("ea", "ed")
    stage.until(lambda: stage.leads("e") is not None)
    assert "m" in stage.disks["e"].ids, "it asked again, and was told how far that journal is by now"
    stage.equal()


def test_an_old_answer_that_journals_diverge_takes_nothing_back() -> None:
    stage = Stage(3).opening()
    stage.split("a", "bc")
    stage.record("a", "stray")
    stage.elect("b")
    stage.mend()
    stage.hold("ba")
    stage.until(lambda: ("b", "a", "announced") in stage.waits())
    stage.deliver("ba", "announced")
    stage.until(lambda: ("b", "a", "answered") in stage.waits())
    old = next(each for each in stage.network.waiting if each[2] == "answered")
    stage.let_go()
    stage.until(lambda: stage.end("a") == stage.end("b"))
    stage.record("b", "new")
    stage.until(lambda: stage.end("a") == stage.end("b"))
    before = stage.end("a")
    stage.at(0, old[3], *old[4])
    stage.wait(0.01)
    assert stage.end("a") == before
    stage.equal()


def test_a_paused_leader_that_wakes_acknowledges_nothing() -> None:
    stage = Stage(3).opening()
    local, quorum = stage.send("a", "m1"), stage.send("a", "m2", quorum=True)
    stage.wait(0.0005)
    stage.machines["a"].paused_until = stage.t + 4
    stage.until(lambda: any(stage.leads(node) for node in "bc"), 3 * LEASE_S)
    stage.until(lambda: stage.leads("a") is None, 4)
    stage.wait(0.05)
    assert quorum == [None]
    assert stage.checkers.acknowledged_quorum == {}
    stage.equal()
    if local != [None]:
        assert "m1" in stage.disks["b"].ids, "it said that it was on its own disk only, and that was kept"


def test_a_candidate_that_takes_over_a_change_of_members_asks_those() -> None:
    stage = Stage(3, spares=1).opening()
    stage.want(("a", "b", "c", "d"))
    stage.until(lambda: "d" in stage.disks["a"].members.learners and not stage.disks["d"].recovering, 3 * LEASE_S)
    stage.until(lambda: stage.disks["c"].members == stage.disks["a"].members)
    stage.hold("ac", "ad")
    stage.until(lambda: "d" in stage.disks["b"].members.voters, LEASE_S)
    stage.crash("a")
    assert "d" not in stage.disks["c"].members.voters
    stage.split("bc", "d")
    stage.campaign("c")
    stage.until(lambda: "d" in stage.disks["c"].members.voters)
    stage.wait(0.1)
    assert stage.leads("c") is None, "two of three had promised, and two of four are no majority"
    stage.split("bcd", "a")
    stage.until(lambda: stage.leader is not None, 4 * LEASE_S)
    stage.equal()


def test_a_transfer_that_fails_in_the_middle_leaves_a_leader() -> None:
    stage = Stage(3).opening()
    stage.hold("bc", "ba")
    stage.at(0, stage.machines["a"].happens, stage.machines["a"].process, stage.machines["a"].transfer, "b")
    stage.until(lambda: stage.disks["b"].promised == 2)
    stage.crash("b")
    assert stage.leads("a") == 1
    answers = stage.send("a", "m", quorum=True)
    stage.wait(LEASE_S / 4)
    assert answers == [], "nothing is appended while leadership is on its way"
    stage.until(lambda: answers == [2], LEASE_S)
    stage.start_again("b")
    stage.let_go()
    stage.until(lambda: stage.leader is not None and (stage.leader.replica.leads or 0) > 2, 4 * LEASE_S)
    stage.equal()


def test_a_transfer_comes_about_without_waiting_for_a_lease() -> None:
    stage = Stage(3).opening()
    since = stage.t
    stage.at(0, stage.machines["a"].happens, stage.machines["a"].process, stage.machines["a"].transfer, "c")
    stage.until(lambda: stage.leads("c") == 2)
    assert stage.t - since < 0.1
    stage.until(lambda: stage.complete("c") == 2)
    assert stage.leads("a") is None


def test_a_replica_without_memory_does_not_vote() -> None:
    """What one that lost its disk had acknowledged is complete, and nobody may lead without it."""
    stage = Stage(3).opening()
    stage.hold("ac")
    stage.record("a", "m")
    stage.until(lambda: stage.complete("a") == 2)
    stage.split("a", "bc")
    stage.wipe("b")
    stage.wait(6 * LEASE_S)
    assert stage.leads("b") is None
    assert stage.leads("c") is None
    assert stage.disks["b"].recovering
    stage.equal()


def test_a_replica_remembers_only_when_it_has_all_that_its_leader_had() -> None:
    """Before that it could help to elect somebody who lacks what it had once acknowledged."""
    stage = Stage(3, chunk_records=1).opening()
    stage.hold("ac")
    for name in ("m1", "m2", "m3"):
        stage.record("a", name)
    stage.until(lambda: stage.complete("a") == 4)
    stage.wipe("b")
    stage.hold("ab", "ac")
    for what in ("announced", "answered", "replied", "answered"):
        stage.until(lambda what=what: ("a", "b", what) in stage.waits())
        stage.deliver("ab", what)
    stage.wait(0.01)
    assert stage.end("b") == (1, 2)
    assert stage.disks["b"].recovering
    stage.crash("a")
    stage.wait(4 * LEASE_S)
    assert stage.leader is None
    stage.equal()


def test_a_shard_is_founded_when_all_who_cannot_know_have_said_that_they_know_nothing() -> None:
    stage = Stage(3, knowing=False)
    stage.start(delayed_s={"c": 5.0})
    stage.wait(4.9)
    assert stage.leader is None, "as far as anybody knows, c may have promised something"
    stage.until(lambda: stage.leader is not None, 2 * LEASE_S)
    stage.equal()


def test_a_shard_whose_founders_know_need_not_wait_for_the_last() -> None:
    stage = Stage(3)
    stage.start(delayed_s={"c": 5.0})
    stage.until(lambda: stage.leader is not None, LEASE_S)
    stage.until(lambda: stage.end("c") == Place(1, 1), 6)
    stage.equal()
