"""Kept views: which aggregates can be kept up to date record by record, as values. Pure.

An aggregate over the actors of one type, by GROUP BY or as one group, whose parts can be brought along: what an actor
was is taken out of its group, and what it is goes into its group. Expressions are SQL text over the columns of one
relation, with all that a query gets before it runs; whoever makes them has checked them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import msgspec
from sqlglot import exp

from peaceriver.errors import Invalid, Offence
from peaceriver.query import allowed
from peaceriver.query.dialect import written
from peaceriver.query.one_form import makes_one_of_equals
from peaceriver.query.statement import made_to_run

Function = Literal["count", "sum", "avg", "min", "max"]
#: What a select may have besides what is selected, and what it must not have, as people say it.
_TAKEN = {"expressions", "from_", "where", "group"}
#: What a relation may have in FROM.
_NAMED = {"this", "alias"}
_CLAUSES = {
    "with_": "WITH",
    "joins": "a join",
    "laterals": "a LATERAL",
    "having": "HAVING",
    "order": "ORDER BY",
    "limit": "LIMIT",
    "offset": "OFFSET",
    "distinct": "DISTINCT",
    "windows": "WINDOW",
    "qualify": "QUALIFY",
    "locks": "FOR UPDATE",
}
_INSIDE: tuple[tuple[tuple[type[exp.Expr], ...], str], ...] = (
    ((exp.Query, exp.Exists), "a subquery"),
    ((exp.Window,), "a window"),
    ((exp.Placeholder, exp.Parameter), "a host variable"),
    ((exp.Distinct,), "DISTINCT"),
    ((exp.Star,), "*"),
    ((exp.Order,), "an ORDER BY"),
)
#: ``scale``: how many decimals the numbers of a sum have, for the sum has as many.
PartKind: TypeAlias = Literal["count", "sum", "scale", "min", "max"]


class Key(NamedTuple):
    """One expression that actors are grouped by."""

    name: str
    expression: str


class Aggregate(NamedTuple):
    """One aggregate of the actors of a group; ``argument`` is None for ``count(*)``."""

    name: str
    function: Function
    argument: str | None


class Part(NamedTuple):
    """A number or value that a group keeps, of which answers are made."""

    kind: PartKind
    argument: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate over the actors of one type that can be kept."""

    name: str
    actor_type: str
    keys: tuple[Key, ...]
    aggregates: tuple[Aggregate, ...]
    condition: str | None
    #: Names of keys and aggregates, in the order of the answer.
    columns: tuple[str, ...]
    #: The columns of the relation that the expressions are over.
    fields: tuple[str, ...]
    #: Whether the relation's numbers are without trailing zeros, as in the query.
    alike: bool

    @property
    def arguments(self) -> tuple[str, ...]:
        """The expressions that are aggregated, each once."""
        return tuple(dict.fromkeys(each.argument for each in self.aggregates if each.argument is not None))

    @property
    def parts(self) -> tuple[Part, ...]:
        """What each group keeps besides how many actors it has, each once."""
        return tuple(dict.fromkeys(part for each in self.aggregates for part in _parts(each)))


def _parts(aggregate: Aggregate) -> Iterator[Part]:
    if aggregate.argument is None:
        return
    if aggregate.function in ("count", "sum", "avg"):
        yield Part("count", aggregate.argument)
    if aggregate.function in ("sum", "avg"):
        yield Part("sum", aggregate.argument)
        yield Part("scale", aggregate.argument)
    elif aggregate.function in ("min", "max"):
        yield Part(aggregate.function, aggregate.argument)


def definition(name: str, select: exp.Query) -> Kept:
    """A select as a kept view; raises Invalid, saying why, where it cannot be kept.

    Identifiers in it are names of columns to the letter; one relation is selected from, named like an actor type.
    """
    if not isinstance(select, exp.Select):
        raise _unfit(name, "it is not a single SELECT")
    _defined(name, select, alike=False)  # what is wrong is said of what came
    runs = select.copy()
    made_to_run(runs)
    return _defined(name, runs, alike=makes_one_of_equals(select))


