"""Models: classes and schemas become the same thing, exactly, and what they cannot be is said at once."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver import jsontext
from peaceriver.errors import Invalid, Offence, StartFailed
from peaceriver.model import (
    COLUMN_NAME_BYTES_MAX,
    COLUMNS_MAX,
    Actor,
    Column,
    EventSelector,
    Message,
    definition,
    model_of,
    model_of_definition,
    model_of_schema,
    read_document,
    write_document,
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Address:
    street: str
    city: str | None = None


class Line(msgspec.Struct, frozen=True):
    price: Decimal
    quantity: int = 1


class Extra(TypedDict, total=False):
    note: str


class Order(Actor):
    customer: str
    total: Decimal
    state: Literal["open", "approved", "rejected"] = "open"
    parts: int = 0
    weight: float | None = None
    urgent: bool = False
    at: datetime | None = None
    day: date = date(2026, 11, 22)
    key: UUID | None = None
    colour: Colour = Colour.RED
    discount: Decimal | None = Decimal("0.10")
    lines: list[Line] = msgspec.field(default_factory=list)
    pair: tuple[int, str] | None = None
    address: Address | None = None
    by_name: dict[str, Decimal] = msgspec.field(default_factory=dict)
    by_colour: dict[Colour, int] = msgspec.field(default_factory=dict)
    parent: Order | None = None
    extra: Extra | None = None
    anything: Any = None
    code: Annotated[str, msgspec.Meta(pattern="^[A-Z]*$", max_length=5)] = ""
    rank: Annotated[int, msgspec.Meta(ge=1, lt=10)] = 1
    made: datetime | None = msgspec.field(name="created", default=None)


class Closed(Actor, closed=True):
    name: str


class Approve(Message[Order], action="modify"):
    state: Literal["approved"] = "approved"
    discount: Decimal = Decimal("0.50")


class AddLine(Message[Order], action="modify"):
    price: Decimal

    def fold(self, order: Order) -> Order:
        return order.replace(total=order.total + self.price)


MODEL = model_of(Order)


def test_an_actor_is_a_value() -> None:
    order = Order(customer="Ada", total=Decimal("2500"))
    assert order == Order(customer="Ada", total=Decimal("2500"), state="open")
    assert order.replace(customer="Eve").customer == "Eve"
    assert order.customer == "Ada"
    assert repr(Closed(name="x")) == "Closed(name='x')"
    with pytest.raises(AttributeError):
        order.customer = "Eve"  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        Closed("x")  # type: ignore[call-arg]  # that is the point
    with pytest.raises(TypeError):
        Closed()  # type: ignore[call-arg]  # that is the point


def test_an_actor_class_names_its_events() -> None:
    assert Order.created == EventSelector(actor_type="Order", action="created")
    assert (Order.modified.action, Order.cancelled.action) == ("modified", "cancelled")


def test_a_class_becomes_a_schema() -> None:
    properties = model_of(Order).schema["properties"]
    assert properties["customer"] == {"type": "string"}
    assert properties["total"] == {"type": "number"}
    assert properties["discount"] == {"anyOf": [{"type": "number"}, {"type": "null"}], "default": Decimal("0.10")}
    assert properties["state"] == {"enum": ["approved", "open", "rejected"], "default": "open"}
    assert properties["at"]["anyOf"] == [{"type": "string", "format": "date-time"}, {"type": "null"}]
    assert properties["day"] == {"type": "string", "format": "date", "default": "2026-11-22"}
    assert properties["colour"] == {"enum": ["red", "blue"], "default": "red"}
    assert properties["lines"] == {"type": "array", "items": {"$ref": "#/$defs/Line"}, "default": []}
    assert properties["parent"]["anyOf"][0] == {"$ref": "#"}
    assert properties["by_colour"]["propertyNames"] == {"enum": ["red", "blue"]}
    assert properties["code"] == {"type": "string", "maxLength": 5, "pattern": "^[A-Z]*$", "default": ""}
    assert properties["rank"] == {"type": "integer", "minimum": 1, "exclusiveMaximum": 10, "default": 1}
    assert "created" in properties
    assert model_of(Order).schema["required"] == ["customer", "total"]
    assert model_of(Order).schema["$defs"]["Line"]["required"] == ["price"]


def test_a_create_may_leave_out_what_has_a_default() -> None:
    assert model_of(Order).validator.accepts({"customer": "Ada", "total": 1})
    offences = model_of(Order).validator.offences({"customer": 1, "lines": [{}]})
    assert {each.pointer for each in offences} == {"/body/total", "/body/customer", "/body/lines/0/price"}


def test_a_model_is_open_unless_it_says_otherwise() -> None:
    assert model_of(Order).validator.accepts({"customer": "Ada", "total": 1, "more": 2})
    assert model_of(Closed).validator.offences({"name": "a", "more": 1}) == (
        Offence("/body/more", "is not expected here"),
    )

    class Heir(Closed):
        pass

    class OpenHeir(Closed, closed=False):
        pass

    assert not model_of(Heir).validator.accepts({"name": "a", "more": 1})
    assert model_of(OpenHeir).validator.accepts({"name": "a", "more": 1})


TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
DECIMALS = st.decimals(-(10**40), 10**40, places=20)
ORDERS = st.builds(
    Order,
    customer=TEXTS,
    total=DECIMALS,
    parts=st.integers(),
    weight=st.none() | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    urgent=st.booleans(),
    at=st.none() | TIMES,
    day=st.dates(),
    key=st.none() | st.uuids(),
    colour=st.sampled_from(Colour),
    lines=st.lists(st.builds(Line, price=DECIMALS, quantity=st.integers()), max_size=2),
    pair=st.none() | st.tuples(st.integers(), TEXTS),
    address=st.none() | st.builds(Address, street=TEXTS),
    by_name=st.dictionaries(TEXTS, DECIMALS, max_size=2),
    by_colour=st.dictionaries(st.sampled_from(Colour), st.integers(), max_size=2),
    anything=st.none() | TEXTS | st.integers() | DECIMALS | st.lists(DECIMALS, max_size=2),
)


@given(ORDERS)
def test_every_instance_is_written_as_its_schema_says_and_read_back_the_same(order: Order) -> None:
    text = write_document(order)
    assert MODEL.validator.offences(jsontext.read(text.encode())) == ()
    assert read_document(Order, text) == order


@given(
    st.fixed_dictionaries(
        {"customer": TEXTS | st.none(), "total": st.sampled_from([1, Decimal("1.0"), Decimal("1e2"), "1", None])},
        optional={
            "parts": st.sampled_from([1, Decimal("1.00"), Decimal("1e3"), Decimal("1.5"), 10**30, "1", True]),
            "weight": st.sampled_from([1, Decimal("0.1"), Decimal("1e-308"), None, "1"]),
            "at": st.sampled_from(
                ["2026-11-22T10:00:00Z", "2026-11-22t10:00:00.123456789+05:00", "2026-11-22", "x", None]
            ),
            "day": st.sampled_from(["2026-11-22", "2026-11-22T10:00:00Z", "0000-01-01", None]),
            "key": st.sampled_from([str(UUID(int=1)), UUID(int=1).hex, "x"]),
            "colour": st.sampled_from(["red", "green", "RED", 1]),
            "lines": st.sampled_from(
                [[], [{"price": 1}], [{"price": 1, "quantity": Decimal("2.0")}], [{}], [None], {}]
            ),
            "pair": st.sampled_from([[1, "a"], [Decimal("1.0"), "a"], [1], [1, "a", 2], None]),
            "address": st.sampled_from([{"street": "x"}, {"street": "x", "city": 1}, {}, "x"]),
            "by_colour": st.sampled_from([{"red": 1}, {"green": 1}, {"red": "x"}]),
            "parent": st.sampled_from([None, {"customer": "a", "total": 1}, {"customer": "a"}]),
            "rank": st.sampled_from([0, 1, 9, 10, Decimal("9.0")]),
            "extra": st.sampled_from([{}, {"note": "x"}, {"note": 1}]),
        },
    )
)
def test_what_the_schema_accepts_is_just_what_the_class_can_read(value: dict[str, Any]) -> None:
    accepted = MODEL.validator.accepts(value)
    try:
        read_document(Order, jsontext.write(value))
        readable = True
    except Invalid:
        readable = False
    assert readable or not accepted
    # A class takes a little more: a number in a string, a UUID without hyphens, a time without its offset.
    if readable and not accepted:
        assert value["total"] == "1" or value.get("key") == UUID(int=1).hex


def test_numbers_are_read_exactly_also_where_anything_goes() -> None:
    text = (
        '{"customer":"a","total":0.12345678901234567890,"parts":123456789012345678901234567890,"anything":[1.10,1e2]}'
    )
    order = read_document(Order, text)
    assert (str(order.total), order.parts) == ("0.12345678901234567890", 123456789012345678901234567890)
    assert [str(each) for each in order.anything] == ["1.10", "1E+2"]
    assert read_document(Order, '{"customer":"a","total":1,"parts":1.00,"pair":[1e1,"a"]}').pair == (10, "a")


def test_a_document_of_another_kind_is_not_read() -> None:
    with pytest.raises(Invalid, match="cannot be read as Order: Expected `str`, got `int`"):
        read_document(Order, '{"customer":1,"total":1}')


def columns(schema: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    model = model_of_schema("T", {"type": "object", "properties": schema, **more})
    return [(each.name, each.kind) for each in model.columns]


def test_scalar_members_of_one_type_become_columns() -> None:
    assert [(each.name, each.kind) for each in model_of(Order).columns] == [
        ("customer", "text"),
        ("total", "numeric"),
        ("state", "text"),
        ("parts", "numeric"),
        ("weight", "numeric"),
        ("urgent", "boolean"),
        ("at", "timestamptz"),
        ("day", "date"),
        ("key", "text"),
        ("colour", "text"),
        ("discount", "numeric"),
        ("code", "text"),
        ("rank", "numeric"),
        ("created", "timestamptz"),
    ]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": ["string", "null"]}, "text"),
        ({"type": ["integer", "number"]}, "numeric"),
        ({"enum": ["a", "b", None]}, "text"),
        ({"enum": [1, Decimal("2.5")]}, "numeric"),
        ({"const": "a"}, "text"),
        ({"const": True}, "boolean"),
        ({"type": "string", "format": "date-time", "default": None}, "timestamptz"),
        ({"oneOf": [{"type": "string", "format": "date"}, {"type": "null"}]}, "date"),
        ({"$ref": "#/$defs/a"}, "text"),
        ({"anyOf": [{"$ref": "#/$defs/a"}, {"const": "none"}]}, "text"),
        ({"type": ["string", "number"]}, None),
        ({"enum": ["a", 1]}, None),
        ({"enum": [None]}, None),
        ({"const": [1]}, None),
        ({"type": "null"}, None),
        ({"type": "object"}, None),
        ({"type": "array"}, None),
        ({"anyOf": [{"type": "string"}, {"type": "string", "format": "date"}]}, None),
        ({"anyOf": [{"type": "string"}, {}]}, None),
        ({"format": "date"}, None),
        ({}, None),
        (True, None),
    ],
)
def test_only_what_a_column_can_always_hold_becomes_one(schema: Any, kind: str | None) -> None:
    assert columns({"a": schema}, **{"$defs": {"a": {"type": "string"}}}) == ([("a", kind)] if kind else [])


def test_names_that_a_table_cannot_have_get_no_column() -> None:
    longest = "x" * COLUMN_NAME_BYTES_MAX
    names = ["document", "xmin", "ctid", "", longest + "x", "\N{SNOWMAN}" * 22, longest, "Total", "total", 'q"']
    assert [name for name, _ in columns({name: {"type": "string"} for name in names})] == [
        longest,
        "Total",
        "total",
        'q"',
    ]


def test_a_view_has_a_bounded_number_of_columns() -> None:
    assert len(columns({f"c{n}": {"type": "string"} for n in range(COLUMNS_MAX + 1)})) == COLUMNS_MAX


def test_a_schema_with_system_names_is_refused_by_pointer() -> None:
    with pytest.raises(Invalid) as caught:
        columns({"actor_id": {}, "ok": {}, "actor_/x": {}})
    assert [each.pointer for each in caught.value.errors] == ["/properties/actor_id", "/properties/actor_~1x"]


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a/b", "\u00e9", "x" * 64, "a b"])
def test_a_type_has_a_plain_name(name: str) -> None:
    with pytest.raises(Invalid, match="actor type"):
        model_of_schema(name, {"type": "object"})


def declared(name: str, bases: tuple[Any, ...], annotations: dict[str, Any], **rest: Any) -> Callable[[], Any]:
    """A class statement, made when called."""
    return lambda: type(bases[0])(name, bases, {"__annotations__": annotations, "__module__": __name__}, **rest)


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        (declared("T", (Actor,), {"actor_id": str}), "system"),
        (declared("T", (Actor,), {"created": str}), r'field\(name="created"\)'),
        (declared("T", (Actor,), {"replace": str}), "replace"),
        (declared("\u00e9", (Actor,), {}), "actor type"),
        (declared("M", (Message,), {}, action="modify"), r"Message\[Order\]"),
        (declared("M", (Approve,), {"fold": str}), "fold"),
    ],
)
def test_a_class_that_cannot_be_is_refused_where_it_is_defined(statement: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        statement()


def test_a_message_class_says_what_it_does() -> None:
    with pytest.raises(TypeError, match="must say what it is for"):

        class NoAction(Message[Order]):
            pass

    with pytest.raises(TypeError, match="has the action 'delete'"):

        class Delete(Message[Order], action="delete"):
            pass

    with pytest.raises(TypeError, match="cannot have a fold"):

        class Place(Message[Order], action="create"):
            def fold(self, order: Order) -> Order:
                return order

    assert set(Order.__message_types__) == {"Approve", "AddLine"}


def test_two_message_types_of_one_actor_have_two_names() -> None:
    def define() -> type[Message[Closed]]:
        class Rename(Message[Closed], action="modify"):
            name: str

        return Rename

    again = [define(), define()][1]
    assert Closed.__message_types__["Rename"] is again
    with pytest.raises(TypeError, match="two message types called Rename"):

        class Rename(Message[Closed], action="modify"):
            pass


@pytest.mark.parametrize("kind", [set[str], bytes, Decimal | set[int], dict[int, str], list[memoryview], object])
def test_a_type_without_one_form_in_json_is_refused(kind: Any) -> None:
    cls = declared("T", (Actor,), {"a": kind})()
    with pytest.raises(TypeError, match="T has a field of type"):
        model_of(cls)


def test_classes_of_one_name_stay_apart_in_a_schema() -> None:
    other = msgspec.defstruct("Line", [("x", int)])
    cls = declared("T", (Actor,), {"a": Line, "b": other})()
    schema = model_of(cls).schema
    assert schema["$defs"]["Line"]["required"] == ["price"]
    assert schema["properties"]["b"] == {"$ref": "#/$defs/Line_"}
    assert schema["$defs"]["Line_"]["required"] == ["x"]


def test_a_tagged_choice_of_classes_is_told_by_its_tag() -> None:
    card = msgspec.defstruct("Card", [("number", str)], tag=True)
    cash = msgspec.defstruct("Cash", [], tag=True)
    model = model_of(declared("T", (Actor,), {"paid": card | cash})())
    assert model.validator.accepts({"paid": {"type": "Cash"}})
    assert model.validator.accepts({"paid": {"type": "Card", "number": "1"}})
    assert not model.validator.accepts({"paid": {"type": "Card"}})


def test_message_types_know_their_bodies_and_their_defaults() -> None:
    types = model_of(Order).message_types
    assert list(types) == ["AddLine", "Approve"]
    assert types["Approve"].defaults == '{"state":"approved","discount":0.50}'
    assert types["Approve"].validator.offences({"state": "open"})[0].pointer == "/body/state"
    assert types["AddLine"].validator.offences({}) == (Offence("/body/price", "is required"),)
    assert types["Approve"].fold is None
    assert types["AddLine"].fold is AddLine.fold


def test_a_blue_page_is_plain_json_and_makes_the_model_again() -> None:
    model = model_of(Order, version=3)
    page = jsontext.read(jsontext.write(definition(model)).encode())
    assert set(page) == {"schema", "messages", "fold_digest"}
    assert page["messages"]["AddLine"]["folded"] is True
    again = model_of_definition("Order", page, 3, Order)
    assert again == model
    alone = model_of_definition("Order", page, 3)
    assert definition(alone) == definition(model)
    assert (alone.columns, alone.python, alone.message_types["AddLine"].fold) == (model.columns, None, None)
    assert alone.message_types["AddLine"].folded


def test_a_schema_makes_the_same_page_as_a_class() -> None:
    page = definition(model_of_schema("Closed", model_of(Closed).schema))
    assert page == {"schema": model_of(Closed).schema, "messages": {}, "fold_digest": None}
    assert model_of_definition("Closed", page, 1).columns == (Column("name", "text"),)


APP = """
from decimal import Decimal
from peaceriver.model import Actor, Message

