"""The standing: actors, marks, timers and exceptions, what admission and agents go by, folded from records alone.

A leader's append folds it along, from what it has just decided. A follower folds it from the records that it copied:
with its views as these become complete, and up to the journal's end before it leads. Both come to the same rows.

Invariant: the four tables hold exactly what the records up to ``shard_state.standing_position`` make of them; that is
the end of a group.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from peaceriver import jsontext
from peaceriver.errors import PeaceRiverError
from peaceriver.limits import STEP_RECORDS_MAX
from peaceriver.message import derived_id
from peaceriver.postgres import Database, Statements, Transaction
from peaceriver.record import Record, from_row
from peaceriver.shard import documents, journal
from peaceriver.shard.documents import Change, ModelAt, key_of, state_after
from peaceriver.shard.exceptions import state_in
from peaceriver.shard.journal import Effects, Mark

sql = Statements("peaceriver.shard", "standing")


class StandingMoved(PeaceRiverError):
    """The standing is not where a fold expected it: somebody else folded meanwhile, so nothing was written."""


def effects_of(records: Iterable[Record], changes: Iterable[Change]) -> Effects:
    """What consecutive records make of the standing.

    ``changes`` are the received ones among them, in order, each with its actor's document after it.
    """
    effects = Effects()
    for record, folded in changes:
        assert folded.after is not None
        effects.changed[key_of(record)] = state_after(record, folded.after)
    for record in records:
        if record.kind == "mark":
            effects.marks.append(mark_in(record))
        elif record.kind == "exception":
            effects.exceptions.append(state_in(record))
        elif record.kind == "timer":
            assert record.due is not None
            effects.timers.append((record.position, record.due))
        if (timer := released_by(record)) is not None:
            effects.released.append(timer)
    return effects


def mark_in(record: Record) -> Mark:
    """The mark that a record of one tells of."""
    assert record.sender_shard is not None
    assert record.source_position is not None
    body = jsontext.read(record.body.encode())
    chain = bytes.fromhex(body["chain"])
    return Mark(body["reader"], record.sender_shard, record.source_position, chain, body.get("ended", False))


def beginning_of(reader: str) -> str:
    """How the body of a mark of a reader begins, up to its chain: the journal finds it by that."""
    return '{"reader":' + jsontext.write(reader)


def release_id(timer: Record) -> UUID:
    """The id of the message that a timer holds: a release that is repeated repeats the id."""
    assert timer.message_id is not None
    return derived_id(timer.message_id, "release")


def released_by(record: Record) -> int | None:
    """The position of the timer that a record ends: its message was taken in, sent on, or refused; None for others.

    What was delivered names a source as well, but another department's.
    """
    if record.source_position is None or record.sender_shard not in (None, record.shard):
        return None
    if record.kind in ("received", "sent"):
        return record.source_position
    is_rule_failure = record.kind != "exception" or "rule" in jsontext.read(record.body.encode())
    return None if is_rule_failure else record.source_position


async def fold_standing(tx: Transaction, shard: int, effects: Effects, *, expected: int, last: int) -> None:
    """Write what the records after ``expected``, up to ``last``, make of the standing.

    Raises StandingMoved, and has written nothing, where it does not hold the records up to ``expected``.
    """
    moved = await sql.fold.value(
        tx,
        shard=shard,
        expected=expected,
        last=last,
        actors=journal.actor_rows(shard, effects.changed),
        marks=journal.mark_rows(shard, effects),
    )
    if moved is None:
        raise StandingMoved(
            f"the standing of department {shard} is not at {expected}: look where it is, and fold again"
        )
    await journal.side_effects(tx, shard, effects)


async def catch_up(database: Database, shard: int, models: ModelAt, *, records: int = STEP_RECORDS_MAX) -> int:
    """Fold the standing up to the journal's end, complete or not; answers the position of that end.

    For a replica that is to lead, before it does; nothing may be appended meanwhile. Whole groups of about so many
    ``records`` at a time, each in its own transaction: it may be broken off, and goes on from where it was. Raises
    StandingMoved where somebody else folds at the same time.
    """
    while True:
        async with database.transaction() as tx:
            at = await sql.position.row(tx, shard=shard)
            assert at is not None
            rows = await journal.whole_groups(
                tx, shard, after=at["standing_position"], until=at["last_position"], records=records
            )
            if not rows:
                return int(at["standing_position"])
            found = [from_row(row) for row in rows]
            effects = effects_of(found, await _changes(tx, shard, found, models))
            await fold_standing(tx, shard, effects, expected=at["standing_position"], last=found[-1].position)


async def _changes(tx: Transaction, shard: int, records: Iterable[Record], models: ModelAt) -> list[Change]:
    """The received ones among records with the documents that they fold into, on top of what actors are now."""
    received = [each for each in records if each.kind == "received"]
    actors = await journal.actors_at(tx, shard, list({key_of(each) for each in received}))
    return documents.changes(received, {key: state.document for key, state in actors.items()}, models)
