"""`make bench`: appends through the public Python API beside raw COPY into the same columns and indexes.

Every round measures every contestant once, in turn; medians of the rounds are compared. The figures of one machine at
one time mean little, their ratios more. The result is kept as JSON in bench/results/.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from peaceriver import Cluster, Envelope
from peaceriver.postgres import copy_in
from peaceriver.record import COLUMNS

ROUNDS = 3
MESSAGES = 10_000
SINGLES = 3_000
CLIENTS = 32
CODE = 100
BODY = json.dumps({"customer": "Ada Lovelace", "total": 2500.1, "state": "open", "note": "x" * 250})
RESULTS = Path(__file__).parent / "results"

Contestant = Callable[[Cluster, int], Awaitable[float]]


def messages(count: int) -> list[Envelope]:
    """New actors, so that every message is a create that is admitted."""
    return [
        Envelope(to=CODE, actor_type="Load", actor_id=uuid4().hex, action="create", body=BODY) for _ in range(count)
    ]


async def bulk(cluster: Cluster, round_number: int) -> float:
    """Messages in one array; answers messages per second."""
    batch = messages(MESSAGES)
    began = time.perf_counter()
    await cluster.send(batch, timeout_s=60)
    return MESSAGES / (time.perf_counter() - began)


async def singles(cluster: Cluster, round_number: int) -> float:
    """Single messages from concurrent clients."""
    waiting = iter(messages(SINGLES))

    async def client() -> None:
        for each in waiting:
            await cluster.send(each)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return SINGLES / (time.perf_counter() - began)


async def raw_copy(cluster: Cluster, round_number: int) -> float:
    """COPY of equal rows into a table with the journal's columns and indexes, without a fold, a chain or a check."""
    assert cluster.node is not None
    first = round_number * MESSAGES + 1
    fixed = dict.fromkeys(COLUMNS) | {"shard": CODE, "epoch": 1, "kind": "received", "hops": 0, "body": BODY}
    fixed |= {"actor_type": "Load", "action": "create", "message_type": "Load.create", "actor_version": 1}
    rows = []
    for position in range(first, first + MESSAGES):
        message_id = uuid4()
        own = {"position": position, "group_end": position, "stamp": position, "message_id": message_id}
        own |= {"actor_id": message_id.hex, "root": message_id, "receiver_shard": CODE}
        rows.append((*(fixed | own).values(), bytes(32)))
    async with cluster.node.database.transaction() as tx:
        began = time.perf_counter()
        await copy_in(tx, "raw", (*COLUMNS, "chain"), rows, schema="view")
    return MESSAGES / (time.perf_counter() - began)


CONTESTANTS: dict[str, Contestant] = {
    "raw COPY, same columns and indexes": raw_copy,
    f"arrays of {MESSAGES:,} messages": bulk,
    f"single messages, {CLIENTS} clients": singles,
}


async def run() -> dict[str, Any]:
    """All rounds on one embedded node; the medians, and their ratios to raw COPY."""
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    async with Cluster.embedded() as cluster:
        assert cluster.node is not None
        await cluster.department(CODE, "Bench")
        async with cluster.node.database.connection() as tx:
            await tx.execute(f"create table view.raw (like journal_{CODE} including indexes)")
        for round_number in range(ROUNDS):
            for name, contestant in CONTESTANTS.items():
                rates[name].append(await contestant(cluster, round_number))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    base = medians[next(iter(CONTESTANTS))]
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": ROUNDS,
        "per_second": {name: round(rate) for name, rate in medians.items()},
        "to_raw_copy": {name: round(rate / base, 3) for name, rate in medians.items()},
    }


def main() -> None:
    result = asyncio.run(run())
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{result['at'].replace(':', '')}.json").write_text(json.dumps(result, indent=2) + "\n")
    for name, ratio in result["to_raw_copy"].items():
        print(f"{name:<40} {result['per_second'][name]:>9,}/s  {ratio:.2f} of raw COPY")


if __name__ == "__main__":
    main()
