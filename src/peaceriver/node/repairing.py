"""Repairing one replica: its journal from other nodes, and what is folded from the journal by folding it again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog

from peaceriver.errors import Damaged, Unavailable, Withheld
from peaceriver.limits import WRITE_ANEW_TIMEOUT_S
from peaceriver.node.peers import Away
from peaceriver.node.replication import Replication
from peaceriver.node.room import Room
from peaceriver.node.wire import Given, WantedRows, framed, unframed
from peaceriver.postgres import Database, DatabaseCorrupted, DatabaseError, Unreachable
from peaceriver.shard import journal, mending, rebuild, rows
from peaceriver.shard.damage import STANDING, Finding, Flaw, Range, sql
from peaceriver.shard.shard import Shard
from peaceriver.shard.standing import catch_up
from peaceriver.shard.stranding import Touched, fold_again
from peaceriver.shard.verify import Verdict
from peaceriver.shard.views import Folder, Views

log = structlog.get_logger()

ROWS_PATH = "/replication/rows"
#: A journal that is written anew takes its own size once more, and about as much for what a restart would go by.
_WRITE_ANEW_SIZES = 2
#: Once rows of it were removed, it is written anew as soon as nobody sees them any more.
_WRITE_ANEW_TRIES = 20
_WRITE_ANEW_PAUSE_S = 0.5


class Repairing:
    """Repairs what verification found."""

    def __init__(
        self, database: Database, views: Views, folders: Mapping[int, Folder], replication: Replication, room: Room
    ) -> None:
        self._database = database
        self._views = views
        self._folders = folders
        self._replication = replication
        self._room = room
        #: Journals that were not written anew to the end: pages that cannot be read may be empty in the server's
        #: memory, where a row must not be put on one.
        self._begun_anew: set[int] = set()

    async def repair(self, shard: Shard, verdict: Verdict, flaws: Sequence[Flaw]) -> bool:
        """Repair what can be repaired now; whether anything was. Verification tells what is left."""
        damaged = [flaw for flaw in flaws if flaw.part == "journal"]
        unreadable = [flaw.range for flaw in damaged if flaw.range is not None and flaw.unreadable]
        if unreadable or shard.code in self._begun_anew:
            if await self._give_up(shard, unreadable):
                return True
            if shard.code in self._begun_anew:
                return False
        done = False
        for flaw in flaws:
            if flaw.part == "journal" and flaw.range is not None:
                done |= flaw.range not in unreadable and await self._mend(shard, flaw.range)
            elif flaw.part == "state":
                done |= await self._realign(shard, verdict)
            elif flaw.part == "view":
                done |= await self._fold_view(shard, flaw)
        standing = [each for flaw in flaws if flaw.part in STANDING for each in flaw.findings]
        if standing:
            await self._fold_standing(shard, standing)
        if standing or verdict.misplaced:
            await self._level(shard)
        return done or bool(standing)

    async def given(self, shard: Shard, wanted: WantedRows) -> tuple[Given, list[bytes]]:
        """Rows for another node's repair. Raises Damaged where they are damaged here as well."""
        extent = Range(wanted.first, wanted.last)
        async with self._database.snapshot() as tx:
            return Given(True), await mending.sound(tx, shard.code, extent, shard.complete.value)

    # --- the journal

    async def _mend(self, shard: Shard, extent: Range) -> bool:
        for node in self._replication.peers.names:
            try:
                ask = partial(self._ask, node, shard.code)
                if await mending.mend(self._database, shard.code, extent, ask):
                    log.warning("a journal was repaired", shard=shard.code, positions=str(extent), source=node)
                    return True
                reason = "it does not have them sound"
            except (*Away, Unavailable, Damaged, DatabaseError) as error:
                reason = str(error)
            log.warning("no rows from a node", shard=shard.code, positions=str(extent), node=node, reason=reason)
        return False

    async def _give_up(self, shard: Shard, ranges: Sequence[Range]) -> bool:
        """Write the journal anew without what cannot be read: it is missing then, and mended as any range.

        Only where other nodes have all of it, and while this one does not lead.
        """
        for extent in ranges:
            if not await self._is_elsewhere(shard, extent):
                log.warning("no node has what cannot be read here", shard=shard.code, positions=str(extent))
                return False
        async with self._database.connection() as tx:
            size = await sql.size.value(tx, shard=shard.code)
        if not self._room.has(_WRITE_ANEW_SIZES * size):
            log.warning("there is no room to write a journal anew", shard=shard.code, bytes=size)
            return False
        await self._leave(shard, "its journal cannot be read")
        # Whoever reads it now would wait, and hold up readers of other departments.
        shard.damage.close()
        try:
            await self._write_anew(shard, ranges)
        except (*Unreachable, DatabaseError) as error:
            log.warning("a journal is not written anew", shard=shard.code, reason=str(error))
            return False
        finally:
            shard.damage.become(shard.damage.known.values())
        log.warning("a journal was written anew", shard=shard.code, without=", ".join(map(str, ranges)))
        return True

    async def _write_anew(self, shard: Shard, ranges: Sequence[Range]) -> None:
        self._begun_anew.add(shard.code)
        async with self._database.connection() as tx:
            for first, last in ranges:
                await sql.drop_rows.run_long(tx, WRITE_ANEW_TIMEOUT_S, shard=shard.code, first=first, last=last)
            for n in range(_WRITE_ANEW_TRIES):
                try:
                    await sql.write_anew.run_long(tx, WRITE_ANEW_TIMEOUT_S, shard=shard.code)
                    break
                except DatabaseCorrupted:
                    # Whoever began to read before those rows went may still see them, so they would be taken along.
                    if n == _WRITE_ANEW_TRIES - 1:
                        raise
                    await asyncio.sleep(_WRITE_ANEW_PAUSE_S)
        self._begun_anew.discard(shard.code)

    async def _is_elsewhere(self, shard: Shard, extent: Range) -> bool:
        """Whether another node has a range as it was recorded."""
        for node in self._replication.peers.names:
            with suppress(*Away, Unavailable, Damaged):
                if await mending.fitting(self._database, shard.code, extent, partial(self._ask, node, shard.code)):
                    return True
        return False

    async def _ask(self, node: str, code: int, extent: Range) -> list[bytes]:
        answer = await self._replication.peers.post(
            node, ROWS_PATH, framed(WantedRows(code, extent.first, extent.last))
        )
        given, came = unframed(answer, Given)
        return rows.unpacked(came) if given.sound else []

    async def _realign(self, shard: Shard, verdict: Verdict) -> bool:
        """The journal's last row and its state row do not agree: another node's row tells which of them is right."""
        tip = verdict.tip
        if tip.position == 0:
            return False
        if await self._mend(shard, Range(tip.position, tip.position)):
            return True
        await self._leave(shard, "the place where its journal ends is damaged")
        for node in self._replication.peers.names:
            try:
                came = await self._ask(node, shard.code, Range(tip.position, tip.position))
            except (*Away, Unavailable, Damaged) as error:
                log.warning("rows cannot be had from a node", shard=shard.code, node=node, reason=str(error))
                continue
            if came and rows.tip_of(came[0]) == tip:
                await self._replication.keepers[shard.code].realign(tip)
                return True
        return False

    # --- what is folded

    async def _fold_view(self, shard: Shard, flaw: Flaw) -> bool:
        ids = {each.key[1] for each in flaw.findings}
        try:
            if None in ids:
                # Some of it cannot even be read: another table takes its place.
                await rebuild.rebuild(self._database, self._views, self._folders, flaw.key)
            else:
                await rebuild.fold_again(self._database, self._views, self._folders[shard.code], flaw.key, ids)
        except Withheld:
            return False
        log.warning("a view was folded again", shard=shard.code, actor_type=flaw.key, actors=len(ids))
        return True

    async def _fold_standing(self, shard: Shard, findings: Sequence[Finding]) -> None:
        """Fold what admission and agents go by again; not while this node leads, for then both have it in memory."""
        await self._leave(shard, "what it goes by is damaged")
        async with shard.still, self._database.transaction() as tx:
            state = await journal.sql.state.row(tx, shard=shard.code)
            assert state is not None
            await fold_again(tx, shard.code, state["standing_position"], touched_by(findings), shard.models)
            await shard.load_marks(tx)
        log.warning("the standing was folded again", shard=shard.code, rows=len(findings))

    async def _level(self, shard: Shard) -> None:
        """Fold the standing to the journal's end: it may have been said to be far behind."""
        if self._replication.keepers[shard.code].replica.leads is None:
            async with shard.still:
                shard.standing = await catch_up(self._database, shard.code, shard.models)

    async def _leave(self, shard: Shard, reason: str) -> None:
        await self._replication.keepers[shard.code].resign(reason)


def touched_by(findings: Sequence[Finding]) -> Touched:
    """What is to be folded again for findings in the standing."""
    touched = Touched()
    for each in findings:
        match each.part, each.key:
            case "actor", (actor_type, actor_id):
                touched.actors.setdefault(actor_type, set()).add(actor_id)
            case "mark", (reader, source):
                touched.marks.add((reader, source))
            case "timer", (position,):
                touched.timers.add(position)
            case "exception", (exception_id, *attempts):
                touched.exceptions[exception_id] = max(attempts, default=0)
    return touched
