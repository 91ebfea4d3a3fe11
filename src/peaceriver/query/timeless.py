"""What is read from a text never means the day of the query: 'today' in a document is refused, not computed. Pure.

A text that is written in a statement is looked at by the guard. What is only known when it runs is given to a function
of ours before it becomes a date or a time; it refuses what would depend on the clock, and changes nothing.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from peaceriver.query.allowed import says_time
from peaceriver.query.functions import timeless
from peaceriver.query.names import keep_names

_CONSTANT: Final = (exp.Literal, exp.RawString, exp.Null, exp.Placeholder)


def make_timeless(tree: exp.Query) -> None:
    """Let no cast in a statement depend on the clock, in place."""
    casts = [each for each in tree.find_all(exp.Cast) if says_time(each.to) and not isinstance(each.this, _CONSTANT)]
    for each in casts:
        select = each.find_ancestor(exp.Select)
        if select is not None:
            keep_names(select)
    for each in casts:
        each.set("this", timeless(each.this))
