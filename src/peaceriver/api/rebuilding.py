"""``POST /cluster/rebuild``: a type's view is folded anew while reads go on, and says how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.tables import LINES
from peaceriver.errors import Failed, Invalid, Malformed, NotFound, Offence, Refused, Unavailable
from peaceriver.jsontext import encode
from peaceriver.limits import BODY_BYTES_MAX
from peaceriver.node.node import Node
from peaceriver.postgres import DatabaseError, Unreachable
from peaceriver.shard.rebuild import Folded

#: A line so often, whether there is news or not: who waits sees that it goes on, and that who waited went away is seen.
_LINE_S = 1.0
#: And no more often than this.
_PAUSE_S = 0.1


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    type: str


async def post(context: Context, asked: Asked) -> Response:
    """Begin, and answer with a line for every step until it is done; it ends, undone, where nobody listens any more.

    What keeps it from beginning is a problem; what does later is the last line's.
    """
    try:
        wanted = msgspec.json.decode(await asked.body(BODY_BYTES_MAX), type=_Wanted).type
    except msgspec.ValidationError as error:
        raise Invalid('say which type: {"type": "Order"}', errors=(Offence("/type", str(error)),)) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    node = context.node
    if wanted not in node.views and wanted not in node.directory.models:
        raise NotFound(f"there is no type {wanted[:80]!r}; GET /actors lists those that there are")
    rebuild = _Rebuild(node, wanted)
    try:
        await rebuild.news(context.stopping)
        if rebuild.failed:
            await rebuild.work
    except BaseException:
        rebuild.work.cancel()
        raise
    return _Watched(_lines(context, rebuild), rebuild)


class _Watched(StreamingResponse):
    """The lines of a rebuild, which ends with them, however they end."""

    def __init__(self, lines: AsyncIterator[bytes], rebuild: _Rebuild) -> None:
        super().__init__(lines, media_type=LINES)
        self._rebuild = rebuild

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._rebuild.work.cancel()


class _Rebuild:
    """One rebuild that is under way, or waits for another one to end."""

    def __init__(self, node: Node, actor_type: str) -> None:
        self._node = node
        self._actor_type = actor_type
        self._shards: dict[int, Folded] = {}
        self._changed = asyncio.Event()
        work = node.rebuild(actor_type, self._tell)
        self.work = node.background.begin(work, name=f"rebuild the view of {actor_type}")

    def _tell(self, folded: Folded) -> None:
        self._shards[folded.shard] = folded
        self._changed.set()

    @property
    def failed(self) -> bool:
        return self.work.done() and (self.work.cancelled() or self.work.exception() is not None)

    async def news(self, stopping: asyncio.Event) -> None:
        """Wait for something to tell, or for the server to stop, but not for long."""
        waits = [asyncio.ensure_future(each.wait()) for each in (self._changed, stopping)]
        try:
            await asyncio.wait((self.work, *waits), timeout=_LINE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        self._changed.clear()

    def line(self, state: str, **more: Any) -> bytes:
        shards = [msgspec.to_builtins(each) for each in self._shards.values() if each.records]
        told = {"node": self._node.name, "type": self._actor_type, "state": state, "shards": shards}
        return encode(told | more) + b"\n"

    def now(self) -> bytes:
        """How it stands, as a line."""
        if not self.work.done():
            return self.line("folding" if self._shards else "waiting")
        if self.work.cancelled():
            return self.line("failed", problem=Unavailable("this node stops; ask again once it is back").problem())
        error = self.work.exception()
        return self.line("done") if error is None else self.line("failed", problem=_problem(error))


def _problem(error: BaseException) -> dict[str, Any]:
    if isinstance(error, Refused):
        return error.problem()
    if isinstance(error, (*Unreachable, DatabaseError)):
        return Unavailable("the node's database failed; the view is as it was: ask again in a moment").problem()
    return Failed("the node met something that it has no answer for; the view is as it was, and its log says").problem()


async def _lines(context: Context, rebuild: _Rebuild) -> AsyncIterator[bytes]:
    while True:
        yield rebuild.now()
        if rebuild.work.done():
            return
        await asyncio.sleep(_PAUSE_S)
        await rebuild.news(context.stopping)
        if context.stopping.is_set():
            rebuild.work.cancel()
