"""Questions to other nodes about replicas: gathered for a moment, so that a hundred elections at once are one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from peaceriver.errors import Unavailable
from peaceriver.node.background import Background
from peaceriver.node.peers import Away, Peers, in_words
from peaceriver.node.wire import Ask, Asked, framed, unframed
from peaceriver.postgres import Database
from peaceriver.protocol.messages import Question, Reply
from peaceriver.shard.keeper import Keeper

log = structlog.get_logger()

PATH = "/replication/ask"
#: Of the time that whoever asks waits: after that, the answer has what is ready.
_READY = 0.5


class Talking:
    """Asks, and lets the replicas know what is replied; a question that gets lost is asked anew by whoever needs to."""

    def __init__(self, database: Database, peers: Peers, keepers: Mapping[int, Keeper], *, timeout_s: float) -> None:
        self._database = database
        self._peers = peers
        self._keepers = keepers
        self._timeout_s = timeout_s
        self._waiting: dict[str, list[tuple[int, Question]]] = {}
        self._background = Background()

    def say(self, node: str, code: int, question: Question) -> None:
        """Ask a node something about a department."""
        waiting = self._waiting.setdefault(node, [])
        waiting.append((code, question))
        if len(waiting) == 1:
            # Where that fails the questions count as lost, and are asked again by whoever needs to.
            self._background.begin(self._send(node), name=f"ask {node}")

    async def _send(self, node: str) -> None:
        await asyncio.sleep(0)
        questions = self._waiting.pop(node)
        try:
            body = framed(Ask(self._peers.identity, questions, self._peers.founders))
            asked, _ = unframed(await self._peers.post(node, PATH, body, timeout_s=self._timeout_s), Asked)
            if await self._peers.meet(self._database, asked.identity) is not None:
                return  # what an older database says does not count; the node learns of it when it polls
            keepers = self._keepers
            await asyncio.gather(
                *(keepers[code].replied(node, each) for code, each in asked.replies if code in keepers)
            )
        except (*Away, Unavailable) as error:
            log.debug("a question was not answered", node=node, reason=in_words(error))

    async def answer(self, ask: Ask) -> Asked:
        """The replies to another node's questions, but for those that take too long: they are asked again."""
        node = ask.identity.node
        asking = {
            self._background.begin(self._keepers[code].asked(node, question), name=f"answer {node} about {code}"): code
            for code, question in ask.questions
            if code in self._keepers
        }
        if asking:
            await asyncio.wait(asking, timeout=self._timeout_s * _READY)
        replies = [(code, reply) for task, code in asking.items() if (reply := _came_of(task)) is not None]
        return Asked(self._peers.identity, replies)

    async def stop(self) -> None:
        await self._background.stop()


def _came_of(task: asyncio.Task[Reply | None]) -> Reply | None:
    return task.result() if task.done() and not task.cancelled() and task.exception() is None else None
