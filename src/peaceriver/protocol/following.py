"""Following: whom a replica pulls from, what it asks for, and what it makes of the answer.

A candidate pulls too, from the one with the longest journal among those who have promised; that one's journal stands
still for it.
"""

from __future__ import annotations

from peaceriver.protocol.effects import Apply, Complete, Effect, Forget, Strand
from peaceriver.protocol.messages import Answer, Diverged, Fetch, NotLeading, Regressed, Rows
from peaceriver.protocol.state import State


def source(state: State) -> str | None:
    """Whom it pulls from now."""
    if state.campaign is not None:
        return state.campaign.source
    return state.leader if state.reign is None else None


def fetch(state: State) -> Fetch:
    """What to ask the source for."""
    state.fetches += 1
    return Fetch(
        number=state.fetches, promised=state.promised, after=state.probe or state.end, recovering=state.recovering
    )


def announced(state: State, node: str, epoch: int, now: float) -> list[Effect]:
    """A node says that it leads an epoch."""
    if node == state.node:
        return []
    if epoch < state.promised:
        # It does not know what was promised here, and nobody else may tell it: neither could do without the other.
        if state.campaign is None and state.reign is None and not state.hears_leader(now):
            state.contradict(node, epoch)
        return []
    effects: list[Effect] = []
    if state.reign is not None:
        if epoch <= state.reign.epoch:
            return []
        effects = state.step_down(now, f"{node} leads epoch {epoch}")
    if epoch >= state.leader_epoch:
        state.drop_campaign()
        state.follow(node, epoch, now)
    return effects


def answered(state: State, answer: Answer, now: float) -> list[Effect]:
    """The source's answer to a fetch. One that does not fit what is asked for by now is an old one, and ignored."""
    match answer:
        case NotLeading():
            state.know_of(answer.promised)
            if state.campaign is None:
                state.leave()
        case Regressed():
            if answer.epoch == state.leader_epoch:
                return [Forget(f"position {answer.acknowledged} was acknowledged, and the journal ends at {state.end}")]
        case Diverged():
            if obeys(state, answer.epoch) and answer.after == (state.probe or state.end):
                return [Strand(answer.at, answer.epoch)]
        case Rows():
            if obeys(state, answer.epoch) and answer.after == state.end:
                state.probe = None
                if state.campaign is None:
                    state.heard_at = now
                return agreed(state, answer) if answer.end == answer.after else [Apply(answer)]
            if obeys(state, answer.epoch) and answer.after == state.probe:
                # Found: up to here the journals are the same, and what follows in this one is not in the other.
                return [Strand(answer.after, answer.epoch)]
    return []


def obeys(state: State, epoch: int) -> bool:
    """Whether whoever speaks in an epoch's name is followed."""
    if state.campaign is not None:
        return epoch == state.campaign.epoch == state.promised
    return epoch == state.leader_epoch and epoch >= state.promised


def agreed(state: State, rows: Rows) -> list[Effect]:
    """The source's journal begins with this one."""
    state.agrees_with = rows.epoch
    complete = min(rows.complete, state.end.position)
    if complete <= state.complete:
        return []
    state.complete = complete
    return [Complete(complete)]
