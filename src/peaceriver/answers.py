"""What a node answers, as values: receipts, refusals, actors, pages of lists and journals. Pure.

Numbers stay exact: integers are ``int``, all others ``Decimal``.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from peaceriver.errors import Offence, Refused
from peaceriver.shard.proposal import Receipt, Sent, Spooled
from peaceriver.stamp import Stamp

#: The value that a JSON text denotes, numbers exact.
exact: Callable[[bytes | str], Any] = msgspec.json.Decoder(float_hook=Decimal).decode

#: Headers of a streamed answer: its cutoff, as ``as_of`` takes it, its greatest stamp, and what departments lack in it.
CUTOFF, STAMP, MISSING = "Peaceriver-Cutoff", "Peaceriver-Stamp", "Peaceriver-Missing"


class Cutoff(msgspec.Struct, frozen=True, kw_only=True):
    """The moment that a read is answered as of; asked for again, it gives the same answer for ever."""

    #: The greatest stamp at it; None where nothing is recorded yet.
    stamp: str | None = None
    #: How far the answer goes, per department.
    positions: dict[int, int] = {}


class ActorRead(msgspec.Struct, frozen=True, kw_only=True):
    """An actor as it was read."""

    type: str
    id: str
    shard: int
    version: int
    status: str
    stamp: Stamp
    #: The document's JSON text as it is stored.
    text: str
    #: None in a list, whose page has it.
    cutoff: Cutoff | None = None

    @property
    def document(self) -> Any:
        """The document's value, numbers exact."""
        return exact(self.text)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list."""

    items: tuple[ActorRead, ...]
    cutoff: Cutoff
    #: Where the next part is; None at the end.
    next: str | None = None


class JournalPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a journal: records as the API shows them."""

    records: tuple[dict[str, Any], ...]
    #: What to ask for the next part ``after``.
    next: Any
    #: How far the journal is complete.
    complete: Any


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every consequence of a message was acted on, timers aside."""

    settled: bool
    #: How many records it led to, with its own.
    records: int
    #: What keeps it from being settled, as ``/exceptions`` shows it.
    exceptions: tuple[dict[str, Any], ...] = ()
    #: Where its last record stands, per department: a read ``after`` them shows all the consequences.
    positions: dict[int, int] = {}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a record is from, and what it led to; records are as the API shows them."""

    record: dict[str, Any]
    cause: dict[str, Any] | None
    consequences: tuple[dict[str, Any], ...]
    root: dict[str, Any]
    #: All that share the root, in the order of their stamps.
    records: tuple[dict[str, Any], ...]


class _Actor(msgspec.Struct):
    actor: str
    shard: int
    version: int
    status: str
    stamp: str
    document: msgspec.Raw
    cutoff: Cutoff | None = None


class _Page(msgspec.Struct):
    items: list[_Actor]
    cutoff: Cutoff
    next: str | None = None


class _Offence(msgspec.Struct):
    pointer: str
    detail: str


class _Problem(msgspec.Struct):
    """RFC 9457; a body that is no JSON object with a ``type`` and a ``status`` is none of ours."""

    type: str
    status: int
    title: str = ""
    detail: str = ""
    errors: list[_Offence] = []
    id: str | None = None


class _Outcome(msgspec.Struct):
    """A receipt, or an error in its place."""

    id: UUID | None = None
    actor: str = ""
    shard: int = 0
    position: int | None = None
    stamp: str | None = None
    version: int | None = None
    complete: bool = True
    duplicate: bool = False
    spooled: bool = False
    error: _Problem | None = None


_read_actor = msgspec.json.Decoder(_Actor).decode
_read_page = msgspec.json.Decoder(_Page).decode
_read_problem = msgspec.json.Decoder(_Problem).decode
read_settled = msgspec.json.Decoder(Settled, float_hook=Decimal).decode
read_explanation = msgspec.json.Decoder(Explanation, float_hook=Decimal).decode
_read_outcome = msgspec.json.Decoder(_Outcome).decode


def actor_read(answer: bytes) -> ActorRead:
    return _actor(_read_actor(answer))


def page_of(answer: bytes) -> Page:
    page = _read_page(answer)
    return Page(items=tuple(map(_actor, page.items)), cutoff=page.cutoff, next=page.next)


def _actor(read: _Actor) -> ActorRead:
    actor_type, _, actor_id = read.actor.partition("/")
    return ActorRead(
        type=actor_type,
        id=actor_id,
        shard=read.shard,
        version=read.version,
        status=read.status,
        stamp=Stamp.parse(read.stamp),
        text=bytes(read.document).decode(),
        cutoff=read.cutoff,
    )


def outcome_of(answer: bytes) -> Sent:
    """A message's receipt, that it is spooled, or the refusal that stands in its place in an array."""
    outcome = _read_outcome(answer)
    if outcome.error is not None:
        return _refusal(outcome.error, None)
    assert outcome.id is not None, "a receipt names its message"
    if outcome.spooled:
        return Spooled(id=outcome.id, actor=outcome.actor, shard=outcome.shard)
    assert outcome.position is not None
    assert outcome.stamp is not None
    return Receipt(
        id=outcome.id,
        actor=outcome.actor,
        shard=outcome.shard,
        position=outcome.position,
        stamp=Stamp.parse(outcome.stamp),
        version=outcome.version,
        complete=outcome.complete,
        duplicate=outcome.duplicate,
    )


def refusal_of(answer: bytes, status: int, retry_after: str | None) -> Refused | None:
    """The error that a problem (RFC 9457) tells of; None where the answer is no problem of ours."""
    try:
        problem = _read_problem(answer)
    except msgspec.DecodeError:
        return None
    if problem.status != status:
        return None
    return _refusal(problem, float(retry_after) if retry_after and retry_after.isdecimal() else None)


def _refusal(problem: _Problem, retry_after_s: float | None) -> Refused:
    kind = _class_of(problem)
    return kind(
        problem.detail or problem.title,
        errors=tuple(Offence(each.pointer, each.detail) for each in problem.errors),
        message_id=problem.id,
        retry_after_s=retry_after_s,
    )


def _class_of(problem: _Problem) -> type[Refused]:
    """The class of a problem by its page, else by its status: a newer node may know problems that we do not."""
    slug = problem.type.rpartition("/")[2]
    classes = list(_subclasses(Refused))
    for each in classes:
        if each.slug == slug:
            return each
    return next((each for each in classes if each.status == problem.status), Refused)


def _subclasses(of: type[Refused]) -> list[type[Refused]]:
    return [of, *(below for each in of.__subclasses__() for below in _subclasses(each))]
