"""Who holds a shard: majorities, ranks, and one step at a time."""

from __future__ import annotations

import random

from peaceriver.protocol.members import Members, next_change, placed

THREE = Members(("a", "b", "c"))


def test_a_majority_is_more_than_half_of_the_voters() -> None:
    assert [Members(tuple("abcde"[:number])).majority for number in range(1, 6)] == [1, 2, 2, 3, 3]
    assert THREE.has_majority(["a", "c"])
    assert not THREE.has_majority(["a", "x", "y"])
    assert not Members(("a", "b", "c"), ("d",)).has_majority(["a", "d"])


def test_voters_try_to_lead_in_the_order_that_begins_with_the_first() -> None:
    assert [THREE.rank(each, "b") for each in "abc"] == [2, 0, 1]
    assert [THREE.rank(each, None) for each in "abc"] == [0, 1, 2]
    assert [THREE.rank(each, "x") for each in "abc"] == [0, 1, 2]


def steps(members: Members, active: list[str], leaving: list[str]) -> list[Members]:
    """Every step on the way, with whoever learns being level at once, and the lead handed over by one that leaves."""
    found: list[Members] = []
    while True:
        voting, learning = placed(members, active, leaving, 3)
        leader = next((each for each in voting if each in members.voters), members.voters[0])
        change = next_change(members, voting, learning, members.all, leader)
        if change is None:
            return found
        members = Members(change.voters, change.learners, members.position + 1)
        found.append(members)


def test_a_new_node_learns_and_takes_the_place_of_one_that_leaves() -> None:
    joined = steps(THREE, ["a", "b", "c", "d"], [])
    assert [(each.voters, each.learners) for each in joined] == [(("a", "b", "c"), ("d",))]
    left = steps(joined[-1], ["a", "b", "d"], ["c"])
    assert [(each.voters, each.learners) for each in left] == [
        (("a", "b", "c", "d"), ()),
        (("a", "b", "d"), ()),
    ]


def test_a_learner_that_is_not_level_gets_no_vote_and_nobody_leaves_before_it() -> None:
    members = Members(("a", "b", "c"), ("d",), 5)
    assert next_change(members, ["a", "b", "d"], [], ["a", "b", "c"], "a") is None


def test_the_leader_never_takes_its_own_vote() -> None:
    members = Members(("a", "b", "c", "d"), (), 5)
    assert next_change(members, ["b", "c", "d"], [], members.all, "a") is None
    change = next_change(members, ["b", "c", "d"], [], members.all, "b")
    assert change is not None
    assert change.voters == ("b", "c", "d")


def test_where_all_leave_those_who_vote_stay() -> None:
    assert placed(THREE, [], ["a", "b", "c"], 3) == (["a", "b", "c"], [])


def test_any_way_goes_by_steps_whose_majorities_meet() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        names = list("abcdefg")
        members = Members(tuple(chance.sample(names, 3)), ())
        leaving = chance.sample(names, chance.randint(0, 3))
        active = [each for each in names if each not in leaving]
        for step in steps(members, active, leaving):
            assert len(set(step.voters) ^ set(members.voters)) <= 1
            assert len(set(step.all)) == len(step.all)
            members = step
        assert not set(members.all) & set(leaving), f"seed {seed}"
        assert len(members.voters) == 3
