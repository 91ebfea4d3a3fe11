"""A list request becomes one statement in which everything that the request said is bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import Invalid
from peaceriver.query.lists import compile_list, parse


def compiled(*parameters: tuple[str, str]) -> tuple[str, tuple[object, ...]]:
    found = compile_list(parse(parameters), ("view", "Order_1"), [(100, 5), (110, 6)])
    return found.text, found.values


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ([("limit", "0")], "limit"),
        ([("limit", "1001")], "limit"),
        ([("limit", "ten")], "limit"),
        ([("limit", "-1")], "limit"),
        ([("offset", "-1")], "offset"),
        ([("offset", "9999999")], "offset"),
        ([("open", "is.maybe")], "open"),
        ([("customer", "a\x00b")], "customer"),
        ([("customer", "in." + ",".join(["x"] * 1001))], "customer"),
    ],
)
def test_a_bad_parameter_is_named(parameters: list[tuple[str, str]], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(parameters)
    assert {each.pointer for each in refused.value.errors} == {pointer}


@pytest.mark.parametrize(
    ("name", "value"),
    [("actor_version", "gt.many"), ("actor_version", "NaN"), ("actor_status", "is.true"), ("actor_colour", "red")],
)
def test_a_value_that_does_not_fit_a_column_of_the_system_is_named(name: str, value: str) -> None:
    with pytest.raises(Invalid) as refused:
        compiled((name, value))
    assert {each.pointer for each in refused.value.errors} == {name}


@pytest.mark.parametrize("value", ["1e400", "gt.1e-400", "9" * 1_001])
def test_a_number_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(Invalid, match="out of range"):
        compiled(("total", value))


def test_too_many_filters_are_refused() -> None:
    with pytest.raises(Invalid):
        parse([(f"f{n}", "1") for n in range(33)])


def test_reserved_names_are_fields_behind_document() -> None:
    text, values = compiled(("document.limit", "5"), ("limit", "7"))
    assert "limit" in values
    assert 8 in values
    assert "LIMIT $" in text


@pytest.mark.parametrize("order", ["", "total", "-total,customer", "unheard_of", "document.order"])
def test_every_order_ends_with_the_department_and_the_id(order: str) -> None:
    text, _ = compiled(("order", order))
    assert "v.actor_shard, v.actor_id \n LIMIT" in text


@given(st.text(min_size=1, max_size=20), st.text(max_size=30), st.text(max_size=20))
def test_nothing_that_a_request_says_stands_in_the_statement(name: str, value: str, order: str) -> None:
    marked = f"~{value}~"
    try:
        text, _ = compiled((f"x~{name}", marked), ("order", f"~{order}"), ("customer", f"like.{marked}"))
    except Invalid:
        return
    assert "~" not in text


def test_like_takes_stars_and_nothing_else() -> None:
    _, values = compiled(("customer", "like.100%_*"))
    assert r"100\%\_%" in values
