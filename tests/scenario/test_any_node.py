"""Any node answers for any department: reads that are the latest, causes that it does not have yet, and settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from peaceriver.errors import Conflict, Invalid, OutcomeUnknown, Unavailable
from peaceriver.node import routing
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.identity import wall_clock
from peaceriver.node.peers import Peers
from peaceriver.node.publishing import Publishing
from peaceriver.query import lists
from peaceriver.stamp import Stamp
from tests.scenario.trio import ME, NAMES, Trio, trio, until
from tests.scenario.words import create, modify

LATEST = Freshness(latest=True, timeout_s=5.0)


@pytest.fixture(scope="module")
async def cluster(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with trio(module_folder) as made:
        yield made


async def test_the_latest_is_never_older_than_what_was_acknowledged(cluster: Trio) -> None:
    code = await cluster.department()
    await cluster.receipt(create(code, "Order/1", '{"n":0}'), by="n1")
    for n in range(1, 10):
        sender, reader = NAMES[n % 3], cluster[NAMES[(n + 1) % 3]]
        receipt = await cluster.receipt(modify(code, "Order/1", f'{{"n":{n}}}'), by=sender)
        cutoff, actor = await reader.reading.actor(code, "Order", "1", LATEST)
        assert cutoff.places[code].position >= receipt.position
        assert actor.version == receipt.version
    cutoff, _, _ = await cluster["n2"].reading.actors(None, "Order", lists.parse(()), LATEST)
    assert code in cutoff.places


async def test_after_a_fail_over_the_old_leader_confirms_nothing(cluster: Trio) -> None:
    code = await cluster.department()
    old = await cluster.leader(code)
    await cluster.receipt(create(code, "Order/1"), by=old)
    await cluster.cut(old)
    try:
        with pytest.raises(Unavailable):
            await cluster[old].reading.actor(code, "Order", "1", Freshness(latest=True, timeout_s=0.4))
        others = [each for each in cluster.nodes if each != old]
        await cluster.leader(code)
        await cluster.receipt(modify(code, "Order/1", '{"n":1}'), by=others[0])
        for each in others:
            assert (await cluster[each].reading.actor(code, "Order", "1", LATEST))[1].version == 2
        with pytest.raises(Unavailable, match="read=local"):
            await cluster[old].reading.actor(code, "Order", "1", Freshness(latest=True, timeout_s=0.4))
        # What is here is still read.
        assert (await cluster[old].reading.actor(code, "Order", "1", Freshness()))[1].version == 1
    finally:
        cluster.heal()
    await cluster.leader(code)
    assert (await cluster[old].reading.actor(code, "Order", "1", LATEST))[1].version == 2


def lose_next(patch: pytest.MonkeyPatch, peers: Peers, *, arrives: bool, then: Callable[[], object] = list) -> None:
    """Have the answer to the next messages that a node passes on be lost, after or without their arriving."""
    post = peers.post

    async def lost(node: str, path: str, body: bytes, **limits: float | None) -> bytes:
        answer = await post(node, path, body, **limits) if arrives or path != routing.PATH else b""
        if path != routing.PATH:
            return answer
        patch.setattr(peers, "post", post)
        then()
        raise TimeoutError

    patch.setattr(peers, "post", lost)


async def test_what_may_be_recorded_is_not_told_to_be_refused_for_want_of_room(
    cluster: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await cluster.department()
    sender = (await cluster.followers(code))[0]
    message = create(code, "Order/1", id=uuid4())
    with monkeypatch.context() as patch:

        def fill() -> None:
            for each in cluster.nodes.values():
                patch.setattr(each.room, "free_bytes_min", 2**62)

        lose_next(patch, cluster[sender].replication.peers, arrives=True, then=fill)
        (outcome,) = await cluster.send(message, by=sender)
    assert isinstance(outcome, OutcomeUnknown), outcome
    assert outcome.message_id == str(message.id)
    assert "bytes left" in outcome.detail
    assert (await cluster.receipt(message, by=sender)).duplicate


async def test_what_may_be_recorded_is_not_told_to_be_refused_by_whoever_leads_next(
    cluster: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await cluster.department()
    sender = (await cluster.followers(code))[0]
    message = modify(code, "Order/1", id=uuid4())
    lose_next(monkeypatch, cluster[sender].replication.peers, arrives=False)
    (outcome,) = await cluster.send(message, by=sender)
    assert isinstance(outcome, OutcomeUnknown), outcome
    assert outcome.message_id == str(message.id)
    assert "Order/1 does not exist" in outcome.detail
    (again,) = await cluster.send(message, by=sender)
    assert isinstance(again, Conflict), again


async def test_a_new_department_takes_messages_at_every_node_once_its_page_is_answered(
    cluster: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peaceriver.node.publishing._EVERYWHERE_S", 30.0)
    late, asked = await cluster.followers(0)
    keeper, code = cluster[late].replication.keepers[0], 900
    keeper._paused_until = float("inf")  # it pulls nothing for now
    await asyncio.sleep(0.5)
    asyncio.get_running_loop().call_later(0.3, setattr, keeper, "_paused_until", float("-inf"))
    await Publishing(cluster[asked]).department(code, {"name": "New"}, ME)
    assert (await cluster.receipt(create(code, "Order/1"), by=late)).version == 1


async def test_leadership_is_handed_over_at_any_node(cluster: Trio) -> None:
    code = await cluster.department()
    old = await cluster.leader(code)
    asked, to = await cluster.followers(code)
    async with cluster.door(asked) as door:
        answer = await door.post(f"/shards/{code}/transfer", json={"to": to})
        assert (answer.status_code, answer.json()) == (200, {"shard": code, "leader": to})
        assert await cluster.leader(code) == to
        answer = await door.post(f"/shards/{code}/transfer", json={"to": "n9"})
        assert answer.status_code == 404, answer.text
    async with cluster.door(old) as door:
        removed = await door.put("/directory/nodes/n8", json={"url": "http://127.0.0.1:1"})
        assert removed.status_code == 201, removed.text
        assert (await door.delete("/shards/0/nodes/n8")).status_code == 200
        await until(lambda: "n8" in cluster[old].directory.gone, "end of n8")
        again = await door.put("/directory/nodes/n8", json={"url": "http://127.0.0.1:1"})
        assert (again.status_code, "was removed" in again.text) == (409, True), again.text


async def test_a_cause_that_this_node_does_not_have_yet_is_waited_for(cluster: Trio) -> None:
    one, two = await cluster.department(), await cluster.department()
    leader = await cluster.leader(one)
    late = (await cluster.followers(one))[0]
    keeper = cluster[late].replication.keepers[one]
    keeper._paused_until = float("inf")  # it pulls nothing for now
    await asyncio.sleep(0.5)
    cause = await cluster.receipt(create(one, "Order/1"), by=leader)
    waiting = asyncio.create_task(cluster.receipt(create(two, "Check/1", cause=cause.stamp), by=late))
    explained = asyncio.create_task(cluster[late].consequences.explain(cause.stamp))
    settled = asyncio.create_task(cluster[late].consequences.settled(cause.id, 10.0))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert not explained.done()
    keeper._paused_until = float("-inf")
    assert (await waiting).stamp > cause.stamp
    assert (await explained).record.message_id == cause.id
    assert (await settled).settled
    (wrong,) = await cluster.send(create(two, cause=Stamp(cause.stamp.time - 1, one)), by=late)
    assert isinstance(wrong, Invalid)
    assert "is not the stamp of any record" in wrong.detail
    (idle,) = await cluster.send(create(two, cause=Stamp(wall_clock(), one)), by=late)
    assert isinstance(idle, Invalid)


async def test_the_same_draft_from_every_node(cluster: Trio) -> None:
    code = await cluster.department()
    leader = await cluster.leader(code)
    keeps, asks = await cluster.followers(code)
    draft = f"/drafts/{uuid4()}"
    async with cluster.door(keeps) as first, cluster.door(asks) as second, cluster.door(leader) as third:
        written = {"to": code, "actor": "Order/D", "action": "create", "body": {"n": 1}}
        assert (await first.put(draft, json=written)).status_code == 200
        assert (await second.get(draft)).json()["message"] == written
        assert (await third.put(draft, json=written | {"body": {"n": 2}})).status_code == 200
        assert (await first.get(draft)).json()["message"]["body"] == {"n": 2}
        listed = [(await each.get("/drafts")).json()["items"] for each in (first, second, third)]
        assert [[each["id"] for each in one] for one in listed] == [[draft.removeprefix("/drafts/")]] * 3
        sent = await second.post(f"{draft}/send")
        assert (sent.status_code, sent.json()["version"]) == (201, 1)
        assert [(await each.get(draft)).status_code for each in (first, second, third)] == [404] * 3
        other = f"/drafts/{uuid4()}"
        await first.put(other, json={"to": code})
        refused = await third.post(f"{other}/send")
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid")
        assert (await third.delete(other)).status_code == 204
        assert (await first.get(other)).status_code == 404


async def refused_message(cluster: Trio, code: int, there: int) -> str:
    """The exception of a message that was delivered and refused."""
    await cluster.send(modify(there, "Missing/1", sender=code))
    found: list[str] = []

    async def opened() -> bool:
        for name in cluster.nodes:
            here = await cluster.opened(name, there)
            if not here:
                return False
            found[:] = [str(here[0].opening.message_id)]
        return True

    await until(opened, "exception on every node")
    return found[0]


async def test_exceptions_are_resolved_at_any_node(cluster: Trio) -> None:
    code, there = await cluster.department(), await cluster.department()
    exception = await refused_message(cluster, code, there)
    for name in await cluster.followers(there):
        async with cluster.door(name) as door:
            # In vain, for what it modifies is not there; the attempt is made where the department is led.
            again = await door.post(f"/exceptions/{exception}/retry")
            assert (again.status_code, again.json()["state"]) == (200, "open"), again.text
            unfit = await door.post(
                f"/exceptions/{exception}/answer", json={"to": there, "actor": "?", "action": "modify"}
            )
            assert unfit.status_code == 422
    async with cluster.door((await cluster.followers(there))[0]) as door:
        head = {"Peaceriver-Principal": "Ada"}
        skipped = await door.post(f"/exceptions/{exception}/skip", headers=head)
        assert skipped.json()["state"] == "skipped", skipped.text
        conflict = await door.post(f"/exceptions/{exception}/retry")
        assert conflict.status_code == 409
        passed = await door.post(f"/exceptions/{exception}/skip", headers={"Peaceriver-Passed-On": "n9"})
        assert passed.status_code in (200, 503)
    ended = [each for each in await cluster.records(await cluster.leader(there), there) if each.principal == "Ada"]
    assert [each.kind for each in ended] == ["exception"]


async def _until_recorded(door: httpx.AsyncClient, path: str, after: str, actor: str) -> str:
    """Follow a journal until it has a record of an actor: its message's id."""
    while True:
        page = (await door.get(path, params={"after": after, "limit": "1000", "wait": "10s"})).json()
        after = str(page["next"])
        for each in page["records"]:
            if each["actor"] == actor:
                return str(each["id"])


