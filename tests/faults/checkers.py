"""One checker per promise. Each takes what happened and what is there, and yields a sentence per violation.

They are pure functions, so they are tested on made-up histories; mutants of the product show that they bite. Numbers
in brackets are those of the invariants that the journal is built on:

 1 one writer per epoch, promises never decrease     7 nothing leaves a department before it is complete
 2 same epoch and position, same prefix              8 what was acknowledged is recorded, pending, or answered
 3 what is complete stays                            9 everything else can be folded again from the journal
 4 positions dense, stamps rising                   10 an answer as of a moment never changes
 5 a message is recorded once                       11 a group is one unit
 6 an agent acts once
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.faults.evidence import Evidence
from tests.faults.replicas import Entry

Checker = Callable[[Evidence], Iterator[str]]


def one_writer(evidence: Evidence) -> Iterator[str]:
    """[1] An epoch has one leader, and begins with its record; a promise never decreases."""
    leaders: dict[tuple[int, int], str] = {}
    for claim in evidence.history.claims:
        first = leaders.setdefault((claim.shard, claim.epoch), claim.node)
        if first != claim.node:
            yield f"{first} and {claim.node} both led department {claim.shard} in epoch {claim.epoch}"
    for node, words in evidence.history.lowered:
        if node not in evidence.lost:
            yield words
    for code, entries in evidence.journals.items():
        for one, other in pairwise([Entry(), *entries]):
            if other.epoch < one.epoch:
                yield f"department {code} has epoch {other.epoch} at {other.position}, after {one.epoch}"
            elif (other.epoch != one.epoch) != (other.kind == "epoch"):
                yield f"department {code}: epoch {other.epoch} does not begin with its own record, at {other.position}"
    for copy in evidence.copies:
        for code, tip in copy.tips.items():
            earlier = evidence.before.get(copy.node, {}).get(code)
            if earlier is not None and copy.node not in evidence.lost and tip.promised < earlier.promised:
                yield f"{copy.node} had promised epoch {earlier.promised} of {code}, and {tip.promised} now"
            if tip.promised < tip.epoch:
                yield f"{copy.node} has promised epoch {tip.promised} of {code} and holds a record of {tip.epoch}"


def same_prefix(evidence: Evidence) -> Iterator[str]:
    """[2] Replicas are equal, row by row, and each row is what its chain says."""
    for copy in evidence.copies:
        yield from copy.unchained
        for code, entries in copy.journals.items():
            longest = evidence.journals[code]
            unlike = next((one for one, other in zip(entries, longest, strict=False) if one != other), None)
            if unlike is not None:
                yield f"department {code} differs on {copy.node} from others, from position {unlike.position} on"
            elif len(entries) < len(longest):
                yield f"department {code} ends at {len(entries)} on {copy.node}, and at {len(longest)} on another node"
    for tips in evidence.before.values():
        for code, tip in tips.items():
            entries = evidence.journals.get(code, [])
            if (
                entries
                and tip.position
                and (tip.position > len(entries) or entries[tip.position - 1].chain != tip.chain)
            ):
                yield f"department {code} had another history up to {tip.position} before"


def complete_stays(evidence: Evidence) -> Iterator[str]:
    """[3, 7] What was shown or acknowledged as complete is where it was, for ever."""
    for operation, message in evidence.history.messages():
        receipt = message.receipt
        if receipt is None or not receipt["complete"]:
            continue
        entries = evidence.journals.get(message.shard, [])
        position = receipt["position"]
        found = entries[position - 1] if 0 < position <= len(entries) else None
        if found is None or found.id != message.id:
            yield (
                f"lost: {message.id} ({operation.kind} of client {operation.client}) was acknowledged as complete at "
                f"{message.shard}:{position} by {operation.attempts[message.attempt].node}, "
                f"and {'nothing' if found is None else found.id or found.kind} is there"
            )
    for seen in evidence.history.sightings:
        entries = evidence.journals.get(seen.shard, [])
        for position, (message_id, _) in seen.records.items():
            if position > len(entries) or entries[position - 1].id != message_id:
                yield f"{seen.node} showed {message_id} as complete at {seen.shard}:{position}, and it is not there"
                break


def dense_and_rising(evidence: Evidence) -> Iterator[str]:
    """[4] Positions are 1, 2, 3 ... and stamps rise along them; an effect is later than its cause."""
    sent = {each.id: each for entries in evidence.journals.values() for each in entries if each.kind == "sent"}
    for copy in evidence.copies:
        for code, entries in copy.journals.items():
            for number, entry in enumerate(entries, start=1):
                if entry.position != number:
                    yield f"{copy.node}: department {code} has {entry.position} where {number} should be"
                    break
            for one, other in pairwise(entries):
                if other.stamp <= one.stamp:
                    yield f"{copy.node}: the stamp of {code}:{other.position} is not later than the one before"
    for code, entries in evidence.journals.items():
        for entry in entries:
            cause = sent.get(entry.id) if entry.kind == "received" else None
            if cause is not None and cause.shard != code and cause.stamp >= entry.stamp:
                yield f"{code}:{entry.position} was received before it was sent, by {cause.shard}:{cause.position}"
            if entry.cause_time is not None and entry.cause_time >= entry.stamp:
                yield f"{code}:{entry.position} is not later than its cause"


def recorded_once(evidence: Evidence) -> Iterator[str]:
    """[5] A message is recorded once in a department, and its receipts all name that record."""
    for copy in evidence.copies:
        for code, entries in copy.journals.items():
            for message_id, count in Counter(each.id for each in entries if each.id).items():
                if count > 1:
                    yield f"twice: {copy.node} has {message_id} {count} times in department {code}"
    made: dict[tuple[int, str], str] = {}
    for code, entries in evidence.journals.items():
        for entry in entries:
            if entry.action == "create" and entry.kind == "received":
                key = (code, f"{entry.actor_type}/{entry.actor_id}")
                if made.setdefault(key, entry.id or "") != entry.id:
                    yield f"twice: {key[1]} was created twice in department {code}, again at {entry.position}"


def acted_once(evidence: Evidence) -> Iterator[str]:
    """[6] A rule acts once for each record, and what is sent is received once, in order."""
    for code, entries in evidence.journals.items():
        made = Counter((each.rule, each.cause_time, each.kind) for each in entries if each.rule and each.kind != "mark")
        for (rule, cause, kind), count in made.items():
            if count > 1:
                yield f"twice: rule {rule} has {kind} {count} times what it makes of the record at stamp {cause}"
        acted = {each.cause_time for each in entries if each.rule and each.kind == "sent"}
        for entry in entries:
            is_trigger = entry.kind == "received" and entry.actor_type == evidence.trigger and entry.action == "create"
            if is_trigger and code in evidence.banks and entry.stamp not in acted:
                yield f"lost: no rule has acted on {code}:{entry.position}"
    for sender, entries in evidence.journals.items():
        sent: dict[int, list[str | None]] = defaultdict(list)
        for entry in entries:
            if entry.kind == "sent" and entry.receiver is not None:
                sent[entry.receiver].append(entry.id)
        for receiver, ids in sent.items():
            arrived = [
                each.id
                for each in evidence.journals.get(receiver, [])
                if each.kind == "received" and each.sender == sender and each.source_position is not None
            ]
            refused = evidence.refused(receiver) - {*arrived}
            if arrived != [each for each in ids if each not in refused]:
                yield _unlike_deliveries(sender, receiver, ids, arrived)


def _unlike_deliveries(sender: int, receiver: int, sent: list[str | None], arrived: list[str | None]) -> str:
    missing, extra = set(sent) - set(arrived), set(arrived) - set(sent)
    return (
        f"department {receiver} received {len(arrived)} of {len(sent)} messages from {sender}: "
        f"{len(missing)} are lost, {len(extra)} were never sent, {len(arrived) - len(set(arrived))} came twice"
        + ("" if missing or extra or len(arrived) > len(sent) else ", in another order")
    )


def nothing_early(evidence: Evidence) -> Iterator[str]:
    """[7] Whatever was received from another department is in that one's journal, under the same id."""
    for code, entries in evidence.journals.items():
        for entry in entries:
            if entry.kind != "received" or entry.sender in (None, code) or entry.source_position is None:
                continue
            source = evidence.journals.get(entry.sender or 0, [])
            if entry.sender not in evidence.journals:
                continue
            at = entry.source_position
            if not (0 < at <= len(source) and source[at - 1].id == entry.id):
                yield f"{code}:{entry.position} left {entry.sender}:{at} too early: that one does not have it"


