"""Serving: where a node listens, what a connection may do, and departments whose stamps meet."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from peaceriver.api import parameters
from peaceriver.api.serving import KEEP_ALIVE_S, Serving, serve
from peaceriver.errors import StartFailed
from peaceriver.migrating import migrate, prepare
from peaceriver.node.identity import wall_clock
from peaceriver.node.node import Node
from peaceriver.postgres import OWNER, RUNNER, Database
from peaceriver.stamp import Stamp
from tests.acceptance.door import Door, Served, problem


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"])
def test_a_node_listens_on_loopback_only(served: Served, host: str) -> None:
    with pytest.raises(StartFailed, match="loopback"):
        served.run(serve(served.node, host))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_every_loopback_address_will_do(served: Served, host: str) -> None:
    serving = served.run(serve(served.node, host))
    try:
        answer = httpx.get(f"{serving.url}/cluster", trust_env=False, timeout=60)
        assert answer.json()["nodes"][0]["url"] == serving.url
    finally:
        served.run(serving.stop())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{serving.url}/healthz", trust_env=False)


def test_a_node_that_is_no_longer_served_is_followed_by_nobody(served: Served) -> None:
    control = served.node.shards[0]
    before = len(control.news)
    serving = served.run(serve(served.node))
    try:
        assert httpx.get(f"{serving.url}/journal?limit=1", trust_env=False, timeout=60).status_code == 200
        assert len(control.news) == before + 1
    finally:
        served.run(serving.stop())
    assert len(control.news) == before


def test_a_port_that_is_taken_is_named(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    with pytest.raises(StartFailed, match=f"port {port} of 127.0.0.1"):
        served.run(serve(served.node, port=port))
    with pytest.raises(StartFailed, match="port 65536"):
        served.run(serve(served.node, port=65_536))


def test_a_connection_is_kept_for_the_next_request_and_not_for_ever(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        for _ in range(3):
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wire.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert KEEP_ALIVE_S <= 60


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
def test_an_upgrade_that_is_not_offered_is_passed_over(served: Served, door: Door, upgrade: str) -> None:
    code = door.department()
    headers = {
        "Connection": "Upgrade, HTTP2-Settings",
        "UpGrade": upgrade,
        "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA",
    }
    body = {"text": "Upgrade: h2c " * 20_000}
    for number in range(3):
        message = {"to": code, "actor": f"Thing/{number}", "action": "create", "body": body}
        answer = door.http.post("/messages", json=message, headers=headers)
        assert answer.status_code == 201, answer.text
    assert [each["body"] for each in door.history(code)] == [body] * 3


def test_a_request_may_have_so_many_parameters_and_no_more(door: Door) -> None:
    def query(number: int) -> str:
        return "&".join(f"field{each}=is.null" for each in range(number))

    code = door.department()
    problem(door.http.get(f"/shards/{code}/Thing?{query(parameters.PARAMETERS_MAX + 1)}"), 422, "invalid")
    assert door.http.get(f"/shards/{code}/Thing?{query(20)}").status_code == 200


def test_a_client_that_leaves_in_the_middle_of_its_body_sends_nothing(served: Served, door: Door) -> None:
    code = door.department()
    host, port = served.url.removeprefix("http://").split(":")
    text = f'{{"to": {code}, "actor": "Thing/1", "action": "create"}}'.encode()
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + text)
        time.sleep(0.1)
    assert door.history(code) == []


@pytest.fixture
def frozen(served: Served) -> Iterator[Door]:
    """A node of its own whose clock stands still: departments give the same stamps."""
    database, now = "frozen", wall_clock()

    async def start() -> tuple[Node, Serving]:
        await prepare(served.server.connection("postgres"), database=database)
        await migrate(served.server.connection(OWNER, database))
        node = Node("n2", await Database.open(served.server.connection(RUNNER, database)), clock=lambda: now)
        await node.start()
        return node, await serve(node)

    node, serving = served.run(start())
    with Door(Served(node, served.server, serving.url, served.loop, served.over)) as door:
        yield door
    served.run(serving.stop())
    served.run(node.stop())


def test_departments_whose_stamps_meet_are_merged_without_loss(frozen: Door) -> None:
    codes = [frozen.department() for _ in range(3)]
    for number in range(4):
        for code in codes:
            frozen.create(code, f"Thing/{number}")
    expected = {
        (each["shard"], each["position"])
        for code in (0, *codes)
        for each in frozen.get(f"/shards/{code}/journal", limit="1000")["records"]
        if each["kind"] != "tick"
    }
    for limit in (1, 2, 5):
        found: list[Stamp] = []
        seen = set()
        after = "0"
        while records := (page := frozen.get("/journal", after=after, limit=str(limit)))["records"]:
            after = page["next"]
            found += [Stamp.parse(each["stamp"]) for each in records]
            seen |= {(each["shard"], each["position"]) for each in records if each["kind"] != "tick"}
        assert seen == expected
        assert found == sorted(set(found))
        assert len({each.time for each in found}) < len(found), "there were stamps that met"
