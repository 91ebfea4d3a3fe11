"""Taking schemas apart: into conditions that all hold, and into alternatives of which one holds.

What is said here of a schema may be less than it says itself, never more: every value of a schema is a value of one of
its alternatives.
"""

from __future__ import annotations

from typing import Any, Final

from peaceriver.jsontext import Path
from peaceriver.schema import Schema, lookup, reference_path

#: Beyond, a schema is taken as it stands.
ALTERNATIVES_MAX: Final = 256
_NESTING_MAX: Final = 16

_TYPES: Final = {
    "null": frozenset(("null",)),
    "boolean": frozenset(("boolean",)),
    "string": frozenset(("string",)),
    "array": frozenset(("array",)),
    "object": frozenset(("object",)),
    "integer": frozenset(("integer",)),
    # A fraction is a number that is no integer: so a narrower type is a subset.
    "number": frozenset(("integer", "fraction")),
}
#: Types whose values can be listed.
_FEW: Final[dict[str, list[Any]]] = {"null": [None], "boolean": [False, True]}
EVERY_TYPE: Final = frozenset(each for types in _TYPES.values() for each in types)


def conditions(
    schema: Any, root: Schema, path: Path = (), followed: frozenset[str] = frozenset()
) -> list[tuple[Path, Schema]]:
    """The schemas, without ``$ref`` and ``allOf``, that a value of ``schema`` meets all of, each with its place."""
    if not isinstance(schema, dict):
        return [] if schema else [(path, {"enum": []})]
    found = [(path, {keyword: value for keyword, value in schema.items() if keyword not in ("$ref", "allOf")})]
    reference = schema.get("$ref")
    if reference is not None and reference not in followed:
        found += conditions(lookup(root, reference), root, reference_path(reference), followed | {reference})
    for index, each in enumerate(schema.get("allOf", ())):
        found += conditions(each, root, (*path, "allOf", index), followed)
    return found


def alternatives(schema: Any, root: Schema, nesting: int = _NESTING_MAX) -> list[Schema]:
    """Schemas of one type each, as far as that can be told, one of which every value of ``schema`` meets."""
    merged = _merged([each for _, each in conditions(schema, root)])
    choices = [merged.pop(keyword) for keyword in ("anyOf", "oneOf") if keyword in merged]
    found = [merged]
    for branches in choices if nesting else ():
        chosen = [{"allOf": [base, branch]} for base in found for branch in branches]
        if len(chosen) > ALTERNATIVES_MAX:
            break
        found = [each for choice in chosen for each in alternatives(choice, root, nesting - 1)]
    by_type = [each for alternative in found for each in _by_type(alternative)]
    return by_type if len(by_type) <= ALTERNATIVES_MAX else [merged]


def types_of(schema: Schema) -> frozenset[str]:
    """The types that a schema without references admits: JSON's, with "fraction" for numbers that are no integers."""
    types = EVERY_TYPE
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        types = frozenset().union(*(_TYPES[name] for name in names))
    values = values_of(schema)
    return types if values is None else types & {type_of(value) for value in values}


def values_of(schema: Schema) -> list[Any] | None:
    """The values that a schema lists; None where it lists none."""
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "integer" if value % 1 == 0 else "fraction"


def _merged(schemas: list[Schema]) -> Schema:
    """One schema that what meets all of them meets; of two words on one matter, the first may be all that is kept."""
    merged: Schema = {}
    for schema in schemas:
        for keyword, value in schema.items():
            if keyword not in merged:
                merged[keyword] = value
            elif keyword == "type":
                merged[keyword] = _common_types(merged[keyword], value)
            elif keyword in ("properties", "patternProperties"):
                merged[keyword] = {**value, **merged[keyword]}
            elif keyword == "required":
                merged[keyword] = [*merged[keyword], *value]
    return merged


def _common_types(one: str | list[str], other: str | list[str]) -> list[str]:
    ones, others = ([each] if isinstance(each, str) else each for each in (one, other))
    both = {**dict.fromkeys(ones), **dict.fromkeys(others)}
    return [name for name in both if _is_among(name, ones) and _is_among(name, others)]


def _is_among(name: str, names: list[str]) -> bool:
    return name in names or (name == "integer" and "number" in names)


def _by_type(schema: Schema) -> list[Schema]:
    values = values_of(schema)
    if values is not None:
        types = types_of(schema)
        kinds = dict.fromkeys(type_of(value) for value in values)
        rest = {keyword: value for keyword, value in schema.items() if keyword != "const"}
        return [rest | {"enum": [each for each in values if type_of(each) == kind]} for kind in kinds if kind in types]
    names = schema.get("type", [])
    if isinstance(names, list) and names:
        return [each for name in names for each in _by_type(schema | {"type": name})]
    return [schema | {"enum": _FEW[names]}] if names in ("null", "boolean") else [schema]
