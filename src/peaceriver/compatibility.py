"""Compatibility: whether what was kept under one schema still stands under the next.

The two schemas are compared by structure. The old one is taken apart into alternatives, the new one into conditions,
and every alternative must meet every condition. Where that cannot be shown, the change counts as a break: a schema that
is wrongly called incompatible costs a version, one that is wrongly called compatible costs a view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations
from typing import Any, Final, TypeAlias

from peaceriver.alternatives import EVERY_TYPE, alternatives, conditions, types_of, values_of
from peaceriver.errors import Offence
from peaceriver.jsontext import Path, offences, same_value, write
from peaceriver.model import columns_of
from peaceriver.schema import ANNOTATIONS, Schema, compiled, lookup, subschemas

#: Steps of a comparison before the change counts as too intricate to be shown compatible: about a second.
STEPS_MAX: Final = 20_000
_STEP_LETTERS: Final = 1_000
_INTRICATE: Final = "is too intricate to be shown compatible"

_Place: TypeAlias = tuple[Path, str]
_Check: TypeAlias = "Callable[[_Comparison, _Pair, str], Iterator[_Place]]"


def breaks(old: Schema, new: Schema) -> tuple[Offence, ...]:
    """Why a document that is valid under ``old`` might be invalid under ``new``, or be read differently.

    Both are schemas that ``Validator`` takes. Empty means compatible; pointers lead into ``new``. A member that ``new``
    declares and does not require is no break, not even where ``old`` was open: what was not declared was not promised.
    So a document that happens to have such a member, of another type, may become invalid all the same.
    """
    try:
        places = _Comparison(old, new).reasons(old, new, ())
    except RecursionError:
        places = [((), _INTRICATE)]
    return tuple(dict.fromkeys(offences([*places, *_column_places(old, new)])))


def _column_places(old: Schema, new: Schema) -> Iterator[_Place]:
    kinds = {each.name: each.kind for each in columns_of(new)}
    for column in columns_of(old):
        if kinds.get(column.name) != column.kind:
            yield ("properties", column.name), f"its column was {column.kind} and would not be any more"


class _Pair:
    """An alternative of the old schema beside a condition of the new one."""

    __slots__ = ("known", "new", "old", "path")

    def __init__(self, old: Schema, known: list[Schema], new: Schema, path: Path) -> None:
        self.old = old
        #: What the old schema says, condition by condition: to recognise what has not changed.
        self.known = known
        self.new = new
        self.path = path


class _Comparison:
    """One comparison of two roots, with what it assumes on the way."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._assumed: set[tuple[str, str]] = set()
        self._left = STEPS_MAX

    def reasons(self, old: Any, new: Any, path: Path) -> list[_Place]:
        """Why a value of ``old`` might be none of ``new``."""
        if new is True or old is False:
            return []
        if new is False:
            return [(path, "nothing is accepted here any more")]
        # A schema may contain itself: what is to be shown may be assumed further in.
        pair = (write(old), write(new))
        if pair in self._assumed or (pair[0] == pair[1] and self._refers_to_the_same(new, set())):
            return []
        self._left -= 1 + (len(pair[0]) + len(pair[1])) // _STEP_LETTERS
        if self._left < 0:
            return [(path, _INTRICATE)]
        self._assumed.add(pair)
        try:
            return list(dict.fromkeys(self._reasons(old, new, path)))
        finally:
            self._assumed.discard(pair)

    def _reasons(self, old: Any, new: Any, path: Path) -> Iterator[_Place]:
        known = [each for _, each in conditions(old, self._old)]
        wanted = conditions(new, self._new, path)
        self._left -= len(known) + len(wanted)
        for at, condition in wanted:
            for keyword in _UNEVALUATED & condition.keys():
                # It depends on everything beside it, and something has changed.
                yield (*at, keyword), "may refuse what was accepted, now that other conditions have changed"
            for alternative in alternatives(old, self._old):
                yield from self._unmet(_Pair(alternative, known, condition, at))
        for keyword, meaning in (each for condition in known for each in condition.items()):
            if keyword not in _VOCABULARY and not any(
                self._is_unchanged({keyword: meaning}, each, (keyword,)) for _, each in wanted
            ):
                yield (*path, keyword), "has changed or is gone, and nobody here knows what it means"

    def _unmet(self, pair: _Pair) -> Iterator[_Place]:
        types = types_of(pair.old)
        values = values_of(pair.old)
        for keyword in pair.new:
            if keyword in _SILENT:
                continue
            if values is not None and keyword in _TRIABLE:
                is_valid = compiled(write({keyword: pair.new[keyword]})).is_valid
                if not all(map(is_valid, values)):
                    yield (*pair.path, keyword), "refuses a value that was accepted"
            elif keyword in _CHECKS:
                applies_to, check = _CHECKS[keyword]
                if types & applies_to:
                    yield from check(self, pair, keyword)
            else:
                yield from self._unchanged(pair, keyword)

    def _unchanged(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        keywords = _TOGETHER.get(keyword, (keyword,))
        if not any(self._is_unchanged(each, pair.new, keywords) for each in pair.known):
            yield (*pair.path, keyword), "is new or has changed, and may refuse what was accepted"

    def _is_unchanged(self, old: Schema, new: Schema, keywords: tuple[str, ...]) -> bool:
        before, after = ({each: schema[each] for each in keywords if each in schema} for schema in (old, new))
        return bool(after) and same_value(before, after) and self._refers_to_the_same(after, set())

    def _refers_to_the_same(self, schema: Any, seen: set[str]) -> bool:
        references = {each["$ref"] for _, each in subschemas(schema) if "$ref" in each} - seen
        seen |= references
        for reference in references:
            try:
                before, after = lookup(self._old, reference), lookup(self._new, reference)
            except LookupError:
                return False
            if not same_value(before, after) or not self._refers_to_the_same(after, seen):
                return False
        return True

    def type(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        for lost in sorted(types_of(pair.old) - types_of({"type": pair.new[keyword]})):
            yield (*pair.path, keyword), f"{_TYPE_NAMES.get(lost, lost)} was accepted and is not any more"

    def listing(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        yield (*pair.path, keyword), "other values than these were accepted"

    def bound(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        side = "Minimum" if keyword.lower().endswith("minimum") else "Maximum"
        old, new = _bound(pair.old, side), _bound({keyword: pair.new[keyword]}, side)
        if old is None or new is None or old < new:
            yield (*pair.path, keyword), "is tighter than it was"

    def multiple(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        known = [_exactly(pair.old[keyword])] if keyword in pair.old else []
        known += [Fraction(1)] if types_of(pair.old) <= {"integer"} else []
        if not any((each / _exactly(pair.new[keyword])).denominator == 1 for each in known):
            yield (*pair.path, keyword), "refuses numbers that were accepted"

    def least(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        if pair.old.get(keyword, 0) < pair.new[keyword]:
            yield (*pair.path, keyword), "is more than it was"

    def most(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        if keyword not in pair.old or pair.old[keyword] > pair.new[keyword]:
            yield (*pair.path, keyword), "is less than it was"

    def distinct(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        if pair.new[keyword] and not pair.old.get(keyword):
            yield (*pair.path, keyword), "equal items were accepted"

    def required(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        for name in pair.new[keyword]:
            if name not in pair.old.get(keyword, ()):
                yield (*pair.path, "properties", name), "was not required"

    def properties(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        before = pair.old.get(keyword, {})
        for name, new in pair.new[keyword].items():
            here = (*pair.path, keyword, name)
            if name in before:
                yield from self.reasons(before[name], new, here)
                yield from _default_places(before[name], new, here)
            else:
                yield from self.reasons(_promised(pair.old), new, here)

    def patterns(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        for pattern, new in pair.new[keyword].items():
            here = (*pair.path, keyword, pattern)
            yield from self.reasons(pair.old.get(keyword, {}).get(pattern, True), new, here)

    def additional(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        new = pair.new[keyword]
        yield from self.reasons(pair.old.get(keyword, True), new, (*pair.path, keyword))
        for group in ("properties", "patternProperties"):
            for name, old in pair.old.get(group, {}).items():
                if name not in pair.new.get(group, {}):
                    for _, detail in self.reasons(old, new, ()):
                        yield (*pair.path, keyword), f"{name}: {detail}"

    def names(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        old = {"allOf": [{"type": "string"}, pair.old.get(keyword, True)]}
        yield from self.reasons(old, pair.new[keyword], (*pair.path, keyword))

    def dependent(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        for name, needed in pair.new[keyword].items():
            known = {*pair.old.get(keyword, {}).get(name, ()), *pair.old.get("required", ())}
            if not known.issuperset(needed):
                yield (*pair.path, keyword, name), "needs more than it did"

    def items(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        old, new = pair.old.get("prefixItems", []), pair.new.get("prefixItems", [])
        if keyword == "items":
            yield from self.reasons(pair.old.get("items", True), pair.new["items"], (*pair.path, "items"))
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else pair.old.get("items", True)
            if index < len(new):
                yield from self.reasons(before, new[index], (*pair.path, "prefixItems", index))
            else:
                yield from self.reasons(before, pair.new.get("items", True), (*pair.path, "items"))

    def choice(self, pair: _Pair, keyword: str) -> Iterator[_Place]:
        branches = pair.new[keyword]
        types = [frozenset().union(*map(types_of, alternatives(each, self._new))) for each in branches]
        if keyword == "oneOf" and any(one & other for one, other in combinations(types, 2)):
            yield from self._unchanged(pair, keyword)
            return
        here = (*pair.path, keyword)
        attempts = [self.reasons(pair.old, each, (*here, index)) for index, each in enumerate(branches)]
        if all(attempts):
            meant = [each for each, kinds in zip(attempts, types, strict=True) if kinds & types_of(pair.old)]
            yield from meant[0] if len(meant) == 1 else [(here, "none of these accepts all that was accepted")]


def _promised(schema: Schema) -> Any:
    """What a schema says of members that it does not declare; False, as of members that never are, where it is open."""
    if schema.get("patternProperties"):
        return True
    return schema.get("additionalProperties", True) not in (True, {}) and schema["additionalProperties"]


def _default_places(old: Any, new: Any, path: Path) -> Iterator[_Place]:
    if isinstance(old, dict) and "default" in old:
        after = {"default": new["default"]} if isinstance(new, dict) and "default" in new else {}
        if not same_value({"default": old["default"]}, after):
            yield path, "has another default: documents without it would be read differently"


def _bound(schema: Schema, side: str) -> tuple[Fraction, bool] | None:
    """The tightest bound of a side, greater where it is tighter; the second part tells that it is exclusive."""
    sign = 1 if side == "Minimum" else -1
    named = ((schema.get(side.lower()), False), (schema.get("exclusive" + side), True))
    bounds = [(sign * _exactly(value), is_exclusive) for value, is_exclusive in named if value is not None]
    return max(bounds, default=None)


def _exactly(number: Any) -> Fraction:
    # By way of its digits: a float in a schema means what it reads.
    return Fraction(str(number))


_NUMBERS: Final = frozenset(("integer", "fraction"))
_STRINGS: Final = frozenset(("string",))
_ARRAYS: Final = frozenset(("array",))
_OBJECTS: Final = frozenset(("object",))
_TYPE_NAMES: Final = {"fraction": "a number that is no integer", "integer": "an integer", "null": "null"}

#: Which types a condition is about, and how it is checked. All others hold only where they have not changed.
_CHECKS: Final[dict[str, tuple[frozenset[str], _Check]]] = {
    "type": (EVERY_TYPE, _Comparison.type),
    "const": (EVERY_TYPE, _Comparison.listing),
    "enum": (EVERY_TYPE, _Comparison.listing),
    "anyOf": (EVERY_TYPE, _Comparison.choice),
    "oneOf": (EVERY_TYPE, _Comparison.choice),
    "minimum": (_NUMBERS, _Comparison.bound),
    "exclusiveMinimum": (_NUMBERS, _Comparison.bound),
    "maximum": (_NUMBERS, _Comparison.bound),
    "exclusiveMaximum": (_NUMBERS, _Comparison.bound),
    "multipleOf": (_NUMBERS, _Comparison.multiple),
    "minLength": (_STRINGS, _Comparison.least),
    "maxLength": (_STRINGS, _Comparison.most),
    "pattern": (_STRINGS, _Comparison._unchanged),
    "format": (_STRINGS, _Comparison._unchanged),
    "minItems": (_ARRAYS, _Comparison.least),
    "maxItems": (_ARRAYS, _Comparison.most),
    "uniqueItems": (_ARRAYS, _Comparison.distinct),
    "items": (_ARRAYS, _Comparison.items),
    "prefixItems": (_ARRAYS, _Comparison.items),
    "minProperties": (_OBJECTS, _Comparison.least),
    "maxProperties": (_OBJECTS, _Comparison.most),
    "required": (_OBJECTS, _Comparison.required),
    "properties": (_OBJECTS, _Comparison.properties),
    "patternProperties": (_OBJECTS, _Comparison.patterns),
    "additionalProperties": (_OBJECTS, _Comparison.additional),
    "propertyNames": (_OBJECTS, _Comparison.names),
    "dependentRequired": (_OBJECTS, _Comparison.dependent),
}
#: Conditions on scalars: where the old values are listed, they are simply tried.
_TRIABLE: Final = frozenset(
    keyword
    for keyword, (types, _) in _CHECKS.items()
    if types <= _NUMBERS | _STRINGS or keyword in ("type", "const", "enum")
)
#: Conditions that mean something only together.
_TOGETHER: Final = {"if": ("if", "then", "else"), "contains": ("contains", "minContains", "maxContains")}
_UNEVALUATED: Final = frozenset(("unevaluatedItems", "unevaluatedProperties"))
#: Keywords that refuse nothing by themselves, or are judged elsewhere.
_SILENT: Final = ANNOTATIONS | _UNEVALUATED | {"$defs", "definitions", "then", "else", "minContains", "maxContains"}
_VOCABULARY: Final = {
    *_SILENT,
    *_CHECKS,
    *("if", "not", "contains", "dependentSchemas", "contentEncoding", "contentMediaType", "contentSchema"),
}
