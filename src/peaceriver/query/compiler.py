"""How SQLAlchemy writes our SQL: values as ``:name::TYPE`` or as literals, each under a name of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGTypeCompiler
from sqlalchemy.dialects.postgresql.json import JSONPATH, JSONPathType
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BindParameter, Cast, ClauseElement
from sqlalchemy.types import JSON, Enum, Integer, Numeric, String, Text, Time, TypeEngine

from peaceriver.columns import Whole
from peaceriver.query.literals import literal

_UNFIT_FOR_A_NAME = re.compile(r"[^A-Za-z0-9_]+")


class _AnyText(Text):
    """Text is TEXT: a VARCHAR among texts is of another type where types must be the same, in a recursive CTE say."""

    render_bind_cast = True


class _AnyWhole(Whole):
    render_bind_cast = True


class _JsonPath(JSONPathType):
    """The steps to a place in a JSON value: TEXT[]."""

    __visit_name__ = "json_steps"
    render_bind_cast = True


class _Types(PGTypeCompiler):
    def visit_json_steps(self, type_: JSONPathType, **how: Any) -> str:
        return "TEXT[]"


class StatementCompiler(PGCompiler):
    """Writes one statement. ``statement``: a SELECT; with ``literal_binds``, its own values are part of the text."""

    def __init__(self, statement: ClauseElement, *, literal_binds: bool = False) -> None:
        binds = [each for each in visitors.iterate(statement) if isinstance(each, BindParameter)]
        #: Host variables by name.
        self.hosts: Mapping[str, BindParameter[Any]] = {each.key: each for each in binds if not each.unique}
        self._equal: dict[tuple[Any, ...], BindParameter[Any]] = {}
        self._made_up = 0
        super().__init__(_DIALECT, statement, compile_kwargs={"literal_binds": literal_binds})
        # Those that only writing comes upon.
        self.hosts = {**{each.key: each for each in self.bind_names if not each.unique}, **self.hosts}

    @property
    def given(self) -> Mapping[str, Any]:
        """The values that the statement's ``params()`` gives host variables."""
        return cast(Mapping[str, Any], self._collected_params)

    def visit_bindparam(
        self, bindparam: BindParameter[Any], *others: Any, literal_binds: bool = False, **how: Any
    ) -> Any:
        written: Any = super().visit_bindparam
        has_value = not bindparam.required or bindparam.key in self.given
        return written(self._first_equal(bindparam), *others, literal_binds=literal_binds and has_value, **how)

    def _first_equal(self, bindparam: BindParameter[Any]) -> BindParameter[Any]:
        """The first value of the same type that is the same; only a typed one means the same wherever it stands."""
        if not bindparam.unique or not _is_typed(bindparam):
            return bindparam
        value = bindparam.effective_value
        key = (bindparam.type._static_cache_key, type(value), repr(value))
        return self._equal.setdefault(key, bindparam)

    def render_literal_bindparam(self, bindparam: BindParameter[Any], *others: Any, **how: Any) -> Any:
        written: Any = super().render_literal_bindparam
        is_null = bindparam.value is None and bindparam.callable is None and bindparam.key not in self.given
        text = "NULL" if is_null else written(bindparam, *others, **how)
        with_type: Any = self.render_bind_cast
        kind = bindparam.type._unwrapped_dialect_impl(self.dialect)
        # Those of a list have the type of what they are compared with.
        return with_type(bindparam.type, kind, text) if _is_typed(bindparam) else text

    def render_literal_value(self, value: Any, type_: TypeEngine[Any]) -> str:
        return literal(value, type_)

    def render_bind_cast(self, type_: TypeEngine[Any], dbapi_type: TypeEngine[Any], sqltext: str) -> Any:
        with_type: Any = super().render_bind_cast
        # JSON has no durations and no times of day: such a value comes as text.
        as_it_comes = f"{sqltext}::TEXT" if isinstance(dbapi_type, INTERVAL | Time) else sqltext
        return with_type(type_, dbapi_type, as_it_comes)

    def visit_slice(self, element: Any, **how: Any) -> str:
        """With spaces: the colons of a type and of a variable would run into the one in the middle."""
        return f"{self.process(element.start, **how)} : {self.process(element.stop, **how)}"

    def _truncate_bindparam(self, bindparam: BindParameter[Any]) -> str:
        if bindparam not in self.bind_names:
            name = self._name_of(bindparam) if bindparam.unique else bindparam.key
            self.bind_names[bindparam] = name
        return str(self.bind_names[bindparam])

    def _name_of(self, bindparam: BindParameter[Any]) -> str:
        """``total_1`` for a value that is compared with a total; never a name of another value or variable."""
        about = _UNFIT_FOR_A_NAME.sub("_", bindparam._orig_key or "").strip("_0123456789") or "value"
        if about in self.hosts:
            about += "_value"
        while True:
            self._made_up += 1
            name = f"{about[:40]}_{self._made_up}"
            if name not in self.hosts:
                return name

    def visit_floordiv_binary(self, binary: Any, operator: Any, **how: Any) -> str:
        """As Python has it; where whole numbers are NUMERIC, a plain division would leave a fraction."""
        divisor = binary.right
        if divisor.type._type_affinity is Integer:
            divisor = Cast(divisor, Numeric())
        return f"FLOOR({self.process(binary.left, **how)} / {self.process(divisor, **how)})"


class _Dialect(PGDialect_asyncpg):
    type_compiler_cls = _Types
    #: JSON and JSONB are written alike, with arrows.
    _supports_jsonb_subscripting = False
    colspecs = {  # noqa: RUF012 - SQLAlchemy declares it so
        **PGDialect_asyncpg.colspecs,
        Enum: _AnyText,
        JSON.JSONPathType: _JsonPath,
        JSONPATH: JSONPATH,
        String: _AnyText,
        Whole: _AnyWhole,
    }


def _is_typed(bindparam: BindParameter[Any]) -> bool:
    """Whether the value is written with its type."""
    return not bindparam.expanding and bool(bindparam.type._unwrapped_dialect_impl(_DIALECT).render_bind_cast)


_DIALECT: Final = _Dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy leaves them untyped
# Otherwise backslashes are doubled until a server has said that they need not be.
_DIALECT._backslash_escapes = False
