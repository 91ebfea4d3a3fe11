"""What stands in the replicas' databases, read beside the nodes and past all their code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from peaceriver.postgres import quoted
from tests.faults.cluster import Cluster
from tests.faults.member import Member

#: How soon after healing all replicas must be equal.
CONVERGED_S = 5.0
_LOOK_S = 0.05
_COLUMNS = """shard, position, group_end, epoch, stamp, kind, message_id::text as id, actor_type, actor_id, action,
    message_type as type, actor_version as version, sender_shard as sender, receiver_shard as receiver,
    source_position, cause_time, rule, root::text as root, body, chain"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of a journal."""

    shard: int = 0
    position: int = 0
    group_end: int = 0
    epoch: int = 0
    stamp: int = 0
    kind: str = "received"
    id: str | None = None
    actor_type: str | None = None
    actor_id: str | None = None
    action: str | None = None
    type: str | None = None
    version: int | None = None
    sender: int | None = None
    receiver: int | None = None
    source_position: int | None = None
    cause_time: int | None = None
    rule: str | None = None
    root: str | None = None
    body: str = ""
    chain: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """A replica's own word on where it stands."""

    promised: int = 0
    epoch: int = 0
    position: int = 0
    chain: bytes = b""
    standing: int = 0
    recovering: bool = False


@dataclass
class Copy:
    """One node's replicas."""

    node: str
    tips: dict[int, Tip] = field(default_factory=dict)
    journals: dict[int, list[Entry]] = field(default_factory=dict)
    #: Messages that are not history, by department: their ids.
    pending: dict[int, set[str]] = field(default_factory=dict)
    #: Rows of views, as text, by type: of the departments that were asked for.
    views: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    #: What admission goes by, by department: type, id, version, position, status, document.
    actors: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)
    #: Rows whose chain is not that of their content.
    unchained: list[str] = field(default_factory=list)


@asynccontextmanager
async def _connected(member: Member) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**member.database())
    try:
        yield connection
    finally:
        await connection.close()


async def tips(member: Member) -> dict[int, Tip]:
    """Where all replicas of a node stand."""
    async with _connected(member) as connection:
        return await _tips(connection)


async def answering(cluster: Cluster) -> None:
    """Wait until every node's database answers: a server that was killed recovers first.

    A node whose disk was full when it started has ended, and is started again, as whoever keeps nodes running does.
    """
    for member in cluster.members.values():
        while True:
            try:
                await tips(member)
                break
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await member.start()
                await asyncio.sleep(_LOOK_S)


async def _tips(connection: asyncpg.Connection) -> dict[int, Tip]:
    rows = await connection.fetch(
        """select shard, promised, last_epoch as epoch, last_position as position, last_chain as chain,
            standing_position as standing, recovering from shard_state order by shard"""
    )
    return {row["shard"]: Tip(**{name: row[name] for name in Tip.__slots__}) for row in rows}


async def read(member: Member, codes: Sequence[int]) -> Copy:
    """Everything that a node's database holds of some departments."""
    async with _connected(member) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        copy = Copy(member.name, tips=await _tips(connection))
        rows = await connection.fetch(
            f"select {_COLUMNS} from journal where shard = any($1) order by shard, position", codes
        )
        copy.journals = {code: [] for code in codes}
        for row in rows:
            copy.journals[row["shard"]].append(Entry(**dict(row)))
        for row in await connection.fetch("select shard, message_id::text as id from pending where shard >= 0"):
            copy.pending.setdefault(row["shard"], set()).add(row["id"])
        copy.unchained = [
            f"{member.name}: the row at {row['position']} of department {row['shard']} is not what its chain says"
            for row in await connection.fetch(
                """select shard, position from (
                    select j.shard, j.position, j.chain, chain_after(coalesce(lag(j.chain) over before,
                        decode(repeat('00', 32), 'hex')), j) as computed
                    from journal j where j.shard = any($1) window before as (partition by j.shard order by j.position)
                ) as linked where chain <> computed""",
                codes,
            )
        ]
        await _folded(connection, copy, codes)
        return copy


async def _folded(connection: asyncpg.Connection, copy: Copy, codes: Sequence[int]) -> None:
    for row in await connection.fetch("select actor_type, table_name from view_catalog order by actor_type"):
        found = await connection.fetch(
            f"""select actor_shard, actor_id, actor_from, actor_until, actor_version, actor_status, actor_position,
                document::text as document from view.{quoted(row["table_name"])} where actor_shard = any($1)
                order by actor_shard, actor_id, actor_from""",
            codes,
        )
        copy.views[row["actor_type"]] = [tuple(each) for each in found]
    copy.actors = {code: [] for code in codes}
    for row in await connection.fetch(
        """select shard, type, id, version, position, status, document from actor where shard = any($1)
            order by shard, type, id""",
        codes,
    ):
        copy.actors[row["shard"]].append(tuple(row)[1:])


async def read_all(cluster: Cluster, codes: Sequence[int]) -> list[Copy]:
    return list(await asyncio.gather(*(read(member, codes) for member in cluster.members.values())))


async def converged(cluster: Cluster, codes: Iterable[int], *, timeout_s: float) -> tuple[float, str]:
    """Wait until all replicas of some departments are equal, complete and folded; how long that took, and what is not.

    The second is empty where they are.
    """
    wanted = sorted(codes)
    began = time.monotonic()
    while True:
        unlike = await _unlike(cluster, wanted)
        took = time.monotonic() - began
        if not unlike or took > timeout_s:
            return took, unlike
        await asyncio.sleep(_LOOK_S)


async def _unlike(cluster: Cluster, codes: Sequence[int]) -> str:
    """What is not equal yet, in words."""
    said = await asyncio.gather(*(cluster.standing(name) for name in cluster.names))
    for name, standing in zip(cluster.names, said, strict=True):
        if standing is None:
            return f"{name} does not answer"
        for code in codes:
            shard = standing.get(code)
            if shard is None:
                return f"{name} has no replica of department {code}"
            if not shard.position == shard.complete == shard.folded:
                return (
                    f"{name} has department {code} at {shard.position}, complete up to {shard.complete}, "
                    f"folded up to {shard.folded}"
                )
    try:
        found = await asyncio.gather(*(tips(member) for member in cluster.members.values()))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return f"a database does not answer: {error!r}"
    for code in codes:
        places = {name: each[code] for name, each in zip(cluster.names, found, strict=True)}
        # The nodes spoke a moment before: what has come since may not be folded yet.
        for name, standing in zip(cluster.names, said, strict=True):
            if standing is not None and standing[code].position != places[name].position:
                return f"{name} has moved on in department {code}"
        if len({(each.epoch, each.position, each.chain) for each in places.values()}) > 1:
            told = ", ".join(f"{name} {each.position} of epoch {each.epoch}" for name, each in places.items())
            return f"department {code} ends at {told}"
        if recovering := [name for name, each in places.items() if each.recovering]:
            return f"{recovering} are still recovering department {code}"
    return ""
