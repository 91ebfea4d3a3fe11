"""What answers one value for several equal ones answers it in one form. Pure.

1.5 and 1.50 are equal, and so are 36 hours and a day and a half. GROUP BY, DISTINCT, UNION, min and their like answer
whichever of equal values PostgreSQL comes to first, which depends on where rows lie. So they are given all of them in
one form, by a function of ours that changes nothing else; plain columns of models come in one form already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlglot import exp

from peaceriver.query import allowed
from peaceriver.query.columns import sources
from peaceriver.query.functions import is_in_one_form, one_form
from peaceriver.query.names import keep_names

#: Parts of GROUP BY that have others within.
_GROUPS = (exp.Tuple, exp.Paren, exp.GroupingSets, exp.Rollup, exp.Cube)


def makes_one_of_equals(tree: exp.Expr) -> bool:
    """Whether a statement somewhere answers one value for several that are equal."""
    return any(
        isinstance(each, exp.Group | exp.Distinct) or _is_distinct_set(each) or _takes_one(each) for each in tree.walk()
    )


def bring_into_one_form(tree: exp.Query) -> None:
    """Let a statement answer one form wherever it answers one of several equal values, in place."""
    _Bringing(tree).bring()


def _is_distinct_set(node: exp.Expr) -> bool:
    return isinstance(node, exp.SetOperation) and not (isinstance(node, exp.Union) and not node.args.get("distinct"))


def _takes_one(node: exp.Expr) -> bool:
    return allowed.function_name(node) in allowed.ONE_OF_EQUALS


class _Bringing:
    def __init__(self, tree: exp.Query) -> None:
        self._tree = tree
        #: The statement's own relations; no two have the same name.
        self._own = {each.alias: each.this for each in tree.find_all(exp.CTE)}
        #: Queries whose answers are in one form.
        self._done: set[int] = set()

    def bring(self) -> None:
        for united in list(self._tree.find_all(exp.SetOperation)):
            if _is_distinct_set(united):
                self._answer(united)
        for select in list(self._tree.find_all(exp.Select)):
            keys = list(_keys(select))
            if keys or _is_distinct(select) or any(map(_takes_one, _level(select))) or _has_distinct(select):
                self._read(select)
            if _is_distinct(select):
                self._answer(select)
            _bring_keys(select, keys)
            for each in list(_level(select)):
                _bring_arguments(select, each)

    def _read(self, select: exp.Select) -> None:
        """What a SELECT reads is in one form."""
        for each in sources(select):
            if isinstance(each, exp.Table) and each.meta.get("own"):
                self._answer(self._own[each.name])
            elif isinstance(each, exp.Subquery):
                self._answer(each.this)
            elif isinstance(each, exp.Lateral) and isinstance(each.this, exp.Subquery):
                self._answer(each.this.this)

    def _answer(self, query: exp.Expr) -> None:
        """The answer of a query is in one form."""
        if id(query) in self._done:
            return
        self._done.add(id(query))
        if isinstance(query, exp.SetOperation):
            self._answer(query.this)
            self._answer(query.expression)
        elif isinstance(query, exp.Subquery):
            self._answer(query.this)
        elif isinstance(query, exp.Select):
            self._read(query)
            _replace(query, [each.unalias() for each in query.expressions if _needs(query, each.unalias())])


def _is_distinct(select: exp.Select) -> bool:
    distinct = select.args.get("distinct")
    return distinct is not None and distinct.args.get("on") is None


def _has_distinct(select: exp.Select) -> bool:
    return any(isinstance(each, exp.Distinct) and each.arg_key != "distinct" for each in _level(select))


def _level(select: exp.Select) -> Iterator[exp.Expr]:
    """The expressions of a SELECT itself, without those of queries within it."""
    for name in ("expressions", "having", "order", "distinct", "windows"):
        value = select.args.get(name)
        for each in value if isinstance(value, list) else [value] if value is not None else []:
            yield from (found for found in each.walk(prune=_is_query) if not _is_query(found))


def _is_query(node: exp.Expr) -> bool:
    return isinstance(node, exp.Query)


# --- what is grouped by


def _keys(select: exp.Select) -> Iterator[exp.Expr]:
    """What a SELECT is grouped by; where its items stand for that, those."""
    group = select.args.get("group")
    if group is None:
        return
    for value in group.args.values():
        for each in value if isinstance(value, list) else ():
            for leaf in _leaves(each):
                yield _meant(select, leaf)


def _leaves(part: exp.Expr) -> Iterator[exp.Expr]:
    if not isinstance(part, _GROUPS):
        yield part
        return
    for each in part.iter_expressions():
        yield from _leaves(each)


def _meant(select: exp.Select, key: exp.Expr) -> exp.Expr:
    """A number or a name may stand for a column of the answer."""
    if isinstance(key, exp.Literal) and not key.is_string:
        number = int(key.name)
        items = select.expressions
        return items[number - 1].unalias() if 0 < number <= len(items) else key
    if isinstance(key, exp.Column) and not key.table:
        for each in select.expressions:
            if isinstance(each, exp.Alias) and each.alias == key.name:
                return each.unalias()
    return key


def _bring_keys(select: exp.Select, keys: Iterable[exp.Expr]) -> None:
    _replace(select, [each for each in keys if _needs(select, each)])


# --- what aggregates take


def _bring_arguments(select: exp.Select, node: exp.Expr) -> None:
    """The arguments of what takes one of equals, and of aggregates over distinct values."""
    if isinstance(node, exp.Distinct) and node.arg_key != "distinct":
        function = next((each for each in _above(node) if allowed.function_name(each)), None)
        if function is not None:
            _replace_within(function, [each for each in node.expressions if _needs(select, each)])
    elif isinstance(node, exp.WithinGroup) and _takes_one(node.this):
        _bring_each(select, [each.this for each in node.expression.find_all(exp.Ordered)])
    elif isinstance(node, exp.Anonymous) and _takes_one(node):
        _bring_each(select, node.expressions)


def _bring_each(select: exp.Select, values: Iterable[exp.Expr]) -> None:
    for each in list(values):
        if _needs(select, each):
            each.replace(one_form(each.copy()))


def _above(node: exp.Expr) -> Iterator[exp.Expr]:
    while (above := node.parent) is not None:
        yield above
        node = above


# --- changing


def _needs(select: exp.Select, value: exp.Expr) -> bool:
    """Whether a value may have several forms: it is computed, or a column of what a function makes."""
    if isinstance(value, exp.Column):
        made = [each for each in sources(select) if not _has_one_form(each)]
        return not value.is_star and any(not value.table or each.alias_or_name == value.table for each in made)
    constant = isinstance(value, exp.Star | exp.Null | exp.Boolean | exp.Placeholder | exp.Literal | exp.RawString)
    return not (constant or is_in_one_form(value))


def _has_one_form(source: exp.Expr) -> bool:
    """Whether the plain columns of a relation are in one form: a model's are, and a query's that was seen to."""
    if isinstance(source, exp.Table):
        return isinstance(source.this, exp.Identifier)
    return isinstance(source, exp.Subquery) or (isinstance(source, exp.Lateral) and isinstance(source.this, exp.Query))


def _replace(select: exp.Select, wanted: list[exp.Expr]) -> None:
    """Bring values into one form wherever they stand in a SELECT, for they must be the same in all places."""
    if not wanted:
        return
    keep_names(select)
    for name in ("expressions", "distinct", "group", "having", "order", "windows"):
        value = select.args.get(name)
        for each in list(value) if isinstance(value, list) else [value] if value is not None else []:
            _replace_within(each, wanted)


def _replace_within(node: exp.Expr, wanted: list[exp.Expr]) -> None:
    forms: dict[type[exp.Expr], list[exp.Expr]] = {}
    for each in wanted:
        plain = _plain(each)
        forms.setdefault(type(plain), []).append(plain)
    _walk(node, forms)


def _walk(node: exp.Expr, forms: dict[type[exp.Expr], list[exp.Expr]]) -> None:
    for each in list(node.iter_expressions()):
        if _is_one(each, forms):
            if not is_in_one_form(node.parent or node):
                each.replace(one_form(each.copy()))
        else:
            _walk(each, forms)


def _is_one(value: exp.Expr, forms: dict[type[exp.Expr], list[exp.Expr]]) -> bool:
    alike = forms.get(type(value.unnest()))
    return alike is not None and _plain(value) in alike


def _plain(value: exp.Expr) -> exp.Expr:
    """What PostgreSQL takes for the same: it sees neither parentheses nor by which name a column's relation is said."""
    found: exp.Expr = value.unnest().copy()
    for each in list(found.find_all(exp.Paren)):
        each.replace(each.this)
    for column in found.find_all(exp.Column):
        column.set("table", None)
    for called in found.find_all(exp.Anonymous):
        if isinstance(called.this, str):
            called.set("this", called.this.lower())
    return found
