"""Walking along a journal over its rows as bytes: what does not fit its chain is found without a peer, and named."""

from __future__ import annotations

from peaceriver.errors import Damaged
from peaceriver.postgres import Database, DatabaseCorrupted, Transaction
from peaceriver.record import CHAIN_START, Tip
from peaceriver.shard import journal
from peaceriver.shard.damage import Finding, Range
from peaceriver.shard.rows import Fault, Incoming, faults, follow, place_of, tip_of

START = Tip(0, 0, 0, CHAIN_START)
#: Enough to see what happened; a ruined table must not fill the answer.
FINDINGS_MAX = 1_000


class Walk:
    """A walk along a journal: from its first record, or from where an earlier one had found it sound."""

    def __init__(self, shard: int, tip: Tip = START) -> None:
        self.tip = tip
        self.findings: list[Finding] = []
        self._shard = shard
        self._incoming = Incoming()
        #: Rows up to here were walked along, or cannot be read.
        self._passed = tip.position

    async def goes_on(self, tx: Transaction, *, until: int, rows: int) -> bool:
        """Walk along the next stretch of so many rows, up to a position.

        False where there is none, or where there is no point in going on.
        """
        after, self._incoming = max(self.tip.position, self._passed), Incoming()
        await journal.sql.rows_after.copy_out(tx, self._take, shard=self._shard, after=after, until=until, records=rows)
        self._incoming.end()
        return self.tip.position > after and len(self.findings) < FINDINGS_MAX

    async def passes(self, database: Database, *, until: int, rows: int, why: str) -> bool:
        """Walk along the next rows but for those that the server cannot read, which are findings.

        False where there are no rows that it could be about.
        """
        after = max(self.tip.position, self._passed)
        if after >= until:
            return False
        await self._halve(database, after, min(until, after + rows), why)
        return True

    async def _halve(self, database: Database, after: int, until: int, why: str) -> None:
        """One of these rows cannot be read: look for it in either half, each in a snapshot of its own."""
        if until - after == 1 or len(self.findings) >= FINDINGS_MAX:
            self._cannot_read(Range(after + 1, until), why)
            return
        middle = (after + until) // 2
        for first, last in ((after, middle), (middle, until)):
            try:
                async with database.snapshot() as tx:
                    await self.goes_on(tx, until=last, rows=last - first)
                self._passed = last
            except DatabaseCorrupted as error:
                await self._halve(database, first, last, str(error))

    def _cannot_read(self, rows: Range, why: str) -> None:
        self._passed = rows.last
        # The row before is in doubt as well, as of every range that is lost.
        key = (max(1, rows.first - 1), rows.last)
        self.findings.append(Finding(self._shard, "journal", str(rows), f"it cannot be read: {why}", key, True))

    async def _take(self, piece: bytes) -> None:
        rows = self._incoming.feed(piece)
        try:
            self.tip = follow(rows, self._shard, self.tip)
        except Damaged:
            for row in rows:
                self._look_at(row)

    def _look_at(self, row: bytes) -> None:
        for fault in faults(row, self._shard, self.tip):
            key = doubtful(fault, place_of(row).position)
            self.findings.append(Finding(self._shard, "journal", str(fault.position), fault.detail, key))
        # Go on from the chain that is kept, so that each altered row is named and not everything after it.
        self.tip = tip_of(row)


def doubtful(fault: Fault, position: int) -> tuple[int, int]:
    """The first and the last position that a fault at a row puts in doubt.

    A row that does not fit the one before may have been altered, or the one before with its chain; and of a row that
    comes after a gap nothing is known.
    """
    return max(1, fault.position - 1), max(fault.position, position)
