"""JSON as text, read strictly (RFC 8259, I-JSON where it says so) and exactly.

Numbers never pass through a float: integers are ``int``, all others ``Decimal``, both as exact as they were written.
What is accepted here can be stored as PostgreSQL text, jsonb and numeric, and hashed: no key twice, no ``\\u0000``, no
lone surrogate, no number that a ``numeric`` column refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from math import isfinite
from typing import Any, Final, NoReturn, TypeAlias

import msgspec

from peaceriver.errors import Invalid, Malformed, Offence, TooLarge
from peaceriver.limits import BODY_BYTES_MAX

DOCUMENT_BYTES_MAX: Final = BODY_BYTES_MAX
DEPTH_MAX: Final = 64
NUMBER_DIGITS_MAX: Final = 1_000
NUMBER_EXPONENT_MAX: Final = 308
#: An error names at most so many places, and stops at so many characters: no answer is much larger than what was sent.
OFFENCES_MAX: Final = 100
POINTER_CHARACTERS_MAX: Final = 64 * 1024
#: The detail of an offence quotes no more.
DETAIL_CHARACTERS_MAX: Final = 300

#: The way to a place in a JSON value: keys and indexes, outermost first.
Path: TypeAlias = tuple[str | int, ...]

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_INTEGER_TOO_LONG = b"0" * (NUMBER_EXPONENT_MAX + 2)
_DIGIT = re.compile(rb"[0-9]")
_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')
SURROGATE = re.compile("[\ud800-\udfff]")
_MAYBE_NAIVE = re.compile(r":\d\d(\.\d+)?\"")


class _NumberOutOfRange(Exception):
    """Ends the fast decoding; the precise pass says which numbers, and where."""


def read(raw: bytes | memoryview, *, limit_bytes: int = BODY_BYTES_MAX, pointer_prefix: str = "") -> Any:
    """The value that ``raw`` denotes: dict, list, str, int, Decimal, bool or None.

    Raises ``TooLarge`` above ``limit_bytes``; ``Malformed`` for what is not strict JSON in UTF-8, a key given twice, a
    lone surrogate or a depth above ``DEPTH_MAX``; ``Invalid`` for ``\\u0000`` and for numbers out of range. Wherever
    places can be told, the error names all of them (up to its limits) by JSON pointer under ``pointer_prefix``.
    """
    if len(raw) > limit_bytes:
        raise TooLarge(
            f"The JSON text has {len(raw):,} bytes and the limit is {limit_bytes:,}: send less, or in parts."
        )
    text = raw if isinstance(raw, bytes) else bytes(raw)
    try:
        value = _decoder.decode(text)
    except RecursionError as error:
        raise _too_deep(pointer_prefix) from error
    except (_NumberOutOfRange, InvalidOperation, msgspec.MsgspecError, UnicodeDecodeError) as error:
        _refuse(text, pointer_prefix, error)
    if _is_suspect(text, value, pointer_prefix):
        _examine(text, pointer_prefix)
    return value


def write(value: Any) -> str:
    """Compact JSON text for plain values, Structs, dataclasses, Decimal, datetime (RFC 3339), date, UUID and Enum.

    Raises ``Invalid`` for what JSON cannot say: NaN and infinities, a datetime without offset, a lone surrogate.
    """
    try:
        text = encode(value).decode()
    except UnicodeEncodeError as error:
        raise Invalid(
            "A string has a lone surrogate, which no JSON text can hold: send well-formed Unicode."
        ) from error
    # The encoder writes a NaN as null or bare, and a naive time without complaint: all of these show in the text.
    if "null" in text or "NaN" in text or "Infinity" in text or _MAYBE_NAIVE.search(text):
        plain = msgspec.to_builtins(value, builtin_types=(Decimal, datetime), str_keys=True)
        errors = offences(_inexact(plain, ()))
        if errors:
            raise Invalid("The value cannot be written as JSON exactly: change the places named.", errors=errors)
    return text


def same(a: str, b: str) -> bool:
    """Whether two JSON texts denote the same value: 1.0 equals 1; key order and white space do not matter."""
    if a == b:
        return True
    return same_value(_exact.decode(a), _exact.decode(b))


def same_value(a: Any, b: Any) -> bool:
    """Whether two decoded JSON values are the same: numbers by value, and true is not 1."""
    match a:
        case dict():
            return isinstance(b, dict) and a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
        case list():
            return isinstance(b, list) and len(a) == len(b) and all(map(same_value, a, b))
        case bool() | None:
            return a is b
        case _:
            return not isinstance(b, bool) and bool(a == b)


def pointer(*parts: str | int) -> str:
    """The JSON pointer (RFC 6901) of the member that is reached through ``parts``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def offences(places: Iterable[tuple[Path, str]], prefix: str = "") -> tuple[Offence, ...]:
    """The first of the places as offences: ``OFFENCES_MAX``, or as many as fill ``POINTER_CHARACTERS_MAX``."""
    listed: list[Offence] = []
    characters = 0
    for path, detail in islice(places, OFFENCES_MAX):
        at = prefix + pointer(*path)
        characters += len(at)
        if listed and characters > POINTER_CHARACTERS_MAX:
            break
        listed.append(Offence(SURROGATE.sub("\ufffd", at), detail))
    return tuple(listed)


