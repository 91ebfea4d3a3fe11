"""Rules follow the real log: live, replayed, killed while they are replayed, or begun long after it was imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peaceriver import Client, jsontext
from tests.acceptance import audit_by_rule
from tests.acceptance.audit_by_rule import audit, rules
from tests.acceptance.journals import Record, journals, of_kind
from tests.acceptance.processes import Up, running
from tests.acceptance.real_log import EVENTS, HAND_OVERS, load, needs_the_log
from tests.acceptance.replays import caught_up, check_nothing_new, replay, until
from tests.acceptance.test_cli_rules import command

pytestmark = [needs_the_log, pytest.mark.slow, pytest.mark.timeout(400)]

APPLICATION = Path(audit_by_rule.__file__)


def follow_ups(found: dict[int, list[Record]]) -> dict[str, tuple[Any, ...]]:
    """What rules made, by id, as it was received: told by nothing that another run would tell otherwise.

    A cause is told by its message, for its stamp says when it was recorded.
    """
    messages = {each["stamp"]: each["id"] for each in of_kind(found, "received")}
    made = [each for each in of_kind(found, "received") if each["rule"] is not None]
    assert len({each["id"] for each in made}) == len(made), "none twice"
    told = ("shard", "from", "actor", "type", "version", "rule", "rule_version", "root", "correlation", "hops")
    return {
        each["id"]: (messages[each["cause"]], *(each[name] for name in told), jsontext.write(each["body"]))
        for each in made
    }


def check(found: dict[int, list[Record]]) -> None:
    """Each event has its entry and each hand-over its slip; each was sent and received once, by its rule."""
    received, sent = of_kind(found, "received"), of_kind(found, "sent")
    events = [each for each in received if each["rule"] is None]
    made = [each for each in received if each["rule"] is not None]
    assert (len(events), len(made)) == (EVENTS, EVENTS + HAND_OVERS)
    assert sum(each["shard"] == audit.code for each in made) == EVENTS
    assert sorted(each["id"] for each in made) == sorted(each["id"] for each in sent if each["rule"] is not None)
    causes = {each["stamp"]: each for each in events}
    for each in made:
        cause = causes[each["cause"]]
        assert each["stamp"] > cause["stamp"]
        assert (each["from"], each["root"]) == (cause["shard"], cause["root"])
        assert each["rule"] == f"note_{cause['action']}_{cause['shard']}"
        assert each["shard"] in (audit.code, cause["from"])
    assert of_kind(found, "exception") == []


async def replay_all(up: Up) -> None:
    """From the start, by both ways in; the last is the one with the most to do, and has only just begun."""
    by_command, *by_request = reversed(rules)
    code, shown, _ = await command(up.url, "replay", by_command.name)
    assert (code, shown) == (0, f"{by_command.name} acts anew on what comes after position 0\n")
    await replay(up.url, by_request)


def check_interrupted(found: dict[int, list[Record]], first: dict[int, list[Record]]) -> None:
    """When the next epoch began, rules had still to come to where they had been."""
    new = [each for code, records in found.items() for each in records[len(first[code]) :]]
    began = {each["shard"]: each["position"] for each in new if each["kind"] == "epoch"}
    assert len(began) == len(found)
    assert [each for each in new if each["kind"] == "mark" and each["position"] > began[each["shard"]]]


async def test_rules_replayed_over_the_real_log_or_begun_after_it_make_the_same_and_nothing_twice(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "live", APPLICATION) as up:
        await load(up)
        live = await caught_up(up.url, rules, await journals(up.url))
        check(live)

        await replay_all(up)
        replayed = await caught_up(up.url, rules, live)
        check_nothing_new(replayed, live, rules)

        await replay_all(up)
        up.kill_node()
        async with Client(up.url) as client:
            await until(client, bool)
        replayed_again = await caught_up(up.url, rules, live)
        check_nothing_new(replayed_again, replayed, rules)
        check_interrupted(replayed_again, replayed)

    async with running(tmp_path / "late") as up:
        await load(up)  # into departments that the import makes, with no rule in sight
    async with running(tmp_path / "late", APPLICATION) as up:
        late = await caught_up(up.url, rules, await journals(up.url))
        check(late)
    assert follow_ups(late) == follow_ups(replayed_again) == follow_ups(live)
