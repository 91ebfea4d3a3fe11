"""The departments of the real log, with an Audit that rules tell of every event, and slips that confirm hand-overs.

The rules begin at the start: on an empty cluster that is now, on one that has the log already it is its first event.
"""

from __future__ import annotations

from collections.abc import Iterator

from peaceriver import Actor, Department, Envelope, Event, rule

ACTIVITY = "concept:name"
#: In the order of their first appearance in the log, which is the order of the codes that an import would give them.
GROUPS = ["Group 1", "Group 4", "EMPTY", *(f"Group {number}" for number in (3, 2, 13, 14, 12, 15, 7))]


class Entry(Actor):
    """One event, and which one the department had before it on the same case."""

    department: int
    case: str
    version: int
    activity: str
    before: str | None
    received_from: int | None


class Slip(Actor):
    """We have got the case."""

    case: str
    activity: str


groups = [Department(100 + number, name) for number, name in enumerate(GROUPS)]
audit = Department(200, "Audit", receives=[Entry])
(g0, g1, g2, g3, g4, g5, g6, g7, g8, g9) = groups
_by_code = {each.code: each for each in groups}


def note(event: Event) -> Iterator[Envelope]:
    """What is told depends on the document at the record and before it: asked later, the rule must see the same."""
    key = f"{event.id}-{event.shard}-{event.version}"
    entry = Entry(
        department=event.shard,
        case=event.id,
        version=event.version or 0,
        activity=event.document[ACTIVITY],
        before=None if event.before is None else event.before[ACTIVITY],
        received_from=event.sender,
    )
    yield audit.create(entry, id=key)
    if event.sender is not None:
        yield _by_code[event.sender].create(Slip(case=event.id, activity=entry.activity), id=key)


#: Two for each department: the first event of a case creates its file there, the others modify it.
rules = [
    rule(on=f"Case.{action}", at=each, name=f"note_{action}_{each.code}", start="start")(note)
    for each in groups
    for action in ("create", "modify")
]
