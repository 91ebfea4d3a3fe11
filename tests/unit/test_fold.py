"""Folds on text: a merge patch does what RFC 7396 says, an own fold what its class says, and no byte more."""

from __future__ import annotations

import decimal
import json
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import Invalid, Malformed, TooLarge, Unavailable
from peaceriver.fold import DECIMAL_DIGITS, apply, merge_patch
from peaceriver.jsontext import DEPTH_MAX, DOCUMENT_BYTES_MAX, same, write
from peaceriver.model import Actor, Message, definition, model_of, model_of_definition

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


class Line(msgspec.Struct, frozen=True):
    sku: str
    price: Decimal = Decimal(0)


class Order(Actor):
    customer: str
    total: Decimal
    state: Literal["open", "approved"] = "open"
    address: Line | None = None
    lines: list[Line] = msgspec.field(default_factory=list)
    notes: dict[str, Any] = msgspec.field(default_factory=dict)


class Place(Message[Order], action="create"):
    customer: str
    total: Decimal = Decimal("0.00")


class Approve(Message[Order], action="modify"):
    state: Literal["approved"] = "approved"


class AddLine(Message[Order], action="modify"):
    price: Decimal

    def fold(self, order: Order) -> Order:
        return order.replace(total=order.total + self.price)


class Rework(Message[Order], action="modify"):
    """Does to an order what its members say, well or badly."""

    how: str

    def fold(self, order: Order) -> Any:
        match self.how:
            case "address":
                return order.replace(
                    address=Line(sku="new", price=order.address.price if order.address else Decimal(1))
                )
            case "in place":
                order.lines.append(Line(sku="appended"))
                return order
            case "notes":
                return order.replace(notes={**order.notes, "b": {"deep": 2}, "new": 0.5} | {"a": None})
            case "forget notes":
                return order.replace(notes={})
            case "third":
                return order.replace(total=order.total / 3)
            case "nothing":
                return None
            case "nan":
                return order.replace(total=Decimal("NaN"))
            case "set":
                return order.replace(notes={"a": object()})
            case "nul":
                return order.replace(customer="\0")
            case "huge":
                return order.replace(customer="x" * DOCUMENT_BYTES_MAX)
            case "deep":
                return order.replace(notes=nest(DEPTH_MAX))
        raise ValueError("the order is closed")


def nest(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


MODEL = model_of(Order)


def modify(message_type: str | None, document: str, body: str) -> str:
    folded = apply(MODEL, "modify", message_type, document, body)
    assert folded is not None
    return folded


def test_a_create_makes_its_body_the_document_as_it_stands() -> None:
    body = '{ "customer" : "Ada", "total": 1.50 }'
    assert apply(None, "create", None, None, body) == body
    assert apply(MODEL, "create", "Order.create", None, body) == body
    assert apply(MODEL, "create", "Place", None, body) == body
    assert apply(MODEL, "create", "Place", None, '{"customer":"Ada"}') == '{"customer":"Ada","total":0.00}'


def test_a_cancel_leaves_the_document_as_it_was() -> None:
    assert apply(MODEL, "cancel", None, '{"a": 1}', '{"reason":"late"}') == '{"a": 1}'
    assert apply(None, "cancel", "Order.cancel", None, "[]") is None


def test_a_modify_without_a_model_or_a_known_type_is_a_merge() -> None:
    assert apply(None, "modify", "Anything", '{"a":1}', '{"b":2}') == '{"a":1,"b":2}'
    assert modify("Anything", '{"a":1}', '{"a":null}') == "{}"
    assert modify(None, '{"a":1}', '{"b":2}') == '{"a":1,"b":2}'
    assert apply(MODEL, "modify", None, None, '{"b":2}') == '{"b":2}'


def test_a_named_message_type_brings_its_defaults() -> None:
    assert modify("Approve", '{"total":1.0,"state":"open"}', "{}") == '{"total":1.0,"state":"approved"}'
    assert modify("Approve", "{}", '{"by":"Eve"}') == '{"by":"Eve","state":"approved"}'
    assert modify("Approve", "{}", '{"state":"approved"}') == '{"state":"approved"}'


@pytest.mark.parametrize(
    ("action", "message_type"), [("create", "Approve"), ("modify", "Place"), ("cancel", "AddLine")]
)
def test_a_message_type_keeps_to_its_action(action: str, message_type: str) -> None:
    with pytest.raises(Invalid, match=message_type) as caught:
        apply(MODEL, action, message_type, "{}", "{}")
    assert [each.pointer for each in caught.value.errors] == ["/action"]


def test_an_own_fold_changes_what_it_changes_and_no_other_byte() -> None:
    document = (
        '{"x":{"y" : 1.10},"customer":"\\u0041da","total":2500.00,"lines":[{"sku":"a","colour":"red"}],"big":1e2}'
    )
    assert modify("AddLine", document, '{"price":0.5}') == (
        '{"x":{"y" : 1.10},"customer":"\\u0041da","total":2500.50,"lines":[{"sku":"a","colour":"red"}],"big":1e2}'
    )


def test_an_own_fold_reads_numbers_exactly() -> None:
    document = '{"customer":"Ada","total":123456789012345678901234567890}'
    folded = modify("AddLine", document, '{"price":0.12345678901234567890}')
    assert folded == '{"customer":"Ada","total":123456789012345678901234567890.12345678901234567890}'


def test_an_own_fold_counts_the_same_whatever_the_process_has_set() -> None:
    document = '{"customer":"Ada","total":1}'
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP, traps=[decimal.Inexact])):
        folded = modify("Rework", document, '{"how":"third"}')
    assert folded == f'{{"customer":"Ada","total":0.{"3" * DECIMAL_DIGITS}}}'


