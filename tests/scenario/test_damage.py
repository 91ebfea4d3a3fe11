"""What was altered or lost on one of three nodes is found, not served, repaired from another one, and told of."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peaceriver import jsontext
from peaceriver.errors import Withheld
from peaceriver.limits import CONTROL
from peaceriver.node import verifying as verifying_module
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.node import Node
from peaceriver.node.repairing import Repairing
from peaceriver.query.lists import parse
from tests.scenario.damaging import (
    ITEMS,
    checked,
    filled,
    follower,
    harm,
    journal_of,
    leader,
    steady,
    told,
    undisturbed,
)
from tests.scenario.trio import NAMES, Trio, until
from tests.scenario.words import create, modify


@pytest.fixture(scope="module")
async def trio(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with undisturbed(module_folder) as made:
        yield made


@pytest.fixture
async def code(trio: Trio) -> int:
    """A department of the test's own."""
    return await filled(trio)


async def incidents(trio: Trio, node: Node, code: int) -> list[dict[str, Any]]:
    """What shard 0 says of a department, as a node has it."""
    control = node.shards[CONTROL]
    await control.folded.reached(control.complete.value)
    _, found, _ = await node.reading.actors([CONTROL], "incidents", parse([("limit", "1000")]), Freshness())
    pages = [jsontext.read(each.document.encode()) for each in found]
    return [each for each in pages if each["shard"] == code]


async def one(node: Node, code: int, n: int) -> str:
    _, found = await node.reading.actor(code, "Item", str(n), Freshness())
    return found.document


DAMAGE = {
    "a body": "update journal set body = '{{\"n\":8}}' where shard = {code} and position = 9",
    "a chain": "update journal set chain = sha256(chain) where shard = {code} and position = 9",
    "a chain that is short": "update journal set chain = '\\x00' where shard = {code} and position = 9",
    "a stamp": "update journal set stamp = stamp + 1 where shard = {code} and position = 9",
    "the first row": "update journal set trace = 'x' where shard = {code} and position = 1",
    "the last row": "update journal set trace = 'x' where shard = {code} and position = {last}",
    "the last chain": "update journal set chain = sha256(chain) where shard = {code} and position = {last}",
    "a lost row": "delete from journal where shard = {code} and position = 9",
    "a lost range": "delete from journal where shard = {code} and position between 5 and 11",
    "a lost beginning": "delete from journal where shard = {code} and position < 4",
    "a lost end": "delete from journal where shard = {code} and position > {last} - 3",
    "all lost": "delete from journal where shard = {code}",
    "forged": (
        "with recursive forged as ("
        ' select j.position, chain_after(b.chain, jsonb_populate_record(j, \'{{"principal":"me"}}\')) as chain'
        " from journal j join journal b on b.shard = j.shard and b.position = 6"
        " where j.shard = {code} and j.position = 7"
        ' union all select j.position, chain_after(f.chain, jsonb_populate_record(j, \'{{"principal":"me"}}\'))'
        " from forged f join journal j on j.shard = {code} and j.position = f.position + 1 where j.position < 12)"
        " update journal j set principal = 'me', chain = f.chain from forged f"
        " where j.shard = {code} and j.position = f.position"
    ),
    "two ranges": "update journal set trace = 'x' where shard = {code} and position in (4, 15)",
}


