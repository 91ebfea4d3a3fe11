"""View tables: one interval table per actor type, in the schema ``view``.

A row says what an actor was from one stamp until another: the key is (actor_shard, actor_id, actor_from), an open row
ends at ``OPEN_END``. Declared scalar fields are plain typed columns; the document is kept beside them as ``json``,
not ``jsonb``: it gives back what was sent to the letter. This module alone writes statements with table names in
them; the names come from the catalogue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from peaceriver import jsontext
from peaceriver.actor import SYSTEM_PREFIX
from peaceriver.message import moment
from peaceriver.model import Column, Model
from peaceriver.postgres import READER, Row, Statements, Transaction, copy_in, quoted
from peaceriver.shard.journal import UNREAD, ActorState, Documents

sql = Statements("peaceriver.shard", "views")

SCHEMA = "view"
#: Every view table begins with these; a model may not declare fields with such names.
SYSTEM_COLUMNS: tuple[tuple[str, str], ...] = (
    ("actor_shard", "integer not null"),
    ("actor_id", 'text collate "C" not null'),
    ("actor_from", "bigint not null"),
    ("actor_until", "bigint not null"),
    ("actor_version", "integer not null"),
    ("actor_status", 'text collate "C" not null'),
    ("actor_model", "integer"),
    ("actor_position", "bigint not null"),
    ("document", "json not null"),
)
SQL_TYPES: Mapping[str, str] = {
    "text": 'text collate "C"',
    "numeric": "numeric",
    "boolean": "boolean",
    "timestamptz": "timestamptz",
    "date": "date",
}
_NAME_BYTES_MAX = 63
#: What a table of PostgreSQL's has room for, with some to spare.
_COLUMNS_MAX = 1_500


class ViewTable(msgspec.Struct, frozen=True):
    """The live view of one actor type."""

    actor_type: str
    name: str
    model_version: int | None
    columns: tuple[Column, ...]

    @property
    def relation(self) -> str:
        return f"{SCHEMA}.{quoted(self.name)}"

    @property
    def column_names(self) -> tuple[str, ...]:
        return (*(name for name, _ in SYSTEM_COLUMNS), *(name for name, _ in self.stored))

    @property
    def stored(self) -> tuple[tuple[str, Column], ...]:
        """Its typed columns, each with what it is called in the table."""
        return tuple(zip(stored_names(self.columns), self.columns, strict=True))


class Interval(msgspec.Struct, frozen=True, gc=False):
    """One actor's state between two stamps."""

    shard: int
    id: str
    since: int
    until: int
    version: int
    status: str
    model_version: int | None
    position: int
    document: str

    @property
    def state(self) -> ActorState:
        """The actor between them, as admission keeps it."""
        return ActorState(self.version, self.position, self.status, self.model_version, self.document)

    def row(self, table: ViewTable, value: Any = UNREAD) -> tuple[Any, ...]:
        """The values of ``table``'s columns; ``value``: what the document denotes, where it was read before."""
        system = (
            self.shard,
            self.id,
            self.since,
            self.until,
            self.version,
            self.status,
            self.model_version,
            self.position,
            self.document,
        )
        if not table.columns:
            return system
        document = jsontext.read(self.document.encode()) if value is UNREAD else value
        return (*system, *(typed(each.kind, document.get(each.name)) for each in table.columns))


def typed(kind: str, value: Any) -> Any:
    """A document's value for a typed column; NULL where it does not fit: no document can stop a view."""
    match kind:
        case "text":
            return value if isinstance(value, str) else None
        case "numeric":
            return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "timestamptz":
            return moment(value, "", []) if isinstance(value, str) else None
        case "date":
            return _date(value)
    raise AssertionError(kind)


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else None
    except ValueError:
        return None


def columns_of(models: Sequence[Model]) -> tuple[Column, ...]:
    """The typed columns of a view: those that any version of its model has, the newest first.

    An answer as of a moment does not change with a model that is published later, so what a version calls ``total``
    stays beside what another one does. A field whose name PostgreSQL cannot hold is read through the document.
    """
    newest_first = sorted(models, key=lambda each: each.version, reverse=True)
    columns = dict.fromkeys(column for model in newest_first for column in model.columns)
    return tuple(each for each in columns if len(each.name.encode()) <= _NAME_BYTES_MAX)[:_COLUMNS_MAX]


