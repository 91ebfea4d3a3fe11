"""The client: a node's HTTP API as Python calls.

    async with Client("http://127.0.0.1:7400") as client:
        receipt = await client.send(envelope)
        order = await client.get(100, "Order", "SO-1", as_of=receipt.stamp)

A client carries its last receipt of each department along, so it reads its own writes on any node. It never sends
anything twice by itself: whoever repeats a message does so under its id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, overload
from uuid import UUID

import msgspec

from peaceriver import jsontext
from peaceriver.answers import (
    ActorRead,
    Explanation,
    JournalPage,
    Page,
    Settled,
    actor_read,
    exact,
    outcome_of,
    page_of,
    read_explanation,
    read_settled,
)
from peaceriver.asking import (
    Ask,
    Table,
    given,
    question_body,
    reading,
    segment,
    some,
    table_of,
    variable_pairs,
)
from peaceriver.errors import Refused, Unreachable
from peaceriver.limits import PAGE_RECORDS_MAX, SEND_TIMEOUT_S, VERIFY_TIMEOUT_S
from peaceriver.message import Envelope
from peaceriver.moments import Moment, seconds, timeout_of, vector
from peaceriver.node.identity import new_id
from peaceriver.record import written_time
from peaceriver.shard.proposal import Concern, Receipt, Sent, Spooled
from peaceriver.stamp import Stamp
from peaceriver.wire import CONNECT_TIMEOUT_S, DEFAULT_URL, Wire

__all__ = ["CONNECT_TIMEOUT_S", "DEFAULT_URL", "Client", "How", "Messages"]

#: How long to wait for the consequences of a message, unless somebody says otherwise.
SETTLED_TIMEOUT_S = 10.0

Messages: TypeAlias = Sequence[Envelope]
#: What can be done about an exception.
How = Literal["retry", "skip", "answer"]


class Client:
    """One node's API. Every method raises the Refused that the node answered with, or Unreachable where none does."""

    def __init__(self, url: str = DEFAULT_URL, *, principal: str | None = None) -> None:
        self.url = url.rstrip("/")
        #: The last position that this client was given a receipt for, per department.
        self.seen: dict[int, int] = {}
        self._wire = Wire(self.url, principal)
        #: Any request, and any answer as a stream: what the other methods are made of.
        self.request, self.stream = self._wire.request, self._wire.stream

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._wire.close()

    # --- sending

    @overload
    async def send(self, messages: Envelope, *, timeout_s: float = ..., concern: Concern = ...) -> Receipt: ...
    @overload
    async def send(
        self, messages: Messages, *, atomic: bool = ..., timeout_s: float = ..., concern: Concern = ...
    ) -> list[Receipt | Refused]: ...
    @overload
    async def send(
        self, messages: Envelope, *, timeout_s: float = ..., concern: Concern = ..., spool: bool
    ) -> Receipt | Spooled: ...
    @overload
    async def send(
        self, messages: Messages, *, atomic: bool = ..., timeout_s: float = ..., concern: Concern = ..., spool: bool
    ) -> list[Sent]: ...
    async def send(
        self,
        messages: Envelope | Messages,
        *,
        atomic: bool = False,
        timeout_s: float = SEND_TIMEOUT_S,
        concern: Concern = "quorum",
        spool: bool = False,
    ) -> Any:
        """Send one message, or a list: one outcome each, in order; a refused one in a list is its refusal, not raised.

        ``atomic``: all of the list or none; then the first refusal is raised. ``concern``: how many replicas must hold
        it before it is answered; a receipt that is not complete may become void. ``spool``: where its department has no
        leader with a majority, the node may keep it until there is one, and answers Spooled. A message without an id
        gets one here, so that every error can name it. Raises OutcomeUnknown or Unavailable where it may or may not be
        recorded.
        """
        parameters = {"timeout": seconds(timeout_s)}
        if concern != "quorum":
            parameters["concern"] = concern
        if spool:
            parameters["spool"] = "true"
        if isinstance(messages, Envelope):
            return await self._send_one(_with_id(messages), parameters, timeout_s)
        if atomic:
            parameters["atomic"] = "true"
        return await self._send_all([_with_id(each) for each in messages], parameters, timeout_s)

    async def _send_one(self, envelope: Envelope, parameters: Mapping[str, str], wait_s: float) -> Receipt | Spooled:
        content = jsontext.encode(envelope.public())
        try:
            text = await self.request("POST", "/messages", parameters, content=content, wait_s=wait_s)
        except Unreachable as error:
            raise Unreachable(
                f"{error.detail}; message {envelope.id} may or may not be recorded: send it again under this id",
                message_id=str(envelope.id),
            ) from error
        outcome = self._noted(outcome_of(text))
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    async def _send_all(self, envelopes: list[Envelope], parameters: Mapping[str, str], wait_s: float) -> list[Sent]:
        content = jsontext.encode([each.public() for each in envelopes])
        text = await self.request("POST", "/messages", parameters, content=content, wait_s=wait_s)
        return [self._noted(outcome_of(bytes(each))) for each in msgspec.json.decode(text, type=list[msgspec.Raw])]

    def _noted(self, outcome: Sent) -> Sent:
        # One that is not complete may become void, and its position that of another record.
        if isinstance(outcome, Receipt) and outcome.complete:
            self.seen[outcome.shard] = max(outcome.position, self.seen.get(outcome.shard, 0))
        return outcome

    # --- reading

    async def get(
        self,
        shard: int,
        actor_type: str,
        actor_id: str,
        *,
        as_of: Moment | None = None,
        after: Moment | None = None,
        version: int | None = None,
        valid_at: datetime | None = None,
        timeout_s: float | None = None,
    ) -> ActorRead:
        """One actor of one department: as it is, or at a cutoff, a version, a business time. Raises NotFound."""
        parameters = reading(as_of, after, timeout_s) | some(
            version=version, valid_at=None if valid_at is None else written_time(valid_at)
        )
        path = f"/shards/{shard}/{segment(actor_type)}/{segment(actor_id)}"
        return actor_read(await self._read(path, parameters, shards=[shard]))

    async def find(
        self, actor_type: str, actor_id: str, *, as_of: Moment | None = None, after: Moment | None = None
    ) -> Page:
        """An actor in every department that holds it."""
        path = f"/actors/{segment(actor_type)}/{segment(actor_id)}"
        return page_of(await self._read(path, reading(as_of, after)))

    async def list(
        self,
        actor_type: str,
        shard: int | None = None,
        *,
        filters: Mapping[str, str] | None = None,
        order: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        as_of: Moment | None = None,
        after: Moment | None = None,
    ) -> Page:
        """Actors of a type, in one department or in all; ``filters`` are as in the API: ``{"total": "gt.100"}``."""
        path = f"/actors/{segment(actor_type)}" if shard is None else f"/shards/{shard}/{segment(actor_type)}"
        parameters = {**(filters or {}), **some(order=order, limit=limit, offset=offset), **reading(as_of, after)}
        return page_of(await self._read(path, parameters, shards=None if shard is None else [shard]))

    async def following(self, page: Page) -> Page | None:
        """The part of a list that comes after ``page``, at the same cutoff; None at the end."""
        return None if page.next is None else page_of(await self.request("GET", page.next))

    async def records(
        self, shard: int, actor_type: str, actor_id: str, *, as_of: Moment | None = None, after: Moment | None = None
    ) -> tuple[dict[str, Any], ...]:
        """An actor's records, oldest first, as the API shows them, numbers exact. Raises NotFound."""
        path = f"/shards/{shard}/{segment(actor_type)}/{segment(actor_id)}/records"
        answer = exact(await self._read(path, reading(as_of, after), shards=[shard]))
        found: list[dict[str, Any]] = answer["records"]
        while answer["next"] is not None:
            answer = exact(await self.request("GET", answer["next"]))
            found += answer["records"]
        return tuple(found)

    async def journal(
        self, shard: int | None, *, after: int | str = 0, limit: int = PAGE_RECORDS_MAX, wait_s: float = 0.0
    ) -> JournalPage:
        """Complete records after a position, in order; of all departments in stamp order where ``shard`` is None.

        ``after`` is then a stamp, or 0. Waits so long for the first record where there is none yet.
        """
        path = "/journal" if shard is None else f"/shards/{shard}/journal"
        parameters = {"after": str(after), "limit": str(limit)} | ({"wait": seconds(wait_s)} if wait_s else {})
        answer = exact(await self.request("GET", path, parameters, wait_s=wait_s))
        return JournalPage(records=tuple(answer["records"]), next=answer["next"], complete=answer["complete"])

    async def query(self, sql: str, variables: Mapping[str, Any], asking: Ask) -> Table:
        """Ask in SQL, with the values of its host variables. Raises Invalid, TooSlow, TooLarge."""
        body = question_body(sql, variables, asking)
        headers = {} if asking.as_of is not None else self._seen_heads(asking.shards)
        answer = await self.request("POST", "/query", content=body, headers=headers, wait_s=asking.wait_s)
        return table_of(answer)

    async def view(self, name: str, variables: Mapping[str, Any], asking: Ask) -> Table:
        """A named view's rows. Raises NotFound, Invalid, TooSlow, TooLarge."""
        pairs = (*variable_pairs(variables), *asking.parameters().items())
        headers = {} if asking.as_of is not None else self._seen_heads(asking.shards)
        path = f"/views/{segment(name)}"
        return table_of(await self.request("GET", path, pairs, headers=headers, wait_s=asking.wait_s))

    async def put_view(self, name: str, definition: Mapping[str, Any]) -> dict[str, Any]:
        """Make or replace a named view: its sql, its variables with their types, a description."""
        return await self._put(f"/views/{segment(name)}", definition)

    # --- the directory and the cluster

    async def departments(self) -> dict[int, str]:
        """The names of all departments, by sharding code."""
        return {each["code"]: each["name"] for each in await self.directory("departments")}

    async def directory(self, section: str) -> tuple[dict[str, Any], ...]:
        """The pages of one section: departments, models, companies."""
        return await self._items(f"/directory/{segment(section)}")

    async def put_department(
        self, code: int, name: str, *, company: str | None = None, receives: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Make or replace a department's Yellow Page; returns when the department takes messages."""
        page = given(name=name, company=company, receives=None if receives is None else list(receives))
        return await self._put(f"/directory/departments/{code}", page)

    async def put_model(self, actor_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Publish a model as a JSON Schema (draft 2020-12); the answer names the version."""
        return await self._put(f"/directory/models/{segment(actor_type)}", schema)

    async def _put(self, path: str, page: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = exact(await self.request("PUT", path, content=jsontext.write(page).encode()))
        return answer

    # --- consequences and exceptions

    async def settled(self, message_id: UUID | str, *, timeout_s: float = SETTLED_TIMEOUT_S) -> Settled:
        """Wait, so long, until every consequence of a message was acted on; the answer says whether.

        From then on this client's reads show those consequences.
        """
        parameters = {"timeout": seconds(timeout_s)}
        text = await self.request("GET", f"/messages/{message_id}/settled", parameters, wait_s=timeout_s)
        settled = read_settled(text)
        for code, position in settled.positions.items():
            self.seen[code] = max(position, self.seen.get(code, 0))
        return settled

    async def explain(self, stamp: Stamp | str) -> Explanation:
        """Where a record is from, and what it led to. Raises NotFound."""
        return read_explanation(await self.request("GET", f"/explain/{segment(str(stamp))}"))

    async def exceptions(self, state: str = "open") -> tuple[dict[str, Any], ...]:
        """What could not be done, oldest first, as the API shows it; ``state``: open, retried, ... or all."""
        return await self._items("/exceptions", {"state": state})

    async def resolve(self, exception_id: UUID | str, how: How, message: Envelope | None = None) -> dict[str, Any]:
        """Retry, skip or answer an exception; answers how it stands then. Raises NotFound, Conflict."""
        content = None if message is None else jsontext.encode(message.public())
        path = f"/exceptions/{exception_id}/{how}"
        answer: dict[str, Any] = exact(await self.request("POST", path, content=content, wait_s=SEND_TIMEOUT_S))
        return answer

    async def _items(self, path: str, parameters: Mapping[str, str] | None = None) -> tuple[dict[str, Any], ...]:
        """A whole list, page after page."""
        answer = exact(await self._read(path, {**(parameters or {}), "limit": str(PAGE_RECORDS_MAX)}))
        items: list[dict[str, Any]] = answer["items"]
        while answer["next"] is not None:
            answer = exact(await self.request("GET", answer["next"]))
            items += answer["items"]
        return tuple(items)

    async def cluster(self) -> dict[str, Any]:
        """The nodes, and each department's leader, positions and marks."""
        answer: dict[str, Any] = exact(await self.request("GET", "/cluster"))
        return answer

    async def verify(self) -> dict[str, Any]:
        """Have every journal checked against its chain, and answer what was found."""
        text = await self.request("POST", "/cluster/verify", wait_s=VERIFY_TIMEOUT_S)
        answer: dict[str, Any] = exact(text)
        return answer

    async def ready(self) -> bool:
        """Whether every department of the directory is served; raises Unreachable where no node answers."""
        try:
            await self.request("GET", "/readyz")
        except Refused:
            return False
        return True

    # --- the wire

    def _seen_heads(self, shards: Sequence[int] | None) -> dict[str, str]:
        """What makes a read show at least what this client has receipts for."""
        seen = self.seen if shards is None else {code: self.seen[code] for code in shards if code in self.seen}
        return {"Peaceriver-After": vector(seen)} if seen else {}

    async def _read(self, path: str, parameters: Mapping[str, str], shards: Sequence[int] | None = None) -> bytes:
        """A read that shows at least what this client has receipts for; a read at a cutoff shows just that cutoff."""
        headers = {} if "as_of" in parameters else self._seen_heads(shards)
        return await self.request("GET", path, parameters, headers=headers, wait_s=timeout_of(parameters))


def _with_id(envelope: Envelope) -> Envelope:
    return envelope if envelope.id is not None else msgspec.structs.replace(envelope, id=new_id())
