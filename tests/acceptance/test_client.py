"""The Python client against a served node: what it sends comes back, what it wrote it reads, refusals are raised."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import anyio
import msgspec
import pytest

from peaceriver.client import Client
from peaceriver.errors import Conflict, Invalid, NotFound, Refused, TooLarge, Unreachable, VersionConflict
from peaceriver.limits import BODY_BYTES_MAX, PAGE_RECORDS_MAX
from peaceriver.message import Envelope
from peaceriver.moments import moment_text, vector
from peaceriver.shard.proposal import Receipt
from peaceriver.stamp import Stamp
from tests.acceptance.door import Door

EXACT = '{"big":123456789012345678901234567890,"small":0.12345678901234567890,"text":"Å/ñ"}'


def create(code: int, actor_id: str | None, body: str = "{}", **more: Any) -> Envelope:
    return Envelope(to=code, actor_type="Order", actor_id=actor_id, action="create", body=body, **more)


def modify(code: int, actor_id: str, body: str, **more: Any) -> Envelope:
    return Envelope(to=code, actor_type="Order", actor_id=actor_id, action="modify", body=body, **more)


def receipt_of(outcome: Receipt | Refused) -> Receipt:
    assert isinstance(outcome, Receipt)
    return outcome


async def test_what_was_sent_is_read_exactly_as_it_is_and_as_it_was(door: Door) -> None:
    code = door.department()
    async with Client(door.url) as client:
        first = await client.send(create(code, "SO/1 ä", EXACT))
        second = await client.send(modify(code, "SO/1 ä", '{"text":null}'))
        assert (first.shard, first.actor, first.version, first.duplicate) == (code, "Order/SO/1 ä", 1, False)
        now = await client.get(code, "Order", "SO/1 ä")
        assert (now.type, now.id, now.shard, now.version, now.status) == ("Order", "SO/1 ä", code, 2, "active")
        assert now.stamp == second.stamp
        assert now.document == {"big": 123456789012345678901234567890, "small": Decimal("0.12345678901234567890")}
        for cutoff in (first.stamp, str(first.stamp), {code: first.position}, first.stamp.wall):
            then = await client.get(code, "Order", "SO/1 ä", as_of=cutoff)
            assert (then.version, then.text) == (1, EXACT)
            assert then.cutoff is not None
            assert then.cutoff.positions == {code: first.position}
            assert then.cutoff.stamp == str(first.stamp)
        assert (await client.get(code, "Order", "SO/1 ä", version=1)).stamp == first.stamp
        records = await client.records(code, "Order", "SO/1 ä")
        assert [(each["action"], each["id"]) for each in records] == [
            ("create", str(first.id)),
            ("modify", str(second.id)),
        ]
        assert records[0]["body"]["small"] == Decimal("0.12345678901234567890")


async def test_business_time_is_told_apart_from_the_time_of_recording(door: Door) -> None:
    code = door.department()
    async with Client(door.url) as client:
        await client.send(create(code, "A", '{"rate":1}', valid_at=datetime(2026, 1, 1, tzinfo=UTC)))
        await client.send(modify(code, "A", '{"rate":2}', valid_at=datetime(2026, 3, 1, tzinfo=UTC)))
        assert (await client.get(code, "Order", "A", valid_at=datetime(2026, 2, 1, tzinfo=UTC))).document == {"rate": 1}
        assert (await client.get(code, "Order", "A", valid_at=datetime(2026, 4, 1, tzinfo=UTC))).document == {"rate": 2}


async def test_a_list_has_one_outcome_each_and_a_bad_one_spoils_no_neighbour(door: Door) -> None:
    code = door.department()
    async with Client(door.url) as client:
        bad = modify(code, "nowhere", "{}", id=uuid4())
        first, second, third = await client.send([create(code, "A"), bad, create(code, None)])
        assert receipt_of(first).actor == "Order/A"
        assert isinstance(second, NotFound | Conflict)
        assert second.message_id == str(bad.id)
        assert receipt_of(third).actor == f"Order/{receipt_of(third).id}"


async def test_an_atomic_list_raises_the_first_refusal_and_records_nothing(door: Door) -> None:
    code = door.department()
    async with Client(door.url) as client:
        with pytest.raises(Refused) as caught:
            await client.send([create(code, "A"), modify(code, "nowhere", "{}")], atomic=True)
        assert caught.value.errors[0].pointer.startswith("/1")
        assert (await client.list("Order", code)).items == ()
        outcomes = await client.send([create(code, "A"), modify(code, "A", "{}")], atomic=True)
        assert [receipt_of(each).version for each in outcomes] == [1, 2]


async def test_a_refusal_is_raised_as_what_it_is_with_its_pointers_and_the_messages_id(door: Door) -> None:
    code = door.department()
    schema = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total", "customer"]}
    async with Client(door.url) as client:
        published = await client.put_model("ClientBill", schema)
        assert (published["version"], published["compatible"]) == (1, True)
        message = Envelope(to=code, actor_type="ClientBill", actor_id="B", action="create", body='{"total":"x"}')
        with pytest.raises(Invalid) as invalid:
            await client.send(message)
        assert {each.pointer for each in invalid.value.errors} == {"/body/total", "/body/customer"}
        assert invalid.value.message_id is not None
        assert UUID(invalid.value.message_id)
        with pytest.raises(NotFound, match="there is no department"):
            await client.send(create(door.unused(), "A"))
        await client.send(create(code, "A"))
        with pytest.raises(VersionConflict):
            await client.send(modify(code, "A", "{}", if_version=7))
        with pytest.raises(Conflict):
            await client.send(create(code, "A"))
        with pytest.raises(TooLarge):
            await client.send(create(code, "B", '{"text":"' + "x" * BODY_BYTES_MAX + '"}'))
        with pytest.raises(NotFound):
            await client.get(code, "Order", "nowhere")


async def test_a_message_under_the_same_id_is_the_same_message(door: Door) -> None:
    code = door.department()
    async with Client(door.url) as client:
        message = create(code, "A", id=uuid4())
        first, second = await client.send(message), await client.send(message)
        assert (first.position, second.position) == (second.position, first.position)
        assert (first.duplicate, second.duplicate) == (False, True)
        with pytest.raises(Conflict):
            await client.send(msgspec.structs.replace(message, body='{"other":1}'))


async def test_it_reads_its_own_writes(door: Door) -> None:
    code, other = door.department(), door.department()
    async with Client(door.url) as client:
        for number in range(50):
            receipt = await client.send(create(code, f"A{number}"))
            assert client.seen == {code: receipt.position}
            assert (await client.get(code, "Order", f"A{number}")).version == 1
        assert len((await client.list("Order", code)).items) == 50
        outcomes = await client.send([create(other, None) for _ in range(20)])
        assert client.seen[other] == max(receipt_of(each).position for each in outcomes)
        assert len((await client.list("Order", other, limit=PAGE_RECORDS_MAX)).items) == 20


async def test_lists_are_filtered_ordered_and_read_in_parts_at_one_cutoff(door: Door) -> None:
    code = door.department()
    async with Client(door.url) as client:
        await client.send([create(code, f"A{total}", f'{{"total":{total}}}') for total in range(5)])
        page = await client.list("Order", code, filters={"total": "gt.0"}, order="-total", limit=3)
        assert [each.document["total"] for each in page.items] == [4, 3, 2]
        await client.send(create(code, "late", '{"total":9}'))
        rest = await client.following(page)
        assert rest is not None
        assert [each.document["total"] for each in rest.items] == [1]
        assert rest.cutoff == page.cutoff
        assert await client.following(rest) is None


async def test_an_actor_is_found_in_every_department_that_holds_it(door: Door) -> None:
    one, other = door.department(), door.department()
    name = f"A-{uuid4()}"
    async with Client(door.url) as client:
        await client.send([create(one, name), create(other, name)])
        assert {each.shard for each in (await client.find("Order", name)).items} == {one, other}
        assert (await client.find("Order", "nowhere")).items == ()


async def test_a_journal_is_read_in_order_and_can_be_waited_for(door: Door) -> None:
    code = door.department()
    async with Client(door.url) as client:
        start = (await client.journal(code)).next
        waiting = asyncio.create_task(client.journal(code, after=start, wait_s=30))
        receipt = await client.send(create(code, "A"))
        page = await waiting
        assert [(each["position"], each["kind"]) for each in page.records] == [(receipt.position, "received")]
        assert (page.next, page.complete) == (receipt.position, receipt.position)
        merged = await client.journal(None, after=str(Stamp(receipt.stamp.time - 1, receipt.stamp.shard)), limit=1)
        assert merged.records[0]["stamp"] == str(receipt.stamp)


async def test_the_directory_and_the_cluster_are_read_and_departments_are_made(door: Door) -> None:
    code = door.unused()
    async with Client(door.url, principal="Adä") as client:
        page = await client.put_department(code, "Clients", receives=["Order"])
        assert (page["code"], page["name"], page["receives"]) == (code, "Clients", ["Order"])
        assert (await client.departments())[code] == "Clients"
        shard = next(each for each in (await client.cluster())["shards"] if each["shard"] == code)
        assert (shard["name"], shard["leader"]) == ("Clients", "n1")
        with pytest.raises(Invalid):
            await client.send(Envelope(to=code, actor_type="Parcel", actor_id="P", action="create"))
        receipt = await client.send(create(code, "A"))
        record = (await client.journal(code, after=receipt.position - 1)).records[0]
        assert record["principal"] == "Adä"
        assert await client.ready()
        assert (await client.verify())["ok"]


async def test_what_a_department_could_not_take_is_among_the_exceptions(door: Door) -> None:
    sender, receiver = door.department(), door.department(receives=["Parcel"])
    async with Client(door.url) as client:
        sent = await client.send(create(receiver, "A", sender=sender, correlation="C-7"))
        assert (sent.shard, sent.version) == (sender, None)
        # The exception comes after the record of the department's first epoch.
        await client.journal(receiver, after=1, wait_s=30)
        found = [each for each in await client.exceptions() if each["shard"] == receiver]
        assert [each["correlation"] for each in found] == ["C-7"]


async def test_where_nobody_answers_it_says_so_and_names_the_message() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        message = create(100, "A", id=uuid4())
        async with Client(url) as client:
            with pytest.raises(Unreachable, match=f"no node answers at {url}"):
                await client.ready()
            with pytest.raises(Unreachable, match="send it again under this id") as caught:
                await client.send(message)
            assert caught.value.message_id == str(message.id)


async def test_a_connection_that_breaks_off_when_it_was_just_made_is_no_answer(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = anyio.connect_tcp

    async def broken(*where: Any, **how: Any) -> Any:
        stream = await connect(*where, **how)
        await stream.aclose()
        return stream

    monkeypatch.setattr(anyio, "connect_tcp", broken)
    async with Client(door.url) as client:
        with pytest.raises(Unreachable, match="send it again under this id"):
            await client.send(create(100, "A"))


async def test_an_answer_of_something_else_is_no_answer() -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>")
        writer.close()

    server = await asyncio.start_server(stranger, "127.0.0.1", 0)
    async with server, Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(Unreachable, match="answered 502 and is not a node of Peace River"):
            await client.cluster()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1", "http://", "http://[broken", "http://a:b", "http://a:99999"]
)
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(Unreachable, match="is not the URL of a node"):
        Client(url)


def test_moments_are_written_as_the_api_reads_them() -> None:
    assert vector({110: 4, 100: 17}) == "100:17,110:4"
    assert moment_text({100: 17}) == "100:17"
    assert moment_text(Stamp(16, 100)) == "00000000000000000010.100"
    assert moment_text(datetime(2026, 1, 5, 8, tzinfo=UTC)) == "2026-01-05T08:00:00.000000Z"
