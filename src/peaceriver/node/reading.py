"""Reading: actors, their history, lists and journals, each at a cutoff that the answer names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from peaceriver import fold
from peaceriver.errors import Invalid, NotFound, Offence
from peaceriver.node.cutoffs import Cutoffs, Freshness
from peaceriver.node.departments import Departments
from peaceriver.postgres import Database, Row
from peaceriver.query.cutoff import Cutoff
from peaceriver.query.lists import ListQuery, compile_list
from peaceriver.record import Record, from_row
from peaceriver.shard import journal, view_tables
from peaceriver.shard.view_tables import ViewTable
from peaceriver.shard.views import Views
from peaceriver.stamp import Stamp

_HISTORY_RECORDS_MAX = 100_000


class ActorAt(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor was at a cutoff."""

    type: str
    id: str
    shard: int
    version: int
    status: str
    stamp: Stamp
    document: str

    def public(self) -> dict[str, Any]:
        """The actor as API.md shows it; the document is raw JSON, so that it comes back as it was sent."""
        return {
            "actor": f"{self.type}/{self.id}",
            "shard": self.shard,
            "version": self.version,
            "status": self.status,
            "stamp": str(self.stamp),
            "document": msgspec.Raw(self.document.encode()),
        }


class Reading:
    """What can be asked of a node."""

    def __init__(self, database: Database, views: Views, cutoffs: Cutoffs, shards: Departments) -> None:
        self._database = database
        self._views = views
        self.cutoffs = cutoffs
        self._shards = shards

    async def actor(
        self,
        shard: int,
        actor_type: str,
        actor_id: str,
        freshness: Freshness,
        *,
        version: int | None = None,
        valid_at: datetime | None = None,
    ) -> tuple[Cutoff, ActorAt]:
        """One actor at a cutoff: as it was then, at a version, or by business time. Raises NotFound."""
        cutoff = await self.cutoffs.resolve([shard], freshness)
        time = cutoff.places[shard].time
        if valid_at is not None:
            return cutoff, await self._valid_at(cutoff, shard, (actor_type, actor_id), valid_at)
        table = self._table(cutoff, actor_type)
        row = None
        if table is not None:
            async with self._database.reading() as tx:
                if version is None:
                    row = await view_tables.actor_at(tx, table, shard, actor_id, time)
                else:
                    row = await view_tables.actor_version(tx, table, shard, actor_id, version, time)
        if row is None:
            raise _missing(shard, actor_type, actor_id, version)
        return cutoff, _actor(actor_type, row)

    async def holders(self, actor_type: str, actor_id: str, freshness: Freshness) -> tuple[Cutoff, list[ActorAt]]:
        """An actor in every department that holds it."""
        cutoff = await self.cutoffs.resolve(None, freshness)
        table = self._table(cutoff, actor_type)
        if table is None:
            return cutoff, []
        async with self._database.reading() as tx:
            rows = await view_tables.holders(
                tx, table, actor_id, list(cutoff.places), [each.time for each in cutoff.places.values()]
            )
        return cutoff, [_actor(actor_type, row) for row in rows]

    async def records(
        self, shard: int, actor_type: str, actor_id: str, freshness: Freshness, *, after: int, limit: int
    ) -> tuple[Cutoff, list[Record]]:
        """An actor's records at a cutoff, oldest first, from after a position. Raises NotFound where there are none."""
        cutoff = await self.cutoffs.resolve([shard], freshness)
        found = await self._history(cutoff, shard, (actor_type, actor_id), after=after, limit=limit)
        if not found and after == 0:
            raise _missing(shard, actor_type, actor_id, None)
        return cutoff, found

    async def actors(
        self, shards: Sequence[int] | None, actor_type: str, query: ListQuery, freshness: Freshness
    ) -> tuple[Cutoff, list[ActorAt], bool]:
        """A list over some departments, or all; answers also whether there is more."""
        cutoff = await self.cutoffs.resolve(shards, freshness)
        table = self._table(cutoff, actor_type)
        if table is None or not cutoff.places:
            return cutoff, [], False
        compiled = compile_list(
            query,
            (view_tables.SCHEMA, table.name),
            [(code, place.time) for code, place in cutoff.places.items()],
        )
        async with self._database.reading() as tx:
            rows = await tx.fetch(compiled.text, *compiled.values)
        return cutoff, [_actor(actor_type, row) for row in rows[: query.limit]], len(rows) > query.limit

    async def journal(self, shard: int, *, after: int, limit: int) -> tuple[list[Record], int]:
        """Complete records of one department after a position, in order; and how far it is complete.

        Raises Withheld where the next one is damaged.
        """
        complete, damage = self._shards.at(shard).complete.value, self._shards[shard].damage
        until = damage.sound_until(after, complete)
        if until == after < complete:
            damage.check(after, complete)
        async with self._database.reading() as tx:
            rows = await journal.following(tx, shard, after=after, until=until, records=limit)
        return [from_row(row) for row in rows], complete

    async def merged(self, *, after: int, until: int, limit: int) -> list[Record]:
        """Complete records of all departments in stamp order, after a logical time and up to one.

        Raises Withheld where a journal is damaged, wherever that is: which stamps are lost there is not known.
        """
        self._shards.check_journals()
        async with self._database.reading() as tx:
            rows = await journal.sql.merged.rows(tx, shards=list(self._shards), after=after, until=until, records=limit)
        return [from_row(row) for row in rows]

    def _table(self, cutoff: Cutoff, actor_type: str) -> ViewTable | None:
        """The view of a type, if there is one; raises Withheld where it is damaged in a department of the cutoff."""
        for code in cutoff.places:
            self._shards[code].damage.check_view(actor_type)
        return self._views.tables.get(actor_type)

    async def _history(
        self, cutoff: Cutoff, shard: int, key: tuple[str, str], *, after: int, limit: int
    ) -> list[Record]:
        async with self._database.reading() as tx:
            rows = await journal.sql.history.rows(
                tx,
                shard=shard,
                actor_type=key[0],
                actor_id=key[1],
                after=after,
                until=cutoff.places[shard].position,
                records=limit,
            )
        return [from_row(row) for row in rows]

    async def _valid_at(self, cutoff: Cutoff, shard: int, key: tuple[str, str], moment: datetime) -> ActorAt:
        """Fold the records known at the cutoff that were valid by ``moment``, in (valid_at, stamp) order."""
        known = await self._history(cutoff, shard, key, after=0, limit=_HISTORY_RECORDS_MAX + 1)
        if len(known) > _HISTORY_RECORDS_MAX:
            raise Invalid(
                f"{'/'.join(key)} has more than {_HISTORY_RECORDS_MAX} records: valid_at cannot be asked of it",
                errors=(Offence("valid_at", "too many records"),),
            )
        valid = in_business_order(known, moment)
        if not valid:
            raise _missing(shard, *key, None)
        document: str | None = None
        for record in valid:
            assert record.action is not None
            assert record.message_type is not None
            model = self._views.model_at.version(key[0], record.model_version)
            document = fold.apply(model, record.action, record.message_type, document, record.body)
        assert document is not None
        return ActorAt(
            type=key[0],
            id=key[1],
            shard=shard,
            version=len(valid),
            status="cancelled" if any(each.action == "cancel" for each in valid) else "active",
            stamp=max(each.moment for each in valid),
            document=document,
        )


def in_business_order(records: Iterable[Record], moment: datetime) -> list[Record]:
    """The records valid by ``moment`` in (valid_at, stamp) order.

    An actor begins with its create: what is said to be valid before it takes effect with it, and right after it.
    """
    known = list(records)
    begin = next((each.valid_from for each in known if each.action == "create"), None)
    if begin is None or begin > moment:
        return []
    valid = [each for each in known if each.valid_from <= moment]
    return sorted(valid, key=lambda each: (max(each.valid_from, begin), each.action != "create", each.stamp))


def _actor(actor_type: str, row: Row) -> ActorAt:
    return ActorAt(
        type=actor_type,
        id=row["actor_id"],
        shard=row["actor_shard"],
        version=row["actor_version"],
        status=row["actor_status"],
        stamp=Stamp(row["actor_from"], row["actor_shard"]),
        document=row["document"],
    )


def _missing(shard: int, actor_type: str, actor_id: str, version: int | None) -> NotFound:
    at = "" if version is None else f" at version {version}"
    return NotFound(f"{actor_type}/{actor_id} is not in department {shard}{at} at this cutoff")
