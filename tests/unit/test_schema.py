"""What a model's schema may be, and that every offending member of a value is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import Invalid, Offence
from peaceriver.jsontext import DETAIL_CHARACTERS_MAX, OFFENCES_MAX
from peaceriver.schema import (
    LISTED_VALUES_MAX,
    SCHEMA_BYTES_MAX,
    UNROLLED_MAX,
    Schema,
    Validator,
    lookup,
    resolved,
    subschemas,
)

ORDER: Schema = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "a/b": True,
        "total": {"type": "number", "minimum": Decimal("0.12345678901234567890"), "multipleOf": Decimal("0.01")},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "address": {"anyOf": [{"$ref": "#/$defs/address"}, {"type": "null"}]},
        "at": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "state": {"enum": ["open", "closed"]},
        "tags": {"propertyNames": {"maxLength": 3}},
    },
    "required": ["customer", "a/b"],
    "additionalProperties": False,
    "$defs": {
        "line": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["street"]},
    },
}


def places(value: Any, schema: Schema = ORDER) -> list[str]:
    return [each.pointer for each in Validator(schema).offences(value)]


def test_a_valid_value_has_no_offences() -> None:
    order = {"customer": "Ada", "a/b": 1, "total": Decimal("2500.10"), "lines": [{"n": 1}], "address": None}
    assert Validator(ORDER).accepts(order)
    assert places(order) == []


def test_every_offending_member_is_named_where_it_is() -> None:
    order = {
        "total": Decimal("0.125"),
        "lines": [{"n": 1}, {"n": Decimal("1.5")}, {}],
        "address": {"city": 1},
        "at": "2026-11-22T10:00:00",
        "day": "2026-02-30",
        "state": "lost",
        "tags": {"long name": 1},
        "x~y": 1,
        "z": 2,
    }
    assert not Validator(ORDER).accepts(order)
    assert sorted(places(order)) == [
        "/body/address/city",
        "/body/address/street",
        "/body/at",
        "/body/a~1b",
        "/body/customer",
        "/body/day",
        "/body/lines/1/n",
        "/body/lines/2/n",
        "/body/state",
        "/body/tags/long name",
        "/body/total",
        "/body/x~0y",
        "/body/z",
    ]


def test_an_offence_says_what_is_wrong_without_repeating_the_value() -> None:
    (offence,) = Validator(ORDER).offences({"customer": ["x" * 5000], "a/b": 0}, prefix="")
    assert offence == Offence("/customer", 'the value is not of type "string"')
    (offence,) = Validator(ORDER).offences({"customer": "", "a/b": 0, "at": "now"})
    assert offence.detail == "must be an RFC 3339 time with an offset, such as 2026-11-22T10:00:00Z"
    options = {"type": "object", "properties": {"a": {"const": "x" * 5000}}}
    assert len(Validator(options).offences({"a": 1})[0].detail) == DETAIL_CHARACTERS_MAX


def test_alternatives_that_both_fit_the_type_are_refused_at_the_value_itself() -> None:
    either = {"type": "object", "properties": {"a": {"anyOf": [{"maxLength": 1}, {"pattern": "^x"}]}}}
    assert places({"a": "long"}, either) == ["/body/a"]
    one = {"type": "object", "properties": {"a": {"oneOf": [{"maxLength": 9}, {"type": "string"}]}}}
    assert places({"a": "short"}, one) == ["/body/a"]


def test_a_list_of_offences_is_bounded_and_the_first_is_always_named() -> None:
    numbers = {"type": "object", "properties": {"n": {"items": {"type": "integer"}}}}
    assert len(places({"n": ["x"] * (LISTED_VALUES_MAX // 2)}, numbers)) == OFFENCES_MAX
    assert places({"n": [1] * LISTED_VALUES_MAX + ["x"]}, numbers) == [f"/body/n/{LISTED_VALUES_MAX}"]


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"minimum": Decimal("0.12345678901234567890")}, Decimal("0.12345678901234567890"), True),
        ({"minimum": Decimal("0.12345678901234567890")}, Decimal("0.12345678901234567889"), False),
        ({"maximum": 9007199254740992}, 9007199254740993, False),
        ({"maximum": 10**30}, 10**30, True),
        ({"multipleOf": Decimal("0.01")}, Decimal("123456789012345678901234567890.12"), True),
        ({"multipleOf": Decimal("0.01")}, Decimal("123456789012345678901234567890.125"), False),
        ({"const": 10**30}, 10**30, True),
        ({"const": 10**30}, 10**30 + 1, False),
        ({"enum": [1]}, Decimal("1.0"), True),
        ({"enum": [1]}, True, False),
        ({"type": "integer"}, Decimal("1.0"), True),
        ({"type": "integer"}, True, False),
        ({"type": "number"}, "1", False),
        ({"uniqueItems": True}, [1, Decimal("1.0")], False),
        ({"maxLength": 1}, "\N{GRINNING FACE}", True),
        ({"format": "uuid"}, "no", False),
        ({"format": "of-our-house"}, "anything", True),
    ],
)
def test_values_are_compared_exactly(schema: Schema, value: Any, valid: bool) -> None:
    validator = Validator({"type": "object", "properties": {"a": schema}})
    assert validator.accepts({"a": value}) is valid
    assert (validator.offences({"a": value}) == ()) is valid


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:00:00Z",
        "2026-11-22t10:00:00z",
        "2026-11-22 10:00:00.5-00:00",
        "2026-11-22T10:00:00.123456789+15:59",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ],
)
def test_a_date_time_with_offset_is_accepted(text: str) -> None:
    assert places({"at": text}, {"type": "object", "properties": {"at": {"format": "date-time"}}}) == []


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:00:00",
        "2026-11-22",
        "2026-11-22T10:00Z",
        "2026-11-22T10:00:00+0100",
        "2026-11-22T10:00:00+16:00",
        "2026-11-22T10:00:00-23:59",
        "2026-11-22T24:00:00Z",
        "2026-11-22T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59.9999999Z",
        "9999-12-31T23:59:59-01:00",
        "12026-11-22T10:00:00Z",
        "2026-11-22T10:00:00Z\n",
        "infinity",
        "",
    ],
)
def test_a_date_time_that_no_column_or_no_clock_knows_is_refused(text: str) -> None:
    assert places({"at": text}, {"type": "object", "properties": {"at": {"format": "date-time"}}}) == ["/body/at"]


@pytest.mark.parametrize(
    ("text", "valid"),
    [("2024-02-29", True), ("0001-01-01", True), ("0000-01-01", False), ("2026-02-29", False), ("2026-1-1", False)],
)
def test_a_date_is_a_day_of_the_calendar(text: str, valid: bool) -> None:
    assert Validator({"type": "object", "properties": {"d": {"format": "date"}}}).accepts({"d": text}) is valid


@given(st.datetimes(timezones=st.timezones()) | st.datetimes(timezones=st.just(UTC)))
def test_every_time_that_python_writes_is_accepted_unless_its_offset_or_year_is_out_of_range(moment: datetime) -> None:
    text = msgspec.json.encode(moment).decode().strip('"')
    written = datetime.fromisoformat(text)
    try:
        written.astimezone(UTC)
        fits = abs(written.utcoffset() or timedelta()) < timedelta(hours=16)
    except OverflowError:
        fits = False
    assert Validator({"type": "object", "properties": {"at": {"format": "date-time"}}}).accepts({"at": text}) is fits


@pytest.mark.parametrize(
    ("schema", "refused_at"),
    [
        ({}, ["/type"]),
        ({"type": "array"}, ["/type"]),
        ({"type": ["object", "null"]}, ["/type"]),
        ({"$ref": "#"}, ["/type", ""]),
        (
            {"type": "object", "properties": {"a": {"type": "strin", "minimum": "1"}}},
            ["/properties/a/type", "/properties/a/minimum"],
        ),
        ({"type": "object", "required": "a"}, ["/required"]),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com/x.json"}}}, ["/properties/a/$ref"]),
        ({"type": "object", "properties": {"a": {"$ref": "other.json#/a"}}}, ["/properties/a/$ref"]),
        ({"type": "object", "properties": {"a": {"$ref": "#anchor"}}}, ["/properties/a/$ref"]),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}, ["/properties/a/$ref"]),
        ({"type": "object", "title": "t", "properties": {"a": {"$ref": "#/title"}}}, ["/properties/a/$ref"]),
        ({"type": "object", "properties": {"a": {"$ref": "#/properties/a/b/c"}}}, ["/properties/a/$ref"]),
        ({"type": "object", "x": {}, "properties": {"a": {"$ref": "#/x"}}}, ["/properties/a/$ref"]),
        ({"type": "object", "anyOf": [{"$ref": "#"}]}, [""]),
        ({"type": "object", "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}, ["/$defs/a"]),
        ({"type": "object", "$defs": {"a": {"if": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}}, ["/$defs/a"]),
        ({"type": "object", "dependentSchemas": {"a": {"$ref": "#"}}}, [""]),
        ({"type": "object", "anyOf": [{"not": {"$dynamicRef": "#x"}}]}, ["/anyOf/0/not/$dynamicRef"]),
        ({"type": "object", "$defs": {"a": {"$id": "https://example.com/"}}}, ["/$defs/a/$id"]),
        ({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}, ["/$schema"]),
        ({"type": "object", "properties": {"a": {"pattern": "(?=a)"}}}, ["/properties/a/pattern"]),
        ({"type": "object", "properties": {"a": {"pattern": r"(a)\1"}}}, ["/properties/a/pattern"]),
        ({"type": "object", "properties": {"a": {"pattern": "a{999}{999}{999}"}}}, ["/properties/a/pattern"]),
    ],
)
def test_a_schema_that_no_model_can_have_is_refused_at_the_place(schema: Schema, refused_at: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        Validator(schema)
    assert [each.pointer for each in caught.value.errors] == refused_at
    with pytest.raises(Invalid) as caught:
        Validator(schema, pointer_prefix="/body")
    assert [each.pointer for each in caught.value.errors] == ["/body" + each for each in refused_at]


def test_a_schema_grows_to_its_limit_and_not_beyond() -> None:
    room = SCHEMA_BYTES_MAX - len('{"type":"object","title":""}')
    Validator({"type": "object", "title": "x" * room})
    with pytest.raises(Invalid):
        Validator({"type": "object", "title": "x" * (room + 1)})


def doubling(levels: int) -> Schema:
    def twice(level: int) -> Schema:
        return {"properties": {"a": {"allOf": [{"$ref": f"#/$defs/n{level + 1}"}, {"$ref": f"#/$defs/n{level + 1}"}]}}}

    return {
        "type": "object",
        "$ref": "#/$defs/n0",
        "$defs": {f"n{n}": twice(n) for n in range(levels)} | {f"n{levels}": {}},
    }


def test_a_schema_that_unrolls_beyond_measure_is_refused() -> None:
    """Each level doubles the work: with sixty, one document would keep a node busy for ever."""
    Validator(doubling(10))
    with pytest.raises(Invalid) as caught:
        Validator(doubling(60))
    assert [each.pointer for each in caught.value.errors] == [""]
    assert f"{UNROLLED_MAX:,}" in caught.value.errors[0].detail


def test_a_long_chain_of_references_is_followed() -> None:
    links = {f"n{n}": {"$ref": f"#/$defs/n{n + 1}"} for n in range(4_000)} | {"n4000": {"type": "object"}}
    assert Validator({"$ref": "#/$defs/n0", "$defs": links}).accepts({})


def test_what_only_looks_like_a_reference_is_left_alone() -> None:
    schema = {
        "$id": "https://example.com/order.json",
        "type": "object",
        "properties": {"$ref": {"type": "string"}, "e": {"enum": [{"$ref": "https://example.com/"}]}},
        "examples": [{"$ref": "https://example.com/"}],
    }
    assert Validator(schema).accepts({"$ref": "x"})


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"type": "object", "properties": {"children": {"items": {"$ref": "#"}}}, "required": ["name"]}
    assert places({"name": 1, "children": [{"name": 2, "children": [{}]}]}, tree) == [
        "/body/children/0/children/0/name"
    ]


def test_local_references_are_followed() -> None:
    root: Schema = {
        "$ref": "#/$defs/a~1b%25",
        "$defs": {"a/b%": {"$ref": "#/$defs/list/anyOf/1"}, "list": {"anyOf": [{}, {"type": "object"}]}},
    }
    assert resolved(root, root) == {"type": "object"}
    assert resolved({"$ref": "#/$defs/list", "minLength": 1}, root) == {"$ref": "#/$defs/list", "minLength": 1}
    loop: Schema = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    assert resolved({"$ref": "#/$defs/a"}, loop) == {}
    with pytest.raises(LookupError):
        lookup(root, "#/$defs/list/anyOf/2")
    Validator(root)


def test_all_schemas_within_a_schema_are_found() -> None:
    schema = {"items": {"not": True}, "properties": {"items": {"enum": [{"not": {}}]}}, "allOf": [{"if": {}}]}
    assert [path for path, _ in subschemas(schema)] == [
        (),
        ("items",),
        ("properties", "items"),
        ("allOf", 0),
        ("allOf", 0, "if"),
    ]
