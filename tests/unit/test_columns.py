"""Models are tables and their fields columns, while their instances stay what they were."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import Boolean, Date, DateTime, Numeric, Text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.sql.elements import ColumnElement

import peaceriver
from peaceriver import Actor, Message, aliased, col, relation, select
from peaceriver.columns import SYSTEM_COLUMNS, Exact, Named, Whole
from peaceriver.errors import Invalid
from peaceriver.model import columns_of, model_of, read_document, write_document
from peaceriver.query.select import compiled
from tests.queries import Colour, Customer, Order

PLAIN = Order(customer="Ada", total=Decimal("2.50"), mro=7, own="mine")


def sql(*columns: Any) -> str:
    return " ".join(compiled(select(*columns), {}).sql.split())


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("customer", Text),
        ("total", Exact),
        ("parts", Whole),
        ("weight", Exact),
        ("urgent", Boolean),
        ("at", DateTime),
        ("day", Date),
        ("state", Text),
        ("colour", Named),
        ("key", Named),
        ("lines", JSON),
        ("own", JSON),
        ("actor_id", Text),
        ("document", JSON),
    ],
)
def test_a_field_is_a_column_of_its_type(field: str, kind: type) -> None:
    column = getattr(Order, field)
    assert isinstance(column, ColumnElement)
    assert type(column.type) is kind


def test_the_types_say_what_python_gets() -> None:
    at: Any = Order.at
    assert at.type.timezone
    assert isinstance(Order.weight.type, Numeric)
    assert not Order.weight.type.asdecimal
    assert Order.colour.type.python is Colour
    assert Order.key.type.python is UUID


def test_a_model_is_a_table_of_the_systems_and_its_own_columns() -> None:
    table = Order.__clause_element__()
    declared = [each.name for each in columns_of(model_of(Order).schema)]
    assert [each.name for each in table.c] == [*SYSTEM_COLUMNS, *declared]
    assert Order.__clause_element__() is table
    assert Order.total is table.c.total
    assert sql(Customer).endswith('"Customer".region, "Customer"."limit" FROM "Customer"')


def test_a_field_is_named_as_its_member() -> None:
    assert sql(Order.kind) == 'SELECT "Order"."the kind: 100%" FROM "Order"'
    assert sql(Order.own) == 'SELECT "Order".document -> :document_1::TEXT AS document FROM "Order"'


def test_a_field_without_a_typed_column_is_a_path_into_the_document() -> None:
    assert sql(Order.lines) == 'SELECT "Order".document -> :document_1::TEXT AS lines FROM "Order"'


def test_the_column_of_an_inherited_field_is_the_heirs() -> None:
    class Special(Customer):
        extra: int = 0

    assert sql(Special.name, Special.extra) == 'SELECT "Special".name, "Special".extra FROM "Special"'
    assert sql(Customer.name) == 'SELECT "Customer".name FROM "Customer"'


def test_an_instance_has_values_and_the_class_nothing_else() -> None:
    assert (PLAIN.customer, PLAIN.total, PLAIN.mro, PLAIN.own) == ("Ada", Decimal("2.50"), 7, "mine")
    assert not hasattr(PLAIN, "actor_id")
    with pytest.raises(AttributeError):
        Order.nothing  # noqa: B018 - asking for it is what raises
    assert Order.created.action == "created"


def test_whoever_looks_at_the_class_finds_what_was_there() -> None:
    assert read_document(Order, write_document(PLAIN)) == PLAIN
    assert pickle.loads(pickle.dumps(PLAIN)) == PLAIN
    assert copy.copy(PLAIN) == PLAIN
    assert msgspec.structs.asdict(PLAIN)["mro"] == 7
    assert [each.name for each in msgspec.structs.fields(Order)][:2] == ["customer", "total"]
    assert Order.__mro__[1] is Actor
    assert issubclass(Order, Actor)
    match PLAIN:
        case Order(customer=customer):
            assert customer == "Ada"


def test_what_is_no_field_of_a_class_is_itself() -> None:
    class Account(Actor):
        owner: str

        def shout(self) -> str:
            return self.owner.upper()

    assert Account.shout(Account(owner="ada")) == "ADA"
    assert sql(Account.owner) == 'SELECT "Account".owner FROM "Account"'


@pytest.mark.parametrize("name", ["document", "is_clause_element", "created", "replace"])
def test_a_name_that_the_class_needs_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name}: the class needs this name itself"):
        type(Actor)("Claim", (Actor,), {"__annotations__": {name: str}})


def test_a_message_has_no_columns() -> None:
    class Rename(Message[Customer], action="modify"):
        name: str

    assert not isinstance(Rename.name, ColumnElement)


def test_an_annotation_that_no_document_holds_is_said_when_it_is_asked_for() -> None:
    class Odd(Actor):
        tags: set[str]

    with pytest.raises(TypeError, match="no one form in JSON"):
        Odd.tags  # noqa: B018 - asking for it is what raises


def test_an_alias_has_the_same_columns_under_its_name() -> None:
    o: Any = aliased(Order, "o")
    assert sql(o.total, o.actor_id, o.kind, o["the kind: 100%"]).startswith(
        'SELECT o.total, o.actor_id, o."the kind: 100%", o."the kind: 100%"'
    )
    assert sql(o.lines) == 'SELECT o.document -> :document_1::TEXT AS lines FROM "Order" AS o'
    assert "FROM \"Order\" AS \"Order_1\"" in sql(aliased(Order).total)  # fmt: skip
    assert repr(o) == "Relation('o')"
    with pytest.raises(AttributeError, match="o has no field nothing"):
        o.nothing  # noqa: B018 - asking for it is what raises


def test_a_relation_has_any_column() -> None:
    invoice: Any = relation("Invoice", total=Decimal, due=date | None, lines=list[str])
    assert isinstance(invoice.total.type, Exact)
    assert isinstance(invoice.due.type, Date)
    assert sql(invoice.paid, invoice["bill no"], invoice.actor_stamp, invoice.name) == (
        'SELECT "Invoice".paid, "Invoice"."bill no", "Invoice".actor_stamp, "Invoice".name FROM "Invoice"'
    )
    assert sql(invoice.lines).startswith('SELECT "Invoice".document -> ')
    assert sql(invoice).endswith('"Invoice".document, "Invoice".total, "Invoice".due FROM "Invoice"')
    i = aliased(invoice, "i")
    assert sql(i.total, i.paid) == 'SELECT i.total, i.paid FROM "Invoice" AS i'
    assert isinstance(i.total.type, Exact)


def test_a_relation_is_called_as_a_model_can_be() -> None:
    with pytest.raises(Invalid, match="cannot be an actor type"):
        relation('Order"; drop')
    with pytest.raises(TypeError, match="no one form in JSON"):
        relation("Invoice", total=bytes)


def test_a_column_is_itself() -> None:
    assert col(Order.total) is Order.total


def test_models_are_at_hand_without_sqlalchemy_and_queries_are_once_they_are_asked_for() -> None:
    code = (
        "import sys, peaceriver\n"
        "class Order(peaceriver.Actor):\n    total: int\n"
        "assert Order(total=1).total == 1 and 'sqlalchemy' not in sys.modules\n"
        "assert peaceriver.select(Order.total) is not None and 'sqlalchemy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert all(hasattr(peaceriver, each) for each in peaceriver.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        peaceriver.nothing  # noqa: B018 - asking for it is what raises
