"""One replica in its node's database: what the protocol's effects are made of, each one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from peaceriver import jsontext
from peaceriver.postgres import Row, Statements, Transaction
from peaceriver.protocol.members import Members
from peaceriver.protocol.messages import START, Place, Rows
from peaceriver.protocol.state import Stored
from peaceriver.record import Record, Tip
from peaceriver.shard import journal

sql = Statements("peaceriver.shard", "replica")


class Promised(NamedTuple):
    """What the row says of promises, and where the journal ends."""

    promised: int
    to: str | None
    end: Place


class Standing(NamedTuple):
    """A replica as its database has it at start."""

    stored: Stored
    tip: Tip
    #: How far what admission goes by is folded.
    folded: int


async def restart(tx: Transaction, shard: int, founders: Members, boots: int) -> Standing:
    """Take up a replica after a start: nobody leads it. ``founders``: who holds it where no record says otherwise."""
    row = await sql.restart.row(tx, shard=shard)
    assert row is not None, f"shard {shard} was not opened"
    stored = await _stored(tx, shard, row, founders, boots)
    return Standing(stored, tip_of(row), row["standing_position"])


async def reread(tx: Transaction, shard: int, founders: Members) -> Standing:
    """What the row says now, where something was under way of which it is not known what came of it."""
    row = await sql.stored.row(tx, shard=shard)
    assert row is not None, f"shard {shard} was not opened"
    return Standing(await _stored(tx, shard, row, founders, 0), tip_of(row), row["standing_position"])


async def _stored(tx: Transaction, shard: int, row: Row, founders: Members, boots: int) -> Stored:
    return Stored(
        promised=row["promised"],
        promised_to=row["promised_to"],
        end=_end(row),
        complete=row["complete_position"],
        recovering=row["recovering"],
        members=await members(tx, shard, founders),
        boots=boots,
    )


def _end(row: Row) -> Place:
    return Place(row["last_epoch"], row["last_position"])


def tip_of(row: Row) -> Tip:
    """Where the journal stands by its state row."""
    return Tip(row["last_epoch"], row["last_position"], row["last_stamp"], bytes(row["last_chain"]))


async def members(tx: Transaction, shard: int, founders: Members) -> Members:
    """Who holds the shard, as its journal says."""
    row = await sql.members.row(tx, shard=shard)
    if row is None:
        return founders
    body = jsontext.read(row["body"].encode())
    return Members(tuple(body["voters"]), tuple(body["learners"]), row["position"])


def member_body(members: Members) -> str:
    """The body of the record that says who holds the shard."""
    return jsontext.write({"voters": list(members.voters), "learners": list(members.learners)})


async def promise(tx: Transaction, shard: int, epoch: int, node: str) -> Promised:
    """Put a promise on disk, unless a higher one stands there; answers what does. One transaction."""
    await sql.promise.run(tx, shard=shard, epoch=epoch, node=node)
    row = await sql.stored.row(tx, shard=shard)
    assert row is not None
    return Promised(row["promised"], row["promised_to"], _end(row))


async def accept(tx: Transaction, shard: int, fetched: Rows, taken: Sequence[bytes], before: Tip, after: Tip) -> bool:
    """Write rows from ``before`` to ``after``; False, and nothing written, where promise or place have moved.

    Raises Damaged where they do not lead there; the transaction is not to be committed then.
    """
    accepted = await sql.accept.value(
        tx,
        shard=shard,
        epoch=fetched.epoch,
        last_position=after.position,
        last_epoch=after.epoch,
        last_stamp=after.stamp,
        last_chain=after.chain,
        complete_position=min(fetched.complete, after.position),
        expected_position=before.position,
        expected_chain=before.chain,
    )
    if accepted is None:
        return False
    await journal.insert_rows(tx, shard, before, taken)
    return True


async def lead(tx: Transaction, shard: int, epoch: int, node: str, end: Place) -> Tip | None:
    """Begin to lead an epoch on top of ``end``; None where it is not this node's to lead, or the journal has moved."""
    row = await sql.lead.row(tx, shard=shard, epoch=epoch, node=node, last_position=end.position, last_epoch=end.epoch)
    return None if row is None else Tip(epoch, end.position, row["last_stamp"], bytes(row["last_chain"]))


async def not_beyond(tx: Transaction, shard: int, place: Place) -> Place:
    """The last place of the journal that is not beyond another one, neither in position nor in epoch."""
    row = await sql.not_beyond.row(tx, shard=shard, position=place.position, epoch=place.epoch)
    return START if row is None else Place(row["epoch"], row["position"])


def members_in(records: Iterable[Record], members: Members) -> Members:
    """Who holds the shard after some records."""
    for record in records:
        if record.kind == "member":
            body = jsontext.read(record.body.encode())
            members = Members(tuple(body["voters"]), tuple(body["learners"]), record.position)
    return members
