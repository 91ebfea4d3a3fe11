"""JSON Schema (draft 2020-12): what a schema may be, and what is wrong with a value under it.

A model's schema comes from strangers over HTTP. It is compiled once, refers to nothing outside itself, and its patterns
match in linear time (so look-around and back-references are refused). What it accepts can be kept in typed columns and
read back: a ``date-time`` has an offset and, like a ``date``, is a moment that Python and PostgreSQL both know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import jsonschema_rs
import msgspec

from peaceriver import jsontext
from peaceriver.errors import Invalid, Offence
from peaceriver.jsontext import DETAIL_CHARACTERS_MAX, Path, offences

Schema: TypeAlias = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_BYTES_MAX: Final = 256 * 1024
#: Every value may be judged by that many schemas, or by as many in each of its members.
UNROLLED_MAX: Final = 100_000
#: Of a value with more scalars and containers than this, only the first offence is named: to find all takes seconds.
LISTED_VALUES_MAX: Final = 10_000

_SUBSCHEMA: Final = {
    *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
}
_DEFINITIONS: Final = ("$defs", "definitions")
_SUBSCHEMA_LIST: Final = {"allOf", "anyOf", "oneOf", "prefixItems"}
_SUBSCHEMA_MAP: Final = {*_DEFINITIONS, "dependentSchemas", "patternProperties", "properties"}
#: Keywords that say nothing about which values are valid.
ANNOTATIONS: Final = frozenset(
    ("$comment", "$id", "$schema", "default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly")
)
_BESIDE_REF: Final = ANNOTATIONS | {"$ref", *_DEFINITIONS}
#: They make the meaning of a subschema depend on where it is reached from.
_REFUSED = ("$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef")

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FORMATS: Final = {
    "date-time": "must be an RFC 3339 time with an offset, such as 2026-11-22T10:00:00Z",
    "date": "must be an RFC 3339 date, such as 2026-11-22",
}
#: PostgreSQL refuses offsets of 16 hours and more.
_OFFSET_LIMIT = timedelta(hours=16)


class Validator:
    """A compiled schema."""

    __slots__ = ("_compiled", "schema")

    def __init__(self, schema: Schema, *, pointer_prefix: str = "") -> None:
        """Compile ``schema``; raises ``Invalid``, with pointers into it, for one that a model cannot have.

        It must be valid 2020-12, of at most ``SCHEMA_BYTES_MAX`` bytes, with an object at its root, and with local
        references only (``#`` and ``#/...``).
        """
        self.schema = schema
        text = jsontext.write(schema)
        errors = _schema_offences(schema, text, pointer_prefix)
        if errors:
            raise _not_a_schema(errors)
        try:
            self._compiled = compiled(text)
        except jsonschema_rs.ValidationError as error:
            raise _not_a_schema(
                offences([(tuple(error.instance_path), _shortened(error.message))], pointer_prefix)
            ) from error

    def accepts(self, value: Any) -> bool:
        """Whether ``value`` is valid; numbers are compared exactly."""
        return self._compiled.is_valid(value)

    def offences(self, value: Any, prefix: str = "/body") -> tuple[Offence, ...]:
        """Every offending member of ``value`` by JSON pointer; none when it is valid.

        A member that is missing, or one too many, is named itself.
        """
        if self._compiled.is_valid(value):
            return ()
        if _holds_more_than(LISTED_VALUES_MAX, value):
            return offences(_leaves(_first_error(self._compiled, value)), prefix)
        places = (place for error in self._compiled.iter_errors(value) for place in _leaves(error))
        return tuple(dict.fromkeys(offences(places, prefix)))


def subschemas(schema: Any, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """A schema and all schemas in it, each with its path; what only looks like one (an enum's value) is left out."""
    if isinstance(schema, dict):
        yield path, schema
        for way, each in _parts(schema):
            yield from subschemas(each, (*path, *way))


def _parts(schema: Schema) -> Iterator[tuple[Path, Any]]:
    """The schemas just below a schema, each with the way to it."""
    for keyword, value in schema.items():
        if keyword in _SUBSCHEMA:
            yield (keyword,), value
        elif keyword in _SUBSCHEMA_LIST and isinstance(value, list):
            yield from (((keyword, index), each) for index, each in enumerate(value))
        elif keyword in _SUBSCHEMA_MAP and isinstance(value, dict):
            yield from (((keyword, name), each) for name, each in value.items())


def resolved(schema: Any, root: Schema) -> Any:
    """The schema that a local ``$ref`` leads to, followed to its end; a schema without one is itself.

    Only where ``$ref`` stands alone does it replace the schema: beside other keywords, it adds to them.
    """
    seen: set[str] = set()
    while isinstance(schema, dict) and "$ref" in schema and schema.keys() <= _BESIDE_REF:
        reference = schema["$ref"]
        if reference in seen:
            return {}
        seen.add(reference)
        schema = lookup(root, reference)
    return schema


def reference_path(reference: str) -> tuple[str, ...]:
    """The way that a local reference (``#/...``) takes from the root."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in unquote(reference).split("/")[1:])


def lookup(root: Schema, reference: str) -> Schema | bool:
    """The schema that a local reference points at; raises ``LookupError`` where there is none."""
    target: Any = root
    for name in reference_path(reference):
        if isinstance(target, dict):
            target = target[name]
        elif isinstance(target, list) and name.isdecimal():
            target = target[int(name)]
        else:
            raise LookupError(reference)
    if not isinstance(target, dict | bool):
        raise LookupError(reference)
    return target


def _is_date_time(text: str) -> bool:
    if not _DATE_TIME.fullmatch(text):
        return False
    try:
        moment = msgspec.convert(text, datetime)
        moment.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        return False
    offset = moment.utcoffset()
    return offset is not None and abs(offset) < _OFFSET_LIMIT


def _is_date(text: str) -> bool:
    try:
        msgspec.convert(text, date)
    except msgspec.ValidationError:
        return False
    return True


def compiled(text: str) -> jsonschema_rs.Draft202012Validator:
    """A validator of a schema's text, with the rules of this module; the schema itself is not judged."""
    return jsonschema_rs.Draft202012Validator(
        text,
        validate_formats=True,
        formats={"date-time": _is_date_time, "date": _is_date},
        pattern_options=jsonschema_rs.RegexOptions(),
        mask="the value",
        offline=True,
    )


_meta: Final = jsonschema_rs.Draft202012Validator({"$ref": DIALECT}, mask="the value", offline=True)


def _not_a_schema(errors: tuple[Offence, ...]) -> Invalid:
    return Invalid("The JSON Schema cannot be a model's: change the places named.", errors=errors)


def _schema_offences(schema: Schema, text: str, prefix: str) -> tuple[Offence, ...]:
    size = len(text.encode())
    if size > SCHEMA_BYTES_MAX:
        return (Offence(prefix, f"has {size:,} bytes; a schema may have {SCHEMA_BYTES_MAX:,}"),)
    malformed = [place for error in _meta.iter_errors(schema) for place in _leaves(error)]
    if malformed:
        return offences(malformed, prefix)
    return offences((*_root_places(schema), *_reference_places(schema)), prefix)


def _root_places(schema: Schema) -> Iterator[tuple[Path, str]]:
    dialect = schema.get("$schema", DIALECT)
    if dialect.rstrip("#") != DIALECT:
        yield ("$schema",), f"must be {DIALECT}"
    try:
        root = resolved(schema, schema)
    except LookupError:
        return
    if not isinstance(root, dict) or root.get("type") != "object":
        yield ("type",), 'must be "object": documents are objects'


def _reference_places(root: Schema) -> Iterator[tuple[Path, str]]:
    found = list(subschemas(root))
    paths = {id(schema): path for path, schema in found}
    broken = False
    for path, schema in found:
        for keyword in _REFUSED:
            if keyword in schema:
                yield (*path, keyword), "is not supported: use a local $ref"
        if path and "$id" in schema:
            yield (*path, "$id"), "is allowed at the root only: it would change what a local $ref means"
        complaint = _reference_complaint(schema.get("$ref", "#"), root, paths)
        if complaint:
            broken = True
            yield (*path, "$ref"), complaint
    if not broken:
        yield from _loop_places(root, paths)
        if _unrolled(root) > UNROLLED_MAX:
            yield (), f"says the same too often: with every $ref written out it has more than {UNROLLED_MAX:,} schemas"


def _reference_complaint(reference: str, root: Schema, paths: Mapping[int, Path]) -> str | None:
    if reference != "#" and not reference.startswith("#/"):
        return "must be local: # or #/..."
    try:
        target = lookup(root, reference)
    except LookupError:
        return f"nothing is at {reference[:80]}"
    if isinstance(target, dict) and id(target) not in paths:
        return f"what is at {reference[:80]} is no schema: definitions belong under $defs"
    return None


def _loop_places(root: Schema, paths: Mapping[int, Path]) -> Iterator[tuple[Path, str]]:
    """A reference that leads back to itself without going into a member says nothing, or the opposite of itself."""
    leads_to = {id(schema): {id(each) for each in _in_place(schema, root)} for _, schema in subschemas(root)}
    try:
        TopologicalSorter(leads_to).prepare()
    except CycleError as error:
        nodes: list[int] = error.args[1]
        yield min(paths[each] for each in nodes), "leads back to itself without going into a member"


def _in_place(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The schemas in a schema, or referred to by it, that judge the very same value."""
    inner = [schema[keyword] for keyword in ("not", "if", "then", "else") if keyword in schema]
    for keyword in ("allOf", "anyOf", "oneOf"):
        inner += schema.get(keyword, ())
    inner += schema.get("dependentSchemas", {}).values()
    if "$ref" in schema:
        inner.append(lookup(root, schema["$ref"]))
    yield from (each for each in inner if isinstance(each, dict))


def _unrolled(root: Schema) -> int:
    """How many schemas there are with every reference written out, one that leads back into itself only once."""
    sizes: dict[int, int] = {}
    waiting = [(root, False)]
    while waiting:
        schema, is_done = waiting.pop()
        inner = [each for way, each in _parts(schema) if isinstance(each, dict) and way[0] not in _DEFINITIONS]
        if isinstance(target := lookup(root, schema["$ref"]) if "$ref" in schema else None, dict):
            inner.append(target)
        if is_done:
            sizes[id(schema)] = min(UNROLLED_MAX + 1, 1 + sum(sizes[id(each)] for each in inner))
        elif id(schema) not in sizes:
            sizes[id(schema)] = 1
            waiting.append((schema, True))
            waiting += [(each, False) for each in inner]
    return sizes[id(root)]


def _first_error(compiled: jsonschema_rs.Draft202012Validator, value: Any) -> jsonschema_rs.ValidationError:
    try:
        compiled.validate(value)
    except jsonschema_rs.ValidationError as error:
        return error
    raise AssertionError("is_valid and validate disagree")


def _holds_more_than(limit: int, value: Any) -> bool:
    count = 0
    level = [value]
    while level and count <= limit:
        count += len(level)
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        level = below
    return count > limit


def _leaves(error: jsonschema_rs.ValidationError) -> Iterator[tuple[Path, str]]:
    """The places that an error is about, at the members themselves."""
    at = tuple(error.instance_path)
    kind = error.kind
    match kind:
        case jsonschema_rs.ValidationErrorKind.Required(property=name):
            yield (*at, name), "is required"
        case (
            jsonschema_rs.ValidationErrorKind.AdditionalProperties(unexpected=names)
            | jsonschema_rs.ValidationErrorKind.UnevaluatedProperties(unexpected=names)
        ):
            for name in names:
                yield (*at, name), "is not expected here"
        case jsonschema_rs.ValidationErrorKind.Format(format=name) if name in _FORMATS:
            yield at, _FORMATS[name]
        case jsonschema_rs.ValidationErrorKind.PropertyNames(error=inner):
            yield (*at, str(inner.instance)), _shortened(f"the member's name is refused: {inner.message}")
        case (
            jsonschema_rs.ValidationErrorKind.AnyOf(context=branches)
            | jsonschema_rs.ValidationErrorKind.OneOfNotValid(context=branches)
        ):
            yield from _branch_leaves(error, branches)
        case _:
            yield at, _shortened(error.message)


def _branch_leaves(
    error: jsonschema_rs.ValidationError, branches: list[list[jsonschema_rs.ValidationError]]
) -> Iterator[tuple[Path, str]]:
    """What is wrong under the alternative that was meant, where only one has the value's type; else the choice."""
    meant = [errors for errors in branches if not any(_is_of_other_type(each, error.instance_path) for each in errors)]
    if len(meant) == 1:
        for each in meant[0]:
            yield from _leaves(each)
    else:
        yield tuple(error.instance_path), _shortened(error.message)


def _is_of_other_type(error: jsonschema_rs.ValidationError, at: list[str | int]) -> bool:
    return isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Type) and error.instance_path == at


def _shortened(message: str) -> str:
    return message if len(message) <= DETAIL_CHARACTERS_MAX else message[: DETAIL_CHARACTERS_MAX - 3] + "..."
