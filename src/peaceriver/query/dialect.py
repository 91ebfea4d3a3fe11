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
from sqlglot.errors import SqlglotError
from sqlglot.generators.postgres import PostgresGenerator
from sqlglot.parsers.postgres import PostgresParser
from sqlglot.tokenizer_core import TokenType

from peaceriver.limits import QUERY_STEPS_MAX, QUERY_STEPS_OF_WORD_MAX

#: Functions whose arguments are no plain list.
_OWN_SYNTAX = ("CAST", "EXTRACT", "TRIM", "SUBSTRING", "POSITION", "OVERLAY")
#: Units of an interval.
_UNITS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")
#: Marks a NOT that stands within a comparison.
_WITHIN = "within"
#: Marks an OFFSET that stands before its LIMIT.
_BEFORE_LIMIT = "before limit"

# What it cannot read it says in the log besides; whoever sent it is told, and nobody else.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


def _arrow(kind: type[exp.Expr]) -> Callable[[Any, exp.Expr, exp.Expr], exp.Expr]:
    """``->`` and ``->>`` as they stand there: their right side is a value like any other, and no path."""
    return lambda parser, this, key: parser.expression(kind(this=this, expression=key))


class _Parser(PostgresParser):
    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {}
    # PostgreSQL has no lambdas: in f(document -> 'lines') the arrow is JSON's, as everywhere.
    LAMBDAS = {TokenType.FARROW: PostgresParser.LAMBDAS[TokenType.FARROW]}  # noqa: RUF012 - the parser's own way
    FUNCTION_PARSERS = {  # noqa: RUF012 - the parser's own way of saying what it knows
        name: parser for name, parser in PostgresParser.FUNCTION_PARSERS.items() if name in _OWN_SYNTAX
    }
    # Words such as CURRENT_USER are columns then, and there are none such.
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
    JSON_OPERATORS = {  # noqa: RUF012 - the parser's own way of saying what it knows
        **PostgresParser.JSON_OPERATORS,
        TokenType.ARROW: _arrow(exp.JSONExtract),
        TokenType.DARROW: _arrow(exp.JSONExtractScalar),
    }

    def reset(self) -> None:
        super().reset()
        self._steps = 0

    def _advance(self, times: int = 1) -> None:
        self._steps += 1
        if self._steps > QUERY_STEPS_MAX + QUERY_STEPS_OF_WORD_MAX * self._tokens_size:
            raise SqlglotError("it could be read in too many ways")
        super()._advance(times)

    def _negate_range(self, this: exp.Expr | None = None) -> exp.Expr | None:
        negated = super()._negate_range(this)
        if isinstance(negated, exp.Not):
            negated.meta[_WITHIN] = True
        return negated

    def _parse_is(self, this: exp.Expr | None) -> exp.Expr | None:
        found = super()._parse_is(this)
        if isinstance(found, exp.Not):
            found.meta[_WITHIN] = True
        return found

    def _parse_offset(self, this: exp.Expr | None = None) -> exp.Expr | None:
        found = super()._parse_offset(this)
        if isinstance(found, exp.Offset):
            found.meta[_BEFORE_LIMIT] = self._match(TokenType.LIMIT, advance=False)
        return found

    def _parse_interval(self, require_interval: bool = True, parse_function_unit: bool = True) -> Any:
        """INTERVAL and a text, which is left as it is, and then perhaps a unit, or two with TO between them."""
        index = self._index
        if not self._match(TokenType.INTERVAL) or not self._match(TokenType.STRING, advance=False):
            self._retreat(index)
            return None
        text = self._parse_primary()
        unit: exp.Expr | None = self._unit()
        if unit is None:
            return self.expression(exp.Cast(this=text, to=exp.DataType.build("interval", dialect=Dialect)))
        if self._match_text_seq("TO"):
            unit = exp.IntervalSpan(this=unit, expression=self._unit())
        return self.expression(exp.Interval(this=text, unit=unit))

    def _unit(self) -> exp.Var | None:
        return exp.var(self._prev.text.lower()) if self._match_texts(_UNITS) else None


class _Generator(PostgresGenerator):
    MULTI_ARG_DISTINCT = True
    SINGLE_STRING_INTERVAL = False
    JSON_TYPE_REQUIRED_FOR_EXTRACTION = False

    def not_sql(self, expression: exp.Not) -> str:
        """``a NOT IN b`` is written like that again: ``NOT a IN b`` is something else where more follows."""
        if not expression.meta.get(_WITHIN):
            return super().not_sql(expression)
        compared = expression.this.this if isinstance(expression.this, exp.Escape) else expression.this
        left, whole = self.sql(compared.this), self.sql(expression.this)
        rest = whole[len(left) :].lstrip()
        if isinstance(compared, exp.Is):
            return f"{left} IS NOT {rest.removeprefix('IS ')}"
        return f"{left} {'!' if isinstance(compared, exp.RegexpLike | exp.RegexpILike) else 'NOT '}{rest}"

    def pow_sql(self, expression: exp.Pow) -> str:
        return self.binary(expression, "^")

    def windowspec_sql(self, expression: exp.WindowSpec) -> str:
        whole = super().windowspec_sql(expression)
        return (
            whole if expression.args.get("end") else whole.replace("BETWEEN ", "", 1).replace(" AND CURRENT ROW", "", 1)
        )

    def offset_limit_modifiers(
        self, expression: exp.Expr, fetch: bool, limit: exp.Fetch | exp.Limit | None
    ) -> list[str]:
        offset = expression.args.get("offset")
        return super().offset_limit_modifiers(
            expression, fetch or (offset is not None and bool(offset.meta.get(_BEFORE_LIMIT))), limit
        )

    def bitwisenot_sql(self, expression: exp.BitwiseNot) -> str:
        return f"~ {self.sql(expression, 'this')}"

    def placeholder_sql(self, expression: exp.Placeholder) -> str:
        return f":{expression.name}"


class Dialect(Postgres):
    """PostgreSQL without translations."""

    # What stands in brackets is left as it is.
    INDEX_OFFSET = 0

    Parser = _Parser
    Generator = _Generator


def written(tree: exp.Expr) -> str:
    """A statement as text, every name quoted."""
    return tree.sql(dialect=Dialect, identify=True, comments=False)
