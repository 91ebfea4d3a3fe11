"""Mutants: small mistakes planted in a node's process, each of which some checker must catch.

A mutant says what is wrong with it, changes the product in its own process before the node starts, and names the
faults under which it shows. Nothing of this is in the product.

Two that one would look for are not here, since no faults of whole nodes show them reliably. A leader without the fence
in its append does no harm while followers keep their promises (the simulation of the protocol catches it); and what is
delivered before it is complete is taken back together with what was made of it, but for rare splits of five nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tests.faults import nemesis
from tests.faults.mutations import data, protocol

#: How a violation begins that is no checker's: a schedule did not come to its end.
HEALED = "healed"
#: Faults that move leadership, and cost no restart.
MOVING = ("partition", "mute", "deaf", "freeze", "freeze both", "cut off")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted mistake."""

    says: str
    apply: Callable[[], None]
    #: The checkers that are for it; ``HEALED`` among them where it makes things stand still.
    caught_by: tuple[str, ...]
    kinds: tuple[str, ...] = MOVING
    #: Of each schedule, where chance alone would take too long to find it.
    planned: tuple[nemesis.Planned, ...] = ()
    nodes: int = 3
    own_disks: bool = False


def _at(kind: str, victim: str, after_s: float, for_s: float, other: str = "n1") -> nemesis.Planned:
    return nemesis.Planned(kind, victim, other, after_s, for_s)


#: What has been acknowledged is not there.
LOST = ("complete_stays", "nothing_lost", "same_prefix")
#: Two nodes hold what the third one does not; one of the two loses its disk while the other one is away.
_LOSES_A_DISK = (
    _at("partition", "n3", 0.0, 1.2),
    _at("wipe", "n1", 1.1, 0.0),
    _at("freeze both", "n2", 1.15, 7.0),
)
_NO_POWER = (_at("power cut everywhere", "n1", 1.0, 0.0),)
#: Two nodes that do not hear each other both ask the third one, which was away and is slow, for its promise.
_RIVALS = tuple(
    planned
    for number, (one, other, third) in enumerate((("n1", "n2", "n3"), ("n2", "n3", "n1"), ("n3", "n1", "n2")))
    for planned in (
        _at("two apart", one, 4.5 * number, 4.0, other),
        _at("kill", third, 4.5 * number + 0.1, 0.6),
        _at("delay", third, 4.5 * number + 0.5, 3.0),
    )
)
#: The leader of a department goes on for a while after others have turned away from it, and comes back.
_TURNS = tuple(_at("partition", name, 1.5 * number, 1.3) for number, name in enumerate(("n1", "n2", "n3")))
#: It comes back while those who have sent to it are waiting still.
_SHORT_TURNS = tuple(_at("partition", name, 1.3 * number, 1.0) for number, name in enumerate(("n1", "n2", "n3")))
MUTANTS: Mapping[str, Mutant] = MappingProxyType(
    {
        "acknowledge-at-once": Mutant("a receipt does not wait for a majority", protocol.acknowledge_at_once, LOST),
        "shorter-may-lead": Mutant(
            "a candidate leads with its own journal, however long the others' are", protocol.shorter_may_lead, LOST
        ),
        "acknowledge-unwritten": Mutant(
            "a database acknowledges what it writes a moment later",
            protocol.acknowledge_unwritten,
            (HEALED, *LOST),
            planned=_NO_POWER,
            own_disks=True,
        ),
        "never-flushed": Mutant(
            "a database commits without flushing",
            protocol.never_flushed,
            (HEALED, *LOST),
            planned=_NO_POWER,
            own_disks=True,
        ),
        "promise-not-kept": Mutant(
            "an epoch is promised to whoever asks last",
            protocol.promise_not_kept,
            ("one_writer", *LOST),
            planned=_RIVALS,
        ),
        "old-reign-acknowledges": Mutant(
            "who waits for a leader that leads no longer is answered when others have come to that place",
            protocol.old_reign_acknowledges,
            ("no_old_epoch", *LOST),
            planned=_SHORT_TURNS,
        ),
        "wiped-may-vote": Mutant(
            "a replica that lost its disk counts at once", protocol.wiped_may_vote, LOST, planned=_LOSES_A_DISK
        ),
        "divergence-unnoticed": Mutant(
            "a leader takes every follower's journal for the beginning of its own",
            protocol.divergence_unnoticed,
            ("converged", *LOST),
            planned=_TURNS,
        ),
        "all-is-complete": Mutant(
            "what is on disk is shown as complete", protocol.all_is_complete, LOST, planned=_TURNS
        ),
        "mark-first": Mutant(
            "a delivery's mark is written before what it delivers", data.mark_first, ("acted_once",), planned=_TURNS
        ),
        "ids-unknown": Mutant(
            "nobody looks whether a message was recorded before",
            data.ids_unknown,
            ("recorded_once", "refused_is_absent"),
        ),
        "stranded-forgotten": Mutant(
            "what was taken back is dropped", data.stranded_forgotten, ("nothing_lost",), planned=_TURNS
        ),
        "group-cut": Mutant("a group is appended message by message", data.group_cut, ("groups_whole",)),
        "view-skips": Mutant(
            "views skip a record now and then", data.view_skips, ("foldable", "own_writes_read", "undamaged")
        ),
        "as-of-open": Mutant(
            "a cutoff is answered before its department is past it", data.as_of_open, ("as_of_stays", "sums_constant")
        ),
        "cause-ignored": Mutant(
            "a stamp is the clock's, however late the message's own one is",
            data.cause_ignored,
            ("dense_and_rising",),
            ("clock jump", "reset"),
        ),
        "delivers-backwards": Mutant(
            "what was sent earlier is received later",
            data.delivers_backwards,
            ("acted_once",),
            planned=_TURNS,
        ),
    }
)