@pytest.mark.parametrize("where", [follower, leader], ids=["follower", "leader"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
async def test_a_damaged_journal_is_found_and_repaired(trio: Trio, code: int, damage: str, where: Any) -> None:
    node = await where(trio, code)
    before = await journal_of(node, code)
    await harm(trio, node, code, damage.format(code=code, last=len(before)))
    assert await journal_of(node, code) != before
    flaws = await checked(node, code)
    assert {each.where for each in flaws} == {"journal"}
    assert all(each.repaired for each in flaws), told(flaws)
    assert await journal_of(node, code) == before
    assert await checked(node, code) == []
    assert not node.shards[code].damage.known
    await trio.receipt(create(code, "Item/new"))
    await trio.level(code)


@pytest.mark.parametrize("where", [follower, leader], ids=["follower", "leader"])
@pytest.mark.parametrize(
    "change",
    [
        "last_chain = sha256(last_chain)",
        "last_stamp = last_stamp + 1",
        "last_position = last_position - 2, complete_position = 0, standing_position = 0",
    ],
)
async def test_a_state_that_does_not_fit_its_journal_is_set_right(
    trio: Trio, code: int, change: str, where: Any
) -> None:
    node = await where(trio, code)
    before = await journal_of(node, code)
    await harm(trio, node, code, f"update shard_state set {change} where shard = {code}")
    flaws = await checked(node, code)
    assert flaws[0].where == "state"
    assert all(each.repaired for each in flaws), told(flaws)
    # Where it led, another reign has begun meanwhile.
    assert (await journal_of(node, code))[: len(before)] == before
    await trio.leader(code)
    await trio.receipt(create(code, "Item/new"))
    await trio.level(code)


FOLDED = {
    "a view's document": (
        "update {view} set document = '{{\"n\":7}}'"
        " where actor_shard = {code} and actor_id = '3' and actor_version = 1",
        "view",
    ),
    "a view's row": ("delete from {view} where actor_shard = {code} and actor_id = '3' and actor_version = 1", "view"),
    "a view's end": ("update {view} set actor_until = actor_until - 1 where actor_shard = {code}", "view"),
    "a row too many": (
        "insert into {view} select actor_shard, 'x', actor_from, actor_until, actor_version, actor_status, actor_model,"
        " actor_position, document from {view} where actor_shard = {code} and actor_id = '3' and actor_version = 1",
        "view",
    ),
    "an actor": ("update actor set document = '{{}}' where shard = {code} and id = '3'", "actor"),
    "an actor's version": ("update actor set version = version + 1 where shard = {code}", "actor"),
    "a lost actor": ("delete from actor where shard = {code} and id = '3'", "actor"),
}


@pytest.mark.parametrize("where", [follower, leader], ids=["follower", "leader"])
@pytest.mark.parametrize(("change", "part"), FOLDED.values(), ids=FOLDED.keys())
async def test_what_is_folded_is_found_damaged_and_folded_again(
    trio: Trio, code: int, change: str, part: str, where: Any
) -> None:
    node = await where(trio, code)
    before = [await one(node, code, n) for n in range(ITEMS)]
    view = node.views.tables["Item"].relation
    await harm(trio, node, code, change.format(code=code, view=view))
    flaws = await checked(node, code)
    assert [(each.where, each.repaired) for each in flaws] == [(part, True)]
    assert await checked(node, code) == []
    assert [await one(node, code, n) for n in range(ITEMS)] == before
    await trio.leader(code)
    assert (await trio.receipt(modify(code, "Item/3", '{"m":30}'))).version == 3
    await trio.level(code)
    assert await one(node, code, 3) == '{"n":3,"m":30}'


async def test_an_incident_is_a_record_that_every_node_shows(trio: Trio, code: int) -> None:
    node = await follower(trio, code)
    await harm(trio, node, code, DAMAGE["a body"].format(code=code))
    await checked(node, code)
    for each in trio.nodes.values():
        found: list[dict[str, Any]] = []
        while not found or found[0]["state"] != "repaired":
            await asyncio.sleep(0.02)
            found = await incidents(trio, each, code)
        assert len(found) == 1
        assert found[0] | {"found_at": "", "repaired_at": ""} == {
            "node": node.name,
            "shard": code,
            "where": "journal",
            "place": "8 to 9",
            "detail": "9: the row does not fit the chain: it was altered",
            "state": "repaired",
            "found_at": "",
            "repaired_at": "",
        }
        assert [open_one for open_one in each.directory.incidents.values() if open_one["shard"] == code] == []


async def test_what_is_damaged_is_not_served_until_it_is_repaired(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await follower(trio, code)
    end = node.shards[code].tip.position
    await harm(trio, node, code, DAMAGE["a body"].format(code=code))
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        flaws = await checked(node, code)
        assert told(flaws) == [("journal", "8 to 9", False)]
        records, complete = await node.reading.journal(code, after=0, limit=100)
        assert ([each.position for each in records], complete) == ([*range(1, 8)], end)
        for after in (7, 8):
            with pytest.raises(Withheld, match="positions 8 to 9 of its journal are not as recorded"):
                await node.reading.journal(code, after=after, limit=100)
        assert len((await node.reading.journal(code, after=9, limit=100))[0]) == end - 9
        with pytest.raises(Withheld):
            await one(node, code, 3)
        with pytest.raises(Withheld):
            await node.reading.records(code, "Item", "3", Freshness(), after=0, limit=10)
        with pytest.raises(Withheld):
            await node.reading.merged(after=0, until=2**62, limit=10)
        with pytest.raises(Withheld):
            await node.rebuild("Item")
        place = node.replication.keepers[code].replica.end
        assert await node.shards[code].rows_after(place._replace(position=7), 1_000_000) == (
            [],
            place._replace(position=7),
        )
        # Others have it, and are asked.
        other = await leader(trio, code)
        assert await one(other, code, 3) == '{"n":3,"m":3}'
    assert await checked(node, code) != []
    assert await one(node, code, 3) == '{"n":3,"m":3}'


async def test_a_damaged_view_is_not_served_until_it_is_folded_again(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await follower(trio, code)
    change, _ = FOLDED["a view's document"]
    await harm(trio, node, code, change.format(code=code, view=node.views.tables["Item"].relation))
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        await checked(node, code)
        with pytest.raises(Withheld, match="the view of Item is not as recorded"):
            await one(node, code, 3)
        assert len((await node.reading.journal(code, after=0, limit=100))[0]) > ITEMS
    await checked(node, code)
    assert await one(node, code, 3) == '{"n":3,"m":3}'


async def _nothing(*_: object) -> bool:
    return False


async def command(*words: str) -> tuple[int, str, str]:
    """Run the command line beside the nodes: its exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peaceriver.cli.main", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_any_node_has_all_of_them_verified_and_tells_what_came_of_it(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, url = await follower(trio, code), trio.urls["n2"]
    end = node.shards[code].tip.position
    await harm(trio, node, code, DAMAGE["a lost row"].format(code=code))
    damaged = {
        "node": node.name,
        "where": "journal",
        "place": "8 to 10",
        "detail": "9: positions 9 to 9 are missing",
        "state": "open",
    }
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        with monkeypatch.context() as patch:
            patch.setattr(Repairing, "repair", _nothing)
            answer = (await http.post("/cluster/verify")).json()
            assert answer["ok"] is False
            assert answer["nodes"] == [{"node": name, "verified": True} for name in ("n2", "n1", "n3")]
            (shown,) = [each for each in answer["shards"] if not each["ok"]]
            assert shown == {"shard": code, "records": shown["records"], "ok": False, "damaged": [damaged]}
            assert shown["records"] >= end
            for _ in range(500):
                open_ones = (await http.get("/cluster")).json()["incidents"]
                if open_ones:
                    break
                await asyncio.sleep(0.02)
            assert [(each["node"], each["shard"], each["state"]) for each in open_ones] == [(node.name, code, "open")]
            status, said, complaint = await command("verify", "--url", url)
            assert status == 1
            assert re.search(rf"^{code}: \d+ records DAMAGED$", said, re.MULTILINE), said
            assert f"department {code}: damaged" in complaint
            at = trio.urls[node.name]
            refused = await http.get(f"{at}/shards/{code}/journal", params={"after": 8})
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/withheld")
            assert (await http.get(f"{at}/problems/withheld")).status_code == 200
            assert f'peaceriver_damaged{{shard="{code}"}} 1.0' in (await http.get(f"{at}/metrics")).text
        status, said, _ = await command("verify", "--json", "--url", url)
        verdict = json.loads(said)
        assert (status, verdict["ok"]) == (0, True)
        assert [each["damaged"] for each in verdict["shards"] if each["damaged"]] == [[damaged | {"state": "repaired"}]]
        status, said, _ = await command("verify", "--url", url)
        assert (status, "REPAIRED" in said) == (0, False)
        assert (
            f'peaceriver_incidents_total{{shard="{code}",where="journal"}} 1.0'
            in (await http.get(f"{at}/metrics")).text
        )


async def test_different_ranges_of_two_replicas_are_repaired_from_each_other(trio: Trio, code: int) -> None:
    nodes = [trio[each] for each in NAMES]
    before = await journal_of(nodes[0], code)
    for node, positions in ((nodes[0], "4 and 6"), (nodes[1], "10 and 12"), (nodes[2], "14 and 15")):
        await harm(trio, node, code, f"delete from journal where shard = {code} and position between {positions}")
    found = await nodes[0].verifying.everywhere()
    assert [each.node for each in found] == ["n1", "n2", "n3"]
    for node in nodes:
        assert await journal_of(node, code) == before
        assert not node.shards[code].damage.known


async def test_damage_that_a_follower_runs_into_is_found_without_being_asked_for(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading, following = await leader(trio, code), await follower(trio, code)
    before = await journal_of(leading, code)
    await harm(trio, leading, code, DAMAGE["a body"].format(code=code))
    leading.verifying.doubt(leading.shards[code], following.name)
    await until(lambda: leading.verifying.found[code, "journal"] == 1, "find")
    await until(lambda: not leading.shards[code].damage.known, "repair")
    assert await journal_of(leading, code) == before


async def test_new_records_are_verified_in_the_background(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await follower(trio, code)
    shard, verifying = node.shards[code], node.verifying
    assert await verifying._walk_on(shard)
    assert not await verifying._walk_on(shard)
    await harm(trio, node, code, DAMAGE["a body"].format(code=code))
    await trio.receipt(create(code, "Item/new"))
    await trio.level(code)
    # What was walked along is walked along again after hours.
    assert await verifying._walk_on(shard)
    assert not verifying.found[code, "journal"]
    monkeypatch.setattr(verifying_module, "VERIFY_AGAIN_S", 0.0)
    assert verifying._is_due(code)
    receipt = await trio.receipt(create(code, "Item/newer"))
    await trio.level(code)
    await harm(
        trio, node, code, f"update journal set trace = 'x' where shard = {code} and position = {receipt.position}"
    )
    assert not await verifying._walk_on(shard)
    # What is verified then is the whole: both are found.
    assert verifying.found[code, "journal"] == 2
    assert not shard.damage.known


async def test_random_damage_is_found_not_served_and_repaired(trio: Trio, code: int) -> None:
    chance = random.Random(4711)
    before = await journal_of(trio["n1"], code)
    actors = [await one(trio["n1"], code, n) for n in range(ITEMS)]
    for _ in range(24):
        node = trio[chance.choice(NAMES)]
        statement = chance.choice(list(_CORRUPTIONS)).format(
            code=code,
            view=node.views.tables["Item"].relation,
            n=chance.randrange(ITEMS),
            first=(first := chance.randrange(2, len(before))),
            last=chance.randrange(first, len(before) + 1),
            seed=chance.random(),
        )
        await harm(trio, node, code, statement)
        flaws = await checked(node, code)
        assert flaws, statement
        assert all(each.repaired for each in flaws), (statement, told(flaws))
        await trio.leader(code)
        assert (await journal_of(node, code))[: len(before)] == before, statement
        assert [await one(node, code, n) for n in range(ITEMS)] == actors, statement


_CORRUPTIONS = (
    "update journal set body = body || ' ' where shard = {code} and position = {first}",
    "update journal set message_id = gen_random_uuid() where shard = {code} and position = {first}",
    "update journal set chain = set_bit(chain, 17, 1 - get_bit(chain, 17)) where shard = {code} and position = {first}",
    "update journal set principal = 'somebody' where shard = {code} and position between {first} and {last}",
    "delete from journal where shard = {code} and position between {first} and {last}",
    "update {view} set document = '{{\"n\":{seed}}}' where actor_shard = {code} and actor_id = '{n}'",
    "delete from {view} where actor_shard = {code} and actor_id = '{n}'",
    "update actor set document = '{{\"n\":{seed}}}' where shard = {code} and id = '{n}'",
    "update actor set position = position + 1 where shard = {code} and id = '{n}'",
)


async def test_the_same_range_on_all_nodes_stays_refused_and_other_departments_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying_module, "REPAIR_PAUSE_S", 0.2)
    monkeypatch.setattr(verifying_module, "REPAIR_PAUSE_MAX_S", 0.2)
    monkeypatch.setattr(verifying_module, "REPAIR_PATIENCE_S", 1.0)
    # A repair in vain that takes long on a busy machine rests many times as long otherwise.
    monkeypatch.setattr(verifying_module, "VERIFY_SHARE", 0.5)
    async with steady(tmp_path) as trio:
        code, other = await filled(trio), await filled(trio)
        before = await journal_of(trio["n1"], code)
        for node in trio.nodes.values():
            await harm(trio, node, code, DAMAGE["a lost range"].format(code=code))
        found = await trio["n1"].verifying.everywhere()
        left = [each for of in found for each in of.checked or () if each.flaws]
        assert [(each.shard, told(each.flaws)) for each in left] == 3 * [(code, [("journal", "4 to 12", False)])]
        for node in trio.nodes.values():
            with pytest.raises(Withheld):
                await one(node, code, 3)
            await until(lambda node=node: len(node.directory.incidents) == 3, "incident of each")
        await until(lambda: not any(each.shards[code].serving for each in trio.nodes.values()), "end of the reign")
        await trio.receipt(create(other, "Item/new"))
    async with steady(tmp_path) as trio:
        # A restart changes nothing about it.
        nodes = trio.nodes.values()
        for node in nodes:
            assert [str(each) for each in node.shards[code].damage.ranges] == ["4 to 12"]
            with pytest.raises(Withheld):
                await node.reading.journal(code, after=3, limit=10)
        await trio.receipt(create(other, "Item/newer"))
        # One of them gets its rows back, as from a backup: the others have theirs from it.
        await harm(trio, trio["n2"], code, *_given_back(before[4:11]))
        await until(lambda: not any(each.shards[code].damage.known for each in nodes), "repair")
        for node in nodes:
            assert (await journal_of(node, code))[: len(before)] == before
        await trio.receipt(create(code, "Item/new"), by=await trio.leader(code))
        await until(lambda: not any(each.directory.incidents for each in nodes), "end of the incidents")


def _given_back(rows: list[tuple[Any, ...]]) -> list[str]:
    values = [
        ", ".join(
            "null" if each is None else f"'\\x{each.hex()}'" if isinstance(each, bytes) else f"'{each}'" for each in row
        )
        for row in rows
    ]
    return [f"insert into journal values ({each})" for each in values]


async def test_a_node_whose_directory_is_damaged_starts_and_has_it_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first look is in vain: where the others are is not known yet.
    monkeypatch.setattr(verifying_module, "REPAIR_PAUSE_S", 0.2)
    async with steady(tmp_path) as trio:
        code = await filled(trio)
        node = await follower(trio, CONTROL)
        name, before = node.name, await journal_of(node, CONTROL)
        await harm(trio, node, CONTROL, "update journal set body = 'x' where shard = 0 and position = 2")
        with monkeypatch.context() as patch:
            patch.setattr(Repairing, "repair", _nothing)
            await checked(node, CONTROL)
            await node.verifying.stop()
    async with steady(tmp_path) as trio:
        node = trio[name]
        await until(lambda: code in node.shards, "departments of the directory")
        assert (await journal_of(node, CONTROL))[: len(before)] == before
        await until(lambda: not node.shards[CONTROL].damage.known, "repair")
        await trio.leader(code)
