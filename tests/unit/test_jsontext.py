"""Strict and exact JSON text: what is refused, where, and that nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver import jsontext
from peaceriver.errors import Invalid, Malformed, Offence, Refused, TooLarge
from peaceriver.jsontext import (
    DEPTH_MAX,
    NUMBER_DIGITS_MAX,
    NUMBER_EXPONENT_MAX,
    OFFENCES_MAX,
    POINTER_CHARACTERS_MAX,
    is_too_deep,
    offences,
    pointer,
    read,
    same,
    write,
)
from peaceriver.limits import BODY_BYTES_MAX

STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["a", "b", '":', '" :', "\\", '\\":', " : ", "{", "[[", "12:30:00", "null", "\\u0000", "12345678901234567890"]
)
NUMBERS = st.integers() | st.decimals(-(10**30), 10**30, allow_nan=False, places=5)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: "), (",", "\r\n:")])


def refusal(raw: bytes, prefix: str = "") -> Refused:
    with pytest.raises(Refused) as caught:
        read(raw, pointer_prefix=prefix)
    return caught.value


def dumb_text(value: Any, separators: tuple[str, str] = (",", ":")) -> str:
    """A value as JSON by the standard library's means alone, Decimals as their digits."""
    comma, colon = separators
    match value:
        case dict():
            return "{" + comma.join(json.dumps(k) + colon + dumb_text(v, separators) for k, v in value.items()) + "}"
        case list():
            return "[" + comma.join(dumb_text(each, separators) for each in value) + "]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value)


def exactly(value: Any) -> Any:
    """Comparable with the types and digits kept apart: 1, 1.0 and true are three things."""
    match value:
        case dict():
            return {key: exactly(member) for key, member in value.items()}
        case list():
            return [exactly(each) for each in value]
        case _:
            return type(value), str(value)


@given(VALUES, SEPARATORS)
def test_what_is_well_formed_is_read_exactly(value: Any, separators: tuple[str, str]) -> None:
    assert exactly(read(dumb_text(value, separators).encode())) == exactly(value)


@given(VALUES)
def test_what_is_written_is_read_back_exactly(value: Any) -> None:
    assert exactly(read(write(value).encode())) == exactly(value)


@pytest.mark.parametrize(
    "number", ["123456789012345678901234567890", "0.12345678901234567890", "-0.10", "18446744073709551616", "1E+3"]
)
def test_numbers_come_back_digit_by_digit(number: str) -> None:
    assert write(read(f'{{"n":{number}}}'.encode())) == f'{{"n":{number}}}'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1,}',
        b"[1,]",
        b"[01]",
        b"[1.]",
        b"[.5]",
        b"[+1]",
        b"{'a':1}",
        b"{a:1}",
        b'["\x01"]',
        b'["a\nb"]',
        b'["\\x"]',
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b'{"a":1}\x00',
        b"\x00",
        b"[1e999999999999999999999,]",
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'["\xed\xa0\x80"]',
        b'["\xc0\x80"]',
        b'["\xf4\x90\x80\x80"]',
        b"tru",
        b'{"a" 1}',
        b"// no\n{}",
        b'{"a":1',
        b'["' + b"1" * 400,
        b"[" + b"1" * 5000 + b",]",
    ],
)
def test_what_is_not_json_in_utf8_is_malformed(raw: bytes) -> None:
    assert type(refusal(raw)) is Malformed


@pytest.mark.parametrize("name", [b"NaN", b"Infinity", b"-Infinity"])
def test_no_number_is_malformed_at_its_place(name: bytes) -> None:
    error = refusal(b'{"a":[1,' + name + b"]}", "/body")
    assert type(error) is Malformed
    assert error.errors == (Offence("/body/a/1", f"{name.decode()} is no JSON number"),)


@pytest.mark.parametrize("escape", [r"\ud800", r"\udc00", r"\uD800A", r"\udc00\ud800"])
def test_a_lone_surrogate_is_malformed_at_its_place(escape: str) -> None:
    error = refusal(f'{{"a":{{"b~/c":"x{escape}"}}}}'.encode(), "/body")
    assert type(error) is Malformed
    assert error.errors == (Offence("/body/a/b~0~1c", "the string holds a lone surrogate"),)