def _defined(name: str, select: exp.Select, *, alike: bool) -> Kept:
    actor_type = _relation(name, select)
    select = _unqualified(select)
    keys: list[Key] = []
    aggregates: list[Aggregate] = []
    groups = _groups(name, select)
    columns: list[str] = []
    for item in select.expressions:
        inner = item.unalias()
        output = item.alias or (inner.name if isinstance(inner, exp.Column) else "")
        if (aggregate := _aggregate(name, inner, output)) is not None:
            aggregates.append(aggregate)
            columns.append(aggregate.name)
        elif inner in groups:
            keys.append(Key(output or _unnamed(name, inner), _text(name, inner)))
            columns.append(output)
        else:
            raise _unfit(name, f"{_written(inner)} is neither one of {_listed()} nor in GROUP BY")
    condition = select.args.get("where")
    if not aggregates:
        raise _unfit(name, f"nothing is aggregated in it; it takes at least one of {_listed()}")
    if missing := [each for each in groups if not any(each == item.unalias() for item in select.expressions)]:
        raise _unfit(name, f"{_written(missing[0])} is in GROUP BY and must be selected, too")
    if len(set(columns)) < len(columns):
        raise _unfit(name, "two of its columns have the same name; name them apart with AS")
    return Kept(
        name=name,
        actor_type=actor_type,
        keys=tuple(keys),
        aggregates=tuple(aggregates),
        condition=None if condition is None else _text(name, condition.this),
        columns=tuple(columns),
        fields=_fields([*select.expressions, *([condition] if condition else [])]),
        alike=alike,
    )


def _fields(expressions: Iterable[exp.Expr]) -> tuple[str, ...]:
    return tuple(sorted({column.name for each in expressions for column in each.find_all(exp.Column)}))


def _relation(name: str, select: exp.Select) -> str:
    for clause, value in select.args.items():
        if value and clause not in _TAKEN:
            raise _unfit(name, f"{_CLAUSES.get(clause, clause)} is not kept; say it when you read the view")
    source = select.args.get("from_")
    table = source.this if source is not None else None
    if not isinstance(table, exp.Table) or any(value and key not in _NAMED for key, value in table.args.items()):
        raise _unfit(name, "it must select from exactly one model")
    return table.name


def _unqualified(select: exp.Select) -> exp.Select:
    """The same with columns by their names alone: there is only one relation."""

    def plain(node: Any) -> Any:
        is_column = isinstance(node, exp.Column) and not isinstance(node.this, exp.Star)
        return exp.column(node.name, quoted=True) if is_column else node

    changed: exp.Select = select.copy().transform(plain)
    return changed


def _groups(name: str, select: exp.Select) -> list[exp.Expr]:
    group = select.args.get("group")
    if group is None:
        return []
    if any(value for clause, value in group.args.items() if clause != "expressions"):
        raise _unfit(name, "it may be grouped by expressions only, without ROLLUP, CUBE or GROUPING SETS")
    return [_grouped(name, select, each) for each in group.expressions]


def _grouped(name: str, select: exp.Select, by: exp.Expr) -> exp.Expr:
    """What GROUP BY means by an expression: a place in the select list, a name given there, or just that."""
    items = select.expressions
    if isinstance(by, exp.Literal) and by.is_int:
        if not 1 <= int(by.name) <= len(items):
            raise _unfit(name, f"GROUP BY {by.name} is no place in the select list")
        item: exp.Expr = items[int(by.name) - 1].unalias()
        return item
    if isinstance(by, exp.Column) and by not in [each.unalias() for each in items]:
        named = [each.unalias() for each in items if isinstance(each, exp.Alias) and each.alias == by.name]
        # A column of that name would come first: where it is in there, it is not clear what is meant.
        if len(named) == 1 and not any(each.name == by.name for each in named[0].find_all(exp.Column)):
            return named[0]
    return by


def _aggregate(name: str, expression: exp.Expr, output: str) -> Aggregate | None:
    inner = _without_filter(expression)
    called = allowed.function_name(inner)
    function = next((each for each in get_args(Function) if each == called), None)
    if function is None:
        return None
    if len(inner.expressions) != 1:
        raise _unfit(name, f"{called} takes one argument, and {_written(inner)} has others")
    argument = inner.expressions[0]
    if isinstance(argument, exp.Star):
        argument = None
    if isinstance(expression, exp.Filter):
        condition = expression.expression.this
        argument = exp.Case().when(condition, argument or exp.Literal.number(1))
    return Aggregate(output or function, function, None if argument is None else _text(name, argument))


def _without_filter(expression: Any) -> Any:
    return expression.this if isinstance(expression, exp.Filter) else expression


def _text(name: str, expression: exp.Expr) -> str:
    """An expression as SQL; raises Invalid where it has something in it that cannot be kept."""
    for node in expression.walk():
        if allowed.function_name(node) in allowed.AGGREGATES:
            raise _unfit(name, f"{_written(node)} stands where no aggregate can be kept")
        for kinds, what in _INSIDE:
            if isinstance(node, kinds):
                raise _unfit(name, f"{what} is in {_written(expression)}")
    return _written(expression)


def _written(expression: exp.Expr) -> str:
    return written(expression)


def _unnamed(name: str, expression: exp.Expr) -> str:
    raise _unfit(name, f"{_written(expression)} needs a name; give it one with AS")


def _listed() -> str:
    return ", ".join(get_args(Function))


def _unfit(name: str, why: str) -> Invalid:
    return Invalid(f"{name} cannot be kept: {why}", errors=(Offence("", why),))
