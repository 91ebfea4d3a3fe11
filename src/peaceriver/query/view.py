"""``@view``: a named view as a Python function that makes a ``select()``."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Union, get_args, get_origin, get_type_hints, overload
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, BigInteger, Boolean, Date, DateTime, Numeric, Text, Uuid, bindparam
from sqlalchemy.types import TypeEngine

from peaceriver.errors import Invalid
from peaceriver.query.named import View, read
from peaceriver.query.select import declared

_KINDS: Final[Mapping[Any, tuple[str, TypeEngine[Any]]]] = {
    str: ("text", Text()),
    int: ("integer", BigInteger()),
    Decimal: ("numeric", Numeric()),
    bool: ("boolean", Boolean()),
    datetime: ("timestamptz", DateTime(timezone=True)),
    date: ("date", Date()),
    UUID: ("uuid", Uuid()),
}


@overload
def view(function: Callable[..., Any], /) -> View: ...
@overload
def view(*, name: str | None = ..., kept: bool = ...) -> Callable[[Callable[..., Any]], View]: ...
def view(function: Callable[..., Any] | None = None, /, *, name: str | None = None, kept: bool = False) -> Any:
    """A named view of a function that answers a ``select()``.

    Its parameters are the view's host variables, with their types and defaults; in the statement they are the
    parameters themselves, or ``bindparam("customer")``. Its docstring describes the view. ``kept``: the answer is kept
    up to date instead of computed. Raises TypeError for what cannot be a view.
    """
    if function is None:
        return lambda decorated: _view(decorated, name, kept)
    return _view(function, name, kept)


def _view(function: Callable[..., Any], name: str | None, kept: bool) -> View:
    called = name or function.__name__
    hints = get_type_hints(function)
    hints.pop("return", None)
    variables: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}
    for each in inspect.signature(function).parameters.values():
        kind, of = _kind(called, each, hints.get(each.name))
        default = {} if each.default is inspect.Parameter.empty else {"default": msgspec.to_builtins(
            each.default, builtin_types=(Decimal,))}  # fmt: skip
        variables[each.name] = {"type": kind} | default
        values[each.name] = bindparam(each.name, type_=of)
    try:
        sql, _ = declared(function(**values))
        return read(called, {"sql": sql, "variables": variables, "description": _told(function), "kept": kept})
    except Invalid as error:
        raise TypeError(f"{called} cannot be a view: {error.detail}") from error


def _kind(view: str, parameter: inspect.Parameter, hint: Any) -> tuple[str, TypeEngine[Any]]:
    """The type of a host variable, for PostgreSQL and for the statement."""
    if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
        raise TypeError(f"{view} cannot be a view: {parameter} is no host variable; give each one a name")
    if get_origin(hint) in (Union, types.UnionType):
        hints = [each for each in get_args(hint) if each is not type(None)]
        hint = hints[0] if len(hints) == 1 else hint
    if get_origin(hint) in (list, Sequence) and get_args(hint)[0] in _KINDS:
        kind, of = _KINDS[get_args(hint)[0]]
        return f"{kind}[]", ARRAY(of)
    if hint not in _KINDS:
        known = ", ".join(each.__name__ for each in _KINDS)
        raise TypeError(f"{view} cannot be a view: say the type of {parameter.name}, one of {known}, or a list of it")
    return _KINDS[hint]


def _told(function: Callable[..., Any]) -> str:
    return inspect.getdoc(function) or ""
