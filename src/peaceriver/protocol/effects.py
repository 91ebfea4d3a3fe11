"""What a replica wants done. The one who runs it does so in order, and tells the replica what came of it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from peaceriver.protocol.messages import Place, Question, Rows


class Say(msgspec.Struct, frozen=True):
    """Send a question to a node; its reply, if any, goes to ``Replica.replied``."""

    to: str
    question: Question


class SavePromise(msgspec.Struct, frozen=True):
    """Put a promise on disk, unless a higher one stands there: ``Replica.saved``. It ends whatever led here before."""

    epoch: int
    to: str


class Apply(msgspec.Struct, frozen=True):
    """Write fetched rows, in one transaction that checks promise and place again: ``Replica.applied``."""

    rows: Rows


class Strand(msgspec.Struct, frozen=True):
    """Take back what follows a place, unless it is complete: ``Replica.stranded``. ``epoch``: of who says so."""

    after: Place
    epoch: int


class Open(msgspec.Struct, frozen=True):
    """Begin to lead an epoch with its first record, if it is still promised to this node: ``Replica.opened``."""

    epoch: int


class StepDown(msgspec.Struct, frozen=True):
    """Lead no longer. What is under way may or may not become complete."""

    reason: str


class Hold(msgspec.Struct, frozen=True):
    """Append nothing more for now (``on``), or go on."""

    on: bool


class Complete(msgspec.Struct, frozen=True):
    """The journal is complete up to a position."""

    position: int


class SaveRecovered(msgspec.Struct, frozen=True):
    """Put on disk that the replica remembers again what it must, with this promise: ``Replica.recovered``."""

    promised: int


class Forget(msgspec.Struct, frozen=True):
    """Put on disk that the replica does not know what it has promised: ``Replica.forgot``."""

    reason: str


Effect: TypeAlias = Say | SavePromise | Apply | Strand | Open | StepDown | Hold | Complete | SaveRecovered | Forget
