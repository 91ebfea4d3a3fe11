"""The pure parts of the measurements: the load, the rounds, the goals and the report."""

from __future__ import annotations

import json

import pytest

from bench.goals import GOALS, Goal, judged
from bench.load import ACTORS, BODY_BYTES, Load, fields, message, written
from bench.report import goal_table, result, table
from bench.rounds import Contestant, Figures, Measure, Pace, best, interleaved, work_for


def rates(*rounds: float) -> Figures:
    return Figures(unit="/s", rounds=rounds)


def times(*rounds: float) -> Figures:
    return Figures(unit="ms", rounds=rounds)


def answering(figures: list[float], asked: list[int]) -> Measure:
    async def measure(count: int) -> float:
        asked.append(count)
        return figures.pop(0)

    return measure


def test_every_body_is_a_json_object_of_the_same_length() -> None:
    bodies = [written(fields(number)) for number in (0, 1, 2, ACTORS - 1, ACTORS, 1_999_999)]
    assert {len(body) for body in bodies} == {BODY_BYTES}
    assert all(json.loads(body).keys() == {"customer", "total", "state", "note"} for body in bodies)
    assert len(set(bodies)) == len(bodies)


def test_the_load_creates_every_actor_before_it_modifies_the_first_one() -> None:
    assert (message(0).action, message(ACTORS - 1).action, message(ACTORS).action) == ("create", "create", "modify")
    assert message(0).actor_id == message(ACTORS).actor_id != message(1).actor_id


def test_the_load_hands_each_message_out_once() -> None:
    load = Load()
    assert list(load.numbers(3)) == [0, 1, 2]
    assert [each.actor_id for each in load.messages(2)] == [message(3).actor_id, message(4).actor_id]
    assert load.taken == 5


def test_a_median_is_not_moved_by_one_bad_round() -> None:
    assert rates(100, 1, 110).median == 100


def test_the_best_rate_is_the_highest_and_the_best_time_the_shortest() -> None:
    assert best([rates(10, 20, 30), rates(1, 25, 99)]) == 25
    assert best([times(10, 20, 30), times(1, 25, 99)]) == 20


def test_rates_and_times_are_not_compared() -> None:
    with pytest.raises(ValueError, match="unpack"):
        best([rates(1), times(1)])


@pytest.mark.parametrize(
    ("unit", "figure", "work"),
    [
        ("/s", 1_000, 2_000),  # so many in two seconds
        ("/s", 1, 10),  # but never fewer than this,
        ("/s", 1_000_000, 5_000),  # nor more than that
        ("ms", 1, 2_000),  # a millisecond each
        ("ms", 1_000, 10),
    ],
)
def test_the_work_of_a_round_takes_about_as_long_as_asked(unit: str, figure: float, work: int) -> None:
    contestant = Contestant(name="any", measure=answering([], []), unit=unit, least=10, most=5_000)
    assert work_for(contestant, figure, 2.0) == work


def test_work_that_does_not_depend_on_the_speed_is_as_much_as_asked() -> None:
    contestant = Contestant(name="any", measure=answering([], []), unit="%", least=2, most=100, per_second=20)
    assert [work_for(contestant, 0.0, seconds) for seconds in (0.01, 1.0, 2.0, 9.0)] == [2, 20, 40, 100]


async def test_contestants_are_measured_in_turn_and_the_warm_up_counts_for_nothing() -> None:
    first_asked: list[int] = []
    second_asked: list[int] = []
    heard: list[tuple[str, float]] = []
    contestants = [
        Contestant(name="first", measure=answering([1_000, 11, 12], first_asked), least=5),
        Contestant(name="second", measure=answering([2_000, 21, 22], second_asked), least=7),
    ]
    figures = await interleaved(
        contestants, Pace(rounds=2, seconds=0.1), lambda name, figure, unit: heard.append((name, figure))
    )
    assert heard == [("first", 11), ("second", 21), ("first", 12), ("second", 22)]
    assert (first_asked, second_asked) == ([5, 100, 100], [7, 200, 200])
    assert figures == {"first": rates(11, 12), "second": rates(21, 22)}


