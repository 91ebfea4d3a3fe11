"""A replica's disk in the simulation: each method that changes it is one transaction, as the database would do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import START, Place, Rows
from peaceriver.protocol.state import Stored


class Row(NamedTuple):
    """A record. Never changed, so that all disks share it."""

    epoch: int
    position: int
    #: The last position of its group.
    end: int
    stamp: int
    kind: str
    id: str
    chain: int
    actor: str = ""
    #: received: the id of the record that its actor was at; what an exception's message was based on.
    based_on: str | None = None
    #: exception: the message that it answers; sent: the message that it follows from.
    about: str = ""
    #: mark: from where and to where the agent has acted.
    span: tuple[int, int] = (0, 0)
    members: Members | None = None


class Message(NamedTuple):
    """A wish. ``again``: it was stranded, and is recorded only if its actor is still at the record it was based on."""

    id: str
    actor: str
    based_on: str | None = None
    again: bool = False


#: The messages of one group, recorded as a whole or not at all.
Group = tuple[Message, ...]


class Refused(Exception):
    """A transaction would break a promise, and changes nothing."""


class Disk:
    """What survives a crash. ``watch`` is told of each record before it is written, and may object."""

    def __init__(self, node: str, founded: Members, *, recovering: bool, watch: Callable[[Disk, Row], None]) -> None:
        self.node = node
        self.founded = founded
        self.watch = watch
        self.recovering = recovering
        self.promised = 0
        self.promised_to: str | None = None
        self.leads: int | None = None
        self.complete = 0
        self.boots = 0
        self.rows: list[Row] = []
        #: Groups that were stranded here and are to be offered again, in their order.
        self.pending: list[Group] = []
        self._fold_anew()

    def _fold_anew(self) -> None:
        self.ids: dict[str, int] = {}
        #: Of each message that an exception answers: where.
        self.answers: dict[str, int] = {}
        self.actors: dict[str, str] = {}
        #: The messages that the agent has acted on.
        self.acted: dict[str, int] = {}
        self.mark = 0
        self.members = self.founded
        for row in self.rows:
            self._fold(row)

    def _fold(self, row: Row) -> None:
        kind = row.kind
        self.ids[row.id] = row.position
        if kind == "received":
            self.actors[row.actor] = row.id
        elif kind == "sent":
            self.acted[row.about] = row.position
        elif kind == "mark":
            self.mark = row.span[1]
        elif kind == "exception":
            self.answers[row.about] = row.position
        elif kind == "member":
            assert row.members is not None
            self.members = row.members

    def _write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.watch(self, row)
            self.rows.append(row)
            self._fold(row)

    # --- reading

    @property
    def end(self) -> Place:
        return Place(self.rows[-1].epoch, len(self.rows)) if self.rows else START

    def place(self, position: int) -> Place:
        return Place(self.rows[position - 1].epoch, position) if position else START

    def chain(self, position: int) -> int:
        return self.rows[position - 1].chain if position else 0

    def last_not_beyond(self, place: Place) -> Place:
        """The last place here that is beyond another neither in epoch nor in position."""
        position = min(len(self.rows), place.position)
        while position and self.rows[position - 1].epoch > place.epoch:
            position -= 1
        return self.place(position)

    def chunk_end(self, after: int, records: int) -> int:
        """Where a chunk of about so many records ends: with a group."""
        return self.rows[min(after + records, len(self.rows)) - 1].end if after < len(self.rows) else after

    def receipt(self, message_id: str) -> int | None:
        """The end of the group in which a message was recorded, or answered by an exception."""
        position = self.ids.get(message_id) or self.answers.get(message_id)
        return None if position is None else self.rows[position - 1].end

    def stored(self) -> Stored:
        return Stored(
            promised=self.promised,
            promised_to=self.promised_to,
            end=self.end,
            complete=self.complete,
            recovering=self.recovering,
            members=self.members,
            boots=self.boots,
        )

    # --- transactions

    def boot(self) -> None:
        self.boots += 1
        self.leads = None

    def save_promise(self, epoch: int, to: str) -> None:
        if self.promised < epoch or (self.promised == epoch and self.promised_to == to):
            self.promised, self.promised_to, self.leads = epoch, to, None

    def apply(self, rows: Rows, records: Sequence[Row]) -> bool:
        if self.promised > rows.epoch or self.end != rows.after:
            return False
        if rows.epoch > self.promised:
            self.promised, self.promised_to = rows.epoch, None
        self._write(records)
        self.complete = max(self.complete, min(rows.complete, len(self.rows)))
        return True

    def strand(self, after: Place) -> Place | None:
        """Take back what follows a place; where that place is not here: the last one that is not beyond it."""
        at = self.last_not_beyond(after)
        if at != after:
            return at
        if at.position < self.complete:
            raise Refused(f"{self.node} was told to take back what follows {at}, and {self.complete} is complete")
        taken = self.rows[at.position :]
        del self.rows[at.position :]
        self._fold_anew()
        known = {group[0].id for group in self.pending}
        for group in groups_of(taken):
            if group[0].id not in known:
                self.pending.append(group)
        return None

    def open(self, epoch: int, row: Row, expected: Place) -> bool:
        if (self.promised, self.promised_to) != (epoch, self.node) or self.end != expected:
            return False
        self.leads = epoch
        self._write([row])
        return True

    def fenced(self, epoch: int, expected: Place) -> bool:
        return not (self.leads == self.promised == epoch and self.end == expected)

    def append(self, rows: Sequence[Row]) -> None:
        """In the transaction that found it not fenced."""
        self._write(rows)

    def save_recovered(self, promised: int) -> None:
        if promised > self.promised:
            self.promised, self.promised_to = promised, None
        self.recovering = False

    def forget(self) -> None:
        self.recovering = True

    def copy(self) -> Disk:
        """A backup."""
        copy = Disk(self.node, self.founded, recovering=self.recovering, watch=self.watch)
        copy.promised, copy.promised_to, copy.complete = self.promised, self.promised_to, self.complete
        copy.boots, copy.rows, copy.pending = self.boots, self.rows[:], self.pending[:]
        copy._fold_anew()
        return copy


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """What came from outside among records that are taken back, group by group."""
    groups: dict[int, list[Message]] = {}
    for row in rows:
        if row.kind == "received":
            groups.setdefault(row.end, []).append(Message(row.id, row.actor, row.based_on, True))
        elif row.kind == "exception":
            groups.setdefault(row.end, []).append(Message(row.about, row.actor, row.based_on, True))
    return [tuple(group) for group in groups.values()]
