"""Questions and answers of queries, as values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from peaceriver.errors import Refused
from peaceriver.limits import QUERY_ROWS_MAX, QUERY_TIMEOUT_S
from peaceriver.node.cutoffs import Freshness
from peaceriver.query import values
from peaceriver.query.cutoff import Cutoff


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A query as it is asked."""

    sql: str
    #: Values of its host variables: what JSON says, or Python values.
    variables: Mapping[str, Any] = {}
    #: Declared types of host variables; without one, PostgreSQL says what it must be.
    kinds: Mapping[str, str] = {}
    #: The departments; None stands for all data departments.
    shards: tuple[int, ...] | None = None
    freshness: Freshness = Freshness()
    #: How long all of it may take.
    timeout_s: float = QUERY_TIMEOUT_S
    #: When that is over, by the clock of the event loop; None: it begins when it is asked. See ``begun``.
    until: float | None = None
    #: The most rows that are wanted.
    rows_max: int = QUERY_ROWS_MAX
    #: Whether departments that cannot answer are left out, and named, instead of failing the query.
    allow_partial: bool = False

    @property
    def begun(self) -> Question:
        """The same, where its time begins now, however often it is asked: of what is kept, and then computed."""
        return self if self.until is not None else msgspec.structs.replace(self, until=_now() + self.timeout_s)


def _now() -> float:
    return asyncio.get_running_loop().time()


class Column(msgspec.Struct, frozen=True):
    """A column of an answer: its name, and PostgreSQL's name of its type."""

    name: str
    kind: str


class Missing(msgspec.Struct, frozen=True):
    """A department that is not in an answer, and why."""

    shard: int
    refusal: Refused

    def public(self) -> dict[str, Any]:
        """The department, and the problem, as JSON has it."""
        problem = self.refusal.problem()
        return {"shard": self.shard, **{name: problem[name] for name in ("type", "title", "detail")}}


class Answering(msgspec.Struct, frozen=True):
    """An answer whose rows are still to come."""

    cutoff: Cutoff
    columns: tuple[Column, ...]
    missing: tuple[Missing, ...]
    #: Parts of them, in order, as values of the driver's.
    parts: AsyncIterator[Sequence[tuple[Any, ...]]]


class Answer(msgspec.Struct, frozen=True):
    """An answer with all its rows."""

    cutoff: Cutoff
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    missing: tuple[Missing, ...] = ()

    def public(self) -> dict[str, Any]:
        """The answer as JSON has it."""
        kinds = [each.kind for each in self.columns]
        told: dict[str, Any] = {
            "cutoff": self.cutoff.public(),
            "columns": [each.name for each in self.columns],
            "types": kinds,
            "rows": [[values.public(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in self.rows],
        }
        return told | ({"missing": [each.public() for each in self.missing]} if self.missing else {})
