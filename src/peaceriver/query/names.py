"""What PostgreSQL calls a column of an answer that was not given a name. Pure.

After its ``FigureColname`` (``parse_target.c``): a function's or a column's name is good, a type's better than none.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from peaceriver.query import allowed

UNNAMED: Final = "?column?"
#: What PostgreSQL calls types that have other names besides.
_TYPES: Final = {
    "int": "int4",
    "integer": "int4",
    "smallint": "int2",
    "bigint": "int8",
    "decimal": "numeric",
    "real": "float4",
    "float": "float8",
    "double": "float8",
    "boolean": "bool",
    "char": "bpchar",
}
#: Functions with a syntax of their own, as PostgreSQL calls them.
_SPECIAL: Final[dict[type[exp.Expr], str]] = {
    exp.Substring: "substring",
    exp.StrPosition: "position",
    exp.Overlay: "overlay",
    exp.Extract: "extract",
    exp.Exists: "exists",
    exp.Overlaps: "overlaps",
    exp.AtTimeZone: "timezone",
    exp.Array: "array",
    exp.Tuple: "row",
    exp.Unnest: "unnest",
}


def output_name(item: exp.Expr) -> str:
    """The name of a column of an answer."""
    return _named(item)[0] or UNNAMED


def is_star(item: exp.Expr) -> bool:
    """Whether an item of a SELECT stands for several columns: ``*``, or ``o.*``."""
    return isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star))


def keep_names(select: exp.Select) -> None:
    """Give the columns of a SELECT's answer the names that they have anyway, in place: their values may be changed."""
    for item in list(select.expressions):
        if not isinstance(item, exp.Alias) and not is_star(item):
            name = exp.to_identifier(output_name(item), quoted=True)
            alias = exp.Alias(alias=name)
            item.replace(alias)
            alias.set("this", item)


def _named(item: exp.Expr) -> tuple[str, bool]:
    """A name, and whether it is a good one; none is the empty text."""
    if isinstance(item, exp.Alias):
        return item.alias, True
    if isinstance(item, exp.Column):
        return item.name, True
    if isinstance(item, exp.Paren | exp.Collate | exp.Bracket):
        return _named(item.this)
    if isinstance(item, exp.Window | exp.Filter | exp.WithinGroup):
        return _named(item.this)
    if isinstance(item, exp.Cast):
        found, is_good = _named(item.this)
        return (found, True) if is_good else (_type(item), False)
    if isinstance(item, exp.Interval):
        return "interval", False
    if isinstance(item, exp.Case):
        found, is_good = _named(item.args["default"]) if item.args.get("default") else ("", False)
        return (found, True) if is_good else ("case", False)
    if isinstance(item, exp.Trim):
        return {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(item.args.get("position")).upper(), "btrim"), True
    if isinstance(item, exp.Subquery):
        return _of_query(item.this)
    if type(item) in _SPECIAL:
        return _SPECIAL[type(item)], True
    return allowed.function_name(item), bool(allowed.function_name(item))


def _of_query(query: exp.Expr) -> tuple[str, bool]:
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.this
    if isinstance(query, exp.Values):
        return "column1", True
    return (output_name(query.expressions[0]), True) if query.expressions else ("", False)


def _type(cast: exp.Cast) -> str:
    kind = cast.to
    while kind.this is exp.DType.ARRAY:
        kind = kind.expressions[0]
    name = kind.this.value.lower() if isinstance(kind.this, exp.DType) else str(kind.this).lower()
    return _TYPES.get(name, name)
