"""Named views: a query with typed host variables under a name. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from peaceriver import jsontext
from peaceriver.errors import Invalid, Offence
from peaceriver.limits import NAME_LETTERS_MAX, VIEW_VARIABLES_MAX
from peaceriver.query import kept
from peaceriver.query.guard import VARIABLE, checked
from peaceriver.query.statement import KINDS, kinds_of
from peaceriver.query.values import bound

VIEW_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}", re.ASCII)
#: Parameters of every request for a view; no host variable has such a name.
RESERVED: Final = frozenset(("as_of", "after", "read", "timeout", "shards", "allow_partial"))
#: A number in a URL; Python reads 1_0, and other digits, as well.
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MEMBERS: Final = frozenset(("sql", "variables", "description", "kept"))
_OF_VARIABLE: Final = frozenset(("type", "default", "description"))
#: How a value of each type of the driver's is checked: as that type of PostgreSQL's.
_CHECKED_AS: Final[Mapping[str, str]] = {"integer": "int8", "boolean": "bool"}


class Variable(msgspec.Struct, frozen=True):
    """A host variable of a view."""

    name: str
    #: One of KINDS, or an array of them.
    kind: str
    #: Whether it may be left out; then it is ``default``.
    optional: bool = False
    default: Any = None
    description: str = ""

    @property
    def many(self) -> bool:
        return self.kind.endswith("[]")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A named view."""

    name: str
    sql: str
    variables: tuple[Variable, ...] = ()
    description: str = ""
    #: Whether its answer is kept up to date, instead of computed.
    kept: bool = False

    @property
    def kinds(self) -> dict[str, str]:
        """The types of its host variables by name."""
        return {each.name: each.kind for each in self.variables}

    def public(self) -> dict[str, Any]:
        """The definition, as ``read`` takes it."""
        variables = {
            each.name: {"type": each.kind}
            | ({"default": each.default} if each.optional else {})
            | ({"description": each.description} if each.description else {})
            for each in self.variables
        }
        return {"sql": self.sql, "variables": variables, "description": self.description, "kept": self.kept}


def read(name: str, definition: Mapping[str, Any]) -> View:
    """The view that a definition describes; raises Invalid, with pointers into it."""
    errors = list(_offences(name, definition))
    if errors:
        raise Invalid("; ".join(f"{each.pointer} {each.detail}" for each in errors), errors=tuple(errors))
    given: Mapping[str, Any] = definition.get("variables", {})
    query = checked(definition["sql"])
    wanted = {name: kind if isinstance(kind, dict) else {"type": kind} for name, kind in given.items()}
    kinds_of({name: each["type"] for name, each in wanted.items()})
    for missing in (each for each in query.variables if each not in wanted):
        detail = f"the query asks for :{missing}: give its type"
        raise Invalid(detail, errors=(Offence(f"/variables/{missing}", detail),))
    for unused in (each for each in wanted if each not in query.variables):
        detail = f"the query does not ask for :{unused}"
        raise Invalid(detail, errors=(Offence(f"/variables/{unused}", detail),))
    if definition.get("kept", False):
        kept.definition(name, query.tree)
    return View(
        name=name,
        sql=definition["sql"],
        variables=tuple(_variable(each, wanted[each]) for each in wanted),
        description=definition.get("description", ""),
        kept=definition.get("kept", False),
    )


def shown(definition: Any) -> dict[str, Any]:
    """A definition as ``View.public`` shows it, without reading the query in it."""
    said: dict[str, Any] = definition if isinstance(definition, dict) else {}
    given = said.get("variables")
    variables: Mapping[str, Any] = given if isinstance(given, dict) else {}
    typed = {name: kind if isinstance(kind, dict) else {"type": kind} for name, kind in variables.items()}
    return {"sql": "", "description": "", "kept": False} | said | {"variables": typed}