def is_too_deep(text: str) -> bool:
    """Whether the containers of a well-formed JSON text are nested deeper than ``DEPTH_MAX``."""
    if text.count("{") + text.count("[") <= DEPTH_MAX:
        return False
    try:
        return _measure(_exact.decode(text))[1] > DEPTH_MAX
    except RecursionError:
        return True


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not -NUMBER_EXPONENT_MAX <= number.adjusted() <= NUMBER_EXPONENT_MAX:
        raise _NumberOutOfRange
    if len(text) > NUMBER_DIGITS_MAX and _digits(text) > NUMBER_DIGITS_MAX:
        raise _NumberOutOfRange
    return number


def _digits(literal: str) -> int:
    return sum(map(str.isdigit, re.split("[eE]", literal)[0]))


_decoder = msgspec.json.Decoder(float_hook=_number)
_exact = msgspec.json.Decoder(float_hook=Decimal)
#: The plain encoder behind ``write``, for values that are known to be exact.
encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder(decimal_format="number").encode


def _is_suspect(text: bytes, value: Any, prefix: str) -> bool:
    """Whether the precise pass, ten times slower, has to look: never wrongly no, seldom wrongly yes."""
    if type(value) is dict and text.find(b"{", 1) < 0 and text.count(b"[") < DEPTH_MAX:
        keys = len(value)
    else:
        keys, depth = _measure(value)
        if depth > DEPTH_MAX:
            raise _too_deep(prefix)
    if b"\\" in text and b"\\u0000" in text:
        return True
    # So many digits in a row would cover one of these places at least.
    if _DIGIT.search(text[:: len(_INTEGER_TOO_LONG)]) and _INTEGER_TOO_LONG in text.translate(_DIGITS):
        return True
    # Every key that was written has its own colon. As many colons as keys that were decoded: none was written twice.
    return text.count(b":") != keys and _key_colons(text) != keys


def _key_colons(text: bytes) -> int:
    """The number of colons that follow keys, which is exact unless something rare makes it too large."""
    if _SPACED_COLON.search(text):
        return text.count(b":")
    after_quotes = text.count(b'":')
    if b"\\" in text and b'\\\\":' not in text:
        # Where no key ends in a backslash, an escaped quote before a colon is inside a string.
        return after_quotes - text.count(b'\\":')
    return after_quotes


