"""What is read from a text never means the day of the query: 'today' in a document is refused, not computed. Pure.

A text that is written in a statement is looked at by the guard where it is cast to a date or a time, or where it is
nothing else. Any other one that holds such a word is said to be a text: compared with a time it is an error then. What
is only known when the statement runs is given to a function of ours before it becomes a date or a time; it refuses what
would depend on the clock, and changes nothing.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Final

from sqlglot import exp

from peaceriver.query.allowed import MOMENT, function_name, says_time
from peaceriver.query.functions import timeless
from peaceriver.query.names import keep_names

_CONSTANT: Final = (exp.Literal, exp.RawString, exp.Null, exp.Placeholder)
#: Where a literal has a type already: what a cast says, or a key or a path of JSON.
_TYPED: Final = (
    exp.Cast,
    exp.JSONExtract,
    exp.JSONExtractScalar,
    exp.JSONBExtract,
    exp.JSONBExtractScalar,
    exp.JSONBPathExists,
    exp.JSONBContainsTopKey,
    exp.JSONBContainsAnyTopKeys,
    exp.JSONBContainsAllTopKeys,
    exp.JSONBDeleteAtPath,
    exp.MatchAgainst,
)


def make_timeless(tree: exp.Query) -> None:
    """Let no cast and no literal in a statement depend on the clock, in place."""
    casts = [each for each in tree.find_all(exp.Cast) if says_time(each.to) and not isinstance(each.this, _CONSTANT)]
    literals = [each for each in tree.find_all(exp.Literal, exp.RawString) if _may_become_a_time(each)]
    for each in (*casts, *literals):
        select = each.find_ancestor(exp.Select)
        if select is not None:
            keep_names(select)
    for each in casts:
        each.set("this", timeless(each.this))
    for each in literals:
        each.replace(exp.Cast(this=each.copy(), to=exp.DataType.build("text")))


def _may_become_a_time(literal: exp.Expr) -> bool:
    """Whether PostgreSQL may read a literal of no type as a date or a time that is another one each day."""
    if not MOMENT.search(literal.name) or isinstance(literal.parent, _TYPED):
        return False
    is_of_json = literal.parent is not None and function_name(literal.parent).startswith("json")
    return not is_of_json and not _is_json(literal.name)


def _is_json(text: str) -> bool:
    """Whether a text is an object or an array of JSON, which no array of times can be taken for."""
    with suppress(ValueError):
        return isinstance(json.loads(text), dict | list)
    return False