def test_what_the_class_does_not_declare_survives_also_within_members() -> None:
    members = '"address":{"sku":"old","price":7.0,"floor":{"n":1.0}},"notes":{"a":1,"b":{"deep":1}}'
    document = '{"customer":"A","total":1,' + members + "}"
    assert modify("Rework", document, '{"how":"address"}') == document.replace('"old"', '"new"')
    assert modify("Rework", document, '{"how":"notes"}') == document.replace(
        '{"a":1,"b":{"deep":1}}', '{"a":null,"b":{"deep":2},"new":0.5}'
    )
    assert modify("Rework", document, '{"how":"forget notes"}') == document.replace('{"a":1,"b":{"deep":1}}', "{}")


def test_a_fold_that_changes_a_list_in_place_is_seen() -> None:
    document = '{"customer":"A","total":1,"lines":[{"sku":"a"}]}'
    folded = modify("Rework", document, '{"how":"in place"}')
    assert folded == '{"customer":"A","total":1,"lines":[{"sku":"a","price":0},{"sku":"appended","price":0}]}'


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "the order is closed"),
        ("nothing", "its fold returned NoneType where it must return Order"),
        ("nan", "cannot be written as JSON exactly"),
        ("set", "object"),
    ],
)
def test_a_fold_that_fails_refuses_the_message_by_name(how: str, reason: str) -> None:
    with pytest.raises(Invalid, match=f"^Rework cannot be folded into this Order: .*{reason}") as caught:
        modify("Rework", '{"customer":"A","total":1}', f'{{"how":"{how}"}}')
    assert [each.pointer for each in caught.value.errors] == ["/type"]
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(("how", "error"), [("nul", Invalid), ("huge", TooLarge), ("deep", Malformed)])
def test_what_a_fold_makes_is_held_to_the_limits_of_documents(how: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        modify("Rework", '{"customer":"A","total":1}', f'{{"how":"{how}"}}')


def test_a_document_that_is_none_of_the_class_is_refused() -> None:
    with pytest.raises(Invalid, match="Order"):
        modify("AddLine", '{"customer":"A"}', '{"price":1}')


def test_without_the_code_a_fold_is_not_available() -> None:
    page = model_of_definition("Order", definition(MODEL), 1)
    assert apply(page, "modify", "Approve", "{}", "{}") == '{"state":"approved"}'
    with pytest.raises(Unavailable, match="AddLine"):
        apply(page, "modify", "AddLine", '{"customer":"A","total":1}', '{"price":1}')


@given(OBJECTS, st.decimals(0, 10**9, places=2))
def test_an_own_fold_leaves_an_open_document_alone(extra: dict[str, Any], price: Decimal) -> None:
    document = write(
        {f"x-{key}": value for key, value in extra.items()} | {"customer": "Ada", "total": Decimal("0.00")}
    )
    folded = modify("AddLine", document, write({"price": price}))
    assert folded == document.replace('"total":0.00', f'"total":{price}')
