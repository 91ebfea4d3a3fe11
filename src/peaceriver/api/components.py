"""The shapes that the API's description names: what is sent, what comes back, what parameters mean."""

from __future__ import annotations

from typing import Any, get_args

from peaceriver.directory.pages import SECTIONS
from peaceriver.limits import BATCH_MESSAGES_MAX, CODE_MAX, NAME_LETTERS_MAX, PAGE_RECORDS_MAX, TIMEOUT_MAX_S
from peaceriver.message import VERSION_MAX
from peaceriver.query.lists import OFFSET_MAX
from peaceriver.record import Kind, Resolution

Shape = dict[str, Any]

_TEXT: Shape = {"type": "string"}
_NAME: Shape = {"type": "string", "minLength": 1, "maxLength": NAME_LETTERS_MAX}
_UUID: Shape = {"type": "string", "format": "uuid"}
_TIME: Shape = {"type": "string", "format": "date-time"}
_STAMP: Shape = {"type": "string", "pattern": r"^[0-9a-f]{20}\.-?[0-9]{1,10}$"}
_CODE: Shape = {"type": "integer", "minimum": 0, "maximum": CODE_MAX}
_POSITION: Shape = {"type": "integer", "minimum": 0}
_VERSION: Shape = {"type": "integer", "minimum": 1, "maximum": VERSION_MAX}
_FLAG: Shape = {"type": "boolean"}
_ANY_OBJECT: Shape = {"type": "object"}
_ACTION: Shape = {"enum": ["create", "modify", "cancel"]}
_DURATION: Shape = {"type": "string", "pattern": r"^\d{1,9}(\.\d{1,9})?(ms|s)?$"}


def _or_null(shape: Shape) -> Shape:
    return {"anyOf": [shape, {"type": "null"}]}


def _object(required: Shape, optional: Shape | None = None) -> Shape:
    return {"type": "object", "properties": required | (optional or {}), "required": list(required)}


def _list_of(name: str) -> Shape:
    return {"type": "array", "items": _of(name)}