def nothing_lost(evidence: Evidence) -> Iterator[str]:
    """[8] What was acknowledged, however little, is recorded, pending, or answered by an exception record."""
    recorded = evidence.by_id()
    for operation, message in evidence.history.messages():
        if message.receipt is None or (message.shard, message.id) in recorded:
            continue
        pending = any(message.id in copy.pending.get(message.shard, ()) for copy in evidence.copies)
        answered = message.id in evidence.refused(message.shard)
        # One disk alone held it.
        was_alone = operation.concern == "local" and evidence.lost
        if not (pending or answered or was_alone):
            yield (
                f"lost: {message.id} was acknowledged ({operation.concern}) at {message.shard}:"
                f"{message.receipt['position']}, and is neither recorded nor pending nor answered"
            )


def refused_is_absent(evidence: Evidence) -> Iterator[str]:
    """[8] What was refused, each time it was sent, is not recorded."""
    recorded = evidence.by_id()
    for operation, message in evidence.history.messages():
        if message.receipt is None and operation.refused_for_sure and (message.shard, message.id) in recorded:
            answers = [each.answer for each in operation.attempts]
            yield f"{message.id} was refused ({answers}) and is recorded in department {message.shard}"


def foldable(evidence: Evidence) -> Iterator[str]:
    """[9] Views and what admission goes by are the same on every node, and what the journal makes of them."""
    first = evidence.copies[0]
    for copy in evidence.copies:
        for actor_type in copy.views.keys() | first.views.keys():
            if copy.views.get(actor_type, []) != first.views.get(actor_type, []):
                yield f"the view {actor_type} differs on {copy.node} and {first.node}"
        for code, actors in copy.actors.items():
            if copy.tips[code].standing == first.tips[code].standing and actors != first.actors[code]:
                yield f"the actors of department {code} differ on {copy.node} and {first.node}"
        versions = Counter(
            (code, each.actor_type, each.actor_id)
            for code, entries in copy.journals.items()
            for each in entries
            if each.kind == "received"
        )
        folded = {
            (row[0], actor_type, row[1]): row[4] for actor_type, rows in copy.views.items() for row in rows
        }  # rows are in the order of their stamps: the last one counts
        for key, count in versions.items():
            if folded.get(key) != count:
                shown = f"version {folded.get(key)} of {key[1]}/{key[2]} in {key[0]}"
                yield f"{copy.node} shows {shown}: it has {count} records"


