"""A merge patch on text does what RFC 7396 says on values, and leaves alone what it does not name."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import Invalid, Malformed, TooLarge
from peaceriver.fold import merge_patch
from peaceriver.jsontext import DEPTH_MAX, DOCUMENT_BYTES_MAX, same, write

KEYS = st.sampled_from(["a", "b", "c", "null", 'q"', "\N{SNOWMAN}"])
SCALARS = st.none() | st.booleans() | st.integers() | st.decimals(-9, 9, places=3) | st.sampled_from(["", "null", "{"])
MEMBERS = st.recursive(
    SCALARS | st.lists(SCALARS | st.dictionaries(KEYS, SCALARS, max_size=2), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(KEYS, MEMBERS, max_size=4)


def dumb_merge(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = dumb_merge(result.get(key), value)
    return result


@given(OBJECTS | st.none(), OBJECTS)
def test_text_is_merged_as_the_rfc_merges_values(document: dict[str, Any] | None, patch: dict[str, Any]) -> None:
    merged = merge_patch(None if document is None else write(document), write(patch))
    expected = dumb_merge(document, patch)
    assert same(merged, write(expected))
    assert list(json.loads(merged)) == list(expected)


@pytest.mark.parametrize(
    ("document", "patch", "merged"),
    [
        # RFC 7396, appendix A, as far as both are objects.
        ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
        ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
        ('{"a":"b"}', '{"a":null}', "{}"),
        ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
        ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
        ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
        ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
        ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
        ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
        ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
        (None, '{"a":1,"b":null}', '{"a":1}'),
        ('{"a":1}', '{"a":{"b":null,"c":2}}', '{"a":{"c":2}}'),
    ],
)
def test_the_examples_of_the_rfc_hold(document: str | None, patch: str, merged: str) -> None:
    assert merge_patch(document, patch) == merged


def test_what_a_patch_does_not_name_keeps_its_bytes_and_its_place() -> None:
    document = '{"n":1.50e+2, "big":123456789012345678901234567890,"o":{ "x" : 0.10 , "y":[1.0, 2]},"s":"\\u0041"}'
    merged = merge_patch(document, ' {"o":{"y":0.70,"z":{"new" : 1.0}},"n":null,"last":-0.0} ')
    assert merged == (
        '{"big":123456789012345678901234567890,"o":{"x":0.10,"y":0.70,"z":{"new" : 1.0}},"s":"\\u0041","last":-0.0}'
    )


def test_a_value_is_read_back_exactly_after_many_patches() -> None:
    document = '{"total":0.12345678901234567890}'
    for step in range(50):
        document = merge_patch(document, f'{{"step":{step}}}')
    assert json.loads(document, parse_float=Decimal) == {"total": Decimal("0.12345678901234567890"), "step": 49}


@pytest.mark.parametrize("patch", ["[1]", "null", "1", '"{}"', " true"])
def test_a_patch_that_is_no_object_is_refused(patch: str) -> None:
    with pytest.raises(Invalid) as caught:
        merge_patch('{"a":1}', patch)
    assert [each.pointer for each in caught.value.errors] == ["/body"]


def test_a_document_grows_to_its_limit_and_not_beyond() -> None:
    room = DOCUMENT_BYTES_MAX - len('{"a":"","b":""}')
    document = write({"a": "x" * (room - 1)})
    assert len(merge_patch(document, '{"b":"y"}')) == DOCUMENT_BYTES_MAX
    with pytest.raises(TooLarge, match="the limit is 1,048,576"):
        merge_patch(document, '{"b":"yy"}')


def test_a_document_does_not_become_deeper_than_the_limit() -> None:
    def nested(levels: int) -> str:
        return '{"a":' * levels + "{}" + "}" * levels

    assert merge_patch(nested(DEPTH_MAX - 1), '{"b":1}')
    with pytest.raises(Malformed, match="64 levels"):
        merge_patch("{}", nested(DEPTH_MAX))
