"""The facade: one cluster, in this process or elsewhere, with the same words for both.

``Cluster.embedded(app)`` runs a real node with its own PostgreSQL server in this process, for tests and notebooks;
``Cluster.connect(url)`` speaks to a running one. Either carries the last receipt per department along, so it reads its
own writes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypedDict, TypeVar, Unpack, overload
from uuid import UUID

import msgspec
import structlog

from peaceriver.actor import Actor, read_document
from peaceriver.answers import ActorRead, Explanation, JournalPage, Page, Settled
from peaceriver.asking import Ask, Rows, Table, Ts, rows_of
from peaceriver.client import SETTLED_TIMEOUT_S, Client
from peaceriver.client import How as Resolving
from peaceriver.department import Department
from peaceriver.errors import Conflict, NotFound, Refused, StartFailed
from peaceriver.limits import PAGE_RECORDS_MAX, SEND_TIMEOUT_S
from peaceriver.message import Envelope
from peaceriver.moments import Moment
from peaceriver.shard.proposal import Concern, Receipt, Sent, Spooled
from peaceriver.stamp import Stamp
from peaceriver.wording import named

if TYPE_CHECKING:
    from sqlalchemy.sql.selectable import CompoundSelect, Select

    from peaceriver.node.node import Node
    from peaceriver.query.named import View

A = TypeVar("A", bound=Actor)
#: How long a follower of a journal waits for the next record before it asks again.
_JOURNAL_WAIT_S = 10.0


class ActorAs(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """An actor as it was read, its document an instance of the model class."""

    id: str
    shard: int
    version: int
    status: str
    stamp: Stamp
    document: A


class JournalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a journal, as the API shows it."""

    shard: int
    position: int
    stamp: Stamp
    kind: str
    id: str | None
    actor: str | None
    action: str | None
    type: str | None
    version: int | None
    sender: int | None
    receiver: int | None
    cause: str | None
    root: str | None
    correlation: str | None
    principal: str | None
    valid_at: str | None
    recorded_at: str
    #: The body's value, numbers exact.
    body: Any


class How(TypedDict, total=False):
    """How a query is to be answered; see ``Cluster.query``."""

    as_of: Moment | None
    after: Moment | None
    shards: Sequence[int] | None
    latest: bool
    allow_partial: bool
    timeout_s: float | None


#: No host variables.
_NONE: Mapping[str, Any] = {}


class _Gateway(Protocol):
    """A way to a cluster: in this process, or over HTTP."""

    async def send(
        self, messages: Sequence[Envelope], *, atomic: bool, timeout_s: float, concern: Concern, spool: bool
    ) -> list[Sent]: ...

    async def put_department(
        self, code: int, name: str, *, company: str | None = None, receives: Sequence[str] | None = None
    ) -> dict[str, Any]: ...

    async def find(
        self, actor_type: str, actor_id: str, *, as_of: Moment | None = None, after: Moment | None = None
    ) -> Page: ...

    async def get(
        self,
        shard: int,
        actor_type: str,
        actor_id: str,
        *,
        as_of: Moment | None = None,
        after: Moment | None = None,
        version: int | None = None,
    ) -> ActorRead: ...

    async def journal(
        self, shard: int, *, after: int = 0, limit: int = PAGE_RECORDS_MAX, wait_s: float = 0.0
    ) -> JournalPage: ...

    async def query(self, sql: str, variables: Mapping[str, Any], asking: Ask) -> Table: ...

    async def view(self, name: str, variables: Mapping[str, Any], asking: Ask) -> Table: ...

    async def put_view(self, name: str, definition: Mapping[str, Any]) -> dict[str, Any]: ...

    async def settled(self, message_id: UUID | str, *, timeout_s: float = SETTLED_TIMEOUT_S) -> Settled: ...

    async def explain(self, stamp: Stamp | str) -> Explanation: ...

    async def exceptions(self, state: str = "open") -> tuple[dict[str, Any], ...]: ...

    async def resolve(
        self, exception_id: UUID | str, how: Resolving, message: Envelope | None = None
    ) -> dict[str, Any]: ...