def stored_names(columns: Sequence[Column]) -> tuple[str, ...]:
    """What columns are called in the table: the newest of a name like the field, others as no field can be called."""
    first: dict[str, int] = {}
    for number, each in enumerate(columns):
        first.setdefault(each.name, number)
    return tuple(
        each.name if first[each.name] == number else f"{SYSTEM_PREFIX}column_{number}"
        for number, each in enumerate(columns)
    )


async def create(tx: Transaction, actor_type: str, models: Sequence[Model]) -> ViewTable:
    """Make a new, empty view table for a type, of which these are the versions; it is not live before a switch."""
    number = await sql.next_number.value(tx)
    columns = columns_of(models)
    newest = max((each.version for each in models), default=None)
    table = ViewTable(actor_type, f"{actor_type[:48]}_{number}", newest, columns)
    declared = [f"{name} {kind}" for name, kind in SYSTEM_COLUMNS]
    declared += [f"{quoted(name)} {SQL_TYPES[each.kind]}" for name, each in table.stored]
    await tx.execute(
        f"create table {table.relation} ({', '.join(declared)}, primary key (actor_shard, actor_id, actor_from)) "
        "with (fillfactor = 80)"
    )
    await tx.execute(f"grant select on {table.relation} to {READER}")
    return table


async def switch(tx: Transaction, table: ViewTable) -> None:
    """Make a table the live view of its type."""
    columns = jsontext.write([[each.name, each.kind] for each in table.columns])
    await sql.switch.run(
        tx, actor_type=table.actor_type, table_name=table.name, model_version=table.model_version, columns=columns
    )


async def catalog(tx: Transaction) -> dict[str, ViewTable]:
    """The live views, by actor type."""
    return {
        row["actor_type"]: ViewTable(
            row["actor_type"],
            row["table_name"],
            row["model_version"],
            tuple(Column(name, kind) for name, kind in jsontext.read(row["columns"].encode())),
        )
        for row in await sql.catalog.rows(tx)
    }


async def editions(tx: Transaction) -> dict[str, dict[int, dict[int, int]]]:
    """Where each version of each model was first used: by type, version and shard, a position."""
    found: dict[str, dict[int, dict[int, int]]] = {}
    for row in await sql.editions.rows(tx):
        found.setdefault(row["actor_type"], {}).setdefault(row["model_version"], {})[row["shard"]] = row["position"]
    return found


async def first_used(tx: Transaction, shard: int, new: Mapping[tuple[str, int], int]) -> None:
    """Note where versions of models, by type, were first used in a shard."""
    types, versions = zip(*new, strict=True)
    await sql.first_used.run(tx, shard=shard, types=list(types), versions=list(versions), positions=list(new.values()))


async def drop(tx: Transaction, name: str) -> None:
    """Drop a view table that is no longer, or never became, live."""
    await tx.execute(f"drop table if exists {SCHEMA}.{quoted(name)}")


async def last_documents(tx: Transaction, table: ViewTable, shard: int, ids: Sequence[str]) -> list[Row]:
    """The newest document of each of some actors."""
    return await tx.fetch(
        f"select last.* from unnest($2::text[]) as wanted (id) cross join lateral ("
        f" select actor_id, document from {table.relation} where actor_shard = $1 and actor_id = wanted.id"
        f" order by actor_from desc limit 1) as last",
        shard,
        list(ids),
    )


def ending(table: ViewTable, *, returning: str = "") -> str:
    """The statement that ends the last rows of actors of shard $1 ($2 ids, $3 untils); ``v`` is such a row."""
    text = (
        f"update {table.relation} as v set actor_until = e.until"
        f" from unnest($2::text[], $3::bigint[]) as e (id, until) cross join lateral ("
        f"  select actor_from from {table.relation} where actor_shard = $1 and actor_id = e.id"
        f"  order by actor_from desc limit 1) as last"
        f" where v.actor_shard = $1 and v.actor_id = e.id and v.actor_from = last.actor_from"
    )
    return f"{text} returning {returning}" if returning else text


