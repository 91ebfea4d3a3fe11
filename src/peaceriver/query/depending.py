"""Which aggregates depend on the order of their input. Pure."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from peaceriver.query import allowed
from peaceriver.query.columns import sources
from peaceriver.query.trees import above


def dependence(root: exp.Expr) -> Callable[[exp.Expr], bool]:
    """What tells whether an aggregate of a statement depends on the order of its input.

    Sums of floating-point numbers do, which are rounded at each step. What a model holds is none; so they are made
    among the aggregate's arguments, or in a relation of the statement's own.
    """
    read = [each for select in root.find_all(exp.Select) for each in sources(select)]
    floating = [each for each in (*read, *root.find_all(exp.CTE)) if _has_floats(each)]

    def depends(function: exp.Expr) -> bool:
        name = allowed.function_name(function)
        if name not in allowed.SUMS:
            return name in allowed.ORDERED_AGGREGATES
        around = set(map(id, above(function)))
        return _has_floats(function) or any(id(each) not in around or _is_recursive(each) for each in floating)

    return depends


def _has_floats(part: exp.Expr) -> bool:
    return any(
        isinstance(each, exp.Sqrt | exp.Cbrt | exp.Pow)
        or allowed.function_name(each) in allowed.FLOATING
        or (isinstance(each, exp.DataType) and str(each.this).rpartition(".")[2].lower() in allowed.FLOATING_TYPES)
        for each in part.walk()
    )


def _is_recursive(source: exp.Expr) -> bool:
    return isinstance(source.parent, exp.With) and bool(source.parent.args.get("recursive"))
