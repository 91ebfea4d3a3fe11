"""One attempt to append a batch: the proposals that it took, what was decided about each, and the ledger of it all."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from peaceriver.errors import PeaceRiverError, Unavailable
from peaceriver.limits import APPEND_BYTES_MAX, APPEND_RECORDS_MAX
from peaceriver.shard.admission import Admitted, Rules, admit, note_side_effects
from peaceriver.shard.journal import Batch
from peaceriver.shard.ledger import Ledger
from peaceriver.shard.proposal import Answer, Proposal
from peaceriver.shard.validation import Unasked
from peaceriver.shard.waiting import Place

log = structlog.get_logger()


class MarkMoved(PeaceRiverError):
    """A reader's mark is not where its proposal expects it: somebody acted already, so this unit must not."""


class Resolved(PeaceRiverError):
    """An entry of an exception is in the journal already: somebody was faster."""


class Attempt:
    """A batch that is being put together, and then committed or dropped as a whole."""

    def __init__(self, ledger: Ledger, *, looked_up: bool = False) -> None:
        self.ledger = ledger
        #: Whether the journal was asked which of its messages are recorded already.
        self.looked_up = looked_up
        self.taken: list[Place] = []
        self._answers: list[Answer] = []
        self._room = Room()

    @property
    def batch(self) -> Batch:
        return self.ledger.batch

    def has_room(self, place: Place) -> bool:
        """Whether it may take another proposal."""
        return self._room.holds(place)

    def needs_more(self, proposal: Proposal) -> bool:
        """Whether an actor must be in memory to decide about a proposal, and is not.

        A create is taken for new: the actor's key refuses it if that was wrong.
        """
        for wish in proposal.wishes:
            if wish.kind == "received" and wish.envelope.action != "create" and self.ledger.actor(wish.key) is None:
                return True
        if not proposal.exceptions:
            return False
        return any(self.ledger.actor((each.actor_type, each.actor_id)) is None for each in proposal.exceptions)

    def consider(self, place: Place, rules: Rules, wall: int) -> bool:
        """Decide about one proposal and take it.

        False, and nothing taken, where nobody has looked yet and that matters: it looks like a conflict and may be a
        message that was recorded before, or it adds to an exception that may be resolved, or is offered again.
        """
        if not self.looked_up and (place.exception_ids or place.proposal.offered):
            return False
        judged = self._judged(place, rules, wall)
        if isinstance(judged, Admitted):
            if judged.refuses and not self.looked_up:
                return False
            if judged.unit.records:
                self.ledger.take(judged.unit)
                note_side_effects(place.proposal, judged, self.batch)
            self._answers.append(judged.outcomes)
        else:
            self._answers.append(judged)
        self.taken.append(place)
        self._room.take(place)
        return True

    def _judged(self, place: Place, rules: Rules, wall: int) -> Admitted | PeaceRiverError:
        proposal = place.proposal
        for reader, source, position in proposal.expecting:
            at = self.ledger.mark(reader, source)
            if at != position:
                moved = f"{reader} of {self.ledger.shard} has acted on {source} up to {at}, not {position}"
                return MarkMoved(moved)
        for record_id in place.exception_ids:
            # What is resolved stays resolved: no other entry comes after that one.
            if (before := self.ledger.seen(record_id)) is not None:
                return Resolved(f"department {self.ledger.shard} told of this exception at {before.position} before")
        try:
            return admit(proposal, self.ledger, rules, wall)
        except Unasked as error:
            return Unavailable(f"{error}; it is tried again", retry_after_s=1.0)
        except Exception as error:  # outermost: a bug that one message meets must not stop the department
            log.exception("a proposal could not be judged", shard=self.ledger.shard)
            return Unavailable(f"department {self.ledger.shard} could not judge the message: {error!r}")

    def answer(self) -> None:
        """Tell everybody what was decided: it counts now."""
        for place, answer in zip(self.taken, self._answers, strict=True):
            place.answer(answer)


class Room:
    """What still goes into one transaction: whole proposals, up to a size; one that is larger goes alone."""

    def __init__(self) -> None:
        self._records = self._bytes = 0

    def holds(self, place: Place) -> bool:
        """Whether a proposal fits."""
        if not self._records:
            return True
        return self._records + place.records <= APPEND_RECORDS_MAX and self._bytes + place.bytes <= APPEND_BYTES_MAX

    def take(self, place: Place) -> None:
        self._records += place.records
        self._bytes += place.bytes


def answer_all(places: Iterable[Place], answer: Answer) -> None:
    """Give everybody the same answer."""
    for each in places:
        each.answer(answer)
