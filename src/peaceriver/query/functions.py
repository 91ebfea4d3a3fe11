"""The functions that statements get from us, in a schema of their own: nobody else's statement can name them.

They are in ``migrations/0002_reading.sql``.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

_SCHEMA: Final = "reading"
_ONE_FORM: Final = "one_form"


def put_in_one_form(value: exp.Expr) -> None:
    """Bring a value into the form that all that are equal to it have, in place."""
    form = _call(_ONE_FORM)
    value.replace(form)
    form.expression.append("expressions", value)  # the very node: what is within it is looked at as well


def is_in_one_form(value: exp.Expr) -> bool:
    """Whether it is a call of just that."""
    return isinstance(value, exp.Dot) and isinstance(value.expression, exp.Anonymous) and value.name == _ONE_FORM


def timeless(value: exp.Expr) -> exp.Expr:
    """A value as it is; refused where it is a text that means another moment each day."""
    return _call("timeless", value)


def bounded(function: exp.Anonymous) -> None:
    """Let a function be ours of the same name, in place, which refuses what would be too long.

    It is given the very nodes that are its arguments: copies would be computed once more, and hide what is in them.
    """
    function.replace(_call(function.name.lower(), *function.expressions))


def _call(function: str, *values: exp.Expr) -> exp.Expr:
    call = exp.Anonymous(this=function, expressions=list(values))
    return exp.Dot(this=exp.to_identifier(_SCHEMA, quoted=True), expression=call)