def test_a_lone_surrogate_in_a_key_is_named_in_text_that_can_be_sent() -> None:
    (offence,) = refusal(rb'{"\udc80":1}').errors
    assert offence == Offence("/\ufffd", "the key holds a lone surrogate")
    assert read(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{"a":1,"a":1}', ["/a"]),
        ('{"a" :1,"a":1}', ["/a"]),
        ('{"a":1,"a"\n\t :1}', ["/a"]),
        ('{"a":1,"\\u0061":2,"b":":"}', ["/a"]),
        ('{"x":[{"k":1,"k":2},{"k":1}],"y":{"k":{},"k":{"z":0,"z":0}}}', ["/x/0/k", "/y/k", "/y/k/z"]),
        ('[{"a":1},{"a":1,"a":"\\":"}]', ["/1/a"]),
        ('{"a\\\\":1,"a\\\\":2,"t":"\\":"}', ["/a\\"]),
        ('{"":0,"":0}', ["/"]),
    ],
)
def test_a_key_given_twice_is_malformed_wherever_it_is(text: str, places: list[str]) -> None:
    error = refusal(text.encode(), "/body")
    assert type(error) is Malformed
    assert error.errors == tuple(Offence(f"/body{place}", "the key is given twice") for place in places)


@given(VALUES, SEPARATORS, st.data())
def test_no_key_given_twice_is_missed(value: Any, separators: tuple[str, str], data: st.DataObject) -> None:
    key = data.draw(STRINGS)
    twice = f"{json.dumps(key)}{separators[1]}{dumb_text(value, separators)}"
    text = f'{{"outer":[{{{twice}{separators[0]}{twice}}},{dumb_text(value, separators)}]}}'
    assert Offence("/outer/0" + pointer(key), "the key is given twice") in refusal(text.encode()).errors


def test_every_value_that_cannot_be_kept_is_named() -> None:
    text = r'{"a":"x\u0000","b":[1,1e309,{"k\u0000":-1e-309}],"c":0e400,"d":"\\u0000","e":1e308}'
    error = refusal(text.encode(), "/body")
    assert type(error) is Invalid
    assert [each.pointer for each in error.errors] == [
        "/body/a",
        "/body/b/1",
        "/body/b/2/k\0",
        "/body/b/2/k\0",
        "/body/c",
    ]
    assert error.errors[0].detail == "the string holds \\u0000"
    assert error.errors[2].detail == "the key holds \\u0000"
    assert error.errors[1].detail.startswith("the number 1e309 is out of range")


def digits(count: int) -> str:
    return "7" * count


@pytest.mark.parametrize(
    "number",
    [
        f"1e{NUMBER_EXPONENT_MAX}",
        f"-1e-{NUMBER_EXPONENT_MAX}",
        digits(NUMBER_EXPONENT_MAX + 1),
        "-" + digits(NUMBER_EXPONENT_MAX + 1),
        "0." + digits(NUMBER_DIGITS_MAX - 1),
        "-0." + digits(NUMBER_DIGITS_MAX - 1) + "e0",
        "1000e305",
    ],
)
def test_numbers_at_the_limit_are_kept(number: str) -> None:
    assert read(f"[{number}]".encode()) == [Decimal(number)]


@pytest.mark.parametrize(
    "number",
    [
        f"1e{NUMBER_EXPONENT_MAX + 1}",
        f"-1E-{NUMBER_EXPONENT_MAX + 1}",
        "1e99999999999999999999",
        "-1e-99999999999999999999",
        "0e-20000",
        digits(NUMBER_EXPONENT_MAX + 2),
        "-" + digits(NUMBER_EXPONENT_MAX + 2),
        digits(5000),
        "0." + digits(NUMBER_DIGITS_MAX),
        "1000e306",
        "0." + "0" * NUMBER_EXPONENT_MAX + "1",
    ],
)
def test_numbers_beyond_the_limit_are_refused_at_their_place(number: str) -> None:
    error = refusal(f'{{"a":[{number}]}}'.encode(), "/body")
    assert type(error) is Invalid
    assert [each.pointer for each in error.errors] == ["/body/a/0"]
    assert "out of range" in error.errors[0].detail
    assert len(error.errors[0].detail) < 140


def test_malformed_goes_before_unacceptable() -> None:
    assert type(refusal(rb'{"a":1e999,"b":"\u0000","c":NaN}')) is Malformed
    assert type(refusal(rb'{"a":1e999,"b":"\u0000","c":tru}')) is Malformed


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"[]" + b"}" * (levels - 1)


@pytest.mark.parametrize("raw", [nested(DEPTH_MAX), b"[" * DEPTH_MAX + b"]" * DEPTH_MAX, b'["' + b"[" * 90 + b'"]'])
def test_depth_at_the_limit_is_read(raw: bytes) -> None:
    read(raw)
    assert not is_too_deep(raw.decode())