def as_of_stays(evidence: Evidence) -> Iterator[str]:
    """[10] An answer as of a moment is the same later, and on every node."""
    for noted, now in evidence.repeated:
        if (noted.positions, noted.items) != (now.positions, now.items):
            yield (
                f"{noted.path} as of {noted.as_of}: {noted.node} answered {len(noted.items)} items at "
                f"{noted.positions}, and {now.node} something else at {now.positions} later"
            )


def groups_whole(evidence: Evidence) -> Iterator[str]:
    """[11] A group is there as a whole or not at all, and no answer ends within one."""
    for copy in evidence.copies:
        for code, entries in copy.journals.items():
            for one, other in pairwise(entries):
                if one.group_end != (other.group_end if one.group_end > one.position else one.position):
                    yield f"{copy.node}: the group at {code}:{one.position} is cut"
            if entries and entries[-1].group_end != entries[-1].position:
                yield f"{copy.node}: the last group of department {code} is cut"
    recorded = evidence.by_id()
    for operation in evidence.history.operations:
        if operation.atomic:
            found = [recorded.get((each.shard, each.id)) for each in operation.messages]
            if len({None if each is None else each.group_end for each in found}) > 1:
                yield f"of the group of {operation.messages[0].id}, {sum(each is None for each in found)} are missing"
    for reading in evidence.history.readings:
        for code, position in reading.positions.items():
            entries = evidence.journals.get(int(code), [])
            if 0 < position <= len(entries) and entries[position - 1].group_end != position:
                yield f"{reading.node} answered as of {code}:{position}, which is within a group"