async def end(tx: Transaction, table: ViewTable, shard: int, ended: Sequence[tuple[str, int]]) -> None:
    """End the last rows of actors (id, until)."""
    if ended:
        ids, untils = zip(*ended, strict=True)
        await tx.execute(ending(table), shard, list(ids), list(untils))


async def add(tx: Transaction, table: ViewTable, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add new rows."""
    if rows:
        await copy_in(tx, table.name, table.column_names, rows, schema=SCHEMA)


async def forget(tx: Transaction, table: ViewTable, shard: int, ids: Sequence[str]) -> None:
    """Remove some actors from a table that is being rebuilt, to fold them again."""
    await tx.execute(
        f"delete from {table.relation} where actor_shard = $1 and actor_id = any($2::text[])", shard, list(ids)
    )


async def actor_at(tx: Transaction, table: ViewTable, shard: int, actor_id: str, time: int) -> Row | None:
    """What an actor was at a logical time."""
    return await tx.fetchrow(
        f"select * from {table.relation}"
        f" where actor_shard = $1 and actor_id = $2 and actor_from <= $3 and actor_until > $3",
        shard,
        actor_id,
        time,
    )


async def actor_version(
    tx: Transaction, table: ViewTable, shard: int, actor_id: str, version: int, time: int
) -> Row | None:
    """What an actor was at a version, if it had reached it at a logical time."""
    return await tx.fetchrow(
        f"select * from {table.relation}"
        f" where actor_shard = $1 and actor_id = $2 and actor_version = $3 and actor_from <= $4",
        shard,
        actor_id,
        version,
        time,
    )


async def documents_at(
    tx: Transaction, table: ViewTable, shard: int, moments: Sequence[tuple[str, int]], *, bytes_max: int
) -> list[Documents]:
    """What actors (id, logical time) were right before a time and at it, in the order asked for.

    The first ones, at least one, until they are so many bytes.
    """
    rows = await tx.fetch(
        f"select before, document from ("
        f" select at.place, was.document as before, now.document as document,"
        f"  sum(coalesce(octet_length(was.document::text), 0) + coalesce(octet_length(now.document::text), 0))"
        f"   over (order by at.place rows between unbounded preceding and 1 preceding) as size"
        f" from unnest($2::text[], $3::bigint[]) with ordinality as at (id, time, place)"
        f" left join lateral (select document from {table.relation} where actor_shard = $1 and actor_id = at.id"
        f"  and actor_from < at.time order by actor_from desc limit 1) as was on true"
        f" left join lateral (select document from {table.relation} where actor_shard = $1 and actor_id = at.id"
        f"  and actor_from <= at.time order by actor_from desc limit 1) as now on true"
        f") as found where coalesce(size, 0) < $4 order by place",
        shard,
        [each[0] for each in moments],
        [each[1] for each in moments],
        bytes_max,
    )
    return [Documents(row["before"], row["document"]) for row in rows]


async def holders(
    tx: Transaction, table: ViewTable, actor_id: str, shards: Sequence[int], times: Sequence[int]
) -> list[Row]:
    """An actor in every shard that holds it, each at its shard's cutoff."""
    return await tx.fetch(
        f"select v.* from unnest($2::integer[], $3::bigint[]) as cut (shard, time)"
        f" join {table.relation} v on v.actor_shard = cut.shard and v.actor_id = $1"
        f" and v.actor_from <= cut.time and v.actor_until > cut.time order by v.actor_shard",
        actor_id,
        list(shards),
        list(times),
    )


async def stored(
    tx: Transaction, table: ViewTable, shard: int, first: str, beyond: str, *, prefetch: int
) -> AsyncIterator[tuple[Any, ...]]:
    """The rows of some actors of a shard in a view, from one id up to another, which is not among them; streamed.

    All columns, as ``Interval.row`` has them, in (id, since) order.
    """
    columns = ", ".join(map(quoted, table.column_names))
    text = (
        f"select {columns} from {table.relation} where actor_shard = $1 and actor_id >= $2 and actor_id < $3"
        f" order by actor_id, actor_from"
    )
    async for row in tx.cursor(text, shard, first, beyond, prefetch=prefetch):
        yield tuple(row.values())
