"""Making a statement answer the same bytes on every node: where SQL leaves an order open, it is given one. Pure.

PostgreSQL may return rows that are equal in their order in any order, and that depends on where they lie on disk. So
whatever depends on an order gets tie-breakers: the whole answer, LIMIT and OFFSET, DISTINCT ON, the aggregates and
window functions to which it matters. Of a model they are the sharding code and the actor's id; of everything else, the
row as text. Nothing else of the statement changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from sqlglot import exp

from peaceriver.query import allowed
from peaceriver.query.columns import function_of, grouped_by, sources
from peaceriver.query.depending import dependence
from peaceriver.query.guard import refused
from peaceriver.query.names import is_star, output_name
from peaceriver.query.trees import is_model, is_query

Expressions: TypeAlias = list[exp.Expr]
#: The alias of a statement around another one: nothing else is in its scope.
AROUND = "around"


def made_repeatable(tree: exp.Query) -> tuple[exp.Select, int]:
    """Give a checked statement its tie-breakers, in place; answers it, and how many columns at its end are only for
    its order and are to be left out of the answer. Raises Invalid for an order that cannot be made whole.
    """
    root = _around(tree) if isinstance(tree, exp.Values) else tree
    _name_sources(root)
    depends = dependence(root)
    for select in list(root.find_all(exp.Select)):
        _order_windows(select, depends)
        _order_aggregates(select, depends)
    for unit in [each for each in root.find_all(exp.Query) if each is not root and _is_cut(each)]:
        unit.replace(_ordered(unit))
    if _has_ties(root):
        return _with_ties_ordered(root)
    return _ordered(root), 0


def _is_cut(unit: exp.Query) -> bool:
    """Whether the order of a part of a statement decides on what is in it."""
    if isinstance(unit.parent, exp.Exists) or _has_ties(unit):
        return False
    if isinstance(unit.parent, exp.Anonymous) and allowed.function_name(unit.parent) == "array":
        return True
    distinct = unit.args.get("distinct")
    on = isinstance(distinct, exp.Distinct) and distinct.args.get("on") is not None
    return on or unit.args.get("limit") is not None or unit.args.get("offset") is not None


def _has_ties(unit: exp.Query) -> bool:
    limit = unit.args.get("limit")
    options = limit.args.get("limit_options") if isinstance(limit, exp.Fetch) else None
    return options is not None and bool(options.args.get("with_ties"))


# --- whole statements


def _ordered(unit: exp.Query) -> exp.Select:
    """A part of a statement with an order in which no two different rows are equal."""
    if not isinstance(unit, exp.Select) or _is_starry(unit):
        unit = _around(unit)
    _add_order(unit, _keys_of(unit))
    return unit


def _around(inner: exp.Query) -> exp.Select:
    """``SELECT * FROM (inner)``, which takes over its order and its limits."""
    moved = {name: inner.args[name] for name in ("order", "limit", "offset") if inner.args.get(name) is not None}
    inner = inner.copy()
    for name in moved:
        inner.set(name, None)
    while isinstance(inner, exp.Subquery) and not _is_more_than_parentheses(inner):
        inner = inner.this
    alias = exp.TableAlias(this=_name(AROUND))
    if isinstance(inner, exp.Values):
        inner.set("alias", alias)
        source: exp.Expr = inner
    else:
        source = exp.Subquery(this=inner, alias=alias)
    around = exp.Select(expressions=[exp.Star()], from_=exp.From(this=source))
    for name, value in moved.items():
        around.set(name, value.copy())
    if "order" in moved:
        for column in around.args["order"].find_all(exp.Column):
            column.set("table", None)  # of what is inside, the names of its columns are all that is known here
    return around


def _is_more_than_parentheses(subquery: exp.Subquery) -> bool:
    return any(value not in (None, False, []) for name, value in subquery.args.items() if name not in ("this",))


def _is_starry(select: exp.Select) -> bool:
    """Whether rows are made distinct whose columns are not named: they cannot be ordered where they are."""
    distinct = select.args.get("distinct")
    return distinct is not None and distinct.args.get("on") is None and any(each.is_star for each in select.expressions)


def _add_order(select: exp.Select, keys: Expressions) -> None:
    order = select.args.get("order")
    given: Expressions = [] if order is None else list(order.expressions)
    keys = [*_missing_of_distinct(select, given), *keys]
    if given or keys:
        select.set("order", exp.Order(expressions=[*given, *(_key(each) for each in keys)]))


def _missing_of_distinct(select: exp.Select, given: Expressions) -> Expressions:
    """What DISTINCT ON asks an order to begin with."""
    distinct = select.args.get("distinct")
    on = None if distinct is None else distinct.args.get("on")
    if on is None:
        return []
    wanted = list(on.expressions) if isinstance(on, exp.Tuple) else [on]
    had = {each.this.sql() for each in given}
    return [each.copy() for each in wanted if each.sql() not in had]


def _with_ties_ordered(root: exp.Query) -> tuple[exp.Select, int]:
    """FETCH ... WITH TIES takes all that are equal, so no tie-breaker may be in it: the order is made around it."""
    if not isinstance(root, exp.Select) or root.args.get("distinct") is not None:
        raise refused("WITH TIES is taken of a plain SELECT: put the rest into a WITH or a subquery")
    order = root.args.get("order")
    given: Expressions = [] if order is None else list(order.expressions)
    inner = root.copy()
    names = [f"{AROUND} {number}" for number, _ in enumerate(given, 1)]
    for name, each in zip(names, given, strict=True):
        inner.append("expressions", exp.Alias(this=_output(inner, each.this).copy(), alias=_name(name)))
    around = _around_whole(inner)
    again = [exp.Ordered(**{**each.args, "this": exp.Column(this=_name(name))})
             for name, each in zip(names, given, strict=True)]  # fmt: skip
    around.set("order", exp.Order(expressions=[*again, _key(_text(exp.Column(this=exp.Star(), table=_name(AROUND))))]))
    return around, len(names)


def _output(select: exp.Select, key: exp.Expr) -> exp.Expr:
    """What an ORDER BY means: a number or a name may stand for a column of the answer."""
    if isinstance(key, exp.Literal) and not key.is_string:
        number = int(key.name)
        if 0 < number <= len(select.expressions):
            return _bare(select.expressions[number - 1])
    if isinstance(key, exp.Column) and not key.table:
        for each in select.expressions:
            if isinstance(each, exp.Alias) and each.alias == key.name:
                return _bare(each)
    return key


def _around_whole(inner: exp.Query) -> exp.Select:
    source = exp.Subquery(this=inner, alias=exp.TableAlias(this=_name(AROUND)))
    return exp.Select(expressions=[exp.Star()], from_=exp.From(this=source))


# --- tie-breakers


def _keys_of(select: exp.Select) -> Expressions:
    """What tells rows of a SELECT apart, or leaves those equal that have the same bytes."""
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is None:
        return [exp.Literal.number(number) for number, _ in enumerate(select.expressions, 1)]
    if select.args.get("group") is not None:
        return [*_group_ordinals(select), *_items_as_text(select)]
    made = _made_keys(select)
    return made if _is_single(select) else [*_source_keys(select), *made]


def _made_keys(select: exp.Select) -> Expressions:
    """What tells apart the rows that functions in a SELECT make of one: by value, and by text what is equal in that."""
    making = [(number, each) for number, each in enumerate(select.expressions, 1) if _makes_rows(each)]
    numbers = [exp.Literal.number(number) for number, each in making if not _makes_rows(each, allowed.JSON_MAKERS)]
    return [*numbers, _text(*(_bare(each).copy() for _, each in making))] if making else []


def _group_ordinals(select: exp.Select) -> Expressions:
    """The columns of the answer that are grouped by: they can be compared, and people expect them in order."""
    grouped = {each.sql() for each in select.args["group"].expressions}
    return [
        exp.Literal.number(number)
        for number, each in enumerate(select.expressions, 1)
        if _bare(each).sql() in grouped or str(number) in grouped or each.alias_or_name in grouped
    ]


def _items_as_text(select: exp.Select) -> Expressions:
    """The columns of the answer as one text: rows that are equal in it are the same."""
    return [_text(*(each.copy() for each in _items(select)))]


def _items(select: exp.Select) -> Expressions:
    """The columns of the answer, those that a star stands for by the relations that they are of."""
    found: Expressions = []
    for each in select.expressions:
        found += map(_whole, sources(select)) if isinstance(each, exp.Star) else [_bare(each)]
    return found


def _window_keys(select: exp.Select) -> Expressions:
    """What tells the rows apart that a window is over: groups, before any function makes rows of them."""
    if select.args.get("group") is None:
        return [] if _is_single(select) else _source_keys(select)
    values = [each for each in _items(select) if each.find(exp.Window) is None and not _makes_rows(each)]
    had = set(values)
    values += [each for each in _grouped(select) if each not in had]
    return [_text(*(each.copy() for each in values))] if values else []


def _grouped(select: exp.Select) -> Expressions:
    """What a SELECT is grouped by, without numbers and names that stand for columns of the answer."""
    named = {output_name(each): each for each in select.expressions if not is_star(each)}
    found: Expressions = []
    for each in grouped_by(select):
        is_name = isinstance(each, exp.Column) and not each.table and each.name in named
        meant = named[each.name] if is_name else _output(select, each)
        if _makes_rows(meant):
            raise refused("a window over groups of what a function in SELECT makes: let it make the rows in FROM")
        if not is_name and not isinstance(each, exp.Literal):
            found.append(each)
    return found


def _is_single(select: exp.Select) -> bool:
    """Whether a SELECT without GROUP BY has a single row, before any function makes several of it."""
    return select.args.get("having") is not None or any(_aggregates_of(select))


def _source_keys(select: exp.Select) -> Expressions:
    """What tells the rows apart that a SELECT reads."""
    keys: Expressions = []
    for each in sources(select):
        name = each.alias_or_name
        alias = each.args.get("alias")
        renamed = alias is not None and alias.args.get("columns")
        if isinstance(each, exp.Table) and is_model(each) and not renamed:
            keys += [_column(name, "actor_shard"), _column(name, "actor_id")]
        else:
            keys.append(_text(_whole(each)))
    return keys


def _whole(source: exp.Expr) -> exp.Expr:
    """All columns of a relation."""
    return exp.Column(this=exp.Star(), table=_name(source.alias_or_name))


def _name_sources(root: exp.Expr) -> None:
    """Every relation gets a name to ask for its columns by."""
    number = 0
    for select in list(root.find_all(exp.Select)):
        for each in sources(select):
            if not each.alias_or_name or (isinstance(each, exp.Table) and not each.name and not each.alias):
                number += 1
                function = function_of(each)
                # A function's one column is called as its relation is.
                name = f"from {number}" if function is None else output_name(function)
                each.set("alias", exp.TableAlias(this=_name(name)))


# --- functions


def _level(select: exp.Select) -> Iterator[exp.Expr]:
    """The expressions of a SELECT itself, without those of queries within it."""
    stack: list[Any] = [select.args.get(name) for name in ("expressions", "having", "order", "distinct", "where")]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack += each
        elif isinstance(each, exp.Expr) and not isinstance(each, exp.Query):
            yield each
            stack += each.args.values()


def _aggregates_of(select: exp.Select) -> Iterator[exp.Expr]:
    for each in _level(select):
        if allowed.function_name(each) in allowed.AGGREGATES and _window_of(each) is None:
            yield each


def _window_of(function: exp.Expr) -> exp.Window | None:
    """The window that a function is asked over."""
    above = function.parent
    if isinstance(above, exp.Filter | exp.WithinGroup) and function.arg_key == "this":
        function, above = above, above.parent
    return above if isinstance(above, exp.Window) and function.arg_key == "this" else None


def _makes_rows(item: exp.Expr, makers: frozenset[str] = allowed.ROW_MAKERS) -> bool:
    return any(allowed.function_name(each) in makers for each in item.walk(prune=is_query))


def _order_aggregates(select: exp.Select, depends: Callable[[exp.Expr], bool]) -> None:
    """Give an order to aggregates whose answer depends on it; DISTINCT ones are in the order of what they take."""
    for each in list(_aggregates_of(select)):
        arguments = each.expressions
        if not arguments or not depends(each):
            continue
        if isinstance(arguments[0], exp.Distinct) or isinstance(arguments[0].this, exp.Distinct):
            continue
        keys = [_key(key) for key in _source_keys(select)]
        last = arguments[-1]
        if isinstance(last, exp.Order):
            last.set("expressions", [*last.expressions, *keys])
        elif keys:
            each.set("expressions", [*arguments[:-1], exp.Order(this=last, expressions=keys)])


def _order_windows(select: exp.Select, depends: Callable[[exp.Expr], bool]) -> None:
    """Give a whole order to windows over which a function depends on which of equal rows comes first."""
    for window in [each for each in _level(select) if isinstance(each, exp.Window) and each.arg_key != "windows"]:
        function = window.this.this if isinstance(window.this, exp.Filter | exp.WithinGroup) else window.this
        name = allowed.function_name(function)
        partition, order, spec = _resolved(select, window)
        in_rows = spec is not None and str(spec.args.get("kind")).lower() == "rows"
        if name not in allowed.ORDERED_WINDOWS and not depends(function) and not (in_rows and order is not None):
            continue
        given: Sequence[exp.Expr] = () if order is None else order.expressions
        if name not in ("row_number", "ntile", "lag", "lead") and not in_rows:
            if order is None and spec is None:
                spec = _WHOLE.copy()
            elif name != "first_value" or spec is not None:
                raise refused(
                    f"{name} over a window whose rows may be equal in its order: which of them counts is not the same "
                    "on every node; say ROWS BETWEEN ... AND ..."
                )
        ordered = [*(each.copy() for each in given), *map(_key, _window_keys(select))]
        window.set("alias", None)
        window.set("first", None)
        window.set("partition_by", [each.copy() for each in partition])
        window.set("order", exp.Order(expressions=ordered) if ordered else None)
        window.set("spec", None if spec is None else spec.copy())


_WHOLE = exp.WindowSpec(
    kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="UNBOUNDED", end_side="FOLLOWING"
)  # fmt: skip


def _resolved(select: exp.Select, window: exp.Window) -> tuple[Expressions, exp.Order | None, exp.WindowSpec | None]:
    """What a window is, that may build on one of the WINDOW clause."""
    partition: Expressions = list(window.args.get("partition_by") or ())
    order, spec = window.args.get("order"), window.args.get("spec")
    name = window.alias or (window.args["first"].name if isinstance(window.args.get("first"), exp.Identifier) else "")
    for named in select.args.get("windows") or ():
        if name and named.name == name:
            below_partition, below_order, below_spec = _resolved(select, named)
            return partition or below_partition, order or below_order, spec or below_spec
    return partition, order, spec


# --- pieces


def _bare(item: exp.Expr) -> exp.Expr:
    return item.this if isinstance(item, exp.Alias) else item


def _name(text: str) -> exp.Identifier:
    return exp.to_identifier(text, quoted=True)


def _column(table: str, name: str) -> exp.Column:
    return exp.Column(this=_name(name), table=_name(table))


def _text(*values: exp.Expr) -> exp.Expr:
    """A row of values as text, in an order that is the same on every machine."""
    row = exp.Anonymous(this="ROW", expressions=list(values))
    return exp.Collate(this=exp.Cast(this=row, to=exp.DataType.build("text")), expression=_name("C"))


def _key(value: exp.Expr) -> exp.Expr:
    return value if isinstance(value, exp.Ordered) else exp.Ordered(this=value, nulls_first=False)