def no_old_epoch(evidence: Evidence) -> Iterator[str]:
    """[1] Once an epoch has acknowledged, no earlier one does."""
    # By department: what happened, in order. What began at the very moment at which something ended was not after it.
    events: dict[int, list[tuple[float, int, int, str]]] = defaultdict(list)
    for operation, message in evidence.history.messages():
        receipt = message.receipt
        if receipt is None or receipt["duplicate"] or not receipt["complete"]:
            continue
        epoch = evidence.epoch_of(message)
        if epoch is not None:
            attempt = operation.attempts[message.attempt]
            events[message.shard].append((attempt.invoked, 0, epoch, message.id))
            events[message.shard].append((attempt.ended, 1, epoch, message.id))
    for code, happened in events.items():
        newest = 0
        for _, has_ended, epoch, message_id in sorted(happened):
            if has_ended:
                newest = max(newest, epoch)
            elif epoch < newest:
                yield f"old epoch: {message_id} was acknowledged in {epoch} of department {code}, after one in {newest}"


def own_writes_read(evidence: Evidence) -> Iterator[str]:
    """[7] Whoever has a receipt sees its effect."""
    yield from evidence.history.unread


def sums_constant(evidence: Evidence) -> Iterator[str]:
    """[7, 10] At every cutoff all the money is in an account or on its way."""
    if not evidence.banks:
        return
    for reading in evidence.sums():
        held = sum(int(each["document"]["balance"]) for each in reading.items)
        under_way = _under_way(evidence, reading.positions)
        if held + under_way != evidence.money:
            found = f"{held} in accounts and {under_way} on its way"
            yield f"{reading.node} at {reading.as_of}: {found}, not {evidence.money}"


def _under_way(evidence: Evidence, positions: dict[str, int]) -> int:
    """What was debited and not yet credited at a vector of positions."""
    credited: set[str | None] = set()
    sent: list[Entry] = []
    for code in evidence.banks:
        for entry in evidence.journals[code][: positions[str(code)]]:
            if entry.type == "Deposit":
                if entry.kind == "received":
                    credited.add(entry.id)
                elif entry.kind == "sent":
                    sent.append(entry)
    return sum(_amount(each) for each in sent if each.id not in credited)


def spooled_once(evidence: Evidence) -> Iterator[str]:
    """[8] What a node has kept is recorded or answered once somebody leads, in the order in which it came there."""
    recorded = evidence.by_id()
    #: By node and department: what was kept or sent behind it, as in ``no_old_epoch``.
    events: dict[tuple[str, int], list[tuple[float, int, int, str]]] = defaultdict(list)
    for operation, message in evidence.history.messages():
        node = operation.spooled_at
        if node is None or node in evidence.lost or (message.kept_by or message.receipt) is None:
            continue
        entry = recorded.get((message.shard, message.id))
        if entry is None:
            if message.kept_by and message.id not in evidence.refused(message.shard):
                yield f"lost: {message.id} was kept by {node} for {message.shard}, and is neither recorded nor answered"
            continue
        lane = events[node, message.shard]
        lane.append((operation.attempts[0].invoked, 0, entry.position, message.id))
        if message.kept_by:
            lane.append((operation.attempts[-1].ended, 1, entry.position, message.id))
    for (node, code), happened in events.items():
        newest = 0
        for _, is_kept, position, message_id in sorted(happened):
            if is_kept:
                newest = max(newest, position)
            elif position < newest:
                yield f"{message_id} came to {node} later than what it kept, and overtook it: {code}:{position}"


def undamaged(evidence: Evidence) -> Iterator[str]:
    """[2, 9] Verification finds nothing where nobody has damaged anything."""
    yield from evidence.history.damaged


def _amount(entry: Entry) -> int:
    return int(json.loads(entry.body)["amount"])


CHECKERS: tuple[Checker, ...] = (
    one_writer,
    same_prefix,
    complete_stays,
    dense_and_rising,
    recorded_once,
    acted_once,
    nothing_early,
    nothing_lost,
    refused_is_absent,
    foldable,
    as_of_stays,
    groups_whole,
    no_old_epoch,
    own_writes_read,
    sums_constant,
    spooled_once,
    undamaged,
)


def judge(evidence: Evidence) -> list[str]:
    """All violations, each with the name of its checker."""
    return [f"{check.__name__}: {each}" for check in CHECKERS for each in check(evidence)]
