"""Planted mistakes in the protocol, and in what its storage promises: each must be noticed by a check or a story."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from peaceriver.protocol import electing, following, leading, recovering
from peaceriver.protocol.campaign import Campaign
from peaceriver.protocol.effects import Apply, Complete, Effect, Strand
from peaceriver.protocol.members import next_change
from peaceriver.protocol.messages import Diverged, Place, Regressed, Rows
from peaceriver.protocol.reign import Reign
from peaceriver.protocol.state import State
from tests.protocol import appender, test_directed, test_mended
from tests.protocol.appender import Appender, Unit
from tests.protocol.checkers import Violation
from tests.protocol.disk import Disk
from tests.protocol.simulation import Simulation, run

Patch = pytest.MonkeyPatch
MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Its name says what is wrong."""
    MUTANTS[plant.__name__] = plant
    return plant


class Caught(msgspec.Struct, frozen=True):
    """By which check, and after how many schedules; or by which story."""

    by: str
    schedules: int


def hunt(name: str, schedules: int, *, stories: bool) -> Caught | None:
    """Plant a mutant, and look for whoever notices it: stories first, if they are told at all."""
    with pytest.MonkeyPatch.context() as patch:
        MUTANTS[name](patch)
        if stories:
            for story in directed():
                try:
                    story()
                except Violation as violation:
                    return Caught(f"{violation.check} in {story.__name__}", 0)
                except (AssertionError, ValueError, KeyError):
                    return Caught(story.__name__, 0)
        for seed in range(schedules):
            try:
                run(seed)
            except Violation as violation:
                return Caught(violation.check, seed + 1)
    return None


def directed() -> Iterator[Callable[[], None]]:
    """All stories that need no parameters."""
    for module in (test_directed, test_mended):
        for name, story in vars(module).items():
            if name.startswith("test_") and not inspect.signature(story).parameters:
                yield story


# --- who writes


@mutant
def append_without_a_fence(patch: Patch) -> None:
    patch.setattr(Disk, "fenced", lambda self, epoch, expected: self.end != expected)


@mutant
def rows_of_any_epoch_are_applied(patch: Patch) -> None:
    patch.setattr(following, "obeys", lambda state, epoch: True)
    patch.setattr(leading, "serves", lambda state, node, fetch: True)

    def announced(state: State, node: str, epoch: int, now: float) -> list[Effect]:
        if state.reign is None and state.campaign is None and state.leader is None:
            state.follow(node, epoch, now)
        return []

    patch.setattr(following, "announced", announced)

    def apply(disk: Disk, rows: Rows, records: Any) -> bool:
        if disk.end != rows.after:
            return False
        disk.promised = max(disk.promised, rows.epoch)
        disk._write(records)
        return True

    patch.setattr(Disk, "apply", apply)


@mutant
def promises_are_not_durable(patch: Patch) -> None:
    boot = Disk.boot

    def forgetful(disk: Disk) -> None:
        boot(disk)
        disk.promised, disk.promised_to = disk.end.epoch, None

    patch.setattr(Disk, "boot", forgetful)


# --- elections


@mutant
def the_longest_journal_leads_without_promises(patch: Patch) -> None:
    def count(campaign: Campaign, end: Place) -> list[Any]:
        campaign.phase = "counting"
        campaign._ends = {node: each.end for node, each in campaign._standings.items()} | {campaign._node: end}
        return []

    patch.setattr(Campaign, "count", count)


@mutant
def one_round_of_promises(patch: Patch) -> None:
    def granted(campaign: Campaign, node: str, promise: Any, end: Place) -> list[Any]:
        campaign._granted.add(node)
        campaign._ends |= {node: promise.end, campaign._node: end}
        if campaign.members.has_majority(campaign._granted):
            campaign.phase = "counting"
        return []

    patch.setattr(Campaign, "granted", granted)