class Account(Actor):
    balance: Decimal

class Deposit(Message[Account], action="modify"):
    amount: Decimal

    def fold(self, account: Account) -> Account:
        return account.replace(balance=account.balance + self.amount)
"""
_numbers = itertools.count()


def load(folder: Path, source: str) -> ModuleType:
    path = folder / f"app_{next(_numbers)}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digest(folder: Path, source: str) -> str | None:
    return model_of(load(folder, source).Account).fold_digest


def test_the_digest_of_a_fold_is_of_what_it_does_and_not_of_how_it_looks(tmp_path: Path) -> None:
    first = digest(tmp_path, APP)
    assert first is not None
    assert len(bytes.fromhex(first)) == 32
    laid_out = APP.replace(
        "        return account.replace(balance=account.balance + self.amount)",
        '        """Add the amount."""\n        # Said otherwise.\n\n        return account.replace(\n'
        "            balance=(account.balance + self.amount),\n        )",
    )
    assert digest(tmp_path, laid_out) == first
    assert digest(tmp_path, APP.replace(" + ", " - ")) != first
    assert digest(tmp_path, APP.replace("class Deposit", "class PayIn")) != first
    assert digest(tmp_path, APP.split("    def fold")[0]) is None


def test_changed_fold_code_under_a_published_version_is_refused(tmp_path: Path) -> None:
    page = definition(model_of(load(tmp_path, APP).Account))
    assert model_of_definition("Account", page, 1, load(tmp_path, APP + "\n# more\n").Account).fold_digest
    for changed in (APP.replace(" + ", " - "), APP.split("    def fold")[0]):
        with pytest.raises(StartFailed, match="version 1"):
            model_of_definition("Account", page, 1, load(tmp_path, changed).Account)


def test_a_fold_whose_source_nobody_can_read_is_refused() -> None:
    names: dict[str, Any] = {"__name__": __name__}
    exec(APP, names)
    with pytest.raises(TypeError, match=r"source of Deposit\.fold cannot be read"):
        model_of(names["Account"])
