"""Statements become text with host variables; what cannot be asked is refused by name."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    ARRAY,
    Boolean,
    Float,
    Integer,
    Interval,
    Text,
    Uuid,
    cast,
    delete,
    insert,
    literal,
    literal_column,
    text,
    tuple_,
    update,
)
from sqlalchemy import select as plain_select
from sqlalchemy.dialects.postgresql import JSONB

from peaceriver import bindparam, col, func, jsontext, select
from peaceriver.errors import Invalid
from peaceriver.query.select import Question, compiled, declared
from tests.queries import NOON, Colour, Order, statements

TABLE: Any = Order.__clause_element__()
LIKE = select(Order.total).where(col(Order.customer).like(bindparam("customer"))).limit(bindparam("top"))


def one_line(sql: str) -> str:
    return " ".join(sql.split())


def test_a_statement_is_text_with_values_and_readers() -> None:
    question = compiled(LIKE.where(col(Order.total) > 5), {"customer": "A%", "top": 10})
    assert one_line(question.sql) == (
        'SELECT "Order".total FROM "Order" WHERE "Order".customer LIKE :customer::TEXT '
        'AND "Order".total > :total_1::NUMERIC LIMIT :top'
    )
    assert question.variables == {"customer": "A%", "top": 10, "total_1": 5}
    assert len(question.readers) == 1
    assert isinstance(question, Question)


def test_a_statement_of_sqlalchemys_own_select_is_as_good() -> None:
    assert compiled(plain_select(Order), {}) .sql == compiled(select(Order), {}).sql  # fmt: skip


def test_equal_values_of_a_type_share_a_name() -> None:
    city = [Order.document["delivery", "city"].astext for _ in range(2)]
    question = compiled(select(city[0], func.count()).group_by(city[1]), {})
    assert question.variables == {"document_1": ["delivery", "city"]}
    question = compiled(select(literal(1), literal(True), literal("1"), literal(1)), {})
    assert list(question.variables.values()) == [1, True, "1"]


@pytest.mark.parametrize(("name", "statement", "given"), list(statements()))
def test_every_name_in_the_text_has_a_value(name: str, statement: Any, given: dict[str, Any]) -> None:
    question = compiled(statement, given)
    assert all(f":{each}" in question.sql for each in question.variables)
    assert "POSTCOMPILE" not in question.sql
    assert jsontext.write(question.variables)


def test_a_made_up_name_is_never_a_host_variables() -> None:
    statement = select(Order.total).where(
        col(Order.customer) == "a",
        col(Order.customer) == bindparam("customer_1"),
        col(Order.state).in_(bindparam("state")),
        col(Order.state) != "b",
        col(Order.kind) == "c",
    )
    assert compiled(statement, {"customer_1": "x", "state": ["y"]}).variables == {
        "customer_2": "a",
        "customer_1": "x",
        "state_1": "y",
        "state_value_3": "b",
        "the_kind_4": "c",
    }


@pytest.mark.parametrize(
    ("statement", "variables", "pointer", "detail"),
    [
        (LIKE, {"top": 1}, "/variables/customer", "has no value"),
        (LIKE, {"top": 1, "customer": "A", "a/b": 1}, "/variables/a~1b", "is no variable of the statement"),
        (LIKE, {"top": 1, "customer": object()}, "/variables/customer", "takes text, not object"),
        (LIKE, {"top": object(), "customer": ""}, "/variables/top", "takes no object"),
        (LIKE, {"top": 1, "customer": 5}, "/variables/customer", "takes text, not int"),
        (LIKE, {"top": 1, "customer": "\x00"}, "/variables/customer", "takes well-formed text without NUL"),
        (LIKE, {"top": 1, "customer": "\ud800"}, "/variables/customer", "takes well-formed text without NUL"),
        (LIKE, {"top": {"a": {1: 2}}, "customer": ""}, "/variables/top", "takes JSON objects, whose names"),
        (LIKE, {"top": b"x", "customer": ""}, "/variables/top", "takes no bytes"),
        (LIKE, {"top": Order.total, "customer": ""}, "/variables/top", "takes no "),
    ],
)
def test_a_variable_that_cannot_be_is_named(
    statement: Any, variables: dict[str, Any], pointer: str, detail: str
) -> None:
    with pytest.raises(Invalid, match="cannot be asked with these variables") as caught:
        compiled(statement, variables)
    assert caught.value.errors[0].pointer == pointer
    assert caught.value.errors[0].detail.startswith(detail)


def test_an_offence_is_named_once() -> None:
    twice = select(Order.total).where(
        col(Order.customer) == bindparam("x"), col(Order.total) > bindparam("x"), literal("a") == bindparam("y")
    )
    with pytest.raises(Invalid) as caught:
        compiled(twice, {"z": 1})
    assert sorted(each.pointer for each in caught.value.errors) == ["/variables/x", "/variables/y", "/variables/z"]


def test_a_member_of_an_enum_is_its_value() -> None:
    statement = select(Order.total).where(
        col(Order.colour) == Colour.RED, col(Order.state) == Colour.BLUE, col(Order.state).in_([Colour.RED])
    )
    assert sorted(compiled(statement, {}).variables.values()) == ["blue", "red", "red"]
    assert one_line(declared(statement)[0]).endswith(
        "colour = 'red'::TEXT AND \"Order\".state = 'blue'::TEXT AND \"Order\".state IN ('red')"
    )


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (Order.total.type, "5", "a number"),
        (Order.total.type, True, "a number"),
        (Order.total.type, Decimal("NaN"), "finite numbers"),
        (Order.weight.type, float("inf"), "finite numbers"),
        (Order.parts.type, 1.5, "a whole number"),
        (Integer(), True, "a whole number"),
        (Boolean(), 1, "True or False"),
        (Order.at.type, "2026-11-22T10:00:00Z", "a datetime"),
        (Order.at.type, datetime(2026, 11, 22), "a datetime with an offset"),
        (Order.day.type, NOON, "a date"),
        (Uuid(), "x", "a UUID"),
        (Interval(), 5, "a timedelta"),
        (ARRAY(Text), "abc", "a list"),
        (ARRAY(Text), ["a", 1], "text"),
        (JSONB(), {"a": object()}, "no object"),
    ],
)
def test_a_value_is_of_its_variables_type(kind: Any, value: Any, wanted: str) -> None:
    with pytest.raises(Invalid) as caught:
        compiled(select(bindparam("x", type_=kind)), {"x": value})
    assert caught.value.errors[0].pointer == "/variables/x"
    assert caught.value.errors[0].detail.startswith(f"takes {wanted}")
    with pytest.raises(Invalid, match="takes"):
        declared(select(literal(value, kind)))


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        (Order.total.type, 2**80, 2**80),
        (Order.total.type, 0.1, Decimal("0.1")),
        (Float(), 0.1, 0.1),
        (Order.colour.type, Colour.RED, "red"),
        (Order.state.type, Colour.RED, "red"),
        (Order.key.type, UUID(int=1), str(UUID(int=1))),
        (Order.at.type, NOON, NOON),
        (Order.day.type, date(2026, 1, 2), date(2026, 1, 2)),
        (None, time(1, 2), "01:02:00"),
        (None, timedelta(days=-1, seconds=1.5), "-1 days 1 seconds 500000 microseconds"),
        (None, {"a": (1, [None, Colour.RED])}, {"a": [1, [None, "red"]]}),
        (JSONB(), [{"a": Decimal("1.10")}], [{"a": Decimal("1.10")}]),
        (ARRAY(Integer), (1, 2), [1, 2]),
        (Order.total.type, None, None),
    ],
)
def test_a_value_goes_as_json_can_say_it(kind: Any, value: Any, sent: Any) -> None:
    assert compiled(select(bindparam("x", type_=kind)), {"x": value}).variables == {"x": sent}


@pytest.mark.parametrize(
    "statement",
    [
        insert(TABLE),
        update(TABLE),
        delete(TABLE),
        text("select 1"),
        text("select 1").columns(),
        Order.total,
        Order,
        "select 1",
        None,
        select(insert(TABLE).values(total=1).returning(TABLE.c.total).cte("made")),
    ],
)
def test_only_a_select_can_be_asked(statement: Any) -> None:
    for ask in (lambda: compiled(statement, {}), lambda: declared(statement)):
        with pytest.raises(Invalid, match="only a SELECT"):
            ask()


@pytest.mark.parametrize("columns", [(text("1, 2"),), (literal_column("*"),), (Order.total, text("*"))])
def test_columns_that_nothing_is_known_of_are_refused(columns: Any) -> None:
    with pytest.raises(Invalid, match="name each one"):
        compiled(select(*columns), {})


@pytest.mark.parametrize("name", ["first name", "a:b", "", "1a", "ä", "a" * 64])
def test_a_variables_name_is_a_word(name: str) -> None:
    with pytest.raises(Invalid):
        compiled(select(literal("") == bindparam(name)), {name: "x"})


def test_a_variable_with_a_value_need_not_be_given() -> None:
    statement = select(Order.total).where(col(Order.customer) == bindparam("who", "Ada"))
    assert compiled(statement, {}).variables == {"who": "Ada"}
    assert compiled(statement, {"who": "Eve"}).variables == {"who": "Eve"}
    assert declared(statement)[1] == ()
    given = LIKE.params(customer="A", top=1)
    assert compiled(given, {"top": 2}).variables == {"customer": "A", "top": 2}
    assert declared(given)[1] == ()


def test_lists_are_looked_into_by_their_values() -> None:
    among = select(Order.total).where(col(Order.customer).in_(bindparam("who")))
    assert compiled(among, {"who": ["a", "b"]}).variables == {"who_1": "a", "who_2": "b"}
    assert compiled(among, {"who": []}).variables == {}
    with pytest.raises(Invalid, match="takes a list, not str"):
        compiled(among, {"who": "ab"})
    with pytest.raises(Invalid, match="who is a list"):
        declared(among)
    pairs = select(Order.total).where(tuple_(Order.customer, Order.total).in_(bindparam("pairs")))
    assert list(compiled(pairs, {"pairs": [("a", 1)]}).variables.values()) == ["a", 1]
    with pytest.raises(Invalid, match="one value per column"):
        compiled(pairs, {"pairs": [("a", 1, 2)]})


@pytest.mark.parametrize(
    ("value", "kind", "written"),
    [
        ("it's \\ :x %s %%", None, "'it''s \\ :x %s %%'::TEXT"),
        ("ünï\U0001f600", None, "'ünï\U0001f600'::TEXT"),
        (None, None, "NULL"),
        (None, Text(), "NULL::TEXT"),
        (True, None, "true::BOOLEAN"),
        (-1, None, "(-1)::INTEGER"),
        (Decimal("-1.50"), None, "(-1.50)::NUMERIC"),
        (Decimal("1E+3"), None, "1E+3::NUMERIC"),
        (NOON, None, "'2026-11-22T12:00:00+00:00'::TIMESTAMP WITH TIME ZONE"),
        (date(2026, 1, 2), None, "'2026-01-02'::DATE"),
        (UUID(int=1), None, "'00000000-0000-0000-0000-000000000001'::UUID"),
        (["a'", None], ARRAY(Text), "ARRAY['a''', NULL]::TEXT[]"),
        ([], ARRAY(Text), "ARRAY[]::TEXT[]"),
        ({"a": "it's"}, JSONB(), "'{\"a\":\"it''s\"}'::JSONB"),
    ],
)
def test_a_value_of_a_named_view_is_a_literal(value: Any, kind: Any, written: str) -> None:
    assert declared(select(literal(value, kind).label("x"))) == (f"SELECT {written} AS x", ())


def test_a_named_view_keeps_its_variables() -> None:
    sql, names = declared(LIKE.where(col(Order.total) > 5, col(Order.customer).in_(["a'"])))
    assert names == ("customer", "top")
    assert one_line(sql) == (
        'SELECT "Order".total FROM "Order" WHERE "Order".customer LIKE :customer::TEXT '
        "AND \"Order\".total > 5::NUMERIC AND \"Order\".customer IN ('a''') LIMIT :top"
    )


@pytest.mark.parametrize(
    ("column", "answered", "read"),
    [
        (Order.total, 5, Decimal(5)),
        (Order.total, Decimal("5.10"), Decimal("5.10")),
        (Order.parts, 5, 5),
        (Order.parts, Decimal("5.0"), 5),
        (Order.parts, Decimal("5.5"), Decimal("5.5")),
        (Order.weight, Decimal("0.5"), 0.5),
        (Order.at, "2026-11-22T12:00:00Z", NOON),
        (Order.at, "2026-11-22T13:00:00.5+01:00", datetime(2026, 11, 22, 12, 0, 0, 500000, tzinfo=UTC)),
        (Order.day, "2026-11-22", date(2026, 11, 22)),
        (Order.colour, "red", Colour.RED),
        (Order.colour, "mauve", "mauve"),
        (Order.key, str(UUID(int=5)), UUID(int=5)),
        (literal(UUID(int=5)), str(UUID(int=5)), UUID(int=5)),
        (func.sum(col(Order.parts)), 5, 5),
        (func.sum(col(Order.total)), 5, Decimal(5)),
        (col(Order.parts) + 1, Decimal(2), 2),
        (col(Order.parts) + col(Order.total), 2, Decimal(2)),
        (col(Order.parts) / 2, 2, Decimal(2)),
        (col(Order.parts) // 2, Decimal(2), 2),
        (func.count(), 5, 5),
        (cast(Order.total, Integer), 5, 5),
        (func.array_agg(Order.total), [1, None], [Decimal(1), None]),
        (func.array_agg(Order.customer), ["a"], ["a"]),
    ],
)
def test_an_answer_is_read_as_the_type_says(column: Any, answered: Any, read: Any) -> None:
    [reader] = compiled(select(column), {}).readers
    assert (answered if reader is None else reader(answered)) == read
    assert type(answered if reader is None else reader(answered)) is type(read)
    assert reader is None or reader(None) is None


@pytest.mark.parametrize("column", [Order.customer, Order.urgent, Order.lines, Order.document, func.unheard_of()])
def test_text_truth_and_json_come_as_they_are(column: Any) -> None:
    assert compiled(select(column), {}).readers == (None,)
