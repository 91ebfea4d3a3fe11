"""Which schema changes break what was kept, and that what is called compatible is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from peaceriver import compatibility
from peaceriver.compatibility import STEPS_MAX, breaks
from peaceriver.errors import Invalid
from peaceriver.jsontext import write
from peaceriver.schema import Schema, Validator, compiled, reference_path


def member(schema: Any, **beside: Any) -> Schema:
    return {"type": "object", "properties": {"a": schema}} | beside


def nested(schema: Any) -> Schema:
    """The same schema deep inside, so that no column is at stake."""
    return member({"type": "array", "items": schema})


NUMBER = {"type": "number"}
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "integer"}, {"type": "number"}),
        ({"type": "string"}, {"type": ["string", "null"]}),
        ({"type": "string"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": ["null", "string"]}),
        ({"anyOf": [{"enum": ["a"]}, {"type": "null"}]}, {"enum": ["a", "b", None]}),
        ({"oneOf": [TEXT, {"type": "null"}]}, {"oneOf": [{"type": "null"}, TEXT]}),
        ({"enum": ["a"]}, {"enum": ["b", "a"]}),
        ({"const": "a"}, {"enum": ["a", "b"]}),
        ({"enum": ["a", "b"]}, TEXT),
        ({"enum": ["a", "b"]}, {"type": "string", "maxLength": 1, "pattern": "^[ab]$"}),
        ({"const": 2}, {"type": "integer", "multipleOf": 2, "minimum": 2}),
        (NUMBER | {"minimum": 5}, NUMBER | {"minimum": 4}),
        (NUMBER | {"minimum": 5}, NUMBER | {"exclusiveMinimum": Decimal("4.99")}),
        (NUMBER | {"exclusiveMinimum": 5}, NUMBER | {"minimum": 5}),
        (NUMBER | {"maximum": 5}, NUMBER | {"maximum": Decimal("5.0")}),
        (NUMBER | {"exclusiveMaximum": 5}, NUMBER | {"exclusiveMaximum": 5}),
        (NUMBER | {"multipleOf": Decimal("0.1")}, NUMBER | {"multipleOf": Decimal("0.05")}),
        ({"type": "integer"}, NUMBER | {"multipleOf": Decimal("0.5")}),
        (TEXT | {"maxLength": 5, "minLength": 2}, TEXT | {"maxLength": 6, "minLength": 1}),
        (TEXT | {"pattern": "^a", "format": "uuid"}, TEXT),
        (TEXT, TEXT | {"maximum": 5, "maxItems": 1, "required": ["x"]}),
        (TEXT | {"title": "old"}, TEXT | {"title": "new", "description": "said"}),
        ({"items": {"type": "integer"}}, {"items": NUMBER}),
        ({"prefixItems": [TEXT], "items": NUMBER}, {"prefixItems": [{}], "items": {}}),
        ({"items": TEXT, "uniqueItems": True, "maxItems": 3}, {"items": TEXT, "maxItems": 4}),
        (member(TEXT, required=["a"]), member(TEXT)),
        (member(TEXT, additionalProperties=False), member(TEXT)),
        (member(TEXT, additionalProperties=False), {"type": "object", "additionalProperties": TEXT}),
        (member(TEXT), {"type": "object", "properties": {"a": TEXT, "b": NUMBER}}),
        (
            {"type": "object", "additionalProperties": NUMBER},
            {"type": "object", "properties": {"a": NUMBER}, "additionalProperties": NUMBER},
        ),
        ({"type": "object", "patternProperties": {"^x": TEXT}}, {"type": "object", "patternProperties": {"^x": {}}}),
        ({"propertyNames": {"maxLength": 3}}, {"propertyNames": {"maxLength": 4}}),
        ({"type": "object", "required": ["a", "b"]}, {"type": "object", "dependentRequired": {"a": ["b"]}}),
        ({"allOf": [TEXT, {"maxLength": 3}]}, {"type": "string", "maxLength": 3}),
        ({"type": "string", "maxLength": 3}, {"allOf": [TEXT, {"maxLength": 3}]}),
        ({"not": TEXT}, {"not": TEXT}),
        ({"if": TEXT, "then": {"maxLength": 1}}, {}),
        ({"x-ours": 1, "maxLength": 3}, {"x-ours": 1, "maxLength": 4}),
        ({"unevaluatedProperties": False, "properties": {"a": {}}}, {"properties": {"a": {}}}),
        (TEXT, True),
        (False, TEXT),
        ({"default": 1}, {"default": Decimal("1.0")}),
    ],
)
def test_a_wider_schema_is_compatible(old: Any, new: Any) -> None:
    assert breaks(nested(old), nested(new)) == ()


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (NUMBER, {"type": "integer"}, "type"),
        ({"type": ["string", "null"]}, TEXT, "type"),
        ({}, TEXT, "type"),
        (True, TEXT, "type"),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, "enum"),
        ({"enum": [1]}, {"enum": [True]}, "enum"),
        (TEXT, {"enum": ["a"]}, "enum"),
        ({"enum": ["a", "b"]}, {"const": "a"}, "const"),
        (NUMBER, NUMBER | {"minimum": 0}, "minimum"),
        (NUMBER | {"minimum": 0}, NUMBER | {"minimum": Decimal("0.1")}, "minimum"),
        (NUMBER | {"minimum": 0}, NUMBER | {"exclusiveMinimum": 0}, "exclusiveMinimum"),
        (NUMBER | {"maximum": 5}, NUMBER | {"maximum": 4}, "maximum"),
        (NUMBER | {"multipleOf": Decimal("0.05")}, NUMBER | {"multipleOf": Decimal("0.1")}, "multipleOf"),
        (NUMBER, NUMBER | {"multipleOf": 1}, "multipleOf"),
        (TEXT, TEXT | {"maxLength": 5}, "maxLength"),
        (TEXT | {"minLength": 1}, TEXT | {"minLength": 2}, "minLength"),
        (TEXT | {"pattern": "^a"}, TEXT | {"pattern": "^ab"}, "pattern"),
        (TEXT, TEXT | {"format": "uuid"}, "format"),
        ({"items": NUMBER}, {"items": {"type": "integer"}}, "items/type"),
        ({}, {"items": {"type": "integer"}}, "items/type"),
        ({"prefixItems": [TEXT]}, {"prefixItems": [NUMBER]}, "prefixItems/0/type"),
        ({"prefixItems": [TEXT, TEXT]}, {"prefixItems": [TEXT], "items": NUMBER}, "items/type"),
        ({"type": "array"}, {"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array"}, {"type": "array", "maxItems": 3}, "maxItems"),
        ({"type": "array"}, {"type": "array", "contains": TEXT}, "contains"),
        ({"contains": TEXT}, {"contains": TEXT, "minContains": 2}, "contains"),
        (member(TEXT), member(TEXT, required=["a"]), "properties/a"),
        (member(TEXT), member(TEXT, additionalProperties=False), "additionalProperties"),
        (
            member(TEXT, additionalProperties=False),
            {"type": "object", "additionalProperties": False},
            "additionalProperties",
        ),
        (member(TEXT), member(NUMBER), "properties/a/type"),
        (
            {"type": "object", "additionalProperties": NUMBER},
            {"type": "object", "properties": {"a": TEXT}, "additionalProperties": NUMBER},
            "properties/a/type",
        ),
        ({"type": "object"}, {"type": "object", "patternProperties": {"^x": TEXT}}, "patternProperties/^x/type"),
        (
            {"type": "object", "patternProperties": {"^x": TEXT}},
            {"type": "object", "properties": {"xa": NUMBER}, "patternProperties": {"^x": TEXT}},
            "properties/xa/type",
        ),
        ({"propertyNames": {"maxLength": 3}}, {"propertyNames": {"maxLength": 2}}, "propertyNames/maxLength"),
        (
            {"type": "object", "required": ["b"]},
            {"type": "object", "dependentRequired": {"a": ["c"]}},
            "dependentRequired/a",
        ),
        (TEXT, {"allOf": [TEXT, {"maxLength": 3}]}, "allOf/1/maxLength"),
        (TEXT, {"anyOf": [NUMBER, {"type": "null"}]}, "anyOf"),
        (TEXT, {"anyOf": [TEXT | {"maxLength": 3}, {"type": "null"}]}, "anyOf/0/maxLength"),
        (TEXT, {"oneOf": [TEXT, {"maxLength": 3}]}, "oneOf"),
        ({}, {"not": TEXT}, "not"),
        ({"if": TEXT, "then": {"maxLength": 2}}, {"if": TEXT, "then": {"maxLength": 1}}, "if"),
        ({"x-ours": 1}, {"x-ours": 2}, "x-ours"),
        ({"x-ours": 1}, {}, "x-ours"),
        ({}, {"x-ours": 1}, "x-ours"),
        (
            {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
            {"allOf": [{"properties": {"b": {}}}], "unevaluatedProperties": False},
            "unevaluatedProperties",
        ),
        (TEXT, False, ""),
    ],
)
def test_a_narrower_schema_breaks_at_its_place(old: Any, new: Any, place: str) -> None:
    pointers = {each.pointer for each in breaks(nested(old), nested(new))}
    assert pointers == {f"/properties/a/items/{place}".rstrip("/")}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string", "format": "date-time"}, TEXT),
        (TEXT, {"type": ["string", "number"]}),
        (NUMBER, {}),
        ({"enum": ["a"]}, {"enum": ["a", 1]}),
    ],
)
def test_a_member_that_loses_its_column_would_be_read_differently(old: Any, new: Any) -> None:
    assert [each.pointer for each in breaks(member(old), member(new))] == ["/properties/a"]
    assert breaks(nested(old), nested(new)) == ()


def test_a_member_that_is_gone_would_be_read_differently() -> None:
    (offence,) = breaks(member(TEXT), {"type": "object"})
    assert (offence.pointer, offence.detail) == ("/properties/a", "its column was text and would not be any more")


def test_another_default_would_be_read_differently() -> None:
    (offence,) = breaks(member(TEXT | {"default": "a"}), member(TEXT | {"default": "b"}))
    assert offence.pointer == "/properties/a"
    assert "default" in offence.detail
    assert breaks(member(TEXT), member(TEXT | {"default": "b"})) == ()


def test_every_break_is_named_where_it_is_also_through_references() -> None:
    old: Schema = {
        "type": "object",
        "properties": {"lines": {"items": {"$ref": "#/$defs/line"}}, "parent": {"$ref": "#"}, "n": NUMBER},
        "$defs": {"line": {"type": "object", "properties": {"sku": TEXT}}},
    }
    new: Schema = {
        "type": "object",
        "properties": {"lines": {"items": {"$ref": "#/$defs/line"}}, "parent": {"$ref": "#"}, "n": {"type": "integer"}},
        "required": ["n"],
        "$defs": {"line": {"type": "object", "properties": {"sku": TEXT | {"maxLength": 9}}}},
    }
    assert breaks(old, old) == ()
    assert {each.pointer for each in breaks(old, new)} == {
        "/properties/n",
        "/properties/n/type",
        "/$defs/line/properties/sku/maxLength",
    }


def test_what_is_the_same_by_name_is_not_the_same_by_meaning() -> None:
    old = member({"not": {"$ref": "#/$defs/x"}}, **{"$defs": {"x": TEXT}})
    new = member({"not": {"$ref": "#/$defs/x"}}, **{"$defs": {"x": NUMBER}})
    assert breaks(old, old) == ()
    assert [each.pointer for each in breaks(old, new)] == ["/properties/a/not"]
    assert [each.pointer for each in breaks(old, member({"not": {"$ref": "#/$defs/x"}}))] == ["/properties/a/not"]


def chain(length: int, end: Schema) -> Schema:
    links = {f"n{index}": {"properties": {"next": {"$ref": f"#/$defs/n{index + 1}"}}} for index in range(length)}
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/n0"}}, "$defs": links | {f"n{length}": end}}


def bushy(levels: int, end: Schema) -> Schema:
    def twice(name: str) -> Schema:
        return {"properties": {side: {"$ref": f"#/$defs/{name}"} for side in ("left", "right")}}

    links = {f"n{level}": twice(f"n{level + 1}") for level in range(levels)}
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/n0"}}, "$defs": links | {f"n{levels}": end}}


@pytest.mark.parametrize("shape", [chain, bushy])
def test_what_is_too_intricate_to_compare_counts_as_a_break(shape: Any) -> None:
    assert breaks(shape(5, {"type": "integer"}), shape(5, NUMBER)) == ()
    found = breaks(shape(500, {"type": "integer"}), shape(500, NUMBER))
    assert found
    assert any("too intricate" in each.detail for each in found)


def test_a_comparison_ends_after_a_bounded_number_of_steps() -> None:
    wide = {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(STEPS_MAX)}}
    wider = {"type": "object", "properties": {f"p{n}": NUMBER for n in range(STEPS_MAX)}}
    assert any("too intricate" in each.detail for each in breaks(wide, wider))


SCALARS: list[Any] = [None, True, False, 0, 1, 2, 5, -1, Decimal("0.5"), Decimal("1.0"), "", "a", "ab", "abc", "b"]
TIMES: list[Any] = ["2026-11-22", "2026-11-22T10:00:00Z"]
SMALL = st.integers(0, 3)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
    "minimum": st.sampled_from([-1, 0, Decimal("0.5"), 1]),
    "exclusiveMinimum": st.sampled_from([-1, 0, 1]),
    "maximum": st.sampled_from([1, 2, 5]),
    "multipleOf": st.sampled_from([1, 2, Decimal("0.5")]),
    "minLength": SMALL,
    "maxLength": SMALL,
    "pattern": st.sampled_from(["^a", "b$"]),
    "format": st.sampled_from(["date", "date-time"]),
    "enum": st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4, unique_by=str),
    "const": st.sampled_from(SCALARS),
    "minItems": SMALL,
    "maxItems": SMALL,
    "uniqueItems": st.booleans(),
    "minProperties": SMALL,
    "maxProperties": SMALL,
}


@st.composite
def schemas(draw: st.DrawFn, vocabulary: dict[str, st.SearchStrategy[Any]]) -> Schema:
    """A few conditions out of a vocabulary."""
    keywords = draw(st.lists(st.sampled_from(sorted(vocabulary)), max_size=4, unique=True))
    return {keyword: draw(vocabulary[keyword]) for keyword in keywords}


def structured(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    """Schemas that hold others."""
    names = st.sampled_from(["p", "q", "x1"])
    branches = st.lists(inner, min_size=1, max_size=2)
    structure: dict[str, st.SearchStrategy[Any]] = {
        "properties": st.dictionaries(names, inner, min_size=1, max_size=3),
        "required": st.lists(names, max_size=2, unique=True),
        "patternProperties": st.dictionaries(st.sampled_from(["^x", "1$"]), inner, min_size=1, max_size=2),
        "dependentRequired": st.dictionaries(names, st.lists(names, max_size=2, unique=True), min_size=1, max_size=1),
        "dependentSchemas": st.dictionaries(names, inner, min_size=1, max_size=1),
        "minContains": SMALL,
        "maxContains": SMALL,
    }
    structure |= dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), branches)
    structure |= dict.fromkeys(("additionalProperties", "propertyNames", "items", "contains"), inner)
    structure |= dict.fromkeys(("not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems"), inner)
    return schemas(structure | {keyword: SIMPLE[keyword] for keyword in ("type", "enum", "maximum", "maxLength")})


FLAT = schemas(SIMPLE) | st.booleans() | st.sampled_from([{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two"}])
SCHEMAS = FLAT | structured(FLAT) | structured(FLAT | structured(FLAT))
LEAVES = st.sampled_from([*SCALARS, *TIMES])
NAMES = st.sampled_from(["p", "q", "x1", "y"])
SHALLOW = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(NAMES, LEAVES, max_size=3)
VALUES = SHALLOW | st.lists(SHALLOW, max_size=2) | st.dictionaries(NAMES, SHALLOW, max_size=3)


@st.composite
def edited(draw: st.DrawFn, old: Any) -> Any:
    """A schema that differs from ``old`` here and there."""
    if not isinstance(old, dict) or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from([old, True, {"anyOf": [old, draw(FLAT)]}, {"allOf": [old, draw(FLAT)]}]))
    new = dict(old)
    for keyword in draw(st.lists(st.sampled_from(sorted(old)), max_size=2)) if old else []:
        match new.get(keyword):
            case dict() as members if keyword in ("properties", "patternProperties"):
                new[keyword] = {name: draw(edited(each)) for name, each in members.items()}
            case [*branches] if keyword in ("allOf", "anyOf", "oneOf", "prefixItems"):
                new[keyword] = [draw(edited(each)) for each in branches]
            case dict() as inner if keyword not in ("dependentRequired", "dependentSchemas"):
                new[keyword] = draw(edited(inner))
            case _:
                new.pop(keyword, None)
    if draw(st.booleans()):
        new |= draw(structured(FLAT) | schemas(SIMPLE))
    return new


@st.composite
def changes(draw: st.DrawFn) -> tuple[Schema, Schema]:
    one, two, old = draw(FLAT), draw(structured(FLAT)), draw(SCHEMAS)
    roots = [
        {"type": "object", "properties": {"a": schema}, "$defs": {"one": first, "two": two}}
        for schema, first in ((old, one), (draw(edited(old)), draw(st.sampled_from([one, draw(edited(one))]))))
    ]
    assume(all(map(is_a_model, roots)))
    return roots[0], roots[1]


def is_a_model(schema: Schema) -> bool:
    try:
        Validator(schema)
    except Invalid:
        return False
    return True


def anything(schema: Schema) -> Any:
    """What a schema says of members that it does not declare, to the letter."""
    return schema.get("patternProperties", {}) != {} or schema.get("additionalProperties", True)


@given(changes(), st.lists(VALUES, min_size=1, max_size=30))
def test_what_is_called_compatible_keeps_every_document_valid(pair: tuple[Schema, Schema], values: list[Any]) -> None:
    old, new = pair
    with mock.patch.object(compatibility, "_promised", anything):
        found = breaks(old, new)
    before, after = compiled(write(old)), compiled(write(new))
    broken = [value for value in values if before.is_valid({"a": value}) and not after.is_valid({"a": value})]
    event(f"compatible: {not found}, broken: {bool(broken)}")
    assert found or not broken


@given(changes())
def test_every_pointer_leads_into_the_new_schema_or_to_what_it_lacks(pair: tuple[Schema, Schema]) -> None:
    old, new = pair
    for each in breaks(old, new):
        target: Any = new
        for name in reference_path("#" + each.pointer.replace("%", "%25"))[:-1]:
            assert isinstance(target, dict | list), each.pointer
            target = target[int(name)] if isinstance(target, list) else target.get(name, {})
