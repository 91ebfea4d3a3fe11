"""What to send for a log, and what before what: a pure function from events to messages.

Each department keeps its own file on each case, the actor ``Case/<case id>``. Work that goes on in another department
is sent there by the one that had it before, so every hand-over stands in two journals.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from itertools import count
from uuid import UUID, uuid5

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Invalid
from peaceriver.imports.events import EVENTS_MAX, Event
from peaceriver.limits import DATA_CODE_MIN, NAME_LETTERS_MAX
from peaceriver.message import Envelope, offences
from peaceriver.stamp import Stamp

ACTOR_TYPE = "Case"
_EVENT_IDS = UUID("0c6b6b0e-9d0c-5f6e-8a0b-6c6f672d6576")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_COLUMN_OF = {"/actor": "case", "/correlation": "case", "/type": "activity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMessage:
    """One event as a message; all but its cause, which is known when the message before it is recorded."""

    envelope: Envelope
    message_id: UUID
    #: The id of the message for the case's event before this one.
    previous: UUID | None

    def caused_by(self, cause: Stamp | None) -> Envelope:
        """The message to send; ``cause`` is the stamp in the receipt for ``previous``."""
        return msgspec.structs.replace(self.envelope, cause=cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """Everything that a log asks for. Sending it again sends the same ids, so nothing is recorded twice."""

    #: The log's departments with their codes, in order of first appearance.
    departments: Mapping[str, int]
    #: Those of them that are not there yet.
    new_departments: Mapping[str, int]
    #: Wave k holds the k-th event of each case: within a wave no message waits for another.
    waves: tuple[tuple[PlannedMessage, ...], ...]

    @property
    def messages(self) -> Iterator[PlannedMessage]:
        return (message for wave in self.waves for message in wave)

    @property
    def events(self) -> int:
        return sum(map(len, self.waves))

    @property
    def cases(self) -> int:
        return len(self.waves[0]) if self.waves else 0

    @property
    def actors(self) -> int:
        """One per case and department."""
        return sum(message.envelope.action == "create" for message in self.messages)

    @property
    def hand_overs(self) -> int:
        return sum(message.envelope.sender is not None for message in self.messages)


def plan_import(
    events: Iterable[Event],
    departments: Mapping[str, int],
    *,
    default_department: str,
    taken: Collection[int] = (),
    events_max: int = EVENTS_MAX,
) -> ImportPlan:
    """Plan the import of a log into a cluster whose ``departments`` (name to code) are known.

    ``taken`` are codes that are in use, whatever their departments are called: two may share a name. An event that
    names no department belongs to ``default_department``. Raises Invalid, naming the line, for an event
    that no message can stand for, and for a log of more than ``events_max`` events.
    """
    cases: dict[str, list[Event]] = {}
    codes: dict[str, int] = {}
    used = {*taken, *departments.values()}
    free = (code for code in count(DATA_CODE_MIN) if code not in used)
    for number, event in enumerate(events, start=1):
        if number > events_max:
            raise Invalid(f"the log has more than {events_max:,} events; import it in parts, each with whole cases")
        name = event.department or default_department
        if name not in codes:
            _check_department(name, event.line)
            codes[name] = departments[name] if name in departments else next(free)
        cases.setdefault(event.case, []).append(event)
    waves: list[list[PlannedMessage]] = []
    for of_case in cases.values():
        for place, message in enumerate(_messages(of_case, codes, default_department)):
            if place == len(waves):
                waves.append([])
            waves[place].append(message)
    return ImportPlan(
        departments=codes,
        new_departments={name: code for name, code in codes.items() if name not in departments},
        waves=tuple(map(tuple, waves)),
    )


def _check_department(name: str, line: int) -> None:
    if len(name) > NAME_LETTERS_MAX:
        raise Invalid(f"line {line}: the department's name has {len(name)} letters; {NAME_LETTERS_MAX} are allowed")
    if _CONTROL_CHARACTER.search(name):
        raise Invalid(f"line {line}: the department's name {name[:60]!r} must not hold control characters")


def _messages(of_case: list[Event], codes: Mapping[str, int], default_department: str) -> Iterator[PlannedMessage]:
    """The messages of one case, in the order of its events' times; where times are equal, in file order."""
    opened_in: set[int] = set()
    seen: dict[str, int] = {}
    previous: PlannedMessage | None = None
    for event in sorted(of_case, key=lambda event: event.time):
        department = event.department or default_department
        to = codes[department]
        message_id = _message_id(event, department, seen)
        held_by = to if previous is None else previous.envelope.to
        envelope = Envelope(
            id=message_id,
            to=to,
            sender=None if held_by == to else held_by,
            actor_type=ACTOR_TYPE,
            actor_id=event.case,
            action="modify" if to in opened_in else "create",
            type=event.activity,
            body=jsontext.write(event.attributes),
            valid_at=event.time.astimezone(UTC),
            correlation=event.case,
        )
        for offence in offences(envelope):
            raise Invalid(f"line {event.line}: the {_COLUMN_OF[offence.pointer]} {offence.detail}")
        opened_in.add(to)
        previous = PlannedMessage(
            envelope=envelope, message_id=message_id, previous=previous.message_id if previous else None
        )
        yield previous


def _message_id(event: Event, department: str, seen: dict[str, int]) -> UUID:
    """The event's id, from all that it says; ``seen`` counts, within its case, events that say the same.

    The content, and not the event's place in its case or file: a log that grew, or was sorted anew, keeps the ids of
    the events it had, and another log that uses the same case ids for other cases makes other ids.
    """
    content = jsontext.write(
        [event.case, department, event.activity, event.time.astimezone(UTC), sorted(event.attributes.items())]
    )
    before = seen.get(content, 0)
    seen[content] = before + 1
    return uuid5(_EVENT_IDS, f"{before} {content}")
