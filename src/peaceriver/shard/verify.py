"""Verification: a shard recomputes its own chain from its rows, and its views from its records.

Equal chain at equal position is equal history. A row that was changed behind the journal's back no longer fits the
chain that is kept beside it, so it is found without a peer and named by its position.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from peaceriver.postgres import Database, Statements, Transaction
from peaceriver.record import CHAIN_START, chained, from_row
from peaceriver.shard import journal, view_tables
from peaceriver.shard.rebuild import intervals
from peaceriver.shard.view_tables import Interval, ViewTable
from peaceriver.shard.views import Views

sql = Statements("peaceriver.shard", "verify")

_ROWS_AT_A_TIME = 2_000
#: Enough to see what happened; a ruined table must not fill the answer.
_FINDINGS_MAX = 1_000


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it must be."""

    shard: int
    #: journal, state, actor or view.
    where: str
    #: The position in the journal, or the actor.
    place: str
    detail: str


class Verdict(msgspec.Struct, frozen=True):
    """What verification found in one shard."""

    shard: int
    records: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.findings

    def public(self) -> dict[str, Any]:
        """The verdict as ``POST /cluster/verify`` answers it."""
        damaged = [{"where": each.where, "place": each.place, "detail": each.detail} for each in self.findings]
        return {"shard": self.shard, "records": self.records, "ok": self.ok, "damaged": damaged}


async def verify(database: Database, views: Views, codes: Iterable[int]) -> list[Verdict]:
    """Check shards against their own chains and folds; each in one snapshot, so work may go on meanwhile."""
    verdicts: list[Verdict] = []
    for code in sorted(codes):
        async with database.snapshot() as tx:
            records, findings = await _verify_journal(tx, code)
            findings += [each async for each in _verify_folds(tx, code, views)]
        verdicts.append(Verdict(code, records, tuple(findings[:_FINDINGS_MAX])))
    return verdicts


async def _verify_journal(tx: Transaction, code: int) -> tuple[int, list[Finding]]:
    findings: list[Finding] = []
    chain, position, stamp = CHAIN_START, 0, 0
    whole = sql.whole
    async for row in tx.cursor(whole.text, *whole.bound({"shard": code}), prefetch=_ROWS_AT_A_TIME):
        record = from_row(row)
        if record.position != position + 1:
            findings.append(
                _in_journal(code, position + 1, f"positions {position + 1} to {record.position - 1} are missing")
            )
        elif chained(chain, record) != row["chain"]:
            findings.append(_in_journal(code, record.position, "the row does not fit the chain: it was altered"))
        if record.stamp <= stamp:
            findings.append(_in_journal(code, record.position, "its stamp is not later than the one before"))
        # Go on from the chain that is kept, so that each altered row is named and not everything after it.
        chain, position, stamp = row["chain"], record.position, record.stamp
        if len(findings) >= _FINDINGS_MAX:
            break
    state = await sql.tip.row(tx, shard=code)
    if state is not None and (state["last_position"], bytes(state["last_chain"])) != (position, bytes(chain)):
        detail = f"the journal ends at {position}, its state says {state['last_position']} or another chain"
        findings.append(Finding(code, "state", str(position), detail))
    return position, findings


def _in_journal(code: int, position: int, detail: str) -> Finding:
    return Finding(code, "journal", str(position), detail)


async def _verify_folds(tx: Transaction, code: int, views: Views) -> AsyncIterator[Finding]:
    """Fold every type again and compare with the live view, and with what admission goes by."""
    mark = (await view_tables.sql.marks.rows(tx, shards=[code]))[0]
    for row in await view_tables.sql.types.rows(tx, shards=[code]):
        actor_type = row["actor_type"]
        table = views.tables.get(actor_type)
        if table is None:
            continue
        async for finding in _verify_view(tx, code, table, mark["position"], views):
            yield finding


async def _verify_view(
    tx: Transaction, code: int, table: ViewTable, until: int, views: Views
) -> AsyncIterator[Finding]:
    kept = view_tables.stored(tx, table, code, prefetch=_ROWS_AT_A_TIME)
    folded = intervals(code, journal.of_type(tx, code, table.actor_type, until), views.model_at)
    async for expected, found in _paired(folded, kept):
        if expected == found:
            continue
        actor = expected or found
        assert actor is not None
        detail = "a row is missing" if found is None else "a row too many" if expected is None else "a row was altered"
        yield Finding(code, "view", f"{table.actor_type}/{actor.id} version {actor.version}", detail)


async def _paired(
    expected: AsyncIterator[Interval], found: AsyncIterator[Interval]
) -> AsyncIterator[tuple[Interval | None, Interval | None]]:
    """Merge two streams in (id, since) order; None where one lacks a row of the other."""
    left, right = await anext(expected, None), await anext(found, None)
    while left is not None or right is not None:
        if right is None or (left is not None and (left.id, left.since) < (right.id, right.since)):
            yield left, None
            left = await anext(expected, None)
        elif left is None or (right.id, right.since) < (left.id, left.since):
            yield None, right
            right = await anext(found, None)
        else:
            yield left, right
            left, right = await anext(expected, None), await anext(found, None)
