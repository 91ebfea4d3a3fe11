"""Questions to other nodes about replicas: gathered for a moment, so that a hundred elections at once are one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping

import structlog

from peaceriver.errors import Unavailable
from peaceriver.node.peers import Away, Peers
from peaceriver.node.wire import Ask, Asked, framed, unframed
from peaceriver.postgres import Database, DatabaseError, Unreachable
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
        self._sending: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[Reply | None]] = set()

    def say(self, node: str, code: int, question: Question) -> None:
        """Ask a node something about a department."""
        waiting = self._waiting.setdefault(node, [])
        waiting.append((code, question))
        if len(waiting) == 1:
            task = asyncio.create_task(self._send(node), name=f"ask {node}")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

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
            log.debug("a question was not answered", node=node, reason=repr(error))
        except (*Unreachable, DatabaseError) as error:
            log.warning("a reply waits for this node's database", node=node, reason=str(error))
        except Exception:  # outermost: the question counts as lost, and is asked again by whoever needs to
            log.exception("a reply could not be taken in", node=node)

    async def answer(self, ask: Ask) -> Asked:
        """The replies to another node's questions, but for those that take too long: they are asked again."""
        asking = {
            self._begun(self._keepers[code].asked(ask.identity.node, question)): code
            for code, question in ask.questions
            if code in self._keepers
        }
        if asking:
            await asyncio.wait(asking, timeout=self._timeout_s * _READY)
        replies = [(code, reply) for task, code in asking.items() if (reply := _came_of(task)) is not None]
        return Asked(self._peers.identity, replies)

    def _begun(self, asking: Coroutine[None, None, Reply | None]) -> asyncio.Task[Reply | None]:
        task = asyncio.create_task(asking)
        self._answering.add(task)
        task.add_done_callback(self._answered)
        return task

    def _answered(self, task: asyncio.Task[Reply | None]) -> None:
        self._answering.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, (*Unreachable, DatabaseError)):
            log.warning("an answer waits for this node's database", reason=str(error))
        else:
            log.error("a question could not be answered", exc_info=error)

    async def stop(self) -> None:
        tasks = (*self._sending, *self._answering)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _came_of(task: asyncio.Task[Reply | None]) -> Reply | None:
    return task.result() if task.done() and not task.cancelled() and task.exception() is None else None
