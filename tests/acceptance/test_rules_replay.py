"""Rules follow the real log: live, replayed, killed while they are replayed, or begun long after it was imported."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peaceriver import Client, jsontext
from peaceriver.errors import PeaceRiverError
from peaceriver.rule import Rule
from peaceriver.shard.shard import DELIVERY
from peaceriver.shard.steps import reader_of
from tests.acceptance import audit_by_rule
from tests.acceptance.audit_by_rule import audit, rules
from tests.acceptance.journals import Record, journals, looks_at, of_kind
from tests.acceptance.processes import Up, running
from tests.acceptance.real_log import EVENTS, HAND_OVERS, load, needs_the_log
from tests.acceptance.test_cli_rules import command

pytestmark = [needs_the_log, pytest.mark.slow, pytest.mark.timeout(400)]

APPLICATION = Path(audit_by_rule.__file__)
PATIENCE_S = 120
Shards = dict[int, dict[str, Any]]


async def until(client: Client, true: Callable[[Shards], bool]) -> None:
    """Look at the cluster until something holds; a node that is away comes back."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                shards = {each["shard"]: each for each in (await client.cluster())["shards"]}
                if true(shards):
                    return
            except (PeaceRiverError, KeyError):
                pass  # it is being started, and has not all departments yet
            await asyncio.sleep(0.05)


async def caught_up(url: str, events: dict[int, list[Record]]) -> dict[int, list[Record]]:
    """All journals, once every rule has acted on every event among the records, and what they sent has arrived."""
    async with Client(url) as client:
        await until(client, lambda shards: _have_acted(shards, events))
        sent = await journals(url)
        await until(client, lambda shards: _has_arrived(shards, sent))
    return await journals(url)


def _have_acted(shards: Shards, found: dict[int, list[Record]]) -> bool:
    """Whether no rule has anything left to do with the events among the records."""
    standing = {each["rule"]: each for shard in shards.values() for each in shard["rules"]}
    return all(standing[each.name]["acted"] >= _last_for(each, found[each.at]) for each in rules)


def _last_for(rule: Rule, records: list[Record]) -> int:
    """The position of the last record that a rule looks at; 0 in a department where each case has one event."""
    return max((each["position"] for each in records if looks_at(rule, each)), default=0)


def _has_arrived(shards: Shards, found: dict[int, list[Record]]) -> bool:
    """Whether every receiver's mark has passed what was sent to it among the records."""
    return all(
        shards[each["to"]]["marks"].get(DELIVERY, {}).get(str(each["shard"]), 0) >= each["position"]
        for each in of_kind(found, "sent")
    )


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


def check_nothing_new(found: dict[int, list[Record]], first: dict[int, list[Record]]) -> None:
    """After what was there only marks have come, of every rule the one that it began anew with."""
    new = {code: records[len(first[code]) :] for code, records in found.items()}
    assert {code: records[: len(first[code])] for code, records in found.items()} == first
    assert {each["kind"] for records in new.values() for each in records} <= {"mark", "tick", "epoch"}
    marks = Counter(each["body"]["reader"] for each in of_kind(new, "mark"))
    assert marks.keys() >= {reader_of(each.name) for each in rules}


async def replay_all(up: Up) -> None:
    """From the start, by both ways in; the last is the one with the most to do, and has only just begun."""
    by_command, *by_request = reversed(rules)
    code, shown, _ = await command(up.url, "replay", by_command.name)
    assert (code, shown) == (0, f"{by_command.name} acts anew on what comes after position 0\n")
    async with Client(up.url) as client:
        for each in by_request:
            answer = await client.request("POST", f"/directory/rules/{each.name}/replay", content=b'{"from": "start"}')
            assert jsontext.read(answer) == {"rule": each.name, "from": 0}


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
        live = await caught_up(up.url, await journals(up.url))
        check(live)

        await replay_all(up)
        replayed = await caught_up(up.url, live)
        check_nothing_new(replayed, live)

        await replay_all(up)
        up.kill_node()
        async with Client(up.url) as client:
            await until(client, bool)
        replayed_again = await caught_up(up.url, live)
        check_nothing_new(replayed_again, replayed)
        check_interrupted(replayed_again, replayed)

    async with running(tmp_path / "late") as up:
        await load(up)  # into departments that the import makes, with no rule in sight
    async with running(tmp_path / "late", APPLICATION) as up:
        late = await caught_up(up.url, await journals(up.url))
        check(late)
    assert follow_ups(late) == follow_ups(replayed_again) == follow_ups(live)
