"""Statements that SQLAlchemy's ``select()`` makes of models, as SQL text with host variables. Pure.

The text is PostgreSQL's, with every value as ``:name`` and its type where that is known. Equal values of one type share
a name, so that an expression which is written twice, to select it and to group by it, is one and the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeAlias, TypeVar, overload
from uuid import UUID

import sqlalchemy
from msgspec import Struct
from sqlalchemy import exc
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.sql.selectable import CompoundSelect, Select

from peaceriver import jsontext
from peaceriver.actor import Actor
from peaceriver.columns import Relation
from peaceriver.errors import Invalid, Offence
from peaceriver.query.compiler import StatementCompiler
from peaceriver.query.literals import Reader, Unfit, bound, reader_of

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

#: What fields may hold, as far as a type checker has to tell them from columns.
Value: TypeAlias = (
    str
    | int
    | float
    | Decimal
    | datetime
    | date
    | UUID
    | Enum
    | list[Any]
    | tuple[Any, ...]
    | Mapping[Any, Any]
    | Struct
    | None
)
T0 = TypeVar("T0", bound=Value)
T1 = TypeVar("T1", bound=Value)
T2 = TypeVar("T2", bound=Value)
T3 = TypeVar("T3", bound=Value)
T4 = TypeVar("T4", bound=Value)
T5 = TypeVar("T5", bound=Value)
T6 = TypeVar("T6", bound=Value)
T7 = TypeVar("T7", bound=Value)


@dataclass(frozen=True, slots=True)
class Question:
    """A statement, ready to be asked."""

    sql: str
    #: Every ``:name`` in the text has a value, and every value a place. JSON can write them all.
    variables: dict[str, Any]
    #: One for each column of the result.
    readers: tuple[Reader, ...]


@overload
def select(model: type[Actor] | Relation, /) -> Select[*tuple[Any, ...]]: ...
@overload
def select(a: ColumnElement[T0] | T0, /) -> Select[T0]: ...
@overload
def select(a: ColumnElement[T0] | T0, b: ColumnElement[T1] | T1, /) -> Select[T0, T1]: ...
@overload
def select(
    a: ColumnElement[T0] | T0, b: ColumnElement[T1] | T1, c: ColumnElement[T2] | T2, /
) -> Select[T0, T1, T2]: ...
@overload
def select(
    a: ColumnElement[T0] | T0, b: ColumnElement[T1] | T1, c: ColumnElement[T2] | T2, d: ColumnElement[T3] | T3, /
) -> Select[T0, T1, T2, T3]: ...
@overload
def select(
    a: ColumnElement[T0] | T0,
    b: ColumnElement[T1] | T1,
    c: ColumnElement[T2] | T2,
    d: ColumnElement[T3] | T3,
    e: ColumnElement[T4] | T4,
    /,
) -> Select[T0, T1, T2, T3, T4]: ...
@overload
def select(
    a: ColumnElement[T0] | T0,
    b: ColumnElement[T1] | T1,
    c: ColumnElement[T2] | T2,
    d: ColumnElement[T3] | T3,
    e: ColumnElement[T4] | T4,
    f: ColumnElement[T5] | T5,
    /,
) -> Select[T0, T1, T2, T3, T4, T5]: ...
@overload
def select(
    a: ColumnElement[T0] | T0,
    b: ColumnElement[T1] | T1,
    c: ColumnElement[T2] | T2,
    d: ColumnElement[T3] | T3,
    e: ColumnElement[T4] | T4,
    f: ColumnElement[T5] | T5,
    g: ColumnElement[T6] | T6,
    /,
) -> Select[T0, T1, T2, T3, T4, T5, T6]: ...
@overload
def select(
    a: ColumnElement[T0] | T0,
    b: ColumnElement[T1] | T1,
    c: ColumnElement[T2] | T2,
    d: ColumnElement[T3] | T3,
    e: ColumnElement[T4] | T4,
    f: ColumnElement[T5] | T5,
    g: ColumnElement[T6] | T6,
    h: ColumnElement[T7] | T7,
    /,
) -> Select[T0, T1, T2, T3, T4, T5, T6, T7]: ...
@overload
def select(*columns: Any) -> Select[*tuple[Any, ...]]: ...
def select(*columns: Any) -> Any:
    """SQLAlchemy's own ``select()``, which knows the types of fields: ``select(Order.customer, Order.total)``.

    Models, tables and expressions of any kind are columns too; the types of up to eight columns are known.
    """
    return sqlalchemy.select(*columns)


def compiled(statement: Any, variables: Mapping[str, Any]) -> Question:
    """The statement with a value for each of its host variables (``bindparam("customer")``).

    A variable for which the statement itself has a value need not be given. Raises ``Invalid`` for what is no SELECT;
    naming each variable, for one that has no value, that the statement does not have, or whose value does not fit.
    """
    compiler = _compiler(statement, literal_binds=False)
    given = {**compiler.given, **variables}
    unfit = dict.fromkeys(sorted(variables.keys() - compiler.hosts.keys()), "is no variable of the statement")
    values: dict[str, Any] = {}
    for bind, name in compiler.bind_names.items():
        try:
            values[name] = _value(bind, name, given)
        except Unfit as error:
            unfit[name] = str(error)
    if unfit:
        errors = jsontext.offences((("variables", name), detail) for name, detail in unfit.items())
        said = "; ".join(f"{each.pointer} {each.detail}" for each in errors)
        raise Invalid(f"The statement cannot be asked with these variables: {said}.", errors=errors)
    asked = compiler.construct_expanded_state(values, escape_names=False)
    readers = tuple(reader_of(each.type) for each in compiler._result_columns)
    return Question(asked.statement, dict(asked.parameters), readers)


def declared(statement: Any) -> tuple[str, tuple[str, ...]]:
    """The statement as text for a named view, and the names of the host variables that have no value, each once.

    Values that the statement itself has are literals in the text. Raises ``Invalid`` for what is no SELECT, for a value
    that no literal can say, and for a variable that is a list to look into: its text depends on the value.
    """
    compiler = _compiler(statement, literal_binds=True)
    for each in compiler.post_compile_params:
        detail = "is a list, whose place in the text depends on its value: use any_(bindparam(..., type_=ARRAY(Text)))"
        raise Invalid(f"The variable {each.key} {detail}.", errors=(Offence(f"/variables/{each.key}", detail),))
    return compiler.string, tuple(compiler.bind_names.values())


def _compiler(statement: Any, *, literal_binds: bool) -> StatementCompiler:
    if not isinstance(statement, Select | CompoundSelect) or any(
        isinstance(each, UpdateBase) for each in visitors.iterate(statement)
    ):
        raise Invalid(f"A {type(statement).__name__} cannot be asked here: only a SELECT, or several put together.")
    try:
        compiler = StatementCompiler(statement, literal_binds=literal_binds)
    except exc.SQLAlchemyError as error:
        raise Invalid(f"The statement cannot be written as SQL: {error}.") from error
    except Unfit as error:
        raise Invalid(f"The statement has a value that cannot be written as SQL: one that {error}.") from error
    for name in compiler.hosts:
        if not _VARIABLE.fullmatch(name):
            detail = "is no name of a variable: use letters, digits and _, at most 63"
            raise Invalid(f"{name[:80]!r} {detail}.", errors=(Offence(jsontext.pointer("variables", name), detail),))
    if not compiler._ordered_columns:
        raise Invalid("Nothing is known of the columns of text() and *: name each one, with literal_column() say.")
    return compiler


def _value(bind: BindParameter[Any], name: str, given: Mapping[str, Any]) -> Any:
    if bind.required and name not in given:
        raise Unfit("has no value")
    value = given[name] if name in given and not bind.unique else bind.effective_value
    if not bind.expanding:
        return bound(value, bind.type)
    if not isinstance(value, list | tuple | set | frozenset):
        raise Unfit(f"takes a list, not {type(value).__name__}")
    return [bound(each, bind.type) for each in value]
