"""What ``status`` says of a cluster that is not as it should be: little, and with since when and why."""

from __future__ import annotations

from typing import Any

from peaceriver.cli.cluster import LAG_USUAL_RECORDS, troubles

SINCE = "2026-11-28T10:00:00Z"


def replica(node: str, state: str = "follower", **more: Any) -> dict[str, Any]:
    return {"node": node, "state": state, "lag": 0, "since": SINCE, "why": None} | more


def cluster(*shards: tuple[int, str | None, list[dict[str, Any]]], away: str = "") -> dict[str, Any]:
    return {
        "nodes": [{"name": name, "alive": name != away} for name in ("n1", "n2", "n3")],
        "shards": [{"shard": code, "leader": leader, "replicas": held} for code, leader, held in shards],
    }


def test_of_a_healthy_cluster_under_load_it_says_nothing() -> None:
    held = [replica("n1", "leader"), replica("n2", lag=LAG_USUAL_RECORDS), replica("n3", "learner")]
    assert troubles(cluster((100, "n1", held))) == []


def test_what_is_the_same_for_many_departments_is_one_line() -> None:
    held = [replica("n1", "leader"), replica("n2", "recovering", lag=7, why="it copies")]
    early = [replica("n1", "leader"), replica("n2", "recovering", lag=9, why="it copies", since="2026-11-28T09:00:00Z")]
    shards = [(code, "n1", early if code == 104 else held) for code in range(100, 112)]
    assert troubles(cluster(*shards)) == [
        "departments 100, 101, 102, 103, 104, 105, 106, 107 and 4 more on n2: recovering since 2026-11-28T09:00:00Z, "
        "9 records behind: it copies"
    ]


def test_what_a_node_holds_that_is_away_is_not_said_again() -> None:
    unreachable = {"node": "n3", "position": None, "lag": None, "state": "unreachable", "votes": True}
    held = [replica("n1", "leader"), replica("n2"), unreachable]
    assert troubles(cluster((100, "n1", held), (101, "n1", held), away="n3")) == []


def test_a_department_without_a_leader_is_named_once_and_each_reason() -> None:
    held = [replica("n1", "waiting", why="it hears from no leader"), replica("n2", why="its database: no")]
    assert troubles(cluster((100, None, held))) == [
        "department 100 without a leader: what is sent there waits or is refused; reading goes on",
        f"department 100 on n1: waiting since {SINCE}: it hears from no leader",
        f"department 100 on n2: follower since {SINCE}: its database: no",
    ]


def test_a_follower_far_behind_is_named() -> None:
    held = [replica("n1", "leader"), replica("n2", lag=LAG_USUAL_RECORDS + 1)]
    assert troubles(cluster((100, "n1", held))) == ["department 100 on n2: follower, 1,001 records behind"]
