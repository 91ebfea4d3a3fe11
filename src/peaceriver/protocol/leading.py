"""Leading: answering those who pull, knowing what is complete, handing over, and stepping down."""

from __future__ import annotations

from collections.abc import Collection

from peaceriver.protocol.effects import Complete, Effect, Hold, Say
from peaceriver.protocol.members import Members, next_change
from peaceriver.protocol.messages import Answer, Diverged, Fetch, NotLeading, Place, Regressed, TakeOver
from peaceriver.protocol.reign import Reign, Transfer
from peaceriver.protocol.state import State

#: A transfer that has not come about after so many leases is given up.
_TRANSFER = 0.5
#: A leader whose disk has not answered for so many leases leaves it to the others to lead: theirs may be well.
_STALLED = 2.0


def go_on(state: State, reign: Reign, now: float, stalled_s: float) -> list[Effect]:
    """Time passes for a leader."""
    if stalled_s > _STALLED * state.lease_s and len(state.members.voters) > 1:
        return state.step_down(now, "its database does not answer")
    if not reign.hears_majority(state.members, now, state.lease_s):
        return state.step_down(now, "it hears from no majority of the replicas")
    if state.node not in state.members.voters and state.complete >= state.members.position:
        return state.step_down(now, "it holds the department no longer")
    if reign.transfer is not None and now >= reign.transfer.until:
        reign.transfer = None
        return [Hold(on=False)]
    return []


def next_members(
    state: State, reign: Reign, voting: Collection[str], learning: Collection[str], now: float
) -> Members | None:
    """The next change of members; see ``Replica.next_members``.

    One at a time, and none before this reign has completed anything: else two leaders could each change what the other
    one has not seen, and count majorities that do not meet (the bug in Raft's single-server changes, Ongaro on
    raft-dev, July 2015).
    """
    if state.complete < max(reign.start, state.members.position):
        return None
    level = reign.level(state.members, state.complete, now, state.lease_s)
    return next_change(state.members, voting, learning, level, state.node)


def serves(state: State, node: str, fetch: Fetch) -> bool:
    """Whether a fetch is answered from this journal: to a follower, or to the candidate that has its promise."""
    if state.reign is not None:
        return fetch.promised <= state.reign.epoch
    return fetch.promised == state.promised and state.promised_to == node


def fetched(state: State, node: str, fetch: Fetch, at: Place, now: float) -> tuple[Answer | None, list[Effect]]:
    """A fetch; see ``Replica.fetched``."""
    reign = state.reign
    state.know_of(fetch.promised)
    if not serves(state, node, fetch):
        stepping = [] if reign is None else state.step_down(now, f"{node} has promised epoch {fetch.promised}")
        return NotLeading(state.promised), stepping
    if reign is None:
        return (None if at == fetch.after else Diverged(state.promised, fetch.after, at)), []
    if fetch.recovering:
        reign.forget(node)
    elif reign.knows_younger(node, fetch.number):
        return Regressed(reign.epoch, reign.matched.get(node, 0)), []
    # A late request is answered all the same: it says nothing about the follower, but the journal is what it is.
    late = not fetch.recovering and reign.is_late(node, fetch.number)
    if not late:
        reign.heard[node] = now
    if at != fetch.after:
        return Diverged(reign.epoch, fetch.after, at), []
    if fetch.recovering or (late and not reign.is_last(node, fetch.number)):
        return None, []
    matched = reign.matched.get(node, 0)
    if at.position < matched:
        return Regressed(reign.epoch, matched), []
    reign.matched[node] = at.position
    return None, completed(state, reign) + _hand_over(state, reign)


def appended(state: State, reign: Reign, end: Place, members: Members) -> list[Effect]:
    """The leader's journal has grown, on its own disk."""
    if end.epoch != reign.epoch:
        return []
    state.end, state.members = end, members
    return completed(state, reign) + _hand_over(state, reign)


def completed(state: State, reign: Reign) -> list[Effect]:
    """What is complete by now."""
    complete = reign.complete(state.members, state.end.position, state.complete)
    if complete <= state.complete:
        return []
    state.complete = complete
    return [Complete(complete)]


def transfer(state: State, reign: Reign, to: str, now: float) -> list[Effect]:
    """Hand over to a voter; see ``Replica.transfer``."""
    assert to in state.members.voters, f"{to} has no vote"
    reign.transfer = Transfer(to, now + _TRANSFER * state.lease_s)
    return [Hold(on=True)]


def held(state: State, reign: Reign) -> list[Effect]:
    """Nothing is being appended any more."""
    if reign.transfer is not None:
        reign.transfer.held = True
    return _hand_over(state, reign)


def _hand_over(state: State, reign: Reign) -> list[Effect]:
    """Ask the next leader to take over, once it has everything."""
    moving = reign.transfer
    if moving is None or not moving.held or moving.asked or reign.matched.get(moving.to, -1) < state.end.position:
        return []
    moving.asked = True
    return [Say(moving.to, TakeOver(reign.epoch))]
