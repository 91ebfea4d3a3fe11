"""What of one replica is known not to be as it must be, and is not served before it is repaired.

It stands in the database, so that a restart changes nothing about it, and in memory, where everybody who reads asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec

from peaceriver.errors import Withheld
from peaceriver.limits import POSITION_MAX
from peaceriver.postgres import Row, Statements, Transaction

sql = Statements("peaceriver.shard", "damage")

Part = Literal["journal", "history", "state", "actor", "mark", "timer", "exception", "view"]
#: What admission and agents go by: damaged, the replica may not lead.
STANDING: frozenset[Part] = frozenset(("actor", "mark", "timer", "exception"))
_DETAIL_LETTERS_MAX = 500
_RETRY_AFTER_S = 2.0


class Finding(msgspec.Struct, frozen=True):
    """One thing that verification found not to be as it must be."""

    shard: int
    part: Part
    #: The position in the journal, or what it is about; for people.
    place: str
    detail: str
    #: Of a journal and of a history: its first and last doubtful position. Of an actor and a view: type and id. Of a
    #: mark: reader and source. Of a timer: its position. Of an exception: its id, and how many attempts are recorded.
    key: tuple[Any, ...] = ()
    #: Whether the server cannot even read it.
    unreadable: bool = False


class Range(NamedTuple):
    """Positions of a journal, both ends included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """Findings that belong together: a range of a journal, a type's view, or one table of the standing."""

    part: Part
    key: str
    detail: str
    range: Range | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def unreadable(self) -> bool:
        """Whether the server cannot read some of it."""
        return any(each.unreadable for each in self.findings)

    @property
    def place(self) -> str:
        """What it is about, for people."""
        if self.range is not None:
            return str(self.range)
        return self.findings[0].place if len(self.findings) == 1 else self.key


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A flaw that is on record: an incident."""

    id: UUID
    part: Part
    place: str
    key: str
    detail: str
    found_at: datetime
    range: Range | None


def flaws_of(findings: Iterable[Finding]) -> list[Flaw]:
    """What there is to repair, journal ranges in order and merged where they touch."""
    grouped: dict[tuple[Part, str], list[Finding]] = {}
    ranged: dict[Part, list[Finding]] = {"journal": [], "history": []}
    for each in findings:
        if each.part in ranged:
            ranged[each.part].append(each)
        else:
            key = str(each.key[0]) if each.part == "view" else ""
            grouped.setdefault((each.part, key), []).append(each)
    folds = [
        Flaw(part=part, key=key, detail=_detail(found), findings=tuple(found)) for (part, key), found in grouped.items()
    ]
    return [*(flaw for part, found in ranged.items() for flaw in _ranges(part, found)), *folds]


def _ranges(part: Part, findings: Iterable[Finding]) -> list[Flaw]:
    merged: list[tuple[Range, list[Finding]]] = []
    for each in sorted(findings, key=lambda finding: finding.key):
        first, last = each.key
        if merged and first <= merged[-1][0].last + 1:
            before, found = merged[-1]
            merged[-1] = Range(before.first, max(before.last, last)), [*found, each]
        else:
            merged.append((Range(first, last), [each]))
    return [
        Flaw(part=part, key="", detail=_detail(found), range=extent, findings=tuple(found)) for extent, found in merged
    ]


def _detail(findings: list[Finding]) -> str:
    more = f" and {len(findings) - 1:,} more" if len(findings) > 1 else ""
    return f"{findings[0].place}: {findings[0].detail}{more}"[:_DETAIL_LETTERS_MAX]


class Damage:
    """The open flaws of one replica; whoever serves something of it asks here first."""

    def __init__(self, shard: int, known: Iterable[Known] = ()) -> None:
        self.shard = shard
        self.known: Mapping[UUID, Known] = {}
        #: In order.
        self.ranges: tuple[Range, ...] = ()
        #: Whether what admission and agents go by, or the place where the journal ends, is not as it must be.
        self.standing = False
        #: Whether the others have another history: nobody can repair that in place.
        self.foreign = False
        self._views: frozenset[str] = frozenset()
        self.become(known)

    def become(self, known: Iterable[Known]) -> None:
        """This is what there is now."""
        self.known = {each.id: each for each in known}
        self.ranges = tuple(sorted(each.range for each in self.known.values() if each.range is not None))
        parts = {each.part for each in self.known.values()}
        self.standing = bool(parts & {*STANDING, "state"})
        self.foreign = "history" in parts
        self._views = frozenset(each.key for each in self.known.values() if each.part == "view")

    def close(self) -> None:
        """Nothing of the journal is served, until it is said anew what is damaged."""
        self.ranges = (Range(1, POSITION_MAX),)

    def sound_until(self, after: int, until: int) -> int:
        """How far, up to ``until``, the journal can be served after a position: ``after`` where not even one record."""
        for each in self.ranges:
            if each.last > after:
                return max(after, min(until, each.first - 1))
        return until

    def check(self, after: int, until: int) -> None:
        """Raise Withheld where a position after one and up to another is damaged."""
        if self.sound_until(after, until) < until:
            raise self._withheld(f"positions {', '.join(map(str, self.ranges))} of its journal are")

    def check_cutoff(self, position: int) -> None:
        """Raise Withheld where a cutoff at a position rests on damaged records.

        One right before them too: it may be there only because those that it should be at are lost.
        """
        if self.ranges:
            self.check(0, position + 1)

    def check_view(self, actor_type: str) -> None:
        """Raise Withheld where the view of a type is not what the journal makes of it."""
        if actor_type in self._views:
            raise self._withheld(f"the view of {actor_type} is")

    def check_standing(self) -> None:
        """Raise Withheld where marks, timers, exceptions or what admission goes by are damaged."""
        if self.standing:
            raise self._withheld("what was folded from its journal is")

    def _withheld(self, what: str) -> Withheld:
        then = "ask another node" if self.foreign else "ask again in a moment, or ask another node"
        return Withheld(
            f"department {self.shard} is damaged on this node: {what} not as recorded, and not served before that is "
            f"repaired; {then}",
            retry_after_s=_RETRY_AFTER_S,
        )


async def load(tx: Transaction, shard: int) -> list[Known]:
    """The flaws of a replica that are on record and not repaired."""
    return [_known(row) for row in await sql.open.rows(tx, shard=shard)]


async def note(tx: Transaction, shard: int, flaws: Iterable[Flaw], *, sound: bool, compared: int) -> list[Known]:
    """Put on record what was found, and what was not found any more; answers what is open now.

    ``sound``: the journal was, so all else was looked at too; otherwise nothing can be said of it. ``compared``: up to
    this position it is known whether the other replicas have the same history.
    """
    before = {each.id: each for each in await load(tx, shard)}
    there: set[UUID] = set()
    for flaw in flaws:
        same = next((each for each in before.values() if each.id not in there and _is_same(each, flaw)), None)
        if same is None:
            row = await sql.found.row(tx, shard=shard, **_columns(flaw), part=flaw.part, key=flaw.key)
            assert row is not None
            there.add(row["id"])
        else:
            there.add(same.id)
            if flaw.range != same.range:
                await sql.widen.run(tx, id=same.id, **_columns(flaw))

    def is_looked_at(each: Known) -> bool:
        if each.part == "history":
            assert each.range is not None
            return compared >= each.range.first
        return sound or each.part == "journal"

    gone = [each.id for each in before.values() if each.id not in there and is_looked_at(each)]
    await sql.repaired.run(tx, ids=gone)
    return await load(tx, shard)


def _is_same(known: Known, flaw: Flaw) -> bool:
    if (known.part, known.key) != (flaw.part, flaw.key):
        return False
    if known.range is None or flaw.range is None:
        return True
    return known.range.first <= flaw.range.last and flaw.range.first <= known.range.last


def _columns(flaw: Flaw) -> dict[str, Any]:
    first, last = (None, None) if flaw.range is None else flaw.range
    return {"place": flaw.place, "first": first, "last": last, "detail": flaw.detail}


def _known(row: Row) -> Known:
    extent = None if row["first"] is None else Range(row["first"], row["last"])
    names = ("id", "part", "place", "key", "detail", "found_at")
    return Known(**{name: row[name] for name in names}, range=extent)
