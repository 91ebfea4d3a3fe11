"""The other nodes of the cluster: where they are, how to reach them, and which start of each was heard of last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import aiohttp
import structlog

from peaceriver.errors import Malformed, Unavailable
from peaceriver.node.wire import Identity
from peaceriver.postgres import Database
from peaceriver.shard import replicas

log = structlog.get_logger()

#: How long it may take to connect to another node, and how long an answer.
CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 10.0
#: What goes wrong on the way to another node.
Away = (aiohttp.ClientError, TimeoutError, OSError, Malformed)

#: What goes wrong before anything is said: the other node has done nothing.
NotReached = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def in_words(error: BaseException) -> str:
    """What went wrong on the way to another node, for people."""
    match error:
        case aiohttp.ClientConnectorError():
            return f"nobody listens there: {error.os_error.strerror or error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "it broke the connection off"
        case TimeoutError():
            return "it says nothing"
    return str(error) or repr(error)


class Passed(NamedTuple):
    """What another node has answered to a request of the public API."""

    status: int
    headers: dict[str, str]
    body: bytes


class Streamed(NamedTuple):
    """An answer of another node that is still coming."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class Peers:
    """The other nodes, by name."""

    def __init__(self, identity: Identity, urls: Mapping[str, str], founders: tuple[str, ...] = ()) -> None:
        #: Which start of which node this is, and who founded its cluster.
        self.identity = identity
        self.founders = founders
        #: Where each is, as this node was told at its start, and as the directory says; and where it was missed last.
        self._told = {name: url.rstrip("/") for name, url in urls.items() if name != identity.node}
        self._placed: dict[str, str] = {}
        self._missed: dict[str, str] = {}
        #: The last start of each that was heard of, and the databases that each had before its newest one.
        self._known: dict[str, Identity] = {}
        self._former: set[tuple[str, UUID]] = set()
        self._noting = asyncio.Lock()
        #: When each was last heard of, by the steady clock.
        self.heard_at: dict[str, float] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def names(self) -> list[str]:
        return list(self._told | self._placed)

    def url(self, node: str) -> str | None:
        """Where a node is served; None for one that nobody knows.

        What the directory says may be old, and so may what this node was told: where it was missed, the other counts.
        """
        places = [each[node] for each in (self._placed, self._told) if node in each]
        return next((each for each in places if each != self._missed.get(node)), places[0] if places else None)

    def place(self, node: str, url: str) -> None:
        """A node is, from now on, served there."""
        if node != self.identity.node:
            self._placed[node] = url.rstrip("/")

    def part_with(self, node: str) -> None:
        """A node is no part of the cluster any more."""
        for each in (self._told, self._placed, self._missed):
            each.pop(node, None)

    async def load(self, database: Database) -> None:
        """Read what was known of the others before."""
        async with database.connection() as tx:
            for row in await replicas.sql.peers.rows(tx):
                identity = identity_of(row["node"], row["incarnation"], row["boots"], row["run"])
                if row["newest"]:
                    self._known[identity.node] = identity
                else:
                    self._former.add((identity.node, identity.incarnation))

    async def post(
        self,
        node: str,
        path: str,
        body: bytes,
        *,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
        silence_s: float | None = None,
    ) -> bytes:
        """Say something to another node; it is given up after ``timeout_s``, or where nothing comes for ``silence_s``.

        Raises one of Away, or Unavailable for a node that nobody knows.
        """
        url = self._place_of(node)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s)
        try:
            async with self._connected().post(url + path, data=body, timeout=timeout) as answer:
                content: bytes = await answer.read()
        except NotReached:
            self._missed[node] = url
            raise
        if answer.status != 200:
            raise Malformed(f"{node} answers {answer.status} to {path}: {content[:200]!r}")
        self.heard_at[node] = time.monotonic()
        return content

    def _place_of(self, node: str) -> str:
        url = self.url(node)
        if url is None:
            raise Unavailable(f"nobody knows where the node {node} is; its page in the directory has to say")
        return url

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Connections live as long as the node: one or two to each of the others.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0), auto_decompress=False
            )
        return self._session

    async def ask_all(self, path: str, body: bytes, *, timeout_s: float) -> dict[str, bytes]:
        """Ask all other nodes the same; the answers of those that give one in time, by name."""
        names = self.names
        answers = await asyncio.gather(
            *(self.post(each, path, body, timeout_s=timeout_s) for each in names), return_exceptions=True
        )
        found: dict[str, bytes] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, bytes):
                found[name] = answer
            elif not isinstance(answer, (*Away, Unavailable)):
                raise answer
        return found

    async def request(
        self, node: str, method: str, target: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
    ) -> Passed:
        """Make a request of the public API to another node, and give back what it answers, whatever that is.

        Raises one of Away, or Unavailable for a node that nobody knows.
        """
        url = self._place_of(node) + target
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        session = self._connected()
        async with session.request(method, url, data=body or None, headers=headers, timeout=timeout) as answer:
            return Passed(answer.status, dict(answer.headers), await answer.read())

    @asynccontextmanager
    async def stream(
        self, node: str, method: str, target: str, headers: Mapping[str, str], body: bytes, *, first_s: float
    ) -> AsyncIterator[Streamed]:
        """Make a request of the public API to another node, whose answer comes in pieces while the block lasts.

        Each piece may take ``first_s``. Raises one of Away, also in the middle, or Unavailable for a node that nobody
        knows.
        """
        url = self._place_of(node) + target
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(first_s, CONNECT_TIMEOUT_S), sock_read=first_s)
        session = self._connected()
        async with session.request(method, url, data=body or None, headers=headers, timeout=timeout) as answer:
            yield Streamed(answer.status, dict(answer.headers), answer.content.iter_any())

    @property
    def by_last_word(self) -> list[str]:
        """The other nodes, those first that were heard of last."""
        return sorted(self.names, key=lambda each: self.heard_at.get(each, 0.0), reverse=True)

    async def meet(self, database: Database, identity: Identity) -> int | None:
        """Take note of a start of another node; answers how often it has started, where it knows of fewer times.

        Then its database was replaced by an older one, and nothing that it promises or acknowledges may count.
        """
        known = self._known.get(identity.node)
        if known == identity:
            return None
        if known is not None and self._is_older(identity, known):
            return known.boots
        async with self._noting:
            async with database.connection() as tx:
                await replicas.sql.note_peer.run(
                    tx,
                    node=identity.node,
                    incarnation=identity.incarnation,
                    boots=identity.boots,
                    run=identity.run,
                )
            if known is not None and known.incarnation != identity.incarnation:
                self._former.add((known.node, known.incarnation))
            self._known[identity.node] = identity
        return None

    def _is_older(self, identity: Identity, known: Identity) -> bool:
        if (identity.node, identity.incarnation) in self._former:
            return True
        if identity.incarnation != known.incarnation:
            return False
        return identity.boots < known.boots or (identity.boots == known.boots and identity.run != known.run)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def identity_of(node: str, incarnation: UUID, boots: int, run: UUID) -> Identity:
    """A node's identity, its parts checked."""
    return Identity(node, UUID(bytes=incarnation.bytes), boots, run)
