"""Elections: a voter that hears from no leader looks around, collects promises, catches up, and begins an epoch."""

from __future__ import annotations

from peaceriver.protocol.campaign import Campaign
from peaceriver.protocol.effects import Effect, Open, SavePromise, Say, StepDown
from peaceriver.protocol.messages import Ask, Look, Place, Promise, Standing, TakeOver
from peaceriver.protocol.reign import Reign
from peaceriver.protocol.state import State

#: Voters try to lead one after the other, so far apart, as a part of the lease.
_STAGGER = 0.2
#: Whoever has failed tries again after so much of the lease, and so much more for each rank: farther apart than before,
#: since two who fail together begin to wait at the same moment.
_AGAIN = 0.2
_AGAIN_STAGGER = 0.3
#: Whoever is refused by one waits so much longer for the others: there may be a rival, and then nobody wins.
_REFUSED = 0.1
#: A round of questions ends after so many leases.
_ROUND = 0.5
#: The first record of an epoch takes no longer, in leases, but for a database that hangs.
_OPENING = 4.0


def go_on(state: State, now: float) -> list[Effect]:
    """Time passes for a voter that does not lead."""
    if state.campaign is not None and now >= state.campaign.until:
        give_up(state, now)
    if state.campaign is not None or state.node not in state.members.voters or state.hears_leader(now):
        return []
    if state.barred:
        return []
    return start(state, now) if now - max(state.heard_at, state.waits_since) >= _patience_s(state) else []


def _patience_s(state: State) -> float:
    if len(state.members.voters) == 1:
        return 0.0  # there is nobody to wait for
    return state.lease_s * (1 + _STAGGER * _rank(state))


def _rank(state: State) -> int:
    return state.members.rank(state.node, state.first) if state.node in state.members.voters else 0


def start(state: State, now: float) -> list[Effect]:
    """Try to lead."""
    if state.node not in state.members.voters:
        return []
    state.campaign = Campaign(state.node, state.members, until=now + _ROUND * state.lease_s)
    asked: list[Effect] = [Say(each, Look()) for each in state.members.others(state.node)]
    return asked or _ask_for_promises(state, state.campaign)


def give_up(state: State, now: float) -> None:
    """Leave it to others for a while: the last one in rank waits longest."""
    state.drop_campaign()
    state.waits_since = now + state.lease_s * (_AGAIN + _AGAIN_STAGGER * _rank(state)) - _patience_s(state)


def _ask_for_promises(state: State, campaign: Campaign) -> list[Effect]:
    if not campaign.may_ask():
        return []
    campaign.phase = "promising"
    return [SavePromise(1 + max(state.promised, state.known_promised), state.node)]


def take_over(state: State, node: str, wish: TakeOver, now: float) -> list[Effect]:
    """The leader that is followed wishes to be succeeded: nobody need be looked at first."""
    if (
        not state.votes
        or state.barred
        or state.reign is not None
        or (node, wish.epoch) != (state.leader, state.leader_epoch)
    ):
        return []
    state.campaign = Campaign(state.node, state.members, until=now + _ROUND * state.lease_s)
    state.campaign.phase = "promising"
    return [SavePromise(1 + max(wish.epoch, state.promised, state.known_promised), state.node)]


def may_promise(state: State, node: str, epoch: int) -> bool:
    """Whether to promise an epoch to a node."""
    if state.recovering:
        return False
    return epoch > state.promised or (epoch == state.promised and node == state.promised_to)


def promise_to(state: State, node: str, ask: Ask) -> Promise:
    """The reply to an ask, from what is on disk by now."""
    granted = not state.recovering and (ask.epoch, node) == (state.promised, state.promised_to)
    return Promise(epoch=ask.epoch, round=ask.round, granted=granted, promised=state.promised, end=state.end)


def saved(state: State, promised: int, to: str | None, end: Place, now: float) -> list[Effect]:
    """What the database says of promises and of the journal's end; see ``Replica.saved``."""
    is_news = (promised, to) != (state.promised, state.promised_to)
    state.promised, state.promised_to, state.end = promised, to, end
    effects: list[Effect] = []
    if is_news and state.reign is not None and state.reign.epoch < promised:
        effects += state.step_down(now, f"epoch {promised} was promised to {to}")
    if is_news and to != state.node:
        state.drop_campaign()
        # Whoever asked will lead, or has this long to fail.
        state.waits_since = now
    if is_news and state.leader_epoch < promised:
        state.leave()
    campaign = state.campaign
    if to == state.node and campaign is not None and campaign.phase == "promising" and not campaign.epoch:
        campaign.promise(promised, now + _ROUND * state.lease_s)
        effects += [Say(each, Ask(promised, 1)) for each in state.members.others(state.node)]
        effects += _count(state, campaign, now, campaign.count(end))
    return effects


def looked(state: State, node: str, standing: Standing) -> list[Effect]:
    """How somebody stands."""
    if state.campaign is None:
        return []
    state.campaign.looked(node, standing)
    return _ask_for_promises(state, state.campaign)


def promised(state: State, node: str, promise: Promise, now: float) -> list[Effect]:
    """Whether somebody has promised."""
    campaign = state.campaign
    if campaign is None or promise.epoch != campaign.epoch or campaign.phase not in ("promising", "counting"):
        return []
    if not promise.granted:
        campaign.until = min(campaign.until, now + _REFUSED * state.lease_s)
        return []
    return _count(state, campaign, now, campaign.granted(node, promise, state.end))


def _count(state: State, campaign: Campaign, now: float, asks: list[tuple[str, Ask]]) -> list[Effect]:
    asked: list[Effect] = [Say(to, ask) for to, ask in asks]
    campaign.count_ends(now + state.lease_s)
    return asked + _opening(state, campaign, now)


def pulled(state: State, now: float) -> list[Effect]:
    """The journal has moved, perhaps a candidate's to where it may lead."""
    if state.campaign is None:
        return []
    state.campaign.until = now + state.lease_s
    return _opening(state, state.campaign, now)


def _opening(state: State, campaign: Campaign, now: float) -> list[Effect]:
    """Lead, if the candidate's journal is where it must be, and its members are those who were asked."""
    if not campaign.is_level(state.end):
        return []
    if campaign.members != state.members:
        # The journal that it has taken over knows of a change: a majority of those must have promised.
        state.drop_campaign()
        return start(state, now)
    campaign.phase, campaign.until = "opening", now + _OPENING * state.lease_s
    return [Open(campaign.epoch)]


def opened(state: State, epoch: int, end: Place | None, now: float) -> list[Effect]:
    """What came of Open; see ``Replica.opened``."""
    campaign, state.campaign = state.campaign, None
    if end is None or campaign is None or campaign.epoch != epoch:
        state.waits_since = now
        return [] if end is None else [StepDown("its election was given up meanwhile")]
    state.end = end
    state.leave()
    state.reign = Reign(state.node, epoch, end.position, now)
    return []
