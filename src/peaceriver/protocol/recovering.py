"""A replica that may have forgotten promises and records: it copies, and counts again once that cannot matter.

Whatever it has promised or acknowledged, a majority of the other voters knows of an epoch that is as high (Viewstamped
Replication Revisited, Liskov and Cowling 2012, section 4.3; messages.Ask has the two rounds that this rests on). So it
waits until it has caught up with the leader of the highest epoch that such a majority names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peaceriver.protocol.effects import Effect, SaveRecovered, Say
from peaceriver.protocol.messages import START, Look, Place, Standing
from peaceriver.protocol.state import State


def look_around(state: State, now: float) -> list[Effect]:
    """Ask the others how they stand, now and then."""
    if now < state.look_at:
        return []
    state.look_at = now + state.lease_s / 2
    return [Say(each, Look()) for each in state.members.others(state.node)]


def try_to_recover(state: State) -> list[Effect]:
    """Count again, if what was heard and copied by now allows it."""
    if not state.recovering:
        return []
    others = state.members.others(state.node)
    if state.promised == 0 and nothing_was_promised(others, state.standings, state.end):
        return [SaveRecovered(0)]
    found = epoch_to_recover(others, state.standings)
    if found is None or state.complete < state.members.position:
        # A majority of members that are not complete yet need not meet the majority that knows of the epoch.
        return []
    epoch, leader, end = found
    follows = (state.leader, state.leader_epoch, state.agrees_with) == (leader, epoch, epoch)
    return [SaveRecovered(epoch)] if follows and state.end >= end else []


def nothing_was_promised(others: Sequence[str], told: Mapping[str, Standing], end: Place) -> bool:
    """Whether the shard is only being founded: there is nothing to forget, and every other voter says so.

    A shard of one replica has no other to say so: whoever founds it knows, and does not start it as recovering.
    """
    return end == START and bool(others) and all(each in told and told[each].promised == 0 for each in others)


def epoch_to_recover(others: Sequence[str], told: Mapping[str, Standing]) -> tuple[int, str, Place] | None:
    """The epoch that must be known to count again, its leader, and the place that must have been caught up with.

    None: not enough of the other voters have told, or the one who leads the highest epoch is not among them.
    """
    # Whoever is recovering as well may have forgotten the very epoch that is looked for.
    known = {node: each for node, each in told.items() if node in others and not each.recovering}
    if not others or len(known) < len(others) // 2 + 1:
        return None
    epoch = max(each.promised for each in known.values())
    leader = next((node for node, each in known.items() if each.leads == epoch), None)
    return None if leader is None else (epoch, leader, known[leader].end)


def recovered(state: State, promised: int) -> None:
    """It is on disk that the replica knows again what it must."""
    state.raise_promise(promised)
    state.recovering = False
    state.standings.clear()


def forgot(state: State) -> None:
    """It is on disk that the replica does not know what it has promised."""
    state.recovering = True
    state.standings.clear()
    state.drop_campaign()
