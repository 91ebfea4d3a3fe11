"""That what is written like a column is one: PostgreSQL reads ``o.name`` as a call of ``name(o)`` where there is none.

So a column behind a relation's name must be one of that relation, as far as the statement says what columns it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sqlglot import exp

from peaceriver.query import allowed
from peaceriver.query.guard import refused
from peaceriver.query.names import is_star

#: Columns of functions whose results have names of their own; of all others the one column is called as they are.
_RESULTS: Final = {
    **dict.fromkeys(("json_each", "jsonb_each", "json_each_text", "jsonb_each_text"), ("key", "value")),
    **dict.fromkeys(("json_array_elements", "jsonb_array_elements"), ("value",)),
    **dict.fromkeys(("json_array_elements_text", "jsonb_array_elements_text"), ("value",)),
}
#: Parts of GROUP BY that have others within.
_GROUPS: Final = (exp.Tuple, exp.Paren, exp.GroupingSets, exp.Rollup, exp.Cube)
#: By the name of each relation that can be seen at a place, what columns it has for certain, whichever it is.
Seen = Mapping[str, frozenset[str]]


def check_columns(tree: exp.Expr, models: Mapping[tuple[str, bool], Iterable[str]]) -> None:
    """Raise Invalid for a column of a relation that does not have it.

    ``models``: the columns of each model that the statement names, as it names it.
    """
    _Checking({name: frozenset(columns) for name, columns in models.items()}).visit(tree, {})


class _Checking:
    def __init__(self, models: Mapping[tuple[str, bool], frozenset[str]]) -> None:
        self._models = models
        #: Columns of the statement's own relations; their names are used for nothing else.
        self._own: dict[str, frozenset[str]] = {}

    def visit(self, node: exp.Expr, seen: Seen) -> None:
        """Walk down with the relations that can be seen at this place."""
        with_ = node.args.get("with_")
        for each in () if with_ is None else with_.expressions:
            self._own[each.alias] = _named(each.args["alias"]) or self._made_by(each.this)
            self.visit(each.this, seen)
        if isinstance(node, exp.Select):
            seen = self._with_sources(node, seen)
        elif isinstance(node, exp.Column):
            _check(node, seen)
        for each in node.iter_expressions():
            if each is not with_:
                self.visit(each, seen)

    def _with_sources(self, select: exp.Select, seen: Seen) -> Seen:
        """What is seen within a SELECT. Which of two relations of a name is meant depends on the place: both count."""
        found = dict(seen)
        for source in sources(select):
            name, columns = source.alias_or_name, self._columns(source)
            found[name] = found[name] & columns if name in found else columns
        return found

    def _columns(self, source: exp.Expr) -> frozenset[str]:
        alias = source.args.get("alias")
        named = frozenset() if alias is None else _named(alias)
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
            if named:
                return named
            if source.meta.get("own"):
                return self._own.get(source.name, frozenset())
            return self._models[source.name, not source.this.meta.get("unquoted", False)]
        query = source.this if isinstance(source, exp.Lateral) else source
        if isinstance(query, exp.Subquery | exp.Values | exp.Query):
            return named or self._made_by(query)
        made = columns_made(source)
        return frozenset(_counted(source)) | named if made is None else frozenset(made)

    def _made_by(self, query: exp.Expr) -> frozenset[str]:
        """The columns of a query's answer that have a name for certain."""
        while isinstance(query, exp.Subquery | exp.SetOperation):
            query = query.this
        if isinstance(query, exp.Values):
            return frozenset(f"column{number}" for number, _ in enumerate(query.expressions[0].expressions, 1))
        if not isinstance(query, exp.Select):
            return frozenset()
        for each in () if query.args.get("with_") is None else query.args["with_"].expressions:
            self._own[each.alias] = _named(each.args["alias"]) or self._made_by(each.this)
        found: set[str] = set()
        for item in query.expressions:
            if is_star(item):
                wanted = item.table if isinstance(item, exp.Column) else None
                starred = [each for each in sources(query) if wanted is None or each.alias_or_name == wanted]
                found.update(*map(self._columns, starred))
            elif isinstance(item, exp.Alias | exp.Column):
                found.add(item.alias_or_name)
            elif isinstance(item, exp.Anonymous):
                found.add(allowed.function_name(item))
        return frozenset(found)


def _check(column: exp.Column, seen: Seen) -> None:
    if column.table and not column.is_star and column.name not in seen.get(column.table, ()):
        raise refused(
            f"{column.table[:63]}.{column.name[:63]}: no such column is known; give the columns of what is within a "
            "WITH or a subquery their names (AS), and relations within each other different ones"
        )


def function_of(source: exp.Expr) -> exp.Expr | None:
    """The function that makes a relation in FROM; None where something else does."""
    function = source if isinstance(source, exp.Unnest) else source.this
    return function if isinstance(function, exp.Expr) and allowed.function_name(function) else None


def columns_made(source: exp.Expr) -> tuple[str, ...] | None:
    """The columns of what a function makes in FROM, in their order; None where they are not known for certain."""
    function = function_of(source)
    if function is None:
        return None
    alias = source.args.get("alias")
    named = () if alias is None else tuple(each.name for each in alias.args.get("columns") or ())
    own = (*_RESULTS.get(allowed.function_name(function), (source.alias_or_name,)), *_counted(source))
    if isinstance(function, exp.Unnest) and len(function.expressions) > max(1, len(named)):
        return None  # columns of the same name, which nobody can tell apart
    return (*named, *own[len(named) :])


def _counted(source: exp.Expr) -> tuple[str, ...]:
    parts = [each for each in (source, source.this) if isinstance(each, exp.Expr)]
    return ("ordinality",) if any(each.args.get("ordinality") or each.args.get("offset") for each in parts) else ()


def _named(alias: exp.Expr) -> frozenset[str]:
    return frozenset(each.name for each in alias.args.get("columns") or ())


def sources(select: exp.Expr) -> Iterator[exp.Expr]:
    """The relations that a SELECT reads, those within parentheses without a name as well."""
    from_ = select.args.get("from_")
    found = [] if from_ is None else [from_.this]
    found += [each.this for each in select.args.get("joins") or ()]
    found += list(select.args.get("laterals") or ())
    for each in found:
        yield from within(each)


def within(source: exp.Expr) -> Iterator[exp.Expr]:
    """A relation in FROM, and those that are joined to it in parentheses without a name."""
    if isinstance(source, exp.Subquery) and not source.alias and isinstance(source.this, exp.Table | exp.Subquery):
        yield from within(source.this)
    else:
        yield source
    for each in source.args.get("joins") or ():
        yield from within(each.this)
    yield from source.args.get("laterals") or ()


def grouped_by(select: exp.Expr) -> Iterator[exp.Expr]:
    """What a SELECT is grouped by, as it stands there: each expression by itself, those of sets as well."""
    group = select.args.get("group")
    for value in () if group is None else group.args.values():
        for each in value if isinstance(value, list) else ():
            yield from _leaves(each)


def _leaves(part: exp.Expr) -> Iterator[exp.Expr]:
    if not isinstance(part, _GROUPS):
        yield part
        return
    for each in part.iter_expressions():
        yield from _leaves(each)