async def test_journals_of_followers_go_on(cluster: Trio) -> None:
    code = await cluster.department()
    follower = (await cluster.followers(code))[0]
    async with cluster.door(follower) as door:
        start = (await door.get("/journal", params={"limit": "1000"})).json()["next"]
        merged = asyncio.create_task(_until_recorded(door, "/journal", start, "Order/J"))
        alone = asyncio.create_task(_until_recorded(door, f"/shards/{code}/journal", "1", "Order/J"))
        await asyncio.sleep(0.5)
        made = await cluster.receipt(create(code, "Order/J"), by=await cluster.leader(code))
        async with asyncio.timeout(6):
            assert [await merged, await alone] == [str(made.id)] * 2
        head = {"Accept": "text/event-stream", "Last-Event-ID": str(made.stamp)}
        async with door.stream("GET", f"/shards/{code}/journal", headers=head) as stream:
            assert stream.status_code == 200
        latest = await door.get(f"/shards/{code}/journal", params={"read": "latest"})
        assert str(made.id) in [each["id"] for each in latest.json()["records"]]


async def test_spooling_over_http(cluster: Trio) -> None:
    code = await cluster.department()
    names = list(cluster.nodes)
    stays = (await cluster.followers(code))[0]
    await cluster.cut(*names)
    try:
        await until(lambda: not any(each.shards[code].serving for each in cluster.nodes.values()), "end of the reign")
        async with cluster.door(stays) as door:
            message = {"id": str(uuid4()), "to": code, "actor": "Order/S", "action": "create", "body": {"total": 1.10}}
            refused = await door.post("/messages", json=message, params={"timeout": "200ms"})
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            spooled = await door.post("/messages", json=message, params={"spool": "true"})
            assert (spooled.status_code, spooled.json()["spooled"]) == (202, True), spooled.text
            assert spooled.json()["id"] == message["id"]
            patch = {"spool": "true"}
            patched = await door.patch(f"/shards/{code}/Order/S", json={"total": 2}, params=patch)
            assert patched.status_code == 202
            several = [{"to": code, "actor": "Order/S", "action": "modify", "body": {"n": n}} for n in (1, 2)]
            array = await door.post("/messages", json=several, params=patch)
            assert (array.status_code, [each["spooled"] for each in array.json()]) == (200, [True, True])
            state = (await door.get(f"/messages/{message['id']}")).json()
            assert (state["state"], state["complete"], state["stamp"]) == ("spooled", False, None)
            waiting = (await door.get(f"/messages/{message['id']}/settled", params={"timeout": "100ms"})).json()
            assert (waiting["settled"], waiting["records"]) == (False, 0)
            assert (await door.get(f"/messages/{uuid4()}")).status_code == 404
            assert "peaceriver_spooled_messages" in (await door.get("/metrics")).text
    finally:
        cluster.heal()
    async with cluster.door(names[0]) as door:

        async def recorded() -> bool:
            answer = await door.get(f"/messages/{message['id']}")
            return bool(answer.json()["state"] == "recorded" and answer.json()["complete"])

        await until(recorded, "record of what was spooled")
        await until(lambda: not cluster[stays].pending.spooled_for(code), "end of what was spooled")
        read = await door.get(f"/shards/{code}/Order/S", params={"read": "latest"})
        assert (read.json()["version"], read.json()["document"]) == (4, {"total": 2, "n": 2})
