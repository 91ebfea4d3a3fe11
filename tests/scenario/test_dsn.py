"""A node on a database that was given to it by a DSN."""

from __future__ import annotations

import pytest

from peaceriver.errors import StartFailed
from peaceriver.node.launch import node_on_dsn
from peaceriver.node.publishing import Publishing
from peaceriver.postgres import RUNNER, DatabaseError
from peaceriver.shard.proposal import Receipt
from tests.scenario.words import create
from tests.scenario.world import ME


async def test_a_given_database_is_served_and_append_only_as_well(dsn: str) -> None:
    for start in range(2):
        node = await node_on_dsn("n1", dsn)
        try:
            await Publishing(node).department(100, {"name": "Sales"}, ME)
            outcome = (await node.sending.send([create(100, f"Order/{start}")], ME))[0]
            assert isinstance(outcome, Receipt)
            async with node.database.connection() as tx:
                assert await tx.fetchval("select current_user") == RUNNER
                with pytest.raises(DatabaseError, match="permission denied"):
                    await tx.execute("delete from journal")
        finally:
            await node.stop()


async def test_a_database_that_is_not_there_is_said(dsn: str) -> None:
    with pytest.raises(StartFailed, match="nowhere"):
        await node_on_dsn("n1", dsn.replace("/given", "/nowhere"))
