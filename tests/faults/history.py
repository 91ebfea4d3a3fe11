"""The history: every operation of every client, when it began, when it ended, and what the client was told.

It is kept in memory and written down for a failed run. Times are of the steady clock, in seconds; one process keeps
them all, so they can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

#: ok: there is a receipt. refused: nothing was recorded, says the node. unknown: it may be, or not.
Told = Literal["ok", "refused", "unknown"]


@dataclass(slots=True)
class Attempt:
    """One request: the same messages may be sent many times, under the same ids."""

    node: str
    invoked: float
    ended: float
    told: Told
    #: The status, or what went wrong.
    answer: str


@dataclass(slots=True)
class Message:
    """One message of an operation, and its receipt."""

    id: str
    #: The department that records it.
    shard: int
    actor: str
    #: As it is sent.
    wish: dict[str, Any]
    receipt: dict[str, Any] | None = None
    #: The attempt that brought the receipt, by its number.
    attempt: int = -1
    #: A refusal that no attempt after it can change; None where there was none.
    refusal: str | None = None
    #: The node that keeps it until somebody leads; None where none does.
    kept_by: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is known of it yet."""
        return self.receipt is None and self.refusal is None and self.kept_by is None


@dataclass(slots=True)
class Operation:
    """Messages that one client sends together, until it knows what became of them or gives up."""

    kind: str
    client: int
    concern: str
    atomic: bool
    messages: list[Message]
    attempts: list[Attempt] = field(default_factory=list)
    #: The one node that is asked, and may keep the messages until somebody leads; None: any, and it may not.
    spooled_at: str | None = None

    @property
    def acknowledged(self) -> list[Message]:
        return [each for each in self.messages if each.receipt is not None]

    @property
    def refused_for_sure(self) -> bool:
        """Whether nobody can have recorded anything of it."""
        return bool(self.attempts) and all(each.told == "refused" for each in self.attempts)


@dataclass(slots=True)
class Reading:
    """An answer to a read at a cutoff: it must be the same for ever, on every node."""

    node: str
    path: str
    as_of: str
    at: float
    #: Where each department stood.
    positions: dict[str, int]
    items: list[Any]


@dataclass(slots=True)
class Sighting:
    """Records that a node showed as complete, by position: their ids and stamps."""

    node: str
    shard: int
    records: dict[int, tuple[str | None, str]]


@dataclass(slots=True)
class Claim:
    """A node said that it leads a department in an epoch."""

    node: str
    shard: int
    epoch: int
    at: float


@dataclass(slots=True)
class Fault:
    """What was done to the cluster, and when."""

    at: float
    text: str
    #: Of what kind it was, where it begins.
    kind: str = ""


@dataclass
class History:
    """All that happened in one schedule, as clients and onlookers saw it."""

    seed: int
    operations: list[Operation] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    #: Reads of something that the reader had a receipt for, which did not show it.
    unread: list[str] = field(default_factory=list)
    #: Promises that were seen to be lower than before: the node, and the words.
    lowered: list[tuple[str, str]] = field(default_factory=list)
    #: What verification found damaged, though nobody had damaged anything.
    damaged: list[str] = field(default_factory=list)
    #: Failures that nodes did not expect, and logged as such: no promise is broken by them alone.
    loud: list[str] = field(default_factory=list)
    #: How often leadership was handed over, and everything verified, at somebody's wish.
    transfers: int = 0
    verifications: int = 0

    def messages(self) -> Iterator[tuple[Operation, Message]]:
        for operation in self.operations:
            for message in operation.messages:
                yield operation, message

    def count(self, told: Told) -> int:
        """How many messages ended so."""
        if told == "ok":
            return sum(each.receipt is not None for _, each in self.messages())
        refused = sum(
            each.receipt is None and (operation.refused_for_sure or each.refusal is not None)
            for operation, each in self.messages()
        )
        if told == "refused":
            return refused
        return sum(each.receipt is None and each.kept_by is None for _, each in self.messages()) - refused

    @property
    def kept(self) -> int:
        """How many messages a node has kept until somebody leads."""
        return sum(each.kept_by is not None for _, each in self.messages())

    def write(self, path: Path) -> None:
        """One thing a line: for a person who looks for what went wrong."""
        sections = (self.faults, self.claims, self.operations, self.readings, self.sightings)
        with path.open("w") as file:
            for section in sections:
                for each in section:
                    file.write(json.dumps({type(each).__name__: asdict(each)}, default=str) + "\n")
