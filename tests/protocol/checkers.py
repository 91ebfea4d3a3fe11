"""What must hold whatever happens: one check for each invariant of the design, named after it.

Each is told what happened where, keeps what it must remember of that, and says what was broken. They see everything at
once, as no node can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn

from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import Place, Promise, Standing
from tests.protocol.disk import Disk, Row


class Violation(AssertionError):
    """An invariant was broken; ``check`` names it."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(f"{check}: {text}")
        self.check = check


class Checkers:
    """The memory of all checks. ``where`` says the seed and the moment."""

    def __init__(self, disks: dict[str, Disk], gone: list[str], where: Callable[[], str]) -> None:
        self.disks = disks
        self.gone = gone
        self.where = where
        #: What is complete: known to be so by anybody; and the epochs of the leaders who were the first to count it.
        self.complete: list[Row] = []
        self.counted_in: list[int] = []
        #: Who writes in an epoch, and what its journal was when it began.
        self.writers: dict[int, str] = {}
        self.begun: dict[int, list[Row]] = {}
        #: The highest promise that each node has told of since its disk was lost.
        self.told: dict[str, int] = {}
        #: What lost disks held.
        self.lost: dict[str, list[list[Row]]] = {}
        #: What was acknowledged with each concern, and what cannot be expected of a cluster whose only copy was lost.
        self.acknowledged_quorum: dict[str, int] = {}
        self.acknowledged_local: dict[str, str] = {}
        self.excused: set[str] = set()
        self._chains: dict[Place, int] = {}
        self._answers: dict[int, int] = {}

    def _fail(self, check: str, text: str) -> NoReturn:
        raise Violation(check, f"{text} ({self.where()})")

    # --- told by disks and nodes

    def written(self, disk: Disk, row: Row) -> None:
        """A record is about to be written."""
        self.same_place_same_prefix(disk, row)
        self.positions_dense_stamps_rise(disk, row)
        self.message_once(disk, row)
        self.acted_once(disk, row)
        if row.kind == "received":
            self.based_on_where_the_actor_is(disk, row)

    def one_writer_per_epoch(self, node: str, epoch: int, journal: list[Row]) -> None:
        """1: a node begins an epoch."""
        if epoch in self.writers:
            self._fail("one_writer_per_epoch", f"{node} and {self.writers[epoch]} both lead epoch {epoch}")
        self.writers[epoch] = node
        self.begun[epoch] = journal
        earlier = [position for position, counted in enumerate(self.counted_in, 1) if counted < epoch]
        if earlier:
            self.every_later_leader_has_it(node, epoch, journal, earlier[-1])

    def only_its_writer_appends(self, disk: Disk, epoch: int) -> None:
        """1: a node appends in an epoch."""
        if self.writers.get(epoch) != disk.node:
            self._fail("one_writer_per_epoch", f"{disk.node} appends in epoch {epoch} of {self.writers.get(epoch)}")
        self.a_promise_fences(disk, epoch)

    def a_promise_fences(self, disk: Disk, epoch: int) -> None:
        """1: a disk takes records in the name of an epoch's leader."""
        if epoch < disk.promised:
            self._fail("a_promise_fences", f"{disk.node} has promised {disk.promised}, and takes records of {epoch}")

    def promises_never_decrease(self, node: str, told: Promise | Standing) -> None:
        """1: a node tells what it has promised."""
        if told.promised < self.told.get(node, 0):
            self._fail("promises_never_decrease", f"{node} had promised {self.told[node]}, and now {told.promised}")
        self.told[node] = told.promised

    def same_place_same_prefix(self, disk: Disk, row: Row) -> None:
        """2: where an epoch and a position are the same, everything before is."""
        known = self._chains.setdefault(Place(row.epoch, row.position), row.chain)
        if known != row.chain:
            self._fail("same_place_same_prefix", f"{disk.node} writes another {row.epoch}:{row.position} ({row.id})")

    def complete_stays(self, disk: Disk, position: int, epoch: int | None) -> None:
        """3: somebody knows that its journal is complete up to a position; ``epoch``: of a leader that has counted."""
        if position > len(disk.rows):
            self._fail("complete_stays", f"{disk.node} says {position} is complete, and has {len(disk.rows)} records")
        known = min(position, len(self.complete))
        if known and disk.chain(known) != self.complete[known - 1].chain:
            self._fail("complete_stays", f"{disk.node} has other records than are complete, up to {known}")
        for row in disk.rows[len(self.complete) : position]:
            self.complete.append(row)
            self.counted_in.append(row.epoch if epoch is None else epoch)
        later = [each for each in self.begun if epoch is not None and each > epoch]
        for each in later:
            self.every_later_leader_has_it(self.writers[each], each, self.begun[each], position)

    def every_later_leader_has_it(self, node: str, epoch: int, journal: list[Row], complete: int) -> None:
        """3: the leader of an epoch began with everything that is complete by an earlier one."""
        if len(journal) < complete or (complete and journal[complete - 1].chain != self.complete[complete - 1].chain):
            self._fail(
                "every_later_leader_has_it", f"{node} began epoch {epoch} without what is complete up to {complete}"
            )

    def complete_is_never_taken_back(self, disk: Disk, after: Place) -> None:
        """3: a journal is about to lose what follows a place."""
        upto = min(len(disk.rows), len(self.complete))
        if after.position < upto and disk.chain(after.position + 1) == self.complete[after.position].chain:
            self._fail(
                "complete_is_never_taken_back", f"{disk.node} takes back {after.position + 1}, which is complete"
            )

    def positions_dense_stamps_rise(self, disk: Disk, row: Row) -> None:
        """4: the next record has the next position, and a later stamp."""
        if row.position != len(disk.rows) + 1:
            self._fail("positions_dense", f"{disk.node} writes position {row.position} after {len(disk.rows)}")
        if disk.rows and row.stamp <= disk.rows[-1].stamp:
            self._fail("stamps_rise", f"{disk.node} writes stamp {row.stamp} after {disk.rows[-1].stamp}")

    def message_once(self, disk: Disk, row: Row) -> None:
        """5: no message is recorded twice, nor recorded and answered by an exception."""
        if row.id in disk.ids or row.id in disk.answers or (row.kind == "exception" and row.about in disk.ids):
            self._fail("message_once", f"{disk.node} writes {row.id} at {row.position}, and has dealt with it before")

    def acted_once(self, disk: Disk, row: Row) -> None:
        """6: the agent acts once on a record, and its mark moves without a gap."""
        if row.kind == "sent" and row.about in disk.acted:
            self._fail(
                "acted_once", f"{disk.node} acts on {row.about} at {disk.acted[row.about]} and at {row.position}"
            )
        if row.kind == "mark" and row.span[0] != disk.mark:
            self._fail("acted_once", f"{disk.node} moves the mark from {row.span[0]}, and it is at {disk.mark}")

    def a_majority_has_it(self, node: str, position: int, members: Members) -> None:
        """7: a leader counts a position as complete."""
        chain = self.disks[node].chain(position)
        holding = [each for each in members.voters if self._has_held(each, position, chain)]
        if not members.has_majority(holding):
            self._fail(
                "a_majority_has_it", f"{node} counts {position} as complete, and of {members.voters} {holding} hold it"
            )

    def refused(self, text: str) -> NoReturn:
        """3: a disk refused to take back what it knows to be complete."""
        self._fail("complete_is_never_taken_back", text)

    def _has_held(self, node: str, position: int, chain: int) -> bool:
        disk = self.disks.get(node)
        held = [] if disk is None or disk.recovering else [disk.rows]
        return any(
            len(rows) >= position and rows[position - 1].chain == chain for rows in held + self.lost.get(node, [])
        )

    def acknowledged_when_complete(self, node: str, message_id: str, position: int) -> None:
        """7: a message was acknowledged as held by a majority."""
        self.acknowledged_quorum[message_id] = position
        row = self.complete[position - 1] if position <= len(self.complete) else None
        if row is None or self.disks[node].chain(position) != row.chain:
            self._fail("acknowledged_when_complete", f"{node} acknowledges {message_id} at {position}: not complete")

    def acknowledged_is_kept(self, journal: Disk, nodes: Iterable[str]) -> None:
        """8: at the end, what was acknowledged is in the journal, or waits, or is answered by an exception."""
        for message_id in self.acknowledged_quorum:
            if message_id not in journal.ids and message_id not in journal.answers:
                self._fail("acknowledged_is_kept", f"{message_id} was acknowledged by a majority, and is lost")
        waiting = {message.id for node in nodes for group in self.disks[node].pending for message in group}
        for message_id in self.acknowledged_local:
            kept = message_id in journal.ids or message_id in journal.answers or message_id in waiting
            if not kept and message_id not in self.excused:
                self._fail("acknowledged_is_kept", f"{message_id} was acknowledged locally, and is lost in silence")

    def based_on_where_the_actor_is(self, disk: Disk, row: Row) -> None:
        """8: a message that is offered again is recorded only where its actor is still at the same record."""
        if row.based_on != disk.actors.get(row.actor):
            at = disk.actors.get(row.actor)
            self._fail("based_on", f"{disk.node} records {row.id}, based on {row.based_on}, and {row.actor} is at {at}")

    def answers_never_change(self, node: str, position: int) -> None:
        """10: a reader is told everything up to a position."""
        self.groups_are_whole("an answer", self.disks[node], position)
        chain = self.disks[node].chain(position)
        if self._answers.setdefault(position, chain) != chain:
            self._fail("answers_never_change", f"{node} answers otherwise than before as of {position}")

    def groups_are_whole(self, what: str, disk: Disk, position: int) -> None:
        """11: something ends at a position, which must be the end of a group."""
        if position and (position > len(disk.rows) or disk.rows[position - 1].end != position):
            self._fail("groups_are_whole", f"{what} of {disk.node} ends at {position}, in the middle of a group")

    # --- what the world does

    def disk_lost(self, disk: Disk) -> None:
        """A disk is lost, or replaced by an older one; what was only there cannot be kept."""
        self.lost.setdefault(disk.node, []).append(disk.rows)
        self.told.pop(disk.node, None)
        mine = [*disk.ids, *disk.answers, *(message.id for group in disk.pending for message in group)]
        others = [each for each in self.disks.values() if each.node != disk.node and each.node not in self.gone]
        waiting = {message.id for each in others for group in each.pending for message in group}
        for message_id in mine:
            elsewhere = any(message_id in each.ids or message_id in each.answers for each in others)
            if not elsewhere and message_id not in waiting:
                self.excused.add(message_id)
