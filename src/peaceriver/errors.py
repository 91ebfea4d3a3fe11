"""Everything that can go wrong, drawn as a tree.

    PeaceRiverError
    +-- Refused                 a request was refused and nothing was recorded; carries its HTTP status
    |   +-- Malformed           400  not JSON, not UTF-8, a key given twice
    |   +-- Forbidden           403  asked by a page of another origin, or under a name that is not this machine's
    |   +-- NotFound            404  no such department, actor, message or page
    |   +-- Conflict            409  version, identity, a cancelled actor, a cause that has not arrived
    |   |   +-- VersionConflict 409  ``if_version`` did not hold (412 where it came as ``If-Match``)
    |   +-- TooLarge            413  a body, a batch
    |   +-- Invalid             422  well-formed, but not acceptable: every offending field by JSON pointer
    |   |   +-- NoModel         422  a query names a model that is not there
    |   +-- Busy                429  an admission queue is full
    |   +-- Unavailable         503  no leader, no majority, no database
    |   |   +-- LedElsewhere    503  another node leads the department, or none for the moment
    |   |   +-- KeptElsewhere   503  another node keeps the draft
    |   |   +-- Behind          503  this node's replica is not as far as was asked
    |   |   +-- Withheld        503  this node's copy is damaged there: it is not shown before it is repaired
    |   |   +-- TooSlow         503  a query took longer than it may
    |   +-- DiskFull            507  below the free-space floor
    |   +-- RuleFailed          500  a rule could not act on a record; the problem of an exception, never an answer
    +-- OutcomeUnknown          504  the time ran out after the append: ask again with the message id
    |   +-- Failed              500  a fault of this node: its log says what
    +-- Fenced                  another leader has a higher epoch: this one steps down
    +-- Damaged                 the journal's chain does not fit its rows
    +-- StartFailed             a node, a server or a configuration that cannot start
    +-- Unreachable             no node answers where the client looks for one

Each error is one sentence that says what happened, to what, and what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


class PeaceRiverError(Exception):
    """The root of all errors of this package."""


@dataclass(frozen=True, slots=True)
class Offence:
    """One offending place: ``pointer`` is an RFC 6901 JSON pointer into what the client sent."""

    pointer: str
    detail: str


class Refused(PeaceRiverError):
    """A request was refused and nothing was recorded.

    Serialised as a problem (RFC 9457); ``slug`` names the page under ``/problems/``.
    """

    status: ClassVar[int] = 400
    slug: ClassVar[str] = "refused"
    title: ClassVar[str] = "The request was refused"

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[Offence, ...] = (),
        message_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.message_id = message_id
        self.retry_after_s = retry_after_s

    def of_batch(self, index: int) -> Refused:
        """This refusal of one message as that of the atomic batch it came in: pointers begin with its index."""
        pointed = tuple(Offence(f"/{index}{each.pointer}", each.detail) for each in self.errors)
        self.errors = pointed or (Offence(f"/{index}", self.detail),)
        self.detail = f"message {index} of the atomic batch was refused, so none was recorded: {self.detail}"
        return self

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 members of this error, without null ones."""
        members: dict[str, Any] = {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            members["errors"] = [{"pointer": each.pointer, "detail": each.detail} for each in self.errors]
        if self.message_id is not None:
            members["id"] = self.message_id
        return members


class Malformed(Refused):
    status, slug, title = 400, "malformed", "Not well-formed JSON"


class Forbidden(Refused):
    status, slug, title = 403, "forbidden", "Not from there"


class NotFound(Refused):
    status, slug, title = 404, "not-found", "Nothing here"


class MethodNotAllowed(Refused):
    status, slug, title = 405, "method-not-allowed", "This method is not offered here"


class Conflict(Refused):
    status, slug, title = 409, "conflict", "The message conflicts with what is recorded"


class VersionConflict(Conflict):
    slug, title = "version-conflict", "The actor is no longer at the expected version"


class TooLarge(Refused):
    status, slug, title = 413, "too-large", "Larger than the limit"


class Invalid(Refused):
    status, slug, title = 422, "invalid", "Well-formed, but not acceptable"


class NoModel(Invalid):
    """A query names a model that is not there, as far as this node knows: a newer directory may have it."""

    slug, title = "no-model", "No such model"


class Busy(Refused):
    status, slug, title = 429, "busy", "The department's queue is full"


class Unavailable(Refused):
    status, slug, title = 503, "unavailable", "The department cannot take messages now"


class LedElsewhere(Unavailable):
    """This node does not lead the department: another one does, or none for the moment. It is looked for elsewhere.

    ``shard``: the department, where the whole request may be passed on to whoever leads it.
    """

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[Offence, ...] = (),
        message_id: str | None = None,
        retry_after_s: float | None = 1.0,
        shard: int | None = None,
    ) -> None:
        super().__init__(detail, errors=errors, message_id=message_id, retry_after_s=retry_after_s)
        self.shard = shard


class KeptElsewhere(Unavailable):
    """Another node keeps what is asked for; the request is passed on to it."""

    def __init__(self, detail: str, *, node: str = "") -> None:
        super().__init__(detail, retry_after_s=1.0)
        self.node = node


class Behind(Unavailable):
    """This node's replica is not as far as was asked, and so nothing can be said for sure: ask again in a moment."""

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[Offence, ...] = (),
        message_id: str | None = None,
        retry_after_s: float | None = 1.0,
    ) -> None:
        super().__init__(detail, errors=errors, message_id=message_id, retry_after_s=retry_after_s)


class Withheld(Unavailable):
    """What was asked for is damaged on this node, or may be: it is not served from here before it is repaired."""

    slug, title = "withheld", "This node's copy is damaged there"


class TooSlow(Unavailable):
    """A query took longer than it may, and was ended: ask for less, or give it more time."""

    slug, title = "too-slow", "The query took too long"


class DiskFull(Refused):
    status, slug, title = 507, "disk-full", "Below the free-space floor"


class RuleFailed(Refused):
    """A rule could not act on a record.

    ``lasting``: it would fail again, so it is not tried again before somebody asks for that.
    """

    status, slug, title = 500, "rule-failed", "A rule could not act"

    def __init__(self, detail: str, *, lasting: bool = False) -> None:
        super().__init__(detail)
        self.lasting = lasting


class OutcomeUnknown(Refused):
    """The time ran out after the append: the message may or may not be recorded; ask again with its id."""

    status, slug, title = 504, "outcome-unknown", "The outcome is not known yet"

    def problem(self) -> dict[str, Any]:
        return super().problem() | {"outcome": "unknown"}


class Failed(OutcomeUnknown):
    """The node met something that it does not know how to answer: a fault of ours, never of what was sent."""

    status, slug, title = 500, "failed", "The node failed"


class Fenced(PeaceRiverError):
    """A replica promised a higher epoch: this leader must step down."""


class Damaged(PeaceRiverError):
    """The journal's chain does not fit its rows."""


class StartFailed(PeaceRiverError):
    """A node, its server or its configuration cannot start; the text says what to change."""


class Unreachable(PeaceRiverError):
    """No node answers at a client's URL, or the connection broke.

    ``message_id``: of the message that was under way, which may or may not be recorded: send it again under this id.
    """

    def __init__(self, detail: str, *, message_id: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.message_id = message_id
