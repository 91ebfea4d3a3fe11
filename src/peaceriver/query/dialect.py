"""PostgreSQL's syntax as queries are read and written here: what a query says is written anew just as it was read.

The parser would translate functions between databases, and so now and then into something else. It is told of none but
those with a syntax of their own: all others it takes by their names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.generators.postgres import PostgresGenerator
from sqlglot.parsers.postgres import PostgresParser
from sqlglot.tokenizer_core import TokenType

#: Functions whose arguments are no plain list.
_OWN_SYNTAX = ("CAST", "EXTRACT", "TRIM", "SUBSTRING", "POSITION", "OVERLAY")


# What it cannot read it says in the log besides; whoever sent it is told, and nobody else.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


def _of_array(predicate: type[exp.Any | exp.All], name: str) -> Callable[[list[exp.Expr]], exp.Expr]:
    """How ``x > ALL (array)`` is read: of a query the parser knows it by itself."""

    def read(arguments: list[exp.Expr]) -> exp.Expr:
        if len(arguments) != 1:
            return exp.Anonymous(this=name, expressions=arguments)
        return predicate(this=exp.Paren(this=arguments[0]))

    return read


class _Parser(PostgresParser):
    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {
        "ALL": _of_array(exp.All, "all"),
        "SOME": _of_array(exp.Any, "some"),
    }
    # PostgreSQL has no lambdas: in f(document -> 'lines') the arrow is JSON's, as everywhere.
    LAMBDAS = {TokenType.FARROW: PostgresParser.LAMBDAS[TokenType.FARROW]}  # noqa: RUF012 - the parser's own way
    FUNCTION_PARSERS = {  # noqa: RUF012 - the parser's own way of saying what it knows
        name: parser for name, parser in PostgresParser.FUNCTION_PARSERS.items() if name in _OWN_SYNTAX
    }
    # Words such as CURRENT_USER are columns then, and there are none such.
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}


class _Generator(PostgresGenerator):
    MULTI_ARG_DISTINCT = True


class Dialect(Postgres):
    """PostgreSQL without translations."""

    Parser = _Parser
    Generator = _Generator


def written(tree: exp.Expr) -> str:
    """A statement as text, every name quoted."""
    return tree.sql(dialect=Dialect, identify=True, comments=False)
