"""Questions to many departments at once: none waits for what is being carried out in another."""

from __future__ import annotations

import asyncio
from typing import cast
from uuid import UUID

from peaceriver.node.peers import Peers
from peaceriver.node.talking import Talking
from peaceriver.node.wire import Ask, Identity
from peaceriver.postgres import Database
from peaceriver.protocol.messages import START, Question, Reply, Standing
from peaceriver.protocol.messages import Ask as AskForPromise
from peaceriver.shard.keeper import Keeper

_ME, _OTHER = (Identity(node, UUID(int=1), 1, UUID(int=2)) for node in ("n1", "n2"))
_STANDING = Standing(promised=1, end=START, leads=None, recovering=False, free=True)


class Replica:
    """One that answers once it may, or not at all."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.may = asyncio.Event()
        self.fails = fails
        self.answered = False

    async def asked(self, node: str, question: Question) -> Reply | None:
        if self.fails is not None:
            raise self.fails
        await self.may.wait()
        self.answered = True
        return _STANDING


async def test_who_takes_long_or_fails_keeps_no_other_answer_back() -> None:
    quick, slow, failing = Replica(), Replica(), Replica(ConnectionResetError("the server went away"))
    quick.may.set()
    keepers = cast("dict[int, Keeper]", {100: quick, 101: slow, 102: failing})
    talking = Talking(cast(Database, None), Peers(_ME, {}), keepers, timeout_s=0.2)
    asked = await talking.answer(Ask(_OTHER, [(code, AskForPromise(2, 1)) for code in (100, 101, 102, 999)]))
    assert asked.replies == [(100, _STANDING)]
    # What was begun is brought to its end: a promise is made or it is not.
    slow.may.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert slow.answered
    await talking.stop()