class Cluster:
    """A cluster of departments that takes messages and can be read as of any moment."""

    def __init__(self, gateway: _Gateway, node: Node | None = None, nodes: Sequence[Node] = ()) -> None:
        self._gateway = gateway
        #: The node in this process that is asked, where the cluster is embedded; and all of them.
        self.node = node
        self.nodes = nodes
        self._seen: dict[int, int] = {}

    @staticmethod
    @asynccontextmanager
    async def embedded(
        app: ModuleType | Path | str | None = None,
        *,
        nodes: int = 1,
        data: Path | str | None = None,
        dsn: str | None = None,
    ) -> AsyncIterator[Cluster]:
        """A cluster in this process, with the departments and models of ``app``; it ends with the block.

        ``data`` keeps the records in a directory; without it they are gone at the end. ``dsn`` names a database that
        is there already, for one node, instead of a server of our own; it compares texts by their code points (made
        from template0 with the locale 'C' of libc). What is asked goes to the first node. Raises StartFailed.
        """
        if nodes < 1:
            raise StartFailed(f"a cluster has one node or more, not {nodes}")
        if nodes > 1 and dsn is not None:
            raise StartFailed("a DSN is the database of one node; leave it out, or ask for nodes=1")
        if not structlog.is_configured():
            # The program's output is the program's: what a person should know goes to standard error.
            structlog.configure(
                wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
                logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
            )
        # Here, because to import a node takes longer than all else, and most programs connect to one elsewhere.
        from peaceriver.application import load
        from peaceriver.embedding import Inside, embed

        async with embed(load(app), nodes=nodes, data=data, dsn=dsn) as running:
            yield Cluster(Inside(running[0]), running[0], running)

    @staticmethod
    @asynccontextmanager
    async def connect(url: str, *, principal: str | None = None) -> AsyncIterator[Cluster]:
        """A cluster that runs elsewhere, by the URL of one of its nodes."""
        async with Client(url, principal=principal) as client:
            yield Cluster(client)

    @overload
    async def send(self, messages: Envelope, *, timeout_s: float = ..., concern: Concern = ...) -> Receipt: ...
    @overload
    async def send(
        self, messages: Sequence[Envelope], *, atomic: bool = ..., timeout_s: float = ..., concern: Concern = ...
    ) -> list[Receipt | Refused]: ...
    @overload
    async def send(
        self, messages: Envelope, *, timeout_s: float = ..., concern: Concern = ..., spool: bool
    ) -> Receipt | Spooled: ...
    @overload
    async def send(
        self,
        messages: Sequence[Envelope],
        *,
        atomic: bool = ...,
        timeout_s: float = ...,
        concern: Concern = ...,
        spool: bool,
    ) -> list[Sent]: ...
    async def send(
        self,
        messages: Envelope | Sequence[Envelope],
        *,
        atomic: bool = False,
        timeout_s: float = SEND_TIMEOUT_S,
        concern: Concern = "quorum",
        spool: bool = False,
    ) -> Any:
        """Send one message, or a list: one outcome each, in order; a refused one in a list is its refusal, not raised.

        ``atomic``: all of the list or none, and then the first refusal is raised. ``concern``: how many replicas must
        hold it before it is answered; a receipt that is not complete may become void. ``spool``: where its department
        has no leader with a majority, the node may keep it until there is one, and the outcome is Spooled. Raises
        Refused for a single message.
        """
        single = isinstance(messages, Envelope)
        listed = [messages] if isinstance(messages, Envelope) else list(messages)
        outcomes = await self._gateway.send(listed, atomic=atomic, timeout_s=timeout_s, concern=concern, spool=spool)
        for each in outcomes:
            # One that is not complete may become void, and its position that of another record.
            if isinstance(each, Receipt) and each.complete:
                self._seen[each.shard] = max(each.position, self._seen.get(each.shard, 0))
        if not single:
            return outcomes
        if isinstance(outcomes[0], Refused):
            raise outcomes[0]
        return outcomes[0]

    async def department(self, code: int, name: str, *, receives: Sequence[str] | None = None) -> None:
        """Make a department, or replace its page; returns when it takes messages. Raises Refused."""
        await self._gateway.put_department(code, name, receives=receives)

    async def get(
        self,
        model: type[A],
        actor_id: str,
        *,
        at: Department | int | None = None,
        as_of: Moment | None = None,
        version: int | None = None,
    ) -> ActorAs[A]:
        """An actor by its model class and id: as it is, or as of a moment.

        ``at`` names the department; it may be left out where only one holds the actor. Raises NotFound, and Conflict
        where several departments hold it.
        """
        name, after = model.__name__, self._seen or None
        code = at.code if isinstance(at, Department) else at
        if code is None:
            found = (await self._gateway.find(name, actor_id, as_of=as_of, after=after)).items
            if not found:
                raise NotFound(f"no department holds {name}/{actor_id} at this cutoff")
            if len(found) > 1:
                holders = named("department", sorted(each.shard for each in found))
                raise Conflict(f"{name}/{actor_id} is in {holders}; say which one with at=")
            if version is None:
                return _typed(model, found[0])
            code = found[0].shard
        read = await self._gateway.get(code, name, actor_id, as_of=as_of, after=after, version=version)
        return _typed(model, read)

    @overload
    async def query(
        self, statement: Select[*Ts] | CompoundSelect[*Ts], variables: Mapping[str, Any] = ..., **how: Unpack[How]
    ) -> Rows[*Ts]: ...
    @overload
    async def query(
        self, statement: str, variables: Mapping[str, Any] = ..., **how: Unpack[How]
    ) -> Rows[*tuple[Any, ...]]: ...
    async def query(self, statement: Any, variables: Mapping[str, Any] = _NONE, **how: Unpack[How]) -> Any:
        """The rows of a ``select()``, or of one SELECT in SQL, at one cutoff; ``variables`` are its host variables.

        ``as_of``: a cutoff; ``after``: a receipt's stamp, or a vector, that it must have passed, beside what this
        client has receipts for; ``shards``: the departments, all by default; ``latest``: never older than what was
        acknowledged before; ``allow_partial``: without departments that cannot answer, which ``missing`` names;
        ``timeout_s``: how long it may take. Raises Invalid, Conflict, TooSlow, TooLarge, Unavailable.
        """
        asking = self._asking(how)
        if isinstance(statement, str):
            return rows_of(await self._gateway.query(statement, variables, asking))
        from peaceriver.query.select import compiled  # SQLAlchemy takes long to load, and is loaded by its statements

        question = compiled(statement, variables)
        return rows_of(await self._gateway.query(question.sql, question.variables, asking), question.readers)

    async def view(
        self, view: View | str, variables: Mapping[str, Any] = _NONE, **how: Unpack[How]
    ) -> Rows[*tuple[Any, ...]]:
        """The rows of a named view; see ``query``. Raises NotFound."""
        name = view if isinstance(view, str) else view.name
        return rows_of(await self._gateway.view(name, variables, self._asking(how)))

    async def put_view(self, view: View) -> None:
        """Publish a named view, or replace the one of its name. Raises Invalid."""
        await self._gateway.put_view(view.name, view.public())

    def _asking(self, how: How) -> Ask:
        asking = Ask(**how)
        if asking.as_of is not None:
            return asking
        seen = self._seen
        if asking.shards is not None:
            seen = {code: position for code, position in seen.items() if code in asking.shards}
        return msgspec.structs.replace(asking, seen=seen)

    async def journal(
        self, department: Department | int, *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[JournalRecord]:
        """A department's complete records after a position, in order; ``follow`` waits for more and never ends."""
        code = department.code if isinstance(department, Department) else department
        while True:
            wait_s = _JOURNAL_WAIT_S if follow else 0.0
            page = await self._gateway.journal(code, after=after, wait_s=wait_s)
            for record in page.records:
                yield _record(record)
            after = page.next
            if not follow and after >= page.complete:
                return

    async def settled(self, message: Receipt | UUID | str, *, timeout_s: float = SETTLED_TIMEOUT_S) -> Settled:
        """Wait, so long, until every consequence of a message was acted on, timers aside; the answer says whether.

        From then on this client's reads show those consequences.
        """
        message_id = message.id if isinstance(message, Receipt) else message
        settled = await self._gateway.settled(message_id, timeout_s=timeout_s)
        for code, position in settled.positions.items():
            self._seen[code] = max(position, self._seen.get(code, 0))
        return settled

    async def explain(self, stamp: Stamp | str) -> Explanation:
        """Where a record is from, and what it led to. Raises NotFound."""
        return await self._gateway.explain(stamp)

    async def exceptions(self, state: str = "open") -> tuple[dict[str, Any], ...]:
        """What could not be done, oldest first, as the API shows it; ``state``: open, retried, ... or all."""
        return await self._gateway.exceptions(state)

    async def resolve(
        self, exception_id: UUID | str, how: Resolving, message: Envelope | None = None
    ) -> dict[str, Any]:
        """Retry, skip or answer an exception; answers how it stands then. Raises NotFound, Conflict."""
        return await self._gateway.resolve(exception_id, how, message)


def _typed(model: type[A], read: ActorRead) -> ActorAs[A]:
    return ActorAs(
        id=read.id,
        shard=read.shard,
        version=read.version,
        status=read.status,
        stamp=read.stamp,
        document=read_document(model, read.text),
    )


def _record(shown: Mapping[str, Any]) -> JournalRecord:
    members = {name: shown[name] for name in _SHOWN}
    return JournalRecord(stamp=Stamp.parse(shown["stamp"]), sender=shown["from"], receiver=shown["to"], **members)


_SHOWN = tuple(name for name in JournalRecord.__struct_fields__ if name not in ("stamp", "sender", "receiver"))
