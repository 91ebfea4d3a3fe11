"""The directory's pages: the built-in models of shard 0, and what they must say beyond their schemas. Pure.

White Pages are companies, Yellow Pages departments and the nodes that hold them, Blue Pages models and views, Red Tape
rules.
They are actors of shard 0: changed by messages, versioned and readable as of any moment like all others. Their types
are the section names of the HTTP API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Invalid, Malformed, Offence, Refused
from peaceriver.limits import CODE_MAX, DATA_CODE_MIN, NAME_LETTERS_MAX
from peaceriver.message import ACTOR_TYPE
from peaceriver.model import Model, model_of_definition, model_of_schema
from peaceriver.query import named
from peaceriver.query.named import View
from peaceriver.rule import RULE_NAME, RuleKind, Start, Subscription
from peaceriver.schema import Validator

COMPANIES, DEPARTMENTS, NODES = "companies", "departments", "nodes"
MODELS, RULES, PERIODS, VIEWS = "models", "rules", "periods", "views"
#: What verification found damaged: no page that somebody writes, but kept and read in the same way.
INCIDENTS = "incidents"
#: What can be read; what can be written is in SCHEMAS.
SECTIONS = (COMPANIES, DEPARTMENTS, NODES, MODELS, RULES, VIEWS, PERIODS, INCIDENTS)

NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_NAME = {"type": "string", "minLength": 1, "maxLength": NAME_LETTERS_MAX}
#: Departments and companies are closed: a misspelt member must not pass for a setting.
SCHEMAS: dict[str, dict[str, Any]] = {
    COMPANIES: {
        "type": "object",
        "properties": {"name": _NAME, "url": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    },
    DEPARTMENTS: {
        "type": "object",
        "properties": {
            "name": _NAME,
            "company": _NAME,
            "receives": {"type": "array", "items": {"type": "string", "pattern": f"^{ACTOR_TYPE.pattern}$"}},
        },
        "required": ["name"],
        "additionalProperties": False,
    },
    # Where a node is served; one that is leaving gives its replicas to others.
    NODES: {
        "type": "object",
        "properties": {"url": {"type": "string", "pattern": "^https?://"}, "leaving": {"type": "boolean"}},
        "required": ["url"],
        "additionalProperties": False,
    },
    # What a rule does is Python code: its page says where it stands, what it waits for, and which code it is.
    RULES: {
        "type": "object",
        "properties": {
            "at": {"type": "integer", "minimum": DATA_CODE_MIN, "maximum": CODE_MAX},
            "on": {"type": "string"},
            "kind": {"enum": ["follow-up", "validation"]},
            "from": {"anyOf": [{"enum": ["now", "start"]}, {"type": "integer", "minimum": 0}]},
            "digest": {"type": "string"},
            "app": {"type": "string"},
            "active": {"type": "boolean"},
        },
        "required": ["at", "on", "kind", "from", "digest", "app", "active"],
        "additionalProperties": False,
    },
    INCIDENTS: {
        "type": "object",
        "properties": {
            "node": _NAME,
            "shard": {"type": "integer", "minimum": 0, "maximum": CODE_MAX},
            "where": {"enum": ["journal", "history", "state", "actor", "mark", "timer", "exception", "view"]},
            "place": {"type": "string"},
            "detail": {"type": "string"},
            "state": {"enum": ["open", "repaired"]},
            "found_at": {"type": "string", "format": "date-time"},
            "repaired_at": {"type": "string", "format": "date-time"},
        },
        "required": ["node", "shard", "where", "place", "detail", "state", "found_at"],
        "additionalProperties": False,
    },
    # A definition is kept as text, to the letter: a merge patch could not say that a member is null.
    MODELS: {
        "type": "object",
        "properties": {"definition": {"type": "string"}},
        "required": ["definition"],
        "additionalProperties": False,
    },
    # So is a view's; one that is not active is not there any more, but its name may come back.
    VIEWS: {
        "type": "object",
        "properties": {
            "definition": {"type": "string"},
            "app": {"type": "string"},
            "active": {"type": "boolean"},
        },
        "required": ["definition", "app", "active"],
        "additionalProperties": False,
    },
}
#: What the text of a Blue Page's definition holds: see model.definition.
_DEFINITION = Validator(
    {
        "type": "object",
        "properties": {
            "schema": {"type": "object"},
            "messages": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "action": {"enum": ["create", "modify", "cancel"]},
                        "schema": {"type": "object"},
                        "folded": {"type": "boolean"},
                    },
                    "required": ["action", "schema", "folded"],
                    "additionalProperties": False,
                },
            },
            "fold_digest": {"type": ["string", "null"]},
        },
        "required": ["schema", "messages", "fold_digest"],
        "additionalProperties": False,
    }
)
BUILT_IN: dict[str, Model] = {name: model_of_schema(name, schema) for name, schema in SCHEMAS.items()}


class Department(msgspec.Struct, frozen=True):
    """A Yellow Page: one department as the directory has it."""

    code: int
    name: str
    company: str | None
    receives: frozenset[str] | None
    #: Logical time of the record that made it: its shard's stamps start later.
    since: int


class NodePage(msgspec.Struct, frozen=True):
    """A node of the cluster as the directory has it."""

    name: str
    url: str
    #: It is to hold no replicas any more.
    leaving: bool = False


def node(key: str, document: str) -> NodePage:
    """Read a node's page that admission has let in."""
    page = jsontext.read(document.encode())
    return NodePage(key, page["url"], page.get("leaving", False))


