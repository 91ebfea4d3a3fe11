"""An export: journals and views of all departments at one cutoff, as Parquet, read from a running node.

What it reads at the cutoff never changes, so the same cutoff exported again gives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from peaceriver.answers import Cutoff, exact
from peaceriver.asking import Ask, question_body
from peaceriver.cli.parquet import Column, File
from peaceriver.client import Client
from peaceriver.errors import Damaged, NotFound, Unreachable
from peaceriver.limits import PAGE_RECORDS_MAX, TIMEOUT_MAX_S
from peaceriver.moments import vector

MANIFEST = "export.json"
#: How the partition's column is called; a field of that name gets another one.
PARTITION = "shard"
#: How long a page of a journal may take to be there: its records are complete, but perhaps not on this node.
_PAGE_WAIT_S = 5.0

_SYSTEM: Final = (
    Column("actor_id", "text"),
    Column("actor_version", "integer"),
    Column("actor_status", "text"),
    Column("actor_stamp", "text"),
)
_DOCUMENT: Final = Column("document", "json")
_JOURNAL: Final = (
    Column("position", "bigint"),
    Column("stamp", "text"),
    Column("epoch", "integer"),
    Column("kind", "text"),
    Column("id", "text"),
    Column("actor", "text"),
    Column("actor_type", "text"),
    Column("actor_id", "text"),
    Column("action", "text"),
    Column("type", "text"),
    Column("version", "integer"),
    Column("model_version", "integer"),
    Column("from", "integer"),
    Column("to", "integer"),
    Column("cause", "text"),
    Column("root", "text"),
    Column("correlation", "text"),
    Column("rule", "text"),
    Column("rule_version", "integer"),
    Column("principal", "text"),
    Column("valid_at", "timestamptz"),
    Column("recorded_at", "timestamptz"),
    Column("hops", "integer"),
    Column("body", "json"),
)
_PYTHON: Final[Mapping[str, Any]] = {
    "text": str,
    "json": str,
    "integer": int,
    "numeric": Decimal,
    "bool": bool,
    "timestamptz": datetime,
    "date": date,
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be exported."""

    as_of: str | None = None
    after: str | None = None
    #: None stands for all.
    shards: Sequence[int] | None = None
    models: Sequence[str] | None = None
    journal: bool = True
    views: bool = True


class _Record(msgspec.Struct, gc=False):
    """A record as the API shows it."""

    shard: int
    position: int
    stamp: str
    epoch: int
    kind: str
    id: str | None
    actor: str | None
    action: str | None
    type: str | None
    version: int | None
    model_version: int | None
    sender: int | None = msgspec.field(name="from")
    receiver: int | None = msgspec.field(name="to")
    cause: str | None
    root: str | None
    correlation: str | None
    rule: str | None
    rule_version: int | None
    principal: str | None
    valid_at: datetime | None
    recorded_at: datetime
    hops: int
    body: msgspec.Raw

    def row(self) -> tuple[Any, ...]:
        """The values of the journal's columns."""
        actor_type, slash, actor_id = (self.actor or "").partition("/")
        # fmt: off
        return (
            self.position, self.stamp, self.epoch, self.kind, self.id, self.actor, actor_type or None,
            actor_id if slash else None, self.action, self.type, self.version, self.model_version, self.sender,
            self.receiver, self.cause, self.root, self.correlation, self.rule, self.rule_version, self.principal,
            self.valid_at, self.recorded_at, self.hops, bytes(self.body).decode(),
        )
        # fmt: on


class _Page(msgspec.Struct):
    records: list[_Record]


_read_page = msgspec.json.Decoder(_Page).decode