AT_LEAST = Goal(says="ours to theirs", case="bulk", ours="ours", base=("one", "two"), bound=2.5)
AT_MOST = Goal(says="ours to theirs", case="rules", ours="ours", base=("one", "two"), bound=1, sense="at most")


@pytest.mark.parametrize(("ours", "holds"), [(250, True), (249, False)])
def test_a_goal_is_held_against_the_best_of_the_others(ours: float, holds: bool) -> None:
    verdict = judged(AT_LEAST, {"bulk": {"ours": rates(ours), "one": rates(100), "two": rates(50)}})
    assert verdict.value == pytest.approx(ours / 100)
    assert verdict.holds is holds


@pytest.mark.parametrize(("ours", "holds"), [(2.0, True), (2.1, False)])
def test_of_times_the_shortest_is_the_one_to_beat(ours: float, holds: bool) -> None:
    verdict = judged(AT_MOST, {"rules": {"ours": times(ours), "one": times(2.0), "two": times(5.0)}})
    assert verdict.holds is holds


@pytest.mark.parametrize("measured", [{}, {"bulk": {"ours": rates(1)}}, {"bulk": {"one": rates(1)}}])
def test_what_was_not_measured_neither_holds_nor_fails(measured: dict[str, dict[str, Figures]]) -> None:
    verdict = judged(AT_LEAST, measured)
    assert (verdict.value, verdict.holds) == (None, None)
    assert "not measured" in goal_table([verdict])


@pytest.mark.parametrize(("megabytes", "holds"), [(599, True), (601, False)])
def test_a_goal_without_a_base_is_about_the_figure_itself(megabytes: float, holds: bool) -> None:
    goal = Goal(says="MB of three idle nodes", case="idle", ours="ours", bound=600, sense="at most")
    verdict = judged(goal, {"idle": {"ours": Figures(unit="MB", rounds=(megabytes,))}})
    assert (verdict.value, verdict.holds) == (megabytes, holds)


def test_every_goal_says_something_of_its_own() -> None:
    assert len({goal.says for goal in GOALS}) == len(GOALS)


def test_a_table_shows_median_range_and_the_ratio_to_the_first_of_the_unit() -> None:
    lines = table("bulk", {"base": rates(900, 1_000, 2_000), "ours": rates(250, 260, 240), "slow": times(2, 2, 3)})
    assert [line.split() for line in lines.splitlines()] == [
        ["bulk:"],
        ["base", "1,000", "/s", "1.00", "(900", "to", "2,000)"],
        ["ours", "250", "/s", "0.25", "(240", "to", "260)"],
        ["slow", "2.00", "ms", "1.00", "(2.00", "to", "3.00)"],
    ]


@pytest.mark.parametrize(("ours", "word"), [(250, "holds"), (100, "MISSED")])
def test_the_goals_are_told_with_their_ratio(ours: float, word: str) -> None:
    told = goal_table([judged(AT_LEAST, {"bulk": {"ours": rates(ours), "one": rates(100)}})])
    assert told.splitlines()[1].split() == [word, f"{ours / 100:.2f}", *["ours", "to", "theirs:", "at", "least", "2.5"]]


def test_the_result_keeps_every_round() -> None:
    measured = {"bulk": {"ours": rates(250, 240, 260), "one": rates(100, 101, 99)}}
    kept = result(measured, [judged(AT_LEAST, measured)], {"rounds": 3})
    assert json.loads(json.dumps(kept)) == {
        "rounds": 3,
        "cases": {
            "bulk": {
                "ours": {"unit": "/s", "median": 250, "rounds": [250, 240, 260]},
                "one": {"unit": "/s", "median": 100, "rounds": [100, 101, 99]},
            }
        },
        "goals": [{"goal": "ours to theirs at least 2.5", "value": 2.5, "holds": True}],
    }