def array(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def array_around_a_bad_number(levels: int) -> bytes:
    return b"[" * levels + b"1e999" + b"]" * levels


@pytest.mark.parametrize("levels", [DEPTH_MAX + 1, 500, 100_000])
@pytest.mark.parametrize("make", [nested, array, array_around_a_bad_number])
def test_depth_beyond_the_limit_is_malformed(make: Callable[[int], bytes], levels: int) -> None:
    error = refusal(make(levels))
    assert type(error) is Malformed
    assert "64 levels" in error.errors[0].detail
    assert is_too_deep(make(levels).decode())


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_too_large() -> None:
    fits = b'"' + b"x" * (BODY_BYTES_MAX - 2) + b'"'
    assert len(read(fits)) == BODY_BYTES_MAX - 2
    assert type(refusal(fits + b" ")) is TooLarge
    assert read(fits + b" ", limit_bytes=BODY_BYTES_MAX + 1) == read(fits)


def test_a_view_of_a_larger_buffer_is_read() -> None:
    request = msgspec.json.decode(b'{"body": {"a" : 1.50} }', type=dict[str, msgspec.Raw])
    assert read(memoryview(request["body"])) == {"a": Decimal("1.50")}


def test_an_error_names_a_bounded_number_of_places() -> None:
    many = refusal(b"[" + rb'"\u0000",' * 5000 + b"1]")
    assert len(many.errors) == OFFENCES_MAX
    long = refusal(b'{"' + b"k" * 30_000 + b'":[' + b"1e999," * 50 + b"1]}")
    assert 1 <= len(long.errors) <= POINTER_CHARACTERS_MAX // 30_000
    assert len(offences([(("k" * 100_000,), "too long, and yet named")])) == 1


def test_pointers_are_escaped() -> None:
    assert pointer() == ""
    assert pointer("a/b", "~", 0, "") == "/a~1b/~0/0/"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 11, 22, 10, 0, tzinfo=UTC), '"2026-11-22T10:00:00Z"'),
        (datetime(2026, 11, 22, 10, 0, 0, 5, timezone(timedelta(hours=5))), '"2026-11-22T10:00:00.000005+05:00"'),
        (date(2026, 11, 22), '"2026-11-22"'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (Decimal("2500.10"), "2500.10"),
        ({"a": None, "b": [1, True], "NaN": "10:00:00"}, '{"a":null,"b":[1,true],"NaN":"10:00:00"}'),
        (0.1, "0.1"),
        (10**30, "1" + "0" * 30),
        ("\N{SNOWMAN}", '"\N{SNOWMAN}"'),
    ],
)
def test_values_are_written_compactly(value: Any, text: str) -> None:
    assert write(value) == text


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ({"a": [float("nan"), 1.0]}, ["/a/0"]),
        ({"a": Decimal("NaN"), "b": Decimal("-Infinity"), "c": Decimal("sNaN")}, ["/a", "/b", "/c"]),
        ([float("inf"), None], ["/0"]),
        ({"at": (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC))}, ["/at/0"]),
        (datetime(2026, 1, 1, 0, 0, 0, 1), [""]),
    ],
)
def test_what_json_cannot_say_is_not_written(value: Any, places: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        write(value)
    assert [each.pointer for each in caught.value.errors] == places


def test_a_lone_surrogate_is_not_written() -> None:
    with pytest.raises(Invalid, match="lone surrogate"):
        write({"a": "\ud800"})


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ('{"a":1,"b":[1.0,2e1]}', '{ "b": [1, 20.00], "a": 1.0 }'),
        ('"\\u0041"', '"A"'),
        ("0.10", "1e-1"),
        ("-0", "0"),
        ("[null,true]", "[ null , true ]"),
    ],
)
def test_texts_of_one_value_are_the_same(a: str, b: str) -> None:
    assert same(a, b)
    assert same(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1", "true"),
        ("[0]", "[false]"),
        ("0.12345678901234567890", "0.12345678901234567891"),
        ("9007199254740993", "9007199254740992"),
        ('"1"', "1"),
        ("null", "0"),
        ("[1,2]", "[2,1]"),
        ("[1]", "[1,1]"),
        ("{}", "[]"),
        ('{"a":null}', "{}"),
        ('{"a":1}', '{"b":1}'),
        ("[]", '""'),
    ],
)
def test_texts_of_two_values_are_not_the_same(a: str, b: str) -> None:
    assert not same(a, b)
    assert not same(b, a)


@given(VALUES, SEPARATORS)
def test_layout_does_not_matter_to_sameness(value: Any, separators: tuple[str, str]) -> None:
    assert same(dumb_text(value, separators), write(value))


@given(VALUES, VALUES)
def test_sameness_agrees_with_a_dumb_comparison(a: Any, b: Any) -> None:
    def plain(value: Any) -> Any:
        match value:
            case dict():
                return {key: plain(member) for key, member in value.items()}
            case list():
                return [plain(each) for each in value]
            case bool() | str() | None:
                return type(value), value
            case _:
                return "number", Decimal(value)

    assert same(dumb_text(a), dumb_text(b)) == (plain(a) == plain(b))


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,\\u0d8e1-.nt ', max_size=40).map(str.encode))
def test_bytes_of_any_kind_are_read_or_refused_and_nothing_else(raw: bytes) -> None:
    try:
        value = read(raw)
    except Refused:
        return
    assert exactly(read(jsontext.encode(value))) == exactly(value)
