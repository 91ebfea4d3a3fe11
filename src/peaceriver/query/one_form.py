"""What answers one value for several equal ones answers it in one form. Pure.

1.5 and 1.50 are equal, and so are 36 hours and a day and a half. GROUP BY, DISTINCT, UNION, min and their like answer
whichever of equal values PostgreSQL comes to first, which depends on where rows lie. So they are given all of them in
one form, by a function of ours that changes nothing else; plain columns of models come in one form already. What a
query within answers is brought into it there, and what a function in FROM makes, where its columns are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from sqlglot import exp

from peaceriver.query import allowed
from peaceriver.query.columns import columns_made, grouped_by, sources, within
from peaceriver.query.functions import is_in_one_form, put_in_one_form
from peaceriver.query.guard import refused
from peaceriver.query.names import is_star, keep_names
from peaceriver.query.trees import above, is_model, is_query

#: Values to look for in a statement, by their kind and size: only what is alike in these is compared with them.
_Forms: TypeAlias = dict[tuple[type[exp.Expr], int], list[exp.Expr]]


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
            is_grouped = select.args.get("group") is not None
            if is_grouped or _is_distinct(select) or any(map(_takes_one, _level(select))) or _has_distinct(select):
                self._read(sources(select))
            if is_grouped:
                self._name_columns(select)
            if _is_distinct(select):
                self._answer(select)
            _replace(select, self._needing(select, _keys(select, self._made(select))))
            for each in list(_level(select)):
                self._bring_arguments(select, each)

    # --- what is read

    def _read(self, relations: Iterable[exp.Expr]) -> None:
        """The answers of queries in FROM are in one form."""
        for each in list(relations):
            query = self._query(each)
            if isinstance(each, exp.Values):
                each.replace(exp.Subquery(this=self._rows(each), alias=each.args.get("alias")))
            elif query is not None:
                self._answer(query)

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
        elif isinstance(query, exp.Table):
            self._read(within(query))
        elif isinstance(query, exp.Values):
            query.replace(self._rows(query))
        elif isinstance(query, exp.Select):
            self._read(sources(query))
            self._name_columns(query)
            values = [each.unalias() for each in query.expressions]
            _replace(query, [*filter(_is_fraction, values), *self._needing(query, values)])

    def _rows(self, values: exp.Values) -> exp.Select:
        """The rows of VALUES in one form: by column, for what is in one row may say what type it has in another."""
        count = len(values.expressions[0].expressions)
        columns: list[exp.Expr] = [_column(f"column{number + 1}") for number in range(count)]
        rows = exp.Values(expressions=values.expressions, alias=exp.TableAlias(this=_quoted("values")))
        select = exp.Select(expressions=[*columns], from_=exp.From(this=rows))
        _replace(select, columns)
        self._done.add(id(select))
        return select

    def _query(self, source: exp.Expr) -> exp.Expr | None:
        """The query whose answer a relation is, or the relations that are joined under its name; else None."""
        if isinstance(source, exp.Table):
            return self._own[source.name] if source.meta.get("own") else None
        around = source.this if isinstance(source, exp.Lateral) else source
        return around.this if isinstance(around, exp.Subquery) else None

    def _has_one_form(self, source: exp.Expr) -> bool:
        """Whether the columns of a relation are in one form: a model's are, and a query's that was seen to."""
        query = self._query(source)
        if isinstance(query, exp.Table):
            return all(map(self._has_one_form, within(query)))
        if query is None:
            return isinstance(source, exp.Table) and is_model(source)
        return id(query) in self._done

    def _made(self, select: exp.Select) -> list[exp.Expr]:
        """What a SELECT reads of which columns may have several forms."""
        return [each for each in sources(select) if not self._has_one_form(each)]

    # --- what is answered

    def _needing(self, select: exp.Select, values: Iterable[exp.Expr]) -> list[exp.Expr]:
        """Values that may have several forms: they are computed, or columns of what was not brought into one."""
        return [each for each in values if self._needs(select, each)]

    def _needs(self, select: exp.Select, value: exp.Expr) -> bool:
        if isinstance(value, exp.Column):
            return not all(
                self._has_one_form(each) for each in _seen(select) if value.table in ("", each.alias_or_name)
            )
        constant = isinstance(value, exp.Star | exp.Null | exp.Boolean | exp.Placeholder | exp.Literal | exp.RawString)
        return not (constant or is_in_one_form(value))

    def _name_columns(self, select: exp.Select) -> None:
        """Columns that may have several forms are selected by their names, where a star stands for them."""
        rows = [each for each in _level(select) if allowed.function_name(each) == "row"]
        for part in [select, *rows] if select.args.get("group") else [select]:
            each = [self._meant_by(select, item) if is_star(item) else [item] for item in part.expressions]
            part.set("expressions", [column for columns in each for column in columns])

    def _meant_by(self, select: exp.Select, star: exp.Expr) -> list[exp.Expr]:
        named = star.table if isinstance(star, exp.Column) else ""
        meant = [each for each in _seen(select) if each.alias_or_name == named][:1] if named else list(sources(select))
        if all(map(self._has_one_form, meant)):
            return [star]
        if not named and _merges_columns(select):
            raise refused("name the columns instead of *: a function makes some of them, and USING makes one of two")
        return [column for each in meant for column in self._columns(each)]

    def _columns(self, source: exp.Expr) -> list[exp.Expr]:
        name = source.alias_or_name
        if self._has_one_form(source):
            return [exp.Column(this=exp.Star(), table=_quoted(name))]
        columns = columns_made(source)
        if columns is None:
            raise refused(f"name the columns of {name[:63]} instead of *: it is not certain what they are called")
        return [_column(each, name) for each in columns]

    # --- what aggregates take

    def _bring_arguments(self, select: exp.Select, node: exp.Expr) -> None:
        """The arguments of what takes one of equals, and of aggregates over distinct values."""
        if isinstance(node, exp.Distinct) and node.arg_key != "distinct":
            function = next((each for each in above(node) if allowed.function_name(each)), None)
            if function is not None:
                _walk(function, _forms(self._needing(select, node.expressions)), _sizes(function))
        elif isinstance(node, exp.WithinGroup) and _takes_one(node.this):
            self._bring_each(select, [each.this for each in node.expression.find_all(exp.Ordered)])
        elif isinstance(node, exp.Anonymous) and _takes_one(node):
            self._bring_each(select, node.expressions)

    def _bring_each(self, select: exp.Select, values: Iterable[exp.Expr]) -> None:
        for each in self._needing(select, values):
            put_in_one_form(each)


def _is_fraction(value: exp.Expr) -> bool:
    return isinstance(value, exp.Literal) and not value.is_string and not value.name.isdigit()


def _seen(select: exp.Select) -> Iterator[exp.Expr]:
    """The relations that can be seen within a SELECT: its own, and those of the ones that it is in."""
    yield from sources(select)
    for part in (select, *above(select)):
        if isinstance(part.parent, exp.Select) and not _is_apart(part):
            yield from sources(part.parent)


def _is_apart(part: exp.Expr) -> bool:
    """Whether what a SELECT reads cannot be seen from a part of it: from WITH, or a query that FROM begins with."""
    first = part.this if isinstance(part, exp.From) else None
    return part.arg_key == "with_" or (isinstance(first, exp.Subquery) and _is_select(first.this))


def _merges_columns(select: exp.Select) -> bool:
    """Whether columns of what a SELECT reads come from two relations: a star stands for them once."""
    read = [select.args["from_"], *(select.args.get("joins") or ())]
    found = (each for part in read for each in part.walk(prune=_is_select))
    return any(isinstance(each, exp.Join) and (each.args.get("using") or each.method) for each in found)


def _is_select(node: exp.Expr) -> bool:
    return isinstance(node, exp.Select | exp.SetOperation)


def _column(name: str, table: str | None = None) -> exp.Column:
    return exp.Column(this=_quoted(name), table=None if table is None else _quoted(table))


def _quoted(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


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
            yield from (found for found in each.walk(prune=is_query) if not is_query(found))


# --- what is grouped by


def _keys(select: exp.Select, made: list[exp.Expr]) -> Iterator[exp.Expr]:
    """What a SELECT is grouped by; where its items stand for that, those. ``made``: what functions make of it."""
    for each in grouped_by(select):
        yield from _meant(select, each, made)


def _meant(select: exp.Select, key: exp.Expr, made: list[exp.Expr]) -> Iterator[exp.Expr]:
    """A number or a name may stand for a column of the answer."""
    items = select.expressions
    if isinstance(key, exp.Literal) and not key.is_string:
        number = int(key.name)
        if any(map(is_star, items)):  # which one has that number is not known here
            yield from (each.unalias() for each in items if not _aggregates(each))
        elif 0 < number <= len(items):
            yield items[number - 1].unalias()
    elif isinstance(key, exp.Column) and not key.table:
        named = [each.unalias() for each in items if isinstance(each, exp.Alias) and each.alias == key.name]
        if not named or any(key.name in (columns_made(each) or (key.name,)) for each in made):
            yield key
        yield from named[:1]
    else:
        yield key


def _aggregates(item: exp.Expr) -> bool:
    return any(allowed.function_name(each) in allowed.AGGREGATES for each in item.walk(prune=is_query))


# --- changing


def _replace(select: exp.Select, wanted: list[exp.Expr]) -> None:
    """Bring values into one form wherever they stand in a SELECT, for they must be the same in all places."""
    if not wanted:
        return
    keep_names(select)
    forms = _forms(wanted)
    for part in list(_parts(select)):
        _walk(part, forms, _sizes(part))


def _parts(select: exp.Select) -> Iterator[exp.Expr]:
    """The parts of a SELECT behind what it reads, but for names in its ORDER BY: they mean what it answers."""
    for name in ("expressions", "distinct", "group", "having", "windows"):
        value = select.args.get(name)
        yield from value if isinstance(value, list) else [value] if value is not None else []
    order = select.args.get("order")
    answered = {each.alias for each in select.expressions if isinstance(each, exp.Alias)}
    for each in () if order is None else order.expressions:
        if not isinstance(each.this, exp.Column) or each.this.table or each.this.name not in answered:
            yield each


def _forms(wanted: Iterable[exp.Expr]) -> _Forms:
    """Values to look for; taken before anything is changed, for they stand in what is looked through."""
    forms: _Forms = {}
    for each in wanted:
        plain = _plain(each)
        forms.setdefault((type(plain), _sizes(plain)[id(plain)]), []).append(plain)
    return forms


def _sizes(tree: exp.Expr) -> dict[int, int]:
    """How many parts each part of a tree has, but for those that ``_plain`` takes away."""
    sizes: dict[int, int] = {}
    for each in reversed(list(tree.walk())):
        parts = () if isinstance(each, exp.Column) else each.iter_expressions()
        sizes[id(each)] = sum(sizes[id(part)] for part in parts) + (not isinstance(each, exp.Paren))
    return sizes


def _walk(node: exp.Expr, forms: _Forms, sizes: Mapping[int, int]) -> None:
    for each in list(node.iter_expressions()):
        inner = each
        if _is_one(each, forms, sizes):
            inner = each.unnest()  # parentheses are looked at as one with what is in them
            if not is_in_one_form(node.parent or node):
                put_in_one_form(each)
        _walk(inner, forms, sizes)


def _is_one(value: exp.Expr, forms: _Forms, sizes: Mapping[int, int]) -> bool:
    inner = value.unnest()
    alike = () if _is_select(value) else forms.get((type(inner), sizes[id(inner)]), ())
    return bool(alike) and _plain(value) in alike


def _plain(value: exp.Expr) -> exp.Expr:
    """What PostgreSQL takes for the same: it sees neither parentheses nor quotes of names that mean the same, nor by
    which name a column's relation is said.
    """
    found: exp.Expr = value.unnest().copy()
    for each in list(found.find_all(exp.Paren)):
        each.replace(each.this)
    for column in found.find_all(exp.Column):
        column.set("table", None)
    for name in found.find_all(exp.Identifier):
        name.set("quoted", True)
    for called in found.find_all(exp.Anonymous):
        if isinstance(called.this, str):
            called.set("this", called.this.lower())
    return found