@mutant
def a_candidate_leads_with_its_own_journal(patch: Patch) -> None:
    def count_ends(campaign: Campaign, until: float) -> None:
        if campaign.phase == "counting" and campaign.members.has_majority(campaign._ends):
            campaign.phase, campaign.until, campaign.target = "pulling", until, campaign._ends[campaign._node]

    patch.setattr(Campaign, "count_ends", count_ends)


@mutant
def elections_without_looking_first(patch: Patch) -> None:
    patch.setattr(Campaign, "may_ask", lambda campaign: campaign.phase == "looking")


@mutant
def a_candidate_keeps_the_members_that_it_asked(patch: Patch) -> None:
    opening = electing._opening

    def keep(state: Any, campaign: Campaign, now: float) -> Any:
        campaign.members = state.members
        return opening(state, campaign, now)

    patch.setattr(electing, "_opening", keep)


@mutant
def giving_up_looks_like_hearing_from_a_leader(patch: Patch) -> None:
    def give_up(state: Any, now: float) -> None:
        state.drop_campaign()
        state.heard_at = now - state.lease_s / 2

    patch.setattr(electing, "give_up", give_up)


@mutant
def leaders_are_not_told_of_higher_promises(patch: Patch) -> None:
    patch.setattr(State, "contradict", lambda state, leader, epoch: None)


# --- completeness


@mutant
def old_epochs_are_counted(patch: Patch) -> None:
    patch.setattr(
        Reign, "complete", lambda reign, members, end, complete: max(complete, _majority(reign, members, end))
    )


