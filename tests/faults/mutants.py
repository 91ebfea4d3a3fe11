"""Mutants: small mistakes planted in a node's process, each of which some checker must catch.

A mutant says what is wrong with it, changes the product in its own process before the node starts, and names the
faults under which it shows. Nothing of this is in the product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tests.faults import nemesis
from tests.faults.mutations import data, protocol

#: Faults that move leadership, and cost no restart.
MOVING = ("partition", "mute", "deaf", "freeze", "freeze both", "cut off")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted mistake."""

    says: str
    apply: Callable[[], None]
    kinds: tuple[str, ...] = MOVING
    #: Of each schedule, where chance alone would take too long to find it.
    planned: tuple[nemesis.Planned, ...] = ()


def _at(kind: str, victim: str, after_s: float, for_s: float, other: str = "n1") -> nemesis.Planned:
    return nemesis.Planned(kind, victim, other, after_s, for_s)


#: Two nodes hold what the third one does not; one of the two loses its disk while the other one is away.
_LOSES_A_DISK = (
    _at("partition", "n3", 0.0, 1.2),
    _at("wipe", "n1", 1.1, 0.0),
    _at("freeze both", "n2", 1.15, 7.0),
)
#: The leader of a department goes on for a while after others have turned away from it, and comes back.
_TURNS = tuple(_at("partition", name, 1.5 * number, 1.3) for number, name in enumerate(("n1", "n2", "n3")))

MUTANTS: Mapping[str, Mutant] = MappingProxyType(
    {
        "acknowledge-at-once": Mutant("a receipt does not wait for a majority", protocol.acknowledge_at_once),
        "shorter-may-lead": Mutant(
            "a candidate leads with its own journal, however long the others' are", protocol.shorter_may_lead
        ),
        "acknowledge-unwritten": Mutant(
            "a follower acknowledges rows that it writes a moment later",
            protocol.acknowledge_unwritten,
            ("kill both", "kill all", "kill server", "freeze both", "partition"),
        ),
        "promise-not-kept": Mutant(
            "whoever asks is promised the epoch, and an earlier leader is followed still", protocol.promise_not_kept
        ),
        "no-fence": Mutant("a leader appends on, whatever was promised since", protocol.no_fence),
        "wiped-may-vote": Mutant(
            "a replica that lost its disk counts at once", protocol.wiped_may_vote, ("wipe",), _LOSES_A_DISK
        ),
        "divergence-unnoticed": Mutant(
            "a leader takes every follower's journal for the beginning of its own", protocol.divergence_unnoticed
        ),
        "all-is-complete": Mutant("what is on disk is shown as complete", protocol.all_is_complete, planned=_TURNS),
        "mark-first": Mutant(
            "a delivery's mark is written before what it delivers", data.mark_first, ("kill", "kill all", *MOVING)
        ),
        "ids-unknown": Mutant("nobody looks whether a message was recorded before", data.ids_unknown),
        "stranded-forgotten": Mutant("what was taken back is dropped", data.stranded_forgotten, planned=_TURNS),
        "group-cut": Mutant("a group is appended message by message", data.group_cut),
        "view-skips": Mutant("views skip a record now and then", data.view_skips),
        "as-of-open": Mutant("a cutoff is answered before its department is past it", data.as_of_open),
        "cause-ignored": Mutant(
            "a stamp is the clock's, however late the message's own one is", data.cause_ignored, ("clock jump", "reset")
        ),
        "delivers-early": Mutant("a delivery takes what is not complete yet", data.delivers_early, planned=_TURNS),
    }
)
