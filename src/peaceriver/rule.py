"""Rules: event, condition, action. What a rule is, what it sees of a record, and what it may answer. Pure.

    @rule(on=Order.created, at=sales, when=lambda event: event.document.total > 1000)
    def ask_credit(event):
        yield credit.create(CreditCheck(order=event.id, amount=event.document.total), id=event.id)

A rule is a function of one record and of its actor's document at that record. It keeps nothing and asks nobody: asked
again about the same record, it must answer the same. Its follow-ups get ids that are derived from the record, the rule,
the rule's version and their place, so that a step that is repeated repeats the ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from peaceriver.actor import Actor, EventSelector, Message
from peaceriver.department import Department
from peaceriver.errors import Offence
from peaceriver.event import Event, Resolve
from peaceriver.message import ACTOR_TYPE, Envelope
from peaceriver.source import digest_of_rule

RuleKind = Literal["follow-up", "validation"]
#: Where a rule starts that has not acted yet: after what is recorded now, at the first record, or after a position.
Start: TypeAlias = Literal["now", "start"] | int

RULE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
FAILED: Final = "failed"
_ACTIONS: Final = {"created": "create", "modified": "modify", "cancelled": "cancel"}
_MESSAGE_TYPE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True, slots=True)
class Refuse:
    """What a validation rule yields: why the message is refused, and which place of it is to blame.

    ``pointer`` is a JSON pointer (RFC 6901) into the message, as in "/body/total".
    """

    detail: str
    pointer: str = "/body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Which records a rule looks at."""

    #: None: of any type; only for exceptions.
    actor_type: str | None
    #: create, modify or cancel; ``FAILED`` for exceptions; else the name of a message type.
    what: str

    def __str__(self) -> str:
        return f"{self.actor_type or '*'}.{self.what}"

    @property
    def kind(self) -> Literal["received", "exception"]:
        """The kind of records."""
        return "exception" if self.what == FAILED else "received"

    def covers(self, actor_type: str | None, action: str | None, message_type: str | None) -> bool:
        """Whether a record of the right kind is one of them."""
        if self.actor_type is not None and self.actor_type != actor_type:
            return False
        return self.what in (FAILED, action, message_type)

    @classmethod
    def parse(cls, text: str) -> Subscription:
        """Read what ``str`` writes: "Order.create", "Order.Approve", "Order.failed", "*.failed"; raises ValueError."""
        actor_type, dot, what = text.partition(".")
        if actor_type == "*" and what == FAILED:
            return cls(actor_type=None, what=FAILED)
        if what in _ACTIONS:
            raise ValueError(f"{text[:80]!r} is no event: as a text it is written {actor_type}.{_ACTIONS[what]}")
        # A message's default type is written as its actor's and its action's name, and means every such message.
        if not dot or not ACTOR_TYPE.fullmatch(actor_type) or not _MESSAGE_TYPE.fullmatch(what):
            raise ValueError(f"{text[:80]!r} is no event: write a type and what happens, as in Order.create")
        return cls(actor_type=actor_type, what=what)


def exceptions(of: type[Actor] | str | None = None) -> Subscription:
    """What a rule waits for that deals with exceptions: those that concern actors of a type, or all."""
    if of is None:
        return Subscription(actor_type=None, what=FAILED)
    return Subscription(actor_type=of if isinstance(of, str) else of.__name__, what=FAILED)


#: What can be waited for: Order.created, a message class, "Order.create", or exceptions(Order).
On: TypeAlias = EventSelector | type[Message[Any]] | Subscription | str
Condition: TypeAlias = Callable[[Event], object]
Action: TypeAlias = Callable[[Event], Iterable[Envelope | Refuse | Resolve] | Envelope | Refuse | Resolve | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as Python code; at a department, it becomes active when it is published there."""

    name: str
    on: Subscription
    at: int
    kind: RuleKind = "follow-up"
    start: Start = "now"
    when: Condition | None = field(default=None, compare=False, repr=False)
    action: Action = field(compare=False, repr=False)
    #: The same for the same code: a change of it makes a new version.
    digest: str

    def __call__(self, event: Event) -> Any:
        """What the function makes of an event, whatever the condition says; for tests of one's own."""
        return self.action(event)

    def page(self) -> dict[str, Any]:
        """What its Red Tape says of it."""
        return {"at": self.at, "on": str(self.on), "kind": self.kind, "from": self.start, "digest": self.digest}


def rule(
    *,
    on: On,
    at: Department | int,
    when: Condition | None = None,
    name: str | None = None,
    kind: RuleKind = "follow-up",
    start: Start = "now",
) -> Callable[[Action | Rule], Rule]:
    """Make a function a rule of one department; each use makes a new one, so a function can serve several.

    ``on``: ``Order.created``, ``Order.modified``, ``Order.cancelled``, a message class, ``exceptions(Order)``, or a
    text as in "Order.create". ``when``: without it every such event counts. ``name``: the function's, unless given; one
    of its own in all the cluster. ``kind``: a "validation" yields ``Refuse`` and keeps a message out, a "follow-up"
    yields messages. ``start``: where a rule that never acted begins; a new version goes on where the old one was.

    Raises ``ValueError`` for what cannot be a rule.
    """
    subscription = _subscription(on)
    if kind == "validation" and subscription.what == FAILED:
        raise ValueError("A validation rule judges messages before they are recorded; exceptions are records already.")
    if (isinstance(start, int) and start < 0) or (isinstance(start, str) and start not in ("now", "start")):
        raise ValueError(f'{start!r} is no start: use "now", "start", or a position from 0.')

    def made(function: Action | Rule) -> Rule:
        action = function.action if isinstance(function, Rule) else function
        given = function.name if isinstance(function, Rule) else getattr(function, "__name__", "")
        own = name or str(given)
        if not RULE_NAME.fullmatch(own):
            raise ValueError(f"{own[:80]!r} cannot be a rule's name: use letters, digits and _, at most 63.")
        return Rule(
            name=own,
            on=subscription,
            at=at.code if isinstance(at, Department) else at,
            kind=kind,
            start=start,
            when=when,
            action=action,
            digest=digest_of_rule(action, when),
        )

    return made


def _subscription(on: On) -> Subscription:
    if isinstance(on, Subscription):
        return on
    if isinstance(on, str):
        return Subscription.parse(on)
    if isinstance(on, EventSelector):
        return Subscription(actor_type=on.actor_type, what=_ACTIONS[on.action])
    if hasattr(on, "__actor__"):
        return Subscription(actor_type=on.__actor__.__name__, what=on.__name__)
    raise ValueError(f"{on!r} is no event: use Order.created, a message class, exceptions(Order) or a text.")


#: The rules of an application, by name.
Rules: TypeAlias = Mapping[str, Rule]


def offence_of(refusal: Refuse | str) -> Offence:
    """A validation's answer as an offence."""
    made = Refuse(refusal) if isinstance(refusal, str) else refusal
    return Offence(made.pointer, made.detail)
