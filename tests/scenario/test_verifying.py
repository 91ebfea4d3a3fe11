"""Verification goes on beside everything else: it holds nothing up, and tells those who wait for what it repaired."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from peaceriver.errors import StartFailed, Withheld
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.node import Node
from peaceriver.node.repairing import Repairing
from peaceriver.node.verifying import Verifying
from peaceriver.node.wire import Flawed, Given
from peaceriver.postgres import DATABASE, DatabaseCorrupted, connect
from peaceriver.shard import verify as verify_module
from tests.scenario.damaging import checked, filled, follower, harm, journal_of, leader, steady, told, undisturbed
from tests.scenario.trio import Trio, until
from tests.scenario.words import create

Where = Callable[[Trio, int], Awaitable[Node]]


@pytest.fixture(scope="module")
async def trio(module_folder: Path, anyio_backend: object) -> AsyncIterator[Trio]:
    async with undisturbed(module_folder) as made:
        yield made


@pytest.fixture
async def code(trio: Trio) -> int:
    """A department of the test's own."""
    return await filled(trio)


async def _nothing(*_: object) -> bool:
    return False


async def test_a_doubt_under_way_holds_up_no_stop(trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await follower(trio, code)
    under_way = asyncio.Event()

    async def verify(*_: object) -> None:
        under_way.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(Verifying, "shard", verify)
    node.verifying.doubt(node.shards[code], node.name)
    task = node.verifying._doubts[code, node.name]
    await under_way.wait()
    began = time.monotonic()
    task.cancel()
    await asyncio.wait([task], timeout=3)
    assert task.cancelled()
    assert time.monotonic() - began < 1


async def test_a_follower_gets_what_was_repaired_on_its_leader_though_nothing_else_happens(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading, behind = await leader(trio, code), await follower(trio, code)
    await trio.cut(behind.name)
    for n in range(100):
        receipt = await trio.receipt(create(code, f"Item/new-{n}"), by=leading.name)
        await asyncio.sleep(0.3)
        # A poll that was under way when it was cut off is answered still.
        if behind.shards[code].tip.position < receipt.position:
            break
    other = next(each for each in trio.nodes.values() if each not in (leading, behind))
    await until(lambda: other.shards[code].tip.position >= receipt.position, "copy elsewhere")
    where = f"where shard = {code} and position = {receipt.position}"
    await harm(trio, leading, code, f"update journal set trace = 'x' {where}")
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        assert [part for part, _, _ in told(await checked(leading, code))] == ["journal"]
        # What was appended a moment ago is in memory, and sound there.
        leading.shards[code]._fresh.forget()
        trio.heal()
        session = leading.replication.followers._sessions
        await until(lambda: behind.shards[code].leader == leading.name, "leader again")
        await until(lambda: code in session[behind.name].fetches and code not in session[behind.name].spent, "fetch")
        await asyncio.sleep(1)
        assert behind.shards[code].tip.position < receipt.position
        assert leading.shards[code].serving
    await checked(leading, code)
    assert not leading.shards[code].damage.known
    await until(lambda: behind.shards[code].tip.position >= receipt.position, "repaired record", 3)


class Rests:
    """A verification that rests until it may go on."""

    def __init__(self, trio_node: Node, code: int) -> None:
        self.resting, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(trio_node.verifying.shard(trio_node.shards[code], rest=self._rest))

    async def _rest(self) -> None:
        self.resting.set()
        await self.may_go_on.wait()

    async def ends(self) -> list[Flawed]:
        self.may_go_on.set()
        return (await self.task).flaws


@pytest.mark.parametrize("position", [2, 20], ids=["passed", "ahead"])
async def test_a_verification_that_rests_holds_up_no_repair(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    monkeypatch.setattr(verify_module, "_COPIED_ROWS", 10)
    node = await follower(trio, code)
    slow = Rests(node, code)
    await slow.resting.wait()
    await harm(trio, node, code, f"update journal set trace = 'x' where shard = {code} and position = {position}")
    async with asyncio.timeout(10):
        assert [each.repaired for each in await checked(node, code)] == [True]
    assert await slow.ends() == []
    assert node.verifying.found[code, "journal"] == 1


async def test_what_somebody_found_meanwhile_is_not_taken_for_sound(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "_COPIED_ROWS", 10)
    node = await follower(trio, code)
    slow = Rests(node, code)
    await slow.resting.wait()
    await harm(trio, node, code, f"update journal set trace = 'x' where shard = {code} and position = 2")
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        assert told(await checked(node, code)) == [("journal", "1 to 2", False)]
        assert told(await slow.ends()) == [("journal", "1 to 2", False)]
        assert node.shards[code].damage.ranges
    assert [each.repaired for each in await checked(node, code)] == [True]


async def fill_pages(trio: Trio, code: int) -> int:
    """Record what takes some pages, on all nodes; answers where the journal ends."""
    await trio.receipts(*(create(code, f"Item/page-{n}") for n in range(60)))
    return await trio.level(code)


class Page:
    """A page of a table on the disk of a node."""

    def __init__(self, trio: Trio, node: Node, table: str, number: int) -> None:
        self.rows: list[int] = []
        self._trio, self._node, self._table, self._number = trio, node, table, number

    async def spoil(self, column: str | None = None) -> bytes:
        """Alter a byte on it behind the server's back; answers what it was. The values on it are in ``rows``."""
        admin = await connect(self._trio.servers[self._node.name].connection("postgres", DATABASE))
        try:
            await admin.execute("checkpoint")
            file = await admin.fetchval("select pg_relation_filepath($1::text::regclass)", self._table)
            (self._path,) = self._trio.data(self._node.name).rglob(file)
            if column is not None:
                rows = await admin.fetch(f"select {column} as it, ctid::text as at from {self._table} order by 1")
                self.rows = [each["it"] for each in rows if each["at"].startswith(f"({self._number},")]
                assert self.rows
        finally:
            await admin.close()
        whole = await self._read()
        await self.write(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        return whole

    async def _read(self) -> bytes:
        return self._path.read_bytes()[8192 * self._number :][:8192]

    async def write(self, page: bytes) -> None:
        """Put it there, and have the server lose what it has of it in memory: a backend that dies does that."""
        server = self._trio.servers[self._node.name]
        admin = await connect(server.connection("postgres", DATABASE))
        await admin.execute("checkpoint")
        with self._path.open("r+b") as file:
            file.seek(8192 * self._number)
            file.write(page)
        os.kill(await admin.fetchval("select pg_backend_pid()"), signal.SIGKILL)
        await asyncio.sleep(0.2)
        await until(self._is_back, "server that is back")

    async def _is_back(self) -> bool:
        try:
            admin = await connect(self._trio.servers[self._node.name].connection("postgres", DATABASE))
        except StartFailed:
            return False
        await admin.close()
        return True


async def last_page(node: Node, table: str, where: str) -> int:
    async with node.database.reading() as tx:
        return int(await tx.fetchval(f"select (max(ctid)::text::point)[0] from {table} where {where}"))


@pytest.mark.parametrize("where", [follower, leader], ids=["follower", "leader"])
async def test_a_page_that_cannot_be_read_is_damage_as_any_other(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch, where: Where
) -> None:
    node = await where(trio, code)
    end = await fill_pages(trio, code)
    before = await journal_of(node, code)
    page = Page(trio, node, f"journal_{code}", 1)
    await page.spoil("position")
    first, last = page.rows[0] - 1, page.rows[-1] + 1
    assert 1 < first < last < end
    with monkeypatch.context() as patch:
        patch.setattr(Repairing, "repair", _nothing)
        # The walk in the background runs into it as well.
        assert not await node.verifying._walk_on(node.shards[code])
        assert node.verifying.found[code, "journal"] == 1
        (flaw,) = await checked(node, code)
        assert (flaw.where, flaw.place, flaw.repaired) == ("journal", f"{first} to {last}", False)
        assert "cannot be read: invalid page in block 1" in flaw.detail
        assert node.replication.keepers[code].replica.barred
        with pytest.raises(Withheld):
            await node.reading.journal(code, after=first, limit=10)
        assert len((await node.reading.journal(code, after=0, limit=1000))[0]) == first - 1
    assert [each.repaired for each in await checked(node, code)] == [True]
    assert not node.shards[code].damage.known
    assert await journal_of(node, code) == before
    assert await checked(node, code) == []
    await trio.receipt(create(code, "Item/after"))
    await trio.level(code)


async def test_pages_of_which_no_node_has_the_rows_are_left_as_they_are(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await follower(trio, code)
    await fill_pages(trio, code)
    before = await journal_of(node, code)
    page = Page(trio, node, f"journal_{code}", 1)
    whole = await page.spoil("position")
    with monkeypatch.context() as patch:
        patch.setattr(Verifying, "given", _not_given)
        assert [each.repaired for each in await checked(node, code)] == [False]
    await page.write(whole)
    assert await checked(node, code) == []
    assert await journal_of(node, code) == before


@pytest.mark.parametrize("parts", [["index"], ["bodies"], ["rows", "bodies"]], ids="-".join)
async def test_what_belongs_to_a_journal_and_cannot_be_read_is_written_anew(
    trio: Trio, code: int, parts: list[str]
) -> None:
    node = await follower(trio, code)
    rng = random.Random("-".join(parts))
    for n in range(60):
        # Too long for a page, and nothing that gets shorter by compression: it is kept apart.
        text = "".join(rng.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=6_000)) if n in (20, 40) else ""
        await trio.receipt(create(code, f"Item/page-{n}", f'{{"text":"{text}"}}'))
    await trio.level(code)
    before = await journal_of(node, code)
    async with node.database.reading() as tx:
        apart = await tx.fetchval(
            f"select reltoastrelid::regclass::text from pg_class where relname = 'journal_{code}'"
        )
    tables = {"index": f"journal_{code}_pkey", "bodies": apart, "rows": f"journal_{code}"}
    for part in parts:
        await Page(trio, node, tables[part], 1).spoil()
    with pytest.raises(DatabaseCorrupted):
        await journal_of(node, code)
    assert {each.where for each in await checked(node, code)} == {"journal"}
    assert not node.shards[code].damage.known
    assert await journal_of(node, code) == before
    assert await checked(node, code) == []
    async with node.database.reading() as tx:
        await tx.execute("set enable_indexscan = off; set enable_bitmapscan = off")
        assert await tx.fetchval(f"select count(md5(body)) from journal_{code}") == len(before)
        await tx.execute("reset enable_indexscan; reset enable_bitmapscan")


async def _not_given(*_: object) -> tuple[Given, list[bytes]]:
    return Given(False), []


async def test_whoever_runs_into_what_cannot_be_read_has_it_repaired(trio: Trio, code: int) -> None:
    node = await follower(trio, code)
    await fill_pages(trio, code)
    # New records are walked along by themselves; these are no longer new.
    while await node.verifying._walk_on(node.shards[code]):
        pass
    before = await journal_of(node, code)
    page = Page(trio, node, f"journal_{code}", 1)
    await page.spoil("position")
    node.verifying._suspected_at = float("-inf")  # as if it had been long ago, in another test
    async with trio.door(node.name) as door:
        answer = await door.get(f"/shards/{code}/journal", params={"limit": "1000"})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/withheld"), answer.text
    await until(lambda: node.verifying.found[code, "journal"] == 1 and not node.shards[code].damage.known, "repair")
    assert await journal_of(node, code) == before


async def test_a_journal_is_not_written_anew_where_there_is_no_room(
    trio: Trio, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await follower(trio, code)
    await fill_pages(trio, code)
    before = await journal_of(node, code)
    await Page(trio, node, f"journal_{code}", 1).spoil("position")
    with monkeypatch.context() as patch:
        patch.setattr(node.room, "has", lambda more_bytes: more_bytes < 100_000)
        assert [each.repaired for each in await checked(node, code)] == [False]
    assert [each.repaired for each in await checked(node, code)] == [True]
    assert await journal_of(node, code) == before


async def test_a_view_that_cannot_be_read_is_made_anew(trio: Trio, code: int) -> None:
    node = await follower(trio, code)
    await trio.level(code)
    view = node.views.tables["Item"].relation
    page = Page(trio, node, view, await last_page(node, view, f"actor_shard = {code}"))
    await page.spoil("actor_position")
    flaws = told(await checked(node, code))
    assert ("view", "Item", True) in flaws
    assert await checked(node, code) == []
    assert (await node.reading.actor(code, "Item", "3", Freshness()))[1].document == '{"n":3,"m":3}'


async def test_actors_that_cannot_be_read_keep_a_node_from_leading(tmp_path: Path) -> None:
    # What actors are stands in one table for all departments, so it is a cluster of the test's own.
    async with steady(tmp_path) as trio:
        code = await filled(trio)
        node = await follower(trio, code)
        page = Page(trio, node, "actor", await last_page(node, "actor", f"shard = {code} and type = 'Item'"))
        whole = await page.spoil("position")
        assert ("actor", False) in [(part, repaired) for part, _, repaired in told(await checked(node, code))]
        assert node.replication.keepers[code].replica.barred
        await page.write(whole)
        await checked(node, code)
        assert not node.shards[code].damage.known
