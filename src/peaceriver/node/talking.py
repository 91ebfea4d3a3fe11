"""Questions to other nodes about replicas: gathered for a moment, so that a hundred elections at once are one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from peaceriver.errors import Unavailable
from peaceriver.node.peers import Away, Peers
from peaceriver.node.wire import Ask, Asked, framed, unframed
from peaceriver.postgres import Database, DatabaseError, Unreachable
from peaceriver.protocol.messages import Question
from peaceriver.shard.keeper import Keeper

log = structlog.get_logger()

PATH = "/replication/ask"


class Talking:
    """Asks, and lets the replicas know what is replied; a question that gets lost is asked anew by whoever needs to."""

    def __init__(self, database: Database, peers: Peers, keepers: Mapping[int, Keeper], *, timeout_s: float) -> None:
        self._database = database
        self._peers = peers
        self._keepers = keepers
        self._timeout_s = timeout_s
        self._waiting: dict[str, list[tuple[int, Question]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

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
            body = framed(Ask(self._peers.identity, questions))
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
        """The replies to another node's questions."""
        known = [(self._keepers[code], question) for code, question in ask.questions if code in self._keepers]
        replies = await asyncio.gather(*(keeper.asked(ask.identity.node, question) for keeper, question in known))
        told = zip(known, replies, strict=True)
        return Asked(
            self._peers.identity, [(keeper.shard.code, reply) for (keeper, _), reply in told if reply is not None]
        )

    async def stop(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