def _measure(value: Any) -> tuple[int, int]:
    """The number of members of all objects in a value, and its depth; level by level: no value is too deep."""
    keys = depth = 0
    level = [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        below: list[Any] = []
        for container in level:
            if type(container) is dict:
                keys += len(container)
                below += [each for each in container.values() if type(each) is dict or type(each) is list]
            else:
                below += [each for each in container if type(each) is dict or type(each) is list]
        level = below
    return keys, depth


def _too_deep(prefix: str) -> Malformed:
    detail = f"nested deeper than {DEPTH_MAX} levels"
    return Malformed(f"The JSON text is {detail}: flatten it.", errors=(Offence(prefix, detail),))


@dataclass(frozen=True, slots=True)
class _Finding:
    path: Path
    detail: str
    is_malformed: bool


class _Pairs(list[tuple[str, Any]]):
    """An object as its members in order, keys that came twice included."""


@dataclass(frozen=True, slots=True)
class _BadNumber:
    detail: str
    is_malformed: bool


def _refuse(text: bytes, prefix: str, error: Exception) -> NoReturn:
    """Say why the fast decoder refused: by place if the precise pass finds one, else in the decoder's words."""
    is_about_numbers = isinstance(error, _NumberOutOfRange | InvalidOperation | msgspec.ValidationError)
    _examine(text, prefix, malformed_only=not is_about_numbers)
    raise Malformed(f"The JSON text is not well-formed: {error}.") from error


def _examine(text: bytes, prefix: str, *, malformed_only: bool = False) -> None:
    """The precise pass: raises ``Malformed`` or ``Invalid`` with every place that deserves it, or returns."""
    try:
        tree = json.loads(
            text.decode(),
            object_pairs_hook=_Pairs,
            parse_int=_bad_integer,
            parse_float=_bad_decimal,
            parse_constant=lambda name: _BadNumber(f"{name} is no JSON number", is_malformed=True),
        )
    except RecursionError as error:
        raise _too_deep(prefix) from error
    except UnicodeDecodeError as error:
        raise Malformed(f"The text is not UTF-8: byte {error.start} cannot be read.") from error
    except json.JSONDecodeError as error:
        raise Malformed(f"The text is not JSON: {error.msg} at character {error.pos}.") from error
    malformed = offences(((each.path, each.detail) for each in _findings(tree, ()) if each.is_malformed), prefix)
    if malformed:
        raise Malformed("The JSON text is not well-formed: correct the places named.", errors=malformed)
    if malformed_only:
        return
    invalid = offences(((each.path, each.detail) for each in _findings(tree, ())), prefix)
    if invalid:
        raise Invalid("The JSON text holds values that cannot be kept: change the places named.", errors=invalid)


def _bad_integer(literal: str) -> _BadNumber | None:
    return _judged(literal, len(literal.lstrip("-")) - 1) if len(literal) > NUMBER_EXPONENT_MAX else None


def _bad_decimal(literal: str) -> _BadNumber | None:
    try:
        return _judged(literal, Decimal(literal).adjusted())
    except InvalidOperation:
        return _judged(literal, NUMBER_EXPONENT_MAX + 1)


def _judged(literal: str, exponent: int) -> _BadNumber | None:
    if abs(exponent) <= NUMBER_EXPONENT_MAX and _digits(literal) <= NUMBER_DIGITS_MAX:
        return None
    shown = literal if len(literal) <= 40 else f"{literal[:37]}..."
    limits = f"at most {NUMBER_DIGITS_MAX:,} digits and an exponent of at most {NUMBER_EXPONENT_MAX}"
    return _BadNumber(f"the number {shown} is out of range: {limits}", is_malformed=False)


def _findings(value: Any, path: Path) -> Iterator[_Finding]:
    """Every offending place at or below ``path``, depth-first, in the order of the text."""
    if isinstance(value, list) and len(path) >= DEPTH_MAX:
        yield _Finding(path, f"nested deeper than {DEPTH_MAX} levels", is_malformed=True)
        return
    match value:
        case _Pairs():
            seen: set[str] = set()
            for key, member in value:
                here = (*path, key)
                if key in seen:
                    yield _Finding(here, "the key is given twice", is_malformed=True)
                seen.add(key)
                yield from _string_findings(key, here, "the key")
                yield from _findings(member, here)
        case list():
            for index, item in enumerate(value):
                yield from _findings(item, (*path, index))
        case str():
            yield from _string_findings(value, path, "the string")
        case _BadNumber():
            yield _Finding(path, value.detail, value.is_malformed)


def _string_findings(string: str, path: Path, what: str) -> Iterator[_Finding]:
    if SURROGATE.search(string):
        yield _Finding(path, f"{what} holds a lone surrogate", is_malformed=True)
    if "\0" in string:
        yield _Finding(path, f"{what} holds \\u0000", is_malformed=False)


def _inexact(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    match value:
        case dict():
            for key, member in value.items():
                yield from _inexact(member, (*path, key))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _inexact(item, (*path, index))
        case float() if not isfinite(value):
            yield path, f"{value} is no JSON number"
        case Decimal() if not value.is_finite():
            yield path, f"{value} is no JSON number"
        case datetime() if value.tzinfo is None:
            yield path, f"{value.isoformat()} lacks its offset from UTC"
