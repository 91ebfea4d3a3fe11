"""A client that goes away leaves no query running, and nobody waiting for one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from peaceriver.limits import STREAMS_MAX
from peaceriver.postgres import DATABASE, connect
from tests.acceptance.door import Door, Served
from tests.acceptance.test_http_messages import until

#: More than the node has connections for queries.
_CLIENTS = 12
_NUMBERS = "generate_series(1, 100000) a(n), generate_series(1, 100000) b(n)"
_LONG = f"select count(*) from {_NUMBERS}"
#: More than goes out while nobody reads.
_MUCH = f"select a.n, repeat('x', 1000) as filling from {_NUMBERS} where b.n <= 2"


async def _leave(url: str, method: str, target: str, clients: int, **request: Any) -> None:
    """Clients who ask, and close their connections after a second."""

    async def one() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(20, read=1), trust_env=False) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.request(method, target, **request)

    await asyncio.gather(*(one() for _ in range(clients)))


def _nobody_is_kept_waiting(door: Door) -> None:
    began = time.monotonic()
    answer = door.http.post("/query", json={"sql": "select 1", "timeout": "30s"})
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - began < 5
    until(lambda: not door.served.run(_is_asked(door.served)))


async def _is_asked(served: Served) -> bool:
    """Whether the server has such a query under way."""
    admin = await connect(served.server.connection("postgres", DATABASE))
    try:
        count: int = await admin.fetchval(
            "select count(*) from pg_stat_activity where state <> 'idle' and query like '%100000%' "
            "and pid <> pg_backend_pid()"
        )
        return count > 0
    finally:
        await admin.close()


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_a_query_ends_when_its_client_goes(door: Door, accept: str) -> None:
    clients = _CLIENTS if accept == "application/json" else STREAMS_MAX
    question = {"sql": _LONG, "timeout": "60s"}
    asyncio.run(_leave(door.url, "POST", "/query", clients, json=question, headers={"Accept": accept}))
    _nobody_is_kept_waiting(door)


def test_a_stream_ends_between_its_parts_when_its_client_goes(door: Door) -> None:
    question = {"sql": _MUCH, "timeout": "60s"}
    with door.http.stream("POST", "/query", json=question, headers={"Accept": "text/csv"}) as answer:
        assert answer.status_code == 200
        assert next(answer.iter_lines()) == "n,filling"
        assert door.served.run(_is_asked(door.served))
    _nobody_is_kept_waiting(door)


def test_a_named_view_ends_when_its_client_goes(door: Door) -> None:
    assert door.http.put("/views/long", json={"sql": _LONG}).is_success
    asyncio.run(_leave(door.url, "GET", "/views/long", _CLIENTS, params={"timeout": "60s"}))
    _nobody_is_kept_waiting(door)
