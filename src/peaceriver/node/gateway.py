"""The way to a node in the same process: what the HTTP client does, without HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from peaceriver.answers import (
    ActorRead,
    Cutoff,
    Explanation,
    JournalPage,
    Page,
    Settled,
    exact,
    read_explanation,
    read_settled,
    refusal_of,
)
from peaceriver.asking import Ask, Table, question_body, segment, table_of, variable_pairs
from peaceriver.client import SETTLED_TIMEOUT_S, How
from peaceriver.errors import LedElsewhere
from peaceriver.jsontext import encode
from peaceriver.limits import PAGE_RECORDS_MAX, QUERY_TIMEOUT_S, SEND_TIMEOUT_S
from peaceriver.message import Envelope
from peaceriver.moments import Moment, moment_text, vector
from peaceriver.node.cutoffs import Freshness
from peaceriver.node.node import Node
from peaceriver.node.passing import here_or_around, node_for, pass_around, pass_on
from peaceriver.node.peers import Away
from peaceriver.node.publishing import Publishing
from peaceriver.node.questions import Question
from peaceriver.node.reading import ActorAt
from peaceriver.node.sending import Sender
from peaceriver.node.standings import Standing
from peaceriver.query import cutoff as cutoffs
from peaceriver.query import named
from peaceriver.query.named import View
from peaceriver.record import Record
from peaceriver.shard.proposal import Concern, Sent
from peaceriver.stamp import Stamp

#: A request of the API that asks the same: the method, the target, and what makes its body.
_Request: TypeAlias = tuple[str, str, Callable[[], bytes]]
#: More than anybody reads at once; the API has pages.
EXCEPTIONS_LISTED_MAX = 100_000


class Inside:
    """A node's services in the words of the client."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def send(
        self,
        messages: Sequence[Envelope],
        *,
        atomic: bool = False,
        timeout_s: float = SEND_TIMEOUT_S,
        concern: Concern = "quorum",
        spool: bool = False,
    ) -> list[Sent]:
        """One outcome per message; see Client.send."""
        sender = Sender(timeout_s=timeout_s, concern=concern, spool=spool)
        if atomic:
            return await self._node.spooling.send_atomic(messages, sender)
        return await self._node.spooling.send(messages, sender)

    async def put_department(
        self, code: int, name: str, *, company: str | None = None, receives: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Make or replace a department's page; returns when it takes messages."""
        members = {"name": name, "company": company, "receives": None if receives is None else list(receives)}
        page = {name: value for name, value in members.items() if value is not None}
        return (await Publishing(self._node).department(code, page, Sender())).page

    async def find(
        self, actor_type: str, actor_id: str, *, as_of: Moment | None = None, after: Moment | None = None
    ) -> Page:
        """An actor in every department that holds it."""
        cutoff, found = await self._node.reading.holders(actor_type, actor_id, _freshness(as_of, after))
        return Page(items=tuple(_read(each, None) for each in found), cutoff=_shown(cutoff))

    async def get(
        self,
        shard: int,
        actor_type: str,
        actor_id: str,
        *,
        as_of: Moment | None = None,
        after: Moment | None = None,
        version: int | None = None,
    ) -> ActorRead:
        """One actor of one department. Raises NotFound."""
        freshness = _freshness(as_of, after)
        cutoff, read = await self._node.reading.actor(shard, actor_type, actor_id, freshness, version=version)
        return _read(read, _shown(cutoff))

    async def journal(
        self, shard: int, *, after: int = 0, limit: int = PAGE_RECORDS_MAX, wait_s: float = 0.0
    ) -> JournalPage:
        """Complete records after a position, in order; waits so long for the first where there is none yet."""
        followed = self._node.shards.at(shard)
        if wait_s:
            await followed.complete.reached_within(after + 1, wait_s)
        records, complete = await self._node.reading.journal(shard, after=after, limit=limit)
        last = records[-1].position if records else after
        return JournalPage(records=tuple(_value(each) for each in records), next=last, complete=complete)

    async def query(self, sql: str, variables: Mapping[str, Any], asking: Ask) -> Table:
        """Ask in SQL; see Client.query."""
        content = partial(question_body, sql, variables, asking)
        return await self._asked(Question(sql=sql, variables=variables), asking, ("POST", "/query", content))

    async def view(self, name: str, variables: Mapping[str, Any], asking: Ask) -> Table:
        """A named view's rows; see Client.view."""
        view = await self._node.querying.view(name, latest=asking.latest)
        pairs = variable_pairs(variables)
        values = named.given(view, pairs)
        target = f"/views/{segment(name)}?{urlencode([*pairs, *asking.parameters().items()])}"
        question = Question(sql=view.sql, variables=values, kinds=view.kinds)
        return await self._asked(question, asking, ("GET", target, bytes), view)

    async def _asked(self, question: Question, asking: Ask, request: _Request, view: View | None = None) -> Table:
        freshness = _freshness(asking.as_of, asking.after, asking.seen or None, latest=asking.latest)
        timeout_s = QUERY_TIMEOUT_S
        if asking.timeout_s is not None:
            timeout_s = asking.timeout_s
            freshness = msgspec.structs.replace(freshness, timeout_s=timeout_s)
        question = msgspec.structs.replace(
            question,
            freshness=freshness,
            shards=None if asking.shards is None else tuple(asking.shards),
            timeout_s=timeout_s,
            allow_partial=asking.allow_partial,
        ).begun
        return await here_or_around(
            self._node,
            lambda: self._table(question, view),
            lambda left_s: self._around(request, asking, left_s),
            timeout_s=timeout_s,
        )

    async def _table(self, question: Question, view: View | None) -> Table:
        found = None if view is None or not view.kept else await self._node.kept.ask(view, question)
        return table_of(encode((found or await self._node.querying.ask(question)).public()))

    async def _around(self, request: _Request, asking: Ask, timeout_s: float) -> Table | None:
        """The answer of another node that has what this one lacks; None where there is none such."""
        method, target, content = request
        headers = {"Content-Type": "application/json", "Peaceriver-After": vector(asking.seen)}
        async with AsyncExitStack() as stack:
            passed = await pass_around(self._node, stack, method, target, headers, content(), timeout_s=timeout_s)
            if passed is None:
                return None
            try:
                text = b"".join([piece async for piece in passed.pieces])
            except Away:
                return None
        refusal = refusal_of(text, passed.status, passed.headers.get("Retry-After"))
        if refusal is not None:
            raise refusal
        return table_of(text)

    async def put_view(self, name: str, definition: Mapping[str, Any]) -> dict[str, Any]:
        """Make or replace a named view; see Client.put_view."""
        return (await Publishing(self._node).view(named.read(name, definition), "", Sender())).page

    async def settled(self, message_id: UUID | str, *, timeout_s: float = SETTLED_TIMEOUT_S) -> Settled:
        """Whether every consequence of a message was acted on; see Client.settled."""
        told = await self._node.consequences.settled(UUID(str(message_id)), timeout_s)
        return read_settled(msgspec.json.encode(told.public()))

    async def explain(self, stamp: Stamp | str) -> Explanation:
        """Where a record is from, and what it led to. Raises NotFound."""
        told = await self._node.consequences.explain(Stamp.parse(str(stamp)))
        return read_explanation(msgspec.json.encode(told.public()))

    async def exceptions(self, state: str = "open") -> tuple[dict[str, Any], ...]:
        """What could not be done, oldest first, as the API shows it."""
        wanted = None if state == "all" else state
        found = await self._node.exceptions.listed(state=wanted, limit=EXCEPTIONS_LISTED_MAX, offset=0)
        return tuple(_value(each) for each in found)

    async def resolve(self, exception_id: UUID | str, how: How, message: Envelope | None = None) -> dict[str, Any]:
        """Retry, skip or answer an exception; answers how it stands then."""
        try:
            standing = await self._node.exceptions.resolve(UUID(str(exception_id)), how, Sender(), message)
        except LedElsewhere as refusal:
            content = b"" if message is None else encode(message.public())
            return await self._passed_on(refusal, f"/exceptions/{exception_id}/{how}", content)
        return _value(standing)

    async def _passed_on(self, refusal: LedElsewhere, path: str, content: bytes) -> dict[str, Any]:
        """What the node answers that can; raises its refusal."""
        to = node_for(self._node, refusal)
        if to is None:
            raise refusal
        headers = {"Content-Type": "application/json"}
        passed = await pass_on(self._node, to, "POST", path, headers, content, timeout_s=SEND_TIMEOUT_S)
        if passed.status >= 400:
            raise refusal_of(passed.body, passed.status, passed.headers.get("Retry-After")) or refusal
        answer: dict[str, Any] = exact(passed.body)
        return answer


def _freshness(as_of: Moment | None, *after: Moment | None, latest: bool = False) -> Freshness:
    return Freshness(
        latest=latest,
        as_of=None if as_of is None else cutoffs.parse(moment_text(as_of), "as_of"),
        after=tuple(cutoffs.parse_after(moment_text(each)) for each in after if each is not None),
    )


def _shown(cutoff: cutoffs.Cutoff) -> Cutoff:
    positions = {shard: place.position for shard, place in cutoff.places.items()}
    return Cutoff(stamp=cutoff.public()["stamp"], positions=positions)


def _read(actor: ActorAt, cutoff: Cutoff | None) -> ActorRead:
    return ActorRead(
        type=actor.type,
        id=actor.id,
        shard=actor.shard,
        version=actor.version,
        status=actor.status,
        stamp=actor.stamp,
        text=actor.document,
        cutoff=cutoff,
    )


def _value(what: Record | Standing) -> dict[str, Any]:
    shown: dict[str, Any] = exact(msgspec.json.encode(what.public()))
    return shown