def _majority(reign: Reign, members: Any, end: int) -> int:
    positions = sorted(reign._positions(members, end), reverse=True)
    return positions[len(positions) // 2]


@mutant
def a_leader_counts_itself_only(patch: Patch) -> None:
    patch.setattr(Reign, "complete", lambda reign, members, end, complete: max(end, complete))


@mutant
def acknowledged_before_a_majority_has_it(patch: Patch) -> None:
    answer = Appender._answer

    def early(self: Appender, unit: Unit, position: int) -> None:
        if unit.quorum and unit.receipt is not None:
            self.machine.sim.checkers.acknowledged_when_complete(self.disk.node, unit.group[0].id, position)
            unit.receipt(position)
        else:
            answer(self, unit, position)

    patch.setattr(Appender, "_answer", early)


@mutant
def the_leaders_completeness_is_trusted_beyond_the_own_end(patch: Patch) -> None:
    def agreed(state: Any, rows: Rows) -> list[Any]:
        state.agrees_with = rows.epoch
        if rows.complete <= state.complete:
            return []
        state.complete = rows.complete
        return [Complete(rows.complete)]

    patch.setattr(following, "agreed", agreed)


@mutant
def chunks_cut_groups(patch: Patch) -> None:
    patch.setattr(Disk, "chunk_end", lambda disk, after, records: min(after + records, len(disk.rows)))


# --- divergence


@mutant
def old_answers_that_journals_diverge_are_obeyed(patch: Patch) -> None:
    answered = following.answered

    def obey(state: Any, answer: Any, now: float) -> Any:
        if isinstance(answer, Diverged) and following.obeys(state, answer.epoch):
            return [Strand(answer.at, answer.epoch)]
        return answered(state, answer, now)

    patch.setattr(following, "answered", obey)


@mutant
def rows_are_applied_wherever_they_begin(patch: Patch) -> None:
    answered = following.answered

    def overwrite(state: Any, answer: Any, now: float) -> Any:
        if isinstance(answer, Rows) and following.obeys(state, answer.epoch) and answer.after < state.end:
            return [Strand(answer.after, answer.epoch), Apply(answer)]
        return answered(state, answer, now)

    patch.setattr(following, "answered", overwrite)


# --- lost disks


@mutant
def a_lost_disk_votes_at_once(patch: Patch) -> None:
    replace = Simulation._replace_disk

    def amnesia(sim: Simulation, node: str, disk: Disk) -> None:
        disk.recovering = False
        replace(sim, node, disk)

    patch.setattr(Simulation, "_replace_disk", amnesia)


@mutant
def acknowledgements_of_the_recovering_count(patch: Patch) -> None:
    fetched = leading.fetched

    def count(state: Any, node: str, fetch: Any, at: Place, now: float) -> Any:
        return fetched(state, node, msgspec.structs.replace(fetch, recovering=False), at, now)

    patch.setattr(leading, "fetched", count)


@mutant
def recovering_without_catching_up(patch: Patch) -> None:
    find = recovering.epoch_to_recover

    def early(others: Any, told: Any) -> Any:
        found = find(others, told)
        return None if found is None else (found[0], found[1], Place(0, 0))

    patch.setattr(recovering, "epoch_to_recover", early)


@mutant
def recovering_by_members_that_are_not_complete(patch: Patch) -> None:
    try_to_recover = recovering.try_to_recover

    def at_once(state: State) -> list[Effect]:
        complete = state.complete
        state.complete = max(complete, state.members.position)
        effects = try_to_recover(state)
        state.complete = complete
        return effects

    patch.setattr(recovering, "try_to_recover", at_once)


@mutant
def the_forgetful_are_asked_what_was_promised(patch: Patch) -> None:
    find = recovering.epoch_to_recover

    def ask(others: Any, told: Any) -> Any:
        return find(others, {node: msgspec.structs.replace(each, recovering=False) for node, each in told.items()})

    patch.setattr(recovering, "epoch_to_recover", ask)


@mutant
def an_older_disk_ignores_what_it_acknowledged(patch: Patch) -> None:
    answered = following.answered

    def ignore(state: Any, answer: Any, now: float) -> Any:
        return [] if isinstance(answer, Regressed) else answered(state, answer, now)

    patch.setattr(following, "answered", ignore)


# --- members


@mutant
def members_change_at_any_time(patch: Patch) -> None:
    def change(state: Any, reign: Reign, voting: Any, learning: Any, now: float) -> Any:
        level = reign.level(state.members, state.complete, now, state.lease_s)
        return next_change(state.members, voting, learning, level, state.node)

    patch.setattr(leading, "next_members", change)


# --- messages and the agent


@mutant
def messages_are_recorded_each_time(patch: Patch) -> None:
    rows = Appender.rows

    def again(self: Appender, unit: Unit, epoch: int) -> Any:
        if unit.group:
            return self._made(epoch, appender.admitted(self.disk, unit.group))
        return rows(self, unit, epoch)

    patch.setattr(Appender, "rows", again)


@mutant
def offers_overtake(patch: Patch) -> None:
    admit = appender.admitted

    def careless(disk: Disk, group: Any) -> Any:
        wishes = admit(disk, tuple(each._replace(again=False) for each in group))
        return [(kind, row_id, more | {"based_on": each.based_on if each.again else more["based_on"]})
                for (kind, row_id, more), each in zip(wishes, group, strict=True)]  # fmt: skip

    patch.setattr(appender, "admitted", careless)


@mutant
def the_mark_is_moved_in_a_transaction_of_its_own(patch: Patch) -> None:
    step, both = Appender._step, appender.step_rows
    moving = Unit(quorum=True)

    def once(self: Appender) -> Unit | None:
        return None if any(unit.quorum and unit.step_from is not None for unit in self.queue) else step(self)

    def half(disk: Disk, unit: Unit) -> Any:
        wishes = both(disk, unit)
        return wishes[:1] if unit.quorum else wishes[1:]

    def rows(self: Appender, unit: Unit, epoch: int) -> Any:
        if unit.step_from is not None and not unit.quorum:
            self.queue.appendleft(msgspec.structs.replace(moving, step_from=unit.step_from, step_to=unit.step_to))
        return plain(self, unit, epoch)

    plain = Appender.rows
    patch.setattr(Appender, "_step", once)
    patch.setattr(Appender, "rows", rows)
    patch.setattr(appender, "step_rows", half)