class View(msgspec.Struct, frozen=True):
    """A type's view at the cutoff."""

    actor_type: str
    #: Where it is, under the views.
    folder: str
    #: The fields that are columns, and what each is called in the file.
    fields: tuple[tuple[str, Column], ...]
    #: The rows of each department that has any.
    rows: Mapping[int, int]

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*_SYSTEM, *(column for _, column in self.fields), _DOCUMENT)

    @property
    def question(self) -> str:
        """Asks for the rows of one department; columns are numbered, so that no name is in the way."""
        values = [*(each.name for each in _SYSTEM), *(_quoted(name) for name, _ in self.fields), "document::text"]
        named = ", ".join(f"{value} as c{number}" for number, value in enumerate(values))
        return f"select {named} from {_quoted(self.actor_type)} where actor_shard = :code order by actor_id"

    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Reads a row, numbers exact."""
        fields = [(f"c{number}", _PYTHON[each.kind] | None) for number, each in enumerate(self.columns)]
        return msgspec.json.Decoder(msgspec.defstruct("Row", fields, gc=False))


class Plan(msgspec.Struct, frozen=True):
    """What there is to export, and how much."""

    cutoff: Cutoff
    #: Records of each department's journal.
    journal: Mapping[int, int]
    views: tuple[View, ...]

    @property
    def rows(self) -> int:
        return sum(self.journal.values()) + sum(sum(each.rows.values()) for each in self.views)


async def plan(client: Client, wanted: Wanted) -> Plan:
    """Fix the cutoff, and look at what there is at it; raises NotFound for a model that is not there."""
    asking = Ask(as_of=wanted.as_of, after=wanted.after, shards=wanted.shards, timeout_s=TIMEOUT_MAX_S)
    cutoff = (await client.query("select 1", {}, asking)).cutoff
    if not cutoff.positions:
        raise NotFound("there are no departments at this cutoff, so there is nothing to export")
    listed = exact(await client.request("GET", "/actors"))["items"]
    known = {each["type"]: [column["name"] for column in each["columns"]] for each in listed}
    for name in wanted.models or ():
        if name not in known:
            raise NotFound(f"there is no model {name[:80]!r}; there are {', '.join(known) or 'none'}")
    views: list[View] = []
    for name in (known if wanted.models is None else dict.fromkeys(wanted.models)) if wanted.views else ():
        views.append(await _measured(client, cutoff, name, known[name], {each.folder.lower() for each in views}))
    return Plan(cutoff, dict(sorted(cutoff.positions.items())) if wanted.journal else {}, tuple(views))


async def _measured(client: Client, cutoff: Cutoff, actor_type: str, newest: Sequence[str], taken: set[str]) -> View:
    """A type's view, its numbers measured, so that no value is too large for its column.

    It has the columns that the type had at the cutoff, and those that it has now.
    """
    names = {each.name for each in (*_SYSTEM, _DOCUMENT)} | {"actor_shard"}
    asking = Ask(as_of=cutoff.positions, shards=tuple(cutoff.positions), timeout_s=TIMEOUT_MAX_S)
    head = await client.query(f"select * from {_quoted(actor_type)} limit 0", {}, asking)
    fields = [each for each in zip(head.columns, head.types, strict=True) if each[0] not in names]
    if later := [each for each in newest if each not in head.columns]:
        named = ", ".join(map(_quoted, later))
        more = await client.query(f"select {named} from {_quoted(actor_type)} limit 0", {}, asking)
        fields += zip(more.columns, more.types, strict=True)
    names.add(PARTITION)
    counted = f"select actor_shard, count(*) from {_quoted(actor_type)} group by actor_shard"
    rows = {row[0]: row[1] for row in sorted((await client.query(counted, {}, asking)).rows)}
    columns: list[tuple[str, Column]] = []
    for name, kind in fields:
        called = _other_than(names, name)
        names.add(called.lower())
        whole = scale = 0
        if kind == "numeric" and rows:
            number = _quoted(name)
            sizes = ", ".join(_largest(size, actor_type) for size in (_digits(number), f"scale({number})"))
            whole, scale = (each or 0 for each in (await client.query(f"select {sizes}", {}, asking)).rows[0])
        columns.append((name, Column(called, kind, whole, scale)))
    return View(actor_type, _other_than(taken, actor_type), tuple(columns), rows)


def _largest(size: str, actor_type: str) -> str:
    """The largest size of a type's values as they were sent, NULL where there are none.

    No ``max`` and no groups: a query with these sees numbers without the zeros at their end, and rows come with them.
    """
    return f"(select {size} from {_quoted(actor_type)} order by {size} desc nulls last limit 1)"


def _digits(number: str) -> str:
    """How many digits a number has before its point."""
    return f"length(ltrim(split_part(abs({number})::text, '.', 1), '0'))"


def _other_than(taken: set[str], name: str) -> str:
    """A name that is not taken, by readers that do not tell large letters from small ones either."""
    called, number = name, 1
    while called.lower() in taken:
        number += 1
        called = f"{name}_{number}"
    return called


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Export:
    """One export into a folder, which is there and empty."""

    def __init__(self, client: Client, folder: Path, what: Plan, tell: Callable[[str, int], None]) -> None:
        self._client = client
        self._folder = folder
        self._plan = what
        #: Is told what is being written, and how many rows of all are.
        self._tell = tell
        self._about = {"peaceriver.cutoff": vector(what.cutoff.positions)}
        #: Rows of files that are whole.
        self._done = 0

    async def run(self) -> dict[str, Any]:
        """Write everything, and answer what was written; raises Unreachable where the node does not give all of it."""
        for code, records in self._plan.journal.items():
            with File(self._path("journal", code), _JOURNAL, self._about) as file:
                await self._journal(file, code, records)
            self._done += records
        for view in self._plan.views:
            # Without any row, one file says at least what the columns are.
            for code, rows in view.rows.items() or [(next(iter(self._plan.cutoff.positions)), 0)]:
                with File(self._path(f"views/{view.folder}", code), view.columns, self._about) as file:
                    await self._view(file, view, code, rows)
                self._done += rows
        return self._told()

    def _path(self, of: str, code: int) -> Path:
        return self._folder / of / f"{PARTITION}={code}" / "part-0.parquet"

    async def _journal(self, file: File, code: int, until: int) -> None:
        """The records of a department up to a position; there are no gaps."""
        position = 0
        while position < until:
            parameters = {"after": str(position), "limit": str(PAGE_RECORDS_MAX), "wait": f"{_PAGE_WAIT_S:g}s"}
            path = f"/shards/{code}/journal"
            text = await self._client.request("GET", path, parameters, wait_s=_PAGE_WAIT_S)
            page = _read_page(text).records
            if not page:
                raise Unreachable(f"the node has no records of department {code} after {position} any more; try again")
            for record in page[: until - position]:
                position += 1
                if record.position != position:
                    raise Damaged(f"the journal of department {code} has no record {position}: verify it")
                file.add(record.row(), len(text) // len(page))
            self._tell(f"journal of {code}", self._done + position)

    async def _view(self, file: File, view: View, code: int, rows: int) -> None:
        """The rows of one department, in the order of their ids."""
        if not rows:
            return
        read = view.decoder().decode
        # Of all departments, as they were measured: which columns there are depends on what is asked together.
        positions = self._plan.cutoff.positions
        asking = Ask(as_of=positions, shards=tuple(positions), timeout_s=TIMEOUT_MAX_S)
        content = question_body(view.question, {"code": code}, asking)
        async with self._client.stream(
            "POST", "/query", accept="application/x-ndjson", content=content, wait_s=asking.wait_s
        ) as answer:
            async for line in answer.lines():
                file.add(msgspec.structs.astuple(read(line)), len(line))
                if file.rows % PAGE_RECORDS_MAX == 0:
                    self._tell(f"{view.actor_type} in {code}", self._done + file.rows)
        if file.rows != rows:
            raise Unreachable(f"the node gave {file.rows:,} of {rows:,} rows of {view.actor_type} in {code}; try again")

    def _told(self) -> dict[str, Any]:
        """What the export's own description says."""
        cutoff = self._plan.cutoff
        told: dict[str, Any] = {
            "format": "parquet",
            "peaceriver": version("peaceriver"),
            "cutoff": {"stamp": cutoff.stamp, "positions": cutoff.positions},
            "as_of": vector(cutoff.positions),
            "partition": PARTITION,
        }
        if self._plan.journal:
            told["journal"] = _described("journal", [(each.name, each) for each in _JOURNAL], self._plan.journal)
        told["views"] = {
            each.actor_type: _described(
                f"views/{each.folder}",
                [*((one.name, one) for one in _SYSTEM), *each.fields, (_DOCUMENT.name, _DOCUMENT)],
                each.rows,
            )
            for each in self._plan.views
        }
        return told


def _described(path: str, columns: Sequence[tuple[str, Column]], rows: Mapping[int, int]) -> dict[str, Any]:
    described = []
    for field, column in columns:
        one = {"name": column.name, "type": str(column.type)}
        if column.name != field:
            one |= {"field": field, "note": f"the field {field!r}: another column has that name"}
        if column.kind == "numeric" and not column.is_decimal:
            one["note"] = f"numbers as text: {column.whole} digits before the point and {column.scale} after it"
        if column.kind == "json":
            one["note"] = "JSON, as it was sent"
        described.append(one)
    return {"path": path, "columns": described, "rows": sum(rows.values()), "shards": dict(rows)}