class RulePage(msgspec.Struct, frozen=True, kw_only=True):
    """Red Tape: one rule as the directory has it."""

    name: str
    #: Of the page: a rule of another version gives its follow-ups other ids.
    version: int
    at: int
    on: Subscription
    kind: RuleKind
    start: Start
    digest: str
    active: bool


def rule(key: str, document: str, version: int) -> RulePage:
    """Read a page of Red Tape that admission has let in."""
    page = jsontext.read(document.encode())
    return RulePage(
        name=key,
        version=version,
        at=page["at"],
        on=Subscription.parse(page["on"]),
        kind=page["kind"],
        start=page["from"],
        digest=page["digest"],
        active=page["active"],
    )


class ViewPage(msgspec.Struct, frozen=True, dict=True):
    """A named view as the directory has it: its definition is text, which is read when somebody asks for the view.

    Reading takes long where the text is long, and what was let in once may be refused by now.
    """

    name: str
    definition: str
    #: Of the page.
    version: int
    #: The application that it came with; empty where somebody put it there.
    app: str
    active: bool

    @property
    def view(self) -> View:
        """The view; raises Invalid where its definition cannot be read any more."""
        if isinstance(self._read, View):
            return self._read
        why = f"the view {self.name} cannot be read any more; publish it anew: {self._read.detail}"
        raise Invalid(why, errors=self._read.errors)

    @cached_property
    def _read(self) -> View | Refused:
        try:
            return _view(self.name, self.definition)
        except (Invalid, Malformed) as refusal:
            return refusal

    def public(self) -> dict[str, Any]:
        """The definition as it is shown, also where it cannot be read any more."""
        return named.shown(jsontext.read(self.definition.encode()))


def view(key: str, document: str, version: int) -> ViewPage:
    """Read a view's page that admission has let in, but for its definition."""
    page = jsontext.read(document.encode())
    return ViewPage(key, page["definition"], version, page["app"], page["active"])


def _view(name: str, definition: str) -> View:
    """The view of a definition; raises Malformed and Invalid."""
    said = jsontext.read(definition.encode())
    if not isinstance(said, dict):
        raise Invalid("a view's definition is a JSON object", errors=(Offence("", "not an object"),))
    return named.read(name, said)


def department(key: str, document: str, since: int) -> Department:
    """Read a Yellow Page that admission has let in."""
    page = jsontext.read(document.encode())
    receives = page.get("receives")
    return Department(
        int(key),
        page["name"],
        page.get("company"),
        None if receives is None else frozenset(receives),
        since,
    )


def offences(actor_type: str, key: str, action: str, document: str) -> Iterator[Offence]:
    """What a directory page must say beyond its schema."""
    if action == "cancel" and actor_type in (DEPARTMENTS, MODELS, RULES, VIEWS):
        yield Offence("/action", f"{actor_type} are not cancelled: their records and their readers go on needing them")
    if actor_type == DEPARTMENTS:
        if not key.isascii() or not key.isdigit() or str(int(key)) != key or not DATA_CODE_MIN <= int(key) <= CODE_MAX:
            yield Offence("/actor", f"a department's key is its sharding code, from {DATA_CODE_MIN} to {CODE_MAX}")
    elif actor_type == NODES:
        if not NODE_NAME.fullmatch(key):
            yield Offence("/actor", f"{key[:80]!r} cannot be a node's name: use letters, digits, - and _, at most 63")
    elif actor_type == MODELS:
        yield from _model_offences(key, document)
    elif actor_type == RULES:
        yield from _rule_offences(key, document)
    elif actor_type == VIEWS:
        yield from _view_offences(key, document)


def _view_offences(key: str, document: str) -> Iterator[Offence]:
    try:
        _view(key, jsontext.read(document.encode())["definition"])
    except (Invalid, Malformed) as error:
        yield from error.errors or (Offence("/body/definition", error.detail),)


def _rule_offences(key: str, document: str) -> Iterator[Offence]:
    if not RULE_NAME.fullmatch(key):
        yield Offence("/actor", f"{key[:80]!r} cannot be a rule's name: use letters, digits and _, at most 63")
    try:
        Subscription.parse(jsontext.read(document.encode())["on"])
    except ValueError as error:
        yield Offence("/body/on", str(error))


def _model_offences(key: str, document: str) -> Iterator[Offence]:
    if not ACTOR_TYPE.fullmatch(key) or key in SCHEMAS:
        yield Offence("/actor", f"{key[:80]!r} is not a type a model may have")
        return
    try:
        definition = jsontext.read(jsontext.read(document.encode())["definition"].encode())
        errors = _DEFINITION.offences(definition, prefix="/body/definition")
        if not errors:
            model_of_definition(key, definition, 1)
        yield from errors
    except (Invalid, Malformed) as error:
        yield from error.errors or (Offence("/body/definition", error.detail),)