def _of(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/peaceriver.{name}"}


_ACTOR = {
    "actor": _TEXT,
    "shard": _CODE,
    "version": _VERSION,
    "status": {"enum": ["active", "cancelled"]},
    "stamp": _STAMP,
    "document": _ANY_OBJECT,
}
_OF_VIEW = {"variables": _ANY_OBJECT, "description": _TEXT, "kept": _FLAG}
_RECEIPT = {
    "id": _UUID,
    "actor": _TEXT,
    "shard": _CODE,
    "position": _POSITION,
    "stamp": _STAMP,
    "version": _or_null(_VERSION),
    "complete": _FLAG,
    "duplicate": _FLAG,
}
#: What is pending has neither position nor stamp.
_WAITING = _RECEIPT | {"position": _or_null(_POSITION), "stamp": _or_null(_STAMP), "version": {"type": "null"}}
_RECORD = {
    "shard": _CODE,
    "position": _POSITION,
    "stamp": _STAMP,
    "epoch": _POSITION,
    "kind": {"enum": list(get_args(Kind))},
    "id": _or_null(_UUID),
    "actor": _or_null(_TEXT),
    "action": _or_null(_ACTION),
    "type": _or_null(_TEXT),
    "version": _or_null(_VERSION),
    "model_version": _or_null(_VERSION),
    "from": _or_null(_CODE),
    "to": _or_null(_CODE),
    "cause": _or_null(_STAMP),
    "root": _or_null(_UUID),
    "correlation": _or_null(_TEXT),
    "rule": _or_null(_TEXT),
    "rule_version": _or_null(_VERSION),
    "principal": _or_null(_TEXT),
    "valid_at": _or_null(_TIME),
    "recorded_at": _TIME,
    "hops": _POSITION,
    "body": {},
}
_EXCEPTION = _RECORD | {
    "state": {"enum": list(get_args(Resolution))},
    "attempt": _VERSION,
    "retry_at": _or_null(_TIME),
    "detail": _TEXT,
    "problem": _of("Problem"),
}
_COLUMN = {"name": _TEXT, "type": _TEXT}
_PAGE = {"key": _TEXT, "version": _VERSION, "status": _TEXT, "stamp": _STAMP}
_NEXT = _or_null(_TEXT)

COMPONENTS: dict[str, Shape] = {
    "Message": _object(
        {"to": _CODE, "actor": _TEXT, "action": _ACTION},
        {
            "id": _UUID,
            "from": _CODE,
            "type": _NAME,
            "body": {},
            "if_version": _VERSION,
            "valid_at": _TIME,
            "due": _TIME,
            "correlation": _NAME,
            "cause": _STAMP,
        },
    )
    | {"additionalProperties": False},
    "Messages": {
        "anyOf": [
            _of("Message"),
            {"type": "array", "items": _of("Message"), "maxItems": BATCH_MESSAGES_MAX},
        ]
    },
    "Receipt": _object(_RECEIPT),
    "Spooled": _object(_WAITING | {"spooled": {"const": True}}),
    "Answered": {"anyOf": [_of("Receipt"), _of("Spooled")]},
    "Outcomes": {
        "anyOf": [
            _of("Answered"),
            {"type": "array", "items": {"anyOf": [_of("Answered"), _object({"error": _of("Problem")})]}},
        ]
    },
    "State": _object(
        _WAITING | {"version": _or_null(_VERSION), "state": {"enum": ["recorded", "spooled", "stranded", "refused"]}},
        {
            "problem": _of("Problem"),
            "spooled": _FLAG,
            "was": _object({"epoch": _POSITION, "position": _POSITION, "stamp": _STAMP}),
        },
    ),
    "Problem": _object(
        {"type": {"type": "string", "format": "uri-reference"}, "title": _TEXT, "status": _POSITION, "detail": _TEXT},
        {
            "errors": {"type": "array", "items": _object({"pointer": _TEXT, "detail": _TEXT})},
            "id": _UUID,
            "outcome": {"const": "unknown"},
        },
    ),
    "Cutoff": _object({"stamp": _or_null(_STAMP), "positions": {"type": "object", "additionalProperties": _POSITION}}),
    "Document": _ANY_OBJECT,
    "Patch": _ANY_OBJECT,
    "Text": _TEXT,
    "Actor": _object(_ACTOR | {"cutoff": _of("Cutoff")}),
    "Actors": _object({"cutoff": _of("Cutoff"), "items": {"type": "array", "items": _object(_ACTOR)}}, {"next": _NEXT}),
    "Types": _object(
        {
            "items": {
                "type": "array",
                "items": _object({"type": _TEXT, "columns": {"type": "array", "items": _object(_COLUMN)}}),
            },
            "next": _NEXT,
        }
    ),
    "Record": _object(_RECORD),
    "History": _object({"cutoff": _of("Cutoff"), "records": _list_of("Record"), "next": _NEXT}),
    "Journal": _object({"records": _list_of("Record"), "next": _POSITION, "complete": _POSITION}),
    "MergedJournal": _object({"records": _list_of("Record"), "next": _STAMP, "complete": _STAMP}),
    "Draft": _object({"id": _UUID, "changed_at": _TIME, "message": _ANY_OBJECT}),
    "Drafts": _object({"items": _list_of("Draft"), "next": _NEXT}),
    "Department": _object({"name": _NAME}, {"company": _NAME, "receives": {"type": "array", "items": _TEXT}}),
    "Node": _object({"url": _TEXT}, {"leaving": _FLAG}),
    "Transfer": _object({"to": _TEXT}),
    "Transferred": _object({"shard": _CODE, "leader": _TEXT}),
    "Page": _ANY_OBJECT,
    "Pages": _object({"cutoff": _of("Cutoff"), "items": {"type": "array", "items": _object(_PAGE)}, "next": _NEXT}),
    "Published": _object(
        {
            "type": _TEXT,
            "version": _VERSION,
            "compatible": _FLAG,
            "breaks": {"type": "array", "items": _object({"pointer": _TEXT, "detail": _TEXT})},
        }
    ),
    "Replay": _object({"from": {"anyOf": [{"enum": ["start", "now"]}, _POSITION]}}),
    "Replayed": _object({"rule": _TEXT, "from": _POSITION}),
    "Exception": _object(_EXCEPTION),
    "Exceptions": _object({"items": _list_of("Exception"), "next": _NEXT}),
    "Settled": _object(
        {"settled": _FLAG, "records": _POSITION, "exceptions": _list_of("Exception"), "positions": _ANY_OBJECT}
    ),
    "Explanation": _object(
        {
            "record": _of("Record"),
            "cause": _or_null(_of("Record")),
            "consequences": _list_of("Record"),
            "root": _of("Record"),
            "records": _list_of("Record"),
        }
    ),
    "Cluster": _object(
        {
            "nodes": {"type": "array", "items": _object({"name": _TEXT, "url": _TEXT, "alive": _FLAG})},
            "shards": {"type": "array", "items": _ANY_OBJECT},
            "incidents": {"type": "array", "items": _ANY_OBJECT},
        }
    ),
    "Verdict": _object(
        {
            "ok": _FLAG,
            "nodes": {"type": "array", "items": _ANY_OBJECT},
            "shards": {"type": "array", "items": _ANY_OBJECT},
        }
    ),
    "Rebuild": _object({"type": _NAME}) | {"additionalProperties": False},
    "Rebuilding": _object(
        {"node": _TEXT, "type": _TEXT, "state": {"enum": ["waiting", "folding", "done", "failed"]}},
        {
            "shards": {
                "type": "array",
                "items": _object({"shard": _CODE, "folded": _POSITION, "records": _POSITION}),
            },
            "problem": _of("Problem"),
        },
    ),
    "Health": _ANY_OBJECT,
    "Query": _object(
        {"sql": _TEXT},
        {
            "variables": _ANY_OBJECT,
            "types": {"type": "object", "additionalProperties": _TEXT},
            "as_of": _TEXT,
            "after": _TEXT,
            "read": {"enum": ["local", "latest"]},
            "timeout": _DURATION,
            "shards": {"type": "array", "items": _CODE},
            "allow_partial": _FLAG,
        },
    )
    | {"additionalProperties": False},
    "View": _object({"sql": _TEXT}, _OF_VIEW),
    "ListedView": _object(
        {"name": _TEXT, "version": _VERSION, "sql": _TEXT}, _OF_VIEW | {"kept_here": _FLAG, "reason": _TEXT}
    ),
    "Views": _object({"cutoff": _of("Cutoff"), "items": _list_of("ListedView"), "next": _NEXT}),
    "Table": _object(
        {
            "cutoff": _of("Cutoff"),
            "columns": {"type": "array", "items": _TEXT},
            "types": {"type": "array", "items": _TEXT},
            "rows": {"type": "array", "items": {"type": "array"}},
        },
        {"missing": {"type": "array", "items": _ANY_OBJECT}},
    ),
}

#: Of a path, in braces, and of a query: what each means.
PARAMETERS: dict[str, tuple[str, Shape]] = {
    "{code}": ("A department's sharding code", _CODE),
    "{type}": ("An actor type", _TEXT),
    "{id}": ("An actor's id, percent-encoded; of a message or a draft, a UUID", _TEXT),
    "{section}": ("A section of the directory", {"enum": list(SECTIONS)}),
    "{key}": ("The key of a page", _TEXT),
    "{name}": ("The name of a view", _TEXT),
    "{stamp}": ("A record's stamp", _STAMP),
    "{slug}": ("The last part of a problem's type", _TEXT),
    "atomic": ("All of the array, or none", _FLAG),
    "concern": ("How many replicas must hold a message before it is answered", {"enum": ["quorum", "local", "all"]}),
    "timeout": (f"How long to wait, as 5s or 500ms; at most {TIMEOUT_MAX_S:g}s", _DURATION),
    "spool": ("Where there is no majority, keep the message until there is one", _FLAG),
    "as_of": ("Answer as of a stamp, a time with an offset, or a vector such as 100:17,110:4", _TEXT),
    "after": ("Wait until this stamp, or this vector, can be seen; of a journal: go on after this place", _TEXT),
    "read": ("Answer with what this node has, or ask the leader first", {"enum": ["local", "latest"]}),
    "version": ("As it was at this version", _VERSION),
    "valid_at": ("As it was by business time", _TIME),
    "order": ("Fields to order by, a minus before those that fall", _TEXT),
    "limit": ("How many at most", {"type": "integer", "minimum": 1, "maximum": PAGE_RECORDS_MAX}),
    "offset": ("How many to leave out", {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX}),
    "wait": (f"How long to wait for the first record; at most {TIMEOUT_MAX_S:g}s", _DURATION),
    "shards": (
        "The departments that are asked, as 100,110; all by default",
        {"type": "string", "pattern": r"^\d+(,\d+)*$"},
    ),
    "allow_partial": ("Leave out departments that cannot answer, and name them", _FLAG),
    "state": ("Which exceptions", {"enum": ["all", *get_args(Resolution)]}),
}
HEADERS: dict[str, tuple[str, Shape]] = {
    "Peaceriver-Principal": ("Who acts; believed, because the node listens on loopback only", _NAME),
    "Peaceriver-After": ("As the parameter after", _TEXT),
    "Idempotency-Key": ("The message's id", _UUID),
    "If-Match": ("The version that the change is based on, as an ETag", _TEXT),
    "Last-Event-ID": ("Of a stream: go on right after the record with this stamp", _STAMP),
    "traceparent": ("W3C trace context, kept in the record", _TEXT),
}
