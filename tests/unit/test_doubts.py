"""What may be recorded is never told to be refused, also where it cannot be kept to wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from peaceriver.errors import DiskFull, LedElsewhere, OutcomeUnknown, Refused
from peaceriver.message import Envelope
from peaceriver.node.pending import Pending
from peaceriver.node.sending import Sender, Sending
from peaceriver.node.spooling import Spooling

CODE = 100
SPOOL = Sender(spool=True)


class Door:
    """Its department gives every message the same answer."""

    def __init__(self, answer: Refused) -> None:
        self.answer = answer

    async def send(self, messages: Sequence[Envelope], sender: Sender, *, promoted: object) -> list[Refused]:
        return [self.answer] * len(messages)

    async def send_atomic(self, messages: Sequence[Envelope], sender: Sender) -> list[Refused]:
        raise self.answer

    def checked(self, message: Envelope) -> None:
        """It is well-formed."""


class Shelf:
    """Where messages cannot be kept."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def spooled_for(self, code: int) -> int:
        return 0

    async def keep(self, code: int, kept: object, *, atomic: bool) -> list[object]:
        raise self.error


MESSAGE = Envelope(to=CODE, actor_type="Order", actor_id="1", action="create")


def spooling(answer: Refused, error: Exception) -> Spooling:
    return Spooling(cast(Sending, Door(answer)), cast(Pending, Shelf(error)), lambda code: None)


@pytest.mark.parametrize("error", [DiskFull("no room"), ConnectionResetError("the server went away")])
async def test_a_doubt_stays_one(error: Exception) -> None:
    door = spooling(OutcomeUnknown("it may be recorded"), error)
    (outcome,) = await door.send([MESSAGE], SPOOL)
    assert isinstance(outcome, OutcomeUnknown)
    with pytest.raises(OutcomeUnknown, match="it may be recorded"):
        await door.send_atomic([MESSAGE], SPOOL)


async def test_what_is_recorded_nowhere_and_cannot_be_kept_is_refused() -> None:
    door = spooling(LedElsewhere("nobody leads"), DiskFull("no room"))
    (outcome,) = await door.send([MESSAGE], SPOOL)
    assert isinstance(outcome, DiskFull)
    assert outcome.message_id
    with pytest.raises(DiskFull):
        await door.send_atomic([MESSAGE], SPOOL)


async def test_whether_it_is_kept_may_not_be_known_either() -> None:
    door = spooling(LedElsewhere("nobody leads"), ConnectionResetError("the server went away"))
    (outcome,) = await door.send([MESSAGE], SPOOL)
    assert isinstance(outcome, OutcomeUnknown)
    assert outcome.message_id
