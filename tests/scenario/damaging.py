"""What only a superuser who means it can do to the database of one of three nodes, and what comes of looking for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from peaceriver.limits import LEASE_S
from peaceriver.node import verifying
from peaceriver.node.node import Node
from peaceriver.node.wire import Checked, Flawed
from peaceriver.postgres import DATABASE, connect
from tests.scenario.trio import Trio, trio, until
from tests.scenario.words import create, modify

ITEMS = 12
#: What is damaged stays led by the same node, however slow a moment is: journals are compared to the last record.
steady = partial(trio, lease_s=LEASE_S)


@asynccontextmanager
async def undisturbed(folder: Path) -> AsyncIterator[Trio]:
    """Such nodes for the block; nothing is tried again in the background before a test has looked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verifying, "REPAIR_PAUSE_S", 60.0)
        async with steady(folder) as made:
            yield made


async def filled(trio: Trio) -> int:
    """A new department with some actors, level on all nodes."""
    code = await trio.department()

    def is_written_down() -> bool:
        return all(each.replication.keepers[code].replica.members.position > 0 for each in trio.nodes.values())

    # The leader writes down who holds the department, soon after it was founded.
    await until(is_written_down, "record of who holds the department")
    await trio.receipts(*(create(code, f"Item/{n}", f'{{"n":{n}}}') for n in range(ITEMS)))
    await trio.receipts(*(modify(code, f"Item/{n}", f'{{"m":{n}}}') for n in range(ITEMS)))
    await trio.level(code)
    return code


async def leader(trio: Trio, code: int) -> Node:
    return trio[await trio.leader(code)]


async def follower(trio: Trio, code: int) -> Node:
    return trio[(await trio.followers(code))[0]]


async def harm(trio: Trio, node: Node, code: int, *statements: str) -> None:
    """Change what nobody may: the guard of the journal is away meanwhile."""
    admin = await connect(trio.servers[node.name].connection("postgres", DATABASE))
    try:
        await admin.execute(f"alter table journal_{code} disable trigger append_only")
        for statement in statements:
            assert await admin.execute(statement) != "UPDATE 0", statement
        await admin.execute(f"alter table journal_{code} enable always trigger append_only")
    finally:
        await admin.close()


async def journal_of(node: Node, code: int) -> list[tuple[Any, ...]]:
    async with node.database.connection() as tx:
        rows = await tx.fetch("select * from journal where shard = $1 order by position", code)
    return [tuple(row.values()) for row in rows]


async def checked(node: Node, code: int) -> list[Flawed]:
    """Verify one replica, and repair it."""
    (found,) = await node.verifying.answer([code])
    assert isinstance(found, Checked)
    return found.flaws


def told(flaws: Sequence[Flawed]) -> list[tuple[str, str, bool]]:
    return [(each.where, each.place, each.repaired) for each in flaws]