def _offences(name: str, definition: Mapping[str, Any]) -> Iterator[Offence]:
    if not VIEW_NAME.fullmatch(name):
        yield Offence("/name", f"{name[:80]!r} cannot be a view's name: use letters, digits, - and _, at most 63")
    for member in definition:
        if member not in _MEMBERS:
            yield Offence(jsontext.pointer(member), "is not known here")
    if not isinstance(definition.get("sql"), str):
        yield Offence("/sql", "must be text: one SELECT")
    description = definition.get("description", "")
    if not isinstance(description, str) or len(description) > 16 * NAME_LETTERS_MAX:
        yield Offence("/description", f"must be text of at most {16 * NAME_LETTERS_MAX} letters")
    if not isinstance(definition.get("kept", False), bool):
        yield Offence("/kept", "must be true or false")
    variables = definition.get("variables", {})
    if not isinstance(variables, dict) or len(variables) > VIEW_VARIABLES_MAX:
        yield Offence("/variables", f"must be an object: at most {VIEW_VARIABLES_MAX} names, each with its type")
        return
    for each, kind in variables.items():
        yield from _variable_offences(each, kind)


def _variable_offences(name: str, kind: Any) -> Iterator[Offence]:
    pointer = jsontext.pointer("variables", name)
    if not VARIABLE.fullmatch(name):
        yield Offence(pointer, "must be a name of letters, digits and _, at most 63")
    if name in RESERVED:
        yield Offence(pointer, "means something else in every request; name it otherwise")
    if isinstance(kind, dict):
        for member in kind.keys() - _OF_VARIABLE:
            yield Offence(f"{pointer}{jsontext.pointer(member)}", "is not known here")
        if not isinstance(kind.get("description", ""), str):
            yield Offence(f"{pointer}/description", "must be text")
        kind = kind.get("type")
    if not isinstance(kind, str):
        yield Offence(pointer, f"must be a type ({', '.join(KINDS)}), or an object with type and default")


def _variable(name: str, wanted: Mapping[str, Any]) -> Variable:
    optional, kind = "default" in wanted, wanted["type"]
    default = wanted.get("default")
    if optional:
        _check(name, default, kind)
    return Variable(name, kind, optional, default, wanted.get("description", ""))


def _check(name: str, value: Any, kind: str) -> None:
    """Raise Invalid where a value is none of a kind."""
    bare = kind.removesuffix("[]")
    bound(name, value, _CHECKED_AS.get(bare, bare) + kind[len(bare) :])


def given(view: View, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The values of a view's host variables from a request's parameters; arrays come as a parameter given repeatedly.

    Raises Invalid, naming each that is missing, unknown, or no value of its type.
    """
    texts: dict[str, list[str]] = {}
    for name, text in pairs:
        if name not in RESERVED:
            texts.setdefault(name, []).append(text)
    known = {each.name for each in view.variables}
    errors = [Offence(name, f"is no host variable of {view.name}") for name in texts if name not in known]
    values: dict[str, Any] = {}
    for each in view.variables:
        asked = texts.get(each.name)
        if asked is None and not each.optional:
            errors.append(Offence(each.name, f"is needed: a value of type {each.kind}"))
        elif asked is not None and len(asked) > 1 and not each.many:
            errors.append(Offence(each.name, "is given twice"))
        elif asked is None:
            values[each.name] = each.default
        else:
            values[each.name] = _value(each, asked, errors)
    if errors:
        raise Invalid("; ".join(f"{each.pointer} {each.detail}" for each in errors), errors=tuple(errors))
    return values


def _value(variable: Variable, texts: list[str], errors: list[Offence]) -> Any:
    kind = variable.kind.removesuffix("[]")
    try:
        read = [_from_text(each, kind) for each in texts]
        value: Any = read if variable.many else read[0]
        _check(variable.name, value, variable.kind)
        return value
    except (ValueError, Invalid) as error:
        said = error.errors[0].detail if isinstance(error, Invalid) and error.errors else str(error)
        errors.append(Offence(variable.name, said))
        return None


def _from_text(text: str, kind: str) -> Any:
    if kind in ("integer", "numeric"):
        if len(text) > jsontext.NUMBER_DIGITS_MAX or not _NUMBER.fullmatch(text):
            raise ValueError(f"{text[:60]!r} is no number")
        return Decimal(text)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"
    return text
