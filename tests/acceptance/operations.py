"""The reference of SQL operations as tests read it, and a copy of a trade's data in plain tables to compare with."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from peaceriver.postgres import Transaction

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
#: Columns of the copies: those of the system, and those that the models have.
SYSTEM = (
    'actor_id text collate "C", actor_shard integer, actor_version integer, actor_status text collate "C",'
    ' actor_stamp text collate "C", document json'
)
FIELDS: Mapping[str, Mapping[str, str]] = {
    "Order": {
        "customer": "text", "total": "numeric", "state": "text", "parts": "numeric", "weight": "numeric",
        "urgent": "boolean", "placed": "timestamptz", "due": "date", "key": "text",
    },
    "Customer": {"name": "text", "region": "text", "limit": "numeric"},
    "Employee": {"name": "text", "team": "text", "salary": "numeric", "manager": "text"},
    "Invoice": {"order": "text", "amount": "numeric", "paid": "boolean"},
}  # fmt: skip
_SECTION = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|::|:([a-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as the reference shows it: in Python, and as hand-written SQL."""

    name: str
    python: str
    sql: str

    @property
    def is_ordered(self) -> bool:
        """Whether the rows come in an order that the statement names: the outermost clauses begin their lines."""
        return re.search(r"^order by ", self.sql, re.MULTILINE) is not None

    def statement(self, names: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The statement that the snippet ends with, and its host variables."""
        tree = ast.parse(self.python)
        last = tree.body.pop()
        assert isinstance(last, ast.Expr), self.name
        scope = dict(names)
        exec(compile(tree, self.name, "exec"), scope)
        return eval(compile(ast.Expression(last.value), self.name, "eval"), scope), scope.get("variables", {})


def operations() -> list[Operation]:
    """All of them, as they stand in the reference."""
    found = []
    for name, text in _SECTION.findall((REFERENCE / "sql-operations.md").read_text("utf-8")):
        blocks = dict(_BLOCK.findall(text))
        found.append(Operation(name, blocks["python"], blocks["sql"].strip()))
    return found


def program() -> str:
    """The models of the reference: its first block."""
    found = _BLOCK.search((REFERENCE / "sql-operations.md").read_text("utf-8"))
    assert found is not None
    return found[2]


@dataclass(frozen=True, slots=True)
class Example:
    """An operator or a function as the tables of the query language show it."""

    #: What it is about.
    name: str
    sql: str
    #: The version of PostgreSQL that has it.
    since: int


def examples() -> list[Example]:
    """All of them, as they stand in the reference."""
    text = (REFERENCE / "query-language.md").read_text("utf-8")
    return [
        Example(
            re.sub(r"\W+", " ", names).strip() or names,
            sql.replace("\\|", "|"),
            max(map(int, re.findall(r"\(PostgreSQL (\d+)\)", names)), default=0),
        )
        for names, sql in re.findall(r"^\| (`.+) \| `((?:select|with) .+)` \|$", text, re.MULTILINE)
    ]


def numbered(sql: str, variables: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The text with ``$1`` for its first host variable, as PostgreSQL itself has them, and their values."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    return _TOKEN.sub(number, sql), [variables[name] for name in names]


# --- the copy


async def copy(tx: Transaction, records: Iterable[Mapping[str, Any]]) -> None:
    """Plain tables with what the records make of the actors: JSON Merge Patch (RFC 7396), written down once more."""
    actors: dict[tuple[int, str], dict[str, Any]] = {}
    for each in records:
        if each["kind"] != "received":
            continue
        actor = actors.setdefault((each["shard"], each["actor"]), {"version": 0, "document": None})
        actor["version"] += 1
        actor["stamp"] = each["stamp"]
        actor["status"] = "cancelled" if each["action"] == "cancel" else "active"
        if each["action"] == "create":
            actor["document"] = each["body"]
        elif each["action"] == "modify":
            actor["document"] = _patched(actor["document"], each["body"])
    for model, fields in FIELDS.items():
        columns = "".join(f', "{name}" {_type(kind)}' for name, kind in fields.items())
        await tx.execute(f'create table copy."{model}" ({SYSTEM}{columns})')
        for (shard, name), actor in actors.items():
            kind, _, key = name.partition("/")
            if kind == model:
                document = actor["document"]
                row = [key, shard, actor["version"], actor["status"], actor["stamp"], _written(document)]
                row += [_value(document.get(name), kind) for name, kind in fields.items()]
                places = ", ".join(f"${number}" for number, _ in enumerate(row, 1))
                await tx.execute(f'insert into copy."{model}" values ({places})', *row)


def _patched(document: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    patched = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            patched.pop(name, None)
        else:
            patched[name] = _patched(patched.get(name), value)
    return patched


def _type(kind: str) -> str:
    return 'text collate "C"' if kind == "text" else kind


def _value(value: Any, kind: str) -> Any:
    if value is None or kind not in ("timestamptz", "date", "numeric"):
        return value
    if kind == "numeric":
        return Decimal(value)
    return date.fromisoformat(value) if kind == "date" else datetime.fromisoformat(value)


def _written(value: Any) -> str:
    """JSON text, numbers as they were read."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(name)}: {_written(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


# --- answers, comparable


def said(value: Any, kind: str = "") -> Any:
    """A value as text that is the same wherever it came from: equal numbers alike, moments in UTC."""
    match value:
        case None | bool():
            return value
        case float() | int() | Decimal() if kind.startswith("float") or isinstance(value, float):
            return repr(float(value)).removesuffix(".0")
        case int() | Decimal() if Decimal(value).is_finite():
            digits = format(Decimal(value), "f")
            return digits.rstrip("0").removesuffix(".") if "." in digits else digits
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds") if value.tzinfo else value.isoformat()
        case time():
            return value.isoformat().rstrip("0") if value.microsecond else value.isoformat()
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case str() if kind in ("json", "jsonb"):
            return said(json.loads(value, parse_float=Decimal, parse_int=Decimal))
        case str() if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", value):
            return said(datetime.fromisoformat(value))
        case dict():
            return {name: said(each) for name, each in value.items()}
        case list() | tuple():
            return [said(each, kind.removesuffix("[]")) for each in value]
        case _:
            return str(getattr(value, "value", value))


def rows_said(rows: Iterable[Iterable[Any]], kinds: Iterable[str] = (), *, in_order: bool) -> list[Any]:
    """Rows to compare: in their order, or as a bag. ``kinds``: the types of their columns, where they are known."""
    known = list(kinds)
    found = [[said(each, known[place] if known else "") for place, each in enumerate(row)] for row in rows]
    return found if in_order else sorted(found, key=repr)


def as_numbers(rows: list[Any], *, in_order: bool) -> list[Any]:
    """Rows in which 1.50 is 1.5, as they are the same number in Python."""

    def bare(value: Any) -> Any:
        match value:
            case str() if re.fullmatch(r"-?\d+\.\d+", value):
                return value.rstrip("0").removesuffix(".")
            case list():
                return [bare(each) for each in value]
            case dict():
                return {name: bare(each) for name, each in value.items()}
        return value

    return rows_said(map(bare, rows), in_order=in_order)
