"""Models and statements that tests of the query language share: each statement with what its host variables get."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import (
    ARRAY,
    Integer,
    Interval,
    Numeric,
    String,
    Text,
    Time,
    and_,
    any_,
    between,
    case,
    cast,
    column,
    distinct,
    except_,
    exists,
    extract,
    intersect,
    lateral,
    literal,
    literal_column,
    not_,
    null,
    or_,
    text,
    true,
    tuple_,
    union,
    union_all,
    values,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH, aggregate_order_by, array, distinct_on

from peaceriver import Actor, aliased, bindparam, col, func, relation, select


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct, frozen=True):
    sku: str
    price: Decimal


class Order(Actor):
    customer: str
    total: Decimal
    parts: int = 0
    weight: float | None = None
    urgent: bool = False
    at: datetime | None = None
    day: date | None = None
    state: Literal["open", "approved"] = "open"
    colour: Colour = Colour.RED
    key: UUID | None = None
    lines: list[Line] = msgspec.field(default_factory=list)
    kind: str = msgspec.field(name="the kind: 100%", default="usual")
    group: str = ""
    mro: int = 0
    metadata: str = ""
    own: str = msgspec.field(name="document", default="")


class Customer(Actor):
    name: str
    region: str = "north"
    limit: Decimal | None = None


class Employee(Actor):
    name: str
    chief: str | None = None


Invoice: Any = relation("Invoice", total=Decimal, due=date)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def statements() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    yield from _plain()
    yield from _conditions()
    yield from _documents()
    yield from _grouped()
    yield from _joined()
    yield from _nested()


def _plain() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    o: Any = aliased(Order, "o")
    yield "a model", select(Order), {}
    yield "an alias", select(o), {}
    yield "a model and an expression", select(Order, col(Order.total) * 2), {}
    yield "every column", select(*Order.__clause_element__().c, Order.lines), {}
    yield "a renamed field", select(Order.kind).where(col(Order.kind) == "it's: 100% \\ so::called"), {}
    yield "names that SQL has", select(Order.group, Order.mro, Order.metadata).order_by(Order.group), {}
    yield "a field called document", select(Order.own, Order.document["document"].astext), {}
    yield (
        "top",
        select(Order.actor_id, Order.total)
        .where(col(Order.customer).like(bindparam("customer")))
        .order_by(col(Order.total).desc(), Order.actor_id)
        .limit(bindparam("top")),
        {"customer": "A%", "top": 2},
    )
    yield "a page", select(Order.actor_id).order_by(Order.actor_id).limit(2).offset(1), {}
    yield "with ties", select(Order.total).order_by(col(Order.total)).fetch(1, with_ties=True), {}
    yield "fetch a share", select(Order.total).order_by(Order.actor_id).fetch(bindparam("n", type_=Integer)), {"n": 2}
    yield "distinct", select(Order.customer).distinct(), {}
    yield (
        "distinct on",
        select(Order.customer, Order.total)
        .ext(distinct_on(Order.customer))
        .order_by(Order.customer, col(Order.total).desc()),
        {},
    )
    yield "nulls last", select(Order.at).order_by(col(Order.at).desc().nulls_last(), Order.actor_id), {}
    yield (
        "numbers",
        select(
            col(Order.parts) // 2, col(Order.parts) / 2, col(Order.parts) % 2, -col(Order.parts), col(Order.total) - -1
        ),
        {},
    )
    yield "large numbers", select(Order.total).where(col(Order.total) < 2**80, col(Order.parts) < 2**70), {}
    yield "literals", select(literal(None), literal("x"), literal(-1) - literal(-1), literal(Decimal("-1.50"))), {}
    yield "without a table", select(func.coalesce(bindparam("a"), literal(7)).label("a")), {"a": None}
    yield "text within", select(Order.total).where(text("customer = :who and '\\:no'::text <> '%x'")), {"who": "Ada"}
    yield "a literal column", select(literal_column("total::text || ':y'", Text)).select_from(Order), {}
    yield "concatenated", select(col(Order.customer) + " & " + col(Order.state)), {}
    yield "collated", select(Order.customer).order_by(col(Order.customer).collate("POSIX")), {}
    yield "an array", select(array([col(Order.customer), "x"]), array([1, 2]), array([], type_=Text)), {}
    some = array([1, 2, 3])
    yield "parts of an array", select(some[2], some[1:2], some[bindparam("a", type_=Integer) : 3]), {"a": 2}
    yield "names to quote", select(col(Order.total).label('a:b "c" %d'), func.upper("ä:x").label("select")), {}
    yield "values", _values(), {}
    yield "a series", select(func.generate_series(1, 3).table_valued("n").render_derived().c.n), {}
    yield "unnested", select(func.unnest(array(["a", "b"])).column_valued("x")), {}


def _values() -> Any:
    rates = values(column("region", Text), column("rate", Numeric), name="rates").data(
        [("north", Decimal("0.1")), ("so'uth", Decimal(2))]
    )
    return select(Customer.name, rates.c.rate).join_from(Customer, rates, rates.c.region == Customer.region)


def _conditions() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    total, customer = col(Order.total), col(Order.customer)
    for name, condition, given in (
        ("and, or, not", and_(or_(total > 5, col(Order.urgent)), not_(customer == "Eve")), {}),
        ("between", between(total, 1, bindparam("most")), {"most": Decimal("10.5")}),
        ("in", customer.in_(["Ada", "it's"]), {}),
        ("in nothing", customer.in_([]), {}),
        ("not in nothing", customer.not_in([]), {}),
        ("in variables", customer.in_(bindparam("who")), {"who": ["Ada", "Eve"]}),
        ("in no variables", customer.in_(bindparam("who", expanding=True)), {"who": []}),
        ("in numbers", total.in_([1, Decimal("2.5"), 10]), {}),
        ("tuples in", tuple_(customer, total).in_([("Ada", 10), ("it's", 2)]), {}),
        ("any", customer == any_(bindparam("who", type_=ARRAY(Text))), {"who": ["Ada", "it's"]}),
        ("any of literals", customer == any_(array(["Ada", "Eve"])), {}),
        ("null", or_(col(Order.at).is_(None), col(Order.day) == null()), {}),
        ("distinct from", col(Order.weight).is_distinct_from(0.5), {}),
        ("a float", col(Order.weight) == 0.1, {}),
        ("a bool", Order.urgent == true(), {}),
        ("a moment", col(Order.at) >= NOON, {}),
        ("a day", col(Order.day) == date(2026, 11, 22), {}),
        ("an enum", col(Order.colour) == Colour.BLUE, {}),
        ("a uuid", col(Order.key) == bindparam("key"), {"key": UUID(int=5)}),
        ("ilike", customer.ilike("a%", escape="\\"), {}),
        ("contains", customer.contains("_%", autoescape=True), {}),
        ("matches", customer.regexp_match("^[A-E]"), {}),
        ("similar", customer.op("similar to")("(A|E)%"), {}),
        ("a year", extract("year", col(Order.at)) == 2026, {}),
        ("cut to a day", func.date_trunc("day", col(Order.at)) == func.date_trunc("day", NOON), {}),
        ("a day later", col(Order.at) + timedelta(days=1, seconds=0.5) > NOON, {}),
        ("an hour before", col(Order.at) - bindparam("ago", type_=Interval) < NOON, {"ago": timedelta(hours=1)}),
        ("a time of day", cast(col(Order.at), Time) != time(12, 30), {}),
        ("not before", func.coalesce(Order.at, NOON) >= NOON, {}),
        ("any of a query", customer == any_(select(Customer.name).scalar_subquery()), {}),
        ("a pair", tuple_(customer, total) > tuple_("Ada", 1), {}),
        ("replaced", col(Order.customer).regexp_replace("[a-c]", "\\\\&:x", flags="gi") != "%(x)s", {}),
        ("much", total.in_(list(range(200))), {}),
        ("a variable twice", and_(customer >= bindparam("x"), col(Order.state) > bindparam("x")), {"x": "A"}),
        ("named like a value", and_(customer == bindparam("total_1"), total > 1), {"total_1": "Ada"}),
    ):  # fmt: skip
        yield name, select(Order.actor_id, Order.total).where(condition), given


def _documents() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    city = Order.document["delivery", "city"].astext
    document: Any = cast(Order.document, JSONB)
    yield "a path", select(Order.actor_id).where(city == bindparam("city")), {"city": "Ulm"}
    yield "a path twice", select(Order.document["delivery", "city"].astext, func.count()).group_by(city), {}
    yield "a list", select(Order.lines, col(Order.lines)[0]["sku"].astext), {}
    yield "a number in it", select(Order.document["lines", 0, "price"].astext.cast(Numeric)), {}
    yield "contained", select(Order.actor_id).where(document.contains({"delivery": {"city": "Ulm"}})), {}
    yield "has a key", select(Order.actor_id).where(document.has_key("delivery")), {}
    yield (
        "a JSON path",
        select(func.jsonb_path_exists(document, cast('$.lines[*] ? (@.price > 1 && @.sku != "a:b")', JSONPATH))),
        {},
    )
    line = func.json_array_elements(Order.lines).table_valued("value", joins_implicitly=True).alias("line")
    yield "each line", select(Order.actor_id, line.c.value.op("->>")("sku")).select_from(Order).join(line, true()), {}
    yield "a JSONB member", select(document["delivery"]["city"].astext, document["lines"][0]), {}
    yield "a JSONB path", select(document["delivery", "city"]), {}
    yield "a JSON number", select(Order.document["lines", 0, "price"].as_integer(), Order.document["x"].as_string()), {}
    yield "every member", select(func.jsonb_object_keys(document).column_valued("word")).select_from(Order), {}
    yield "without a member", select(document.op("-")("lines"), document.concat({"a": "it's"})), {}
    yield "made", select(func.json_build_object("who", Order.customer, "n", col(Order.parts))), {}


def _grouped() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    total, customer = col(Order.total), col(Order.customer)
    yield (
        "having",
        select(customer, func.sum(total)).group_by(customer).having(func.sum(total) > bindparam("least")),
        {"least": 5},
    )
    yield (
        "grouping sets",
        select(customer, Order.state, func.sum(total)).group_by(
            func.grouping_sets(tuple_(customer, Order.state), tuple_(customer), tuple_())
        ),
        {},
    )
    yield "rolled up", select(customer, func.grouping(customer)).group_by(func.rollup(customer, Order.state)), {}
    yield "a cube", select(customer, func.count()).group_by(func.cube(customer, Order.state)), {}
    yield "filtered", select(func.count().filter(total > 3), func.count(distinct(customer))), {}
    yield "within", select(func.percentile_cont(0.5).within_group(total), func.mode().within_group(customer)), {}
    yield "strung together", select(func.string_agg(customer, aggregate_order_by(literal("; "), total.desc()))), {}
    yield "gathered", select(func.array_agg(customer), func.max(col(Order.at)), func.avg(total)), {}
    kind = case((total > 5, "large"), (total > 1, "medium"), else_="small")
    again = case((total > 5, "large"), (total > 1, "medium"), else_="small")
    yield "by cases, twice", select(kind, func.count()).group_by(again).order_by(kind), {}
    yield "simple cases", select(case({"open": 1, "approved": 2}, value=col(Order.state), else_=0)), {}
    over = func.sum(total).over(partition_by=customer, order_by=Order.actor_id, rows=(-1, 0))
    yield "windows", select(over, func.row_number().over(order_by=total.desc()), func.lag(total, 1).over()), {}


def _joined() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    o, p = aliased(Order, "o"), aliased(Order)
    name, customer = col(Customer.name), col(Order.customer)
    yield "join", select(customer, Customer.region).join(Customer, name == customer), {}
    yield "outer", select(customer, Customer.region).select_from(Order).outerjoin(Customer, name == customer), {}
    yield "full", select(customer, name).select_from(Order).join(Customer, name == customer, full=True), {}
    yield "itself", select(o.total, p.total).join_from(o, p, col(o.customer) == p.customer), {}
    i = aliased(Invoice, "i")
    yield "a relation", select(Invoice.total, Invoice.due, Invoice["bill no"], Invoice.actor_id), {}
    yield "a relation whole", select(Invoice).where(Invoice.total > 1, Invoice.paid == "yes"), {}
    yield "its alias", select(i.total, i["bill no"]).join_from(i, Invoice, i.actor_id == Invoice.actor_id), {}
    last = (
        select(o.total, o.lines).where(col(o.customer) == name).order_by(col(o.total).desc()).limit(1).lateral("last")
    )
    yield "lateral", select(name, last.c.total, last.c.lines).join(last, true()), {}
    yield "lateral function", select(name, lateral(select(func.upper(name).label("u")), "up").c.u), {}


def _nested() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    name, customer, total = col(Customer.name), col(Order.customer), col(Order.total)
    yield "exists", select(name).where(exists().where(customer == name)), {}
    yield "not exists", select(name).where(~select(Order.actor_id).where(customer == name).exists()), {}
    yield "in a query", select(name).where(name.in_(select(customer).where(total > bindparam("x")))), {"x": 1}
    yield "a scalar", select(name, select(func.sum(total)).where(customer == name).scalar_subquery().label("sum")), {}
    ranked = select(Order.actor_id, total, func.rank().over(order_by=total.desc()).label("place")).cte("ranked")
    yield "a CTE", select(ranked).where(ranked.c.place <= bindparam("k")), {"k": 2}
    inner = select(customer.label("who"), func.sum(total).label("sum")).group_by(customer).subquery("s")
    yield "a subquery", select(inner.c.who, inner.c.sum / 2).where(inner.c.sum > 1), {}
    yield "union", union(select(name), select(customer).where(total > 2)).order_by("name"), {}
    yield (
        "union all",
        union_all(select(name).limit(1), select(customer).where(customer == bindparam("n"))),
        {"n": "Ada"},
    )
    yield "except, intersect", except_(select(customer), intersect(select(name), select(literal("Ada")))), {}
    yield "a union in a CTE", select(union_all(select(name), select(customer)).cte("all names")), {}
    chief = aliased(Employee, "chief")
    tree = select(Employee.actor_id, Employee.chief, literal(0).label("depth")).where(
        col(Employee.chief).is_(None)
    ).cte("tree", recursive=True)  # fmt: skip
    below = select(chief.actor_id, chief.chief, tree.c.depth + 1).join(tree, col(chief.chief) == tree.c.actor_id)
    tree = tree.union_all(below)
    yield "a tree", select(tree).order_by(tree.c.depth, tree.c.actor_id), {}
    n = select(literal(1).label("n")).cte("n", recursive=True)
    n = n.union_all(select(n.c.n + 1).where(n.c.n < bindparam("most", type_=Integer)))
    yield "counting", select(func.sum(n.c.n)), {"most": 5}
    words = select(cast(literal("a"), Text).label("w")).cte("words", recursive=True)
    words = words.union_all(select(words.c.w + "b").where(func.length(words.c.w) < 4))
    yield "words", select(words.c.w.cast(String)), {}
