"""Statements as they run: every model in every scope stands for its rows at the cutoff, and for nothing else. Pure.

The cutoff comes in as host variables of our own, so a statement is made once and runs at every cutoff.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

import msgspec
from sqlglot import exp, parse_one

from peaceriver.errors import Invalid, NoModel, Offence
from peaceriver.query import allowed
from peaceriver.query.columns import check_columns
from peaceriver.query.dialect import Dialect, written
from peaceriver.query.functions import bounded
from peaceriver.query.guard import TOO_DEEP, Checked, refused
from peaceriver.query.large import makes_large, with_rows_bounded
from peaceriver.query.one_form import bring_into_one_form, makes_one_of_equals
from peaceriver.query.repeatable import made_repeatable
from peaceriver.query.timeless import make_timeless
from peaceriver.query.trees import is_model

#: Host variables of a declared kind; also as arrays of them.
Kind: TypeAlias = Literal["text", "integer", "numeric", "boolean", "timestamptz", "date", "uuid"]
KINDS: Mapping[str, str] = {
    "text": "text",
    "integer": "bigint",
    "numeric": "numeric",
    "boolean": "boolean",
    "timestamptz": "timestamptz",
    "date": "date",
    "uuid": "uuid",
}

#: The system's columns of every model: what each is in a view's row ``v``.
SYSTEM: Mapping[str, str] = {
    "actor_id": "v.actor_id",
    "actor_shard": "v.actor_shard",
    "actor_version": "v.actor_version",
    "actor_status": "v.actor_status",
    "actor_stamp": """(lpad(to_hex(v.actor_from), 20, '0') || '.' || v.actor_shard) COLLATE "C\"""",
    "document": "v.document",
}
SYSTEM_TYPES: Mapping[str, str] = {
    "actor_id": "text",
    "actor_shard": "integer",
    "actor_version": "integer",
    "actor_status": "text",
    "actor_stamp": "text",
    "document": "json",
}


class Relation(msgspec.Struct, frozen=True):
    """What a model's name stands for."""

    #: The view's table as SQL names it, quoted; None where nothing was recorded of the type yet.
    table: str | None
    #: Its declared columns: the name, the type, and what the table calls it.
    columns: tuple[tuple[str, str, str], ...]


class Statement(msgspec.Struct, frozen=True):
    """A statement with numbered parameters: the cutoff's (``CUT``) where any model is in it, the limit, variables."""

    text: str
    #: Whether its first two parameters are the cutoff: shards and logical times, or one of each.
    is_cut: bool
    #: Host variables after the limit, in order.
    variables: tuple[str, ...]
    #: Columns at the end that are for the order only.
    hidden: int
    #: Whether its rows may be far larger than what was recorded: see ``query/large.py``.
    is_large: bool


def stated(
    query: Checked, relations: Mapping[tuple[str, bool], Relation], *, single: bool, kinds: Mapping[str, str]
) -> Statement:
    """The statement that runs for a checked query.

    ``single``: at the cutoff of one shard ($1: its code, $2: the logical time there), else of several (arrays). The
    parameter after them is how many rows are wanted. ``kinds``: declared types of host variables, as SQL has them.
    Raises Invalid for what cannot be made repeatable.
    """
    try:
        return _stated(query, relations, single=single, kinds=kinds)
    except RecursionError:
        raise refused(TOO_DEEP) from None


def _stated(
    query: Checked, relations: Mapping[tuple[str, bool], Relation], *, single: bool, kinds: Mapping[str, str]
) -> Statement:
    columns = {name: [*SYSTEM, *(each for each, _, _ in relation.columns)] for name, relation in relations.items()}
    check_columns(query.tree, columns)
    alike, is_large = makes_one_of_equals(query.tree), makes_large(query.tree)
    tree, hidden = made_repeatable(query.tree.copy())
    made_to_run(tree)
    is_cut = bool(query.models)
    # Those within others first: what replaces a table takes along what is joined to it in parentheses.
    for table in reversed([each for each in tree.find_all(exp.Table) if is_model(each)]):
        relation = relations[table.name, not table.this.meta.get("unquoted", False)]
        table.replace(_rows(table, relation, single=single, alike=alike))
    first = 3 if is_cut else 1
    _limit(tree, first)
    number = {name: first + place for place, name in enumerate(query.variables, 1)}
    for each in list(tree.find_all(exp.Placeholder)):
        parameter = exp.Parameter(this=exp.Literal.number(number[each.name]))
        kind = kinds.get(each.name)
        cast = None if kind is None else exp.Cast(this=parameter, to=exp.DataType.build(kind, dialect=Dialect))
        each.replace(cast or parameter)
    text = with_rows_bounded(written(tree)) if is_large else written(tree)
    return Statement(text, is_cut, query.variables, hidden, is_large)


def made_to_run(tree: exp.Query) -> None:
    """Give a checked statement, in place, what keeps its answer in bounds and the same for ever."""
    make_timeless(tree)
    bring_into_one_form(tree)
    _bound_texts(tree)  # at the end: the others know functions by PostgreSQL's names


def _bound_texts(tree: exp.Expr) -> None:
    """Let what makes a text as long as is said refuse a very long one: rows are in memory as wholes."""
    for each in list(tree.find_all(exp.Anonymous)):
        if allowed.function_name(each) in allowed.LENGTHENING:
            bounded(each)


def _rows(table: exp.Table, relation: Relation, *, single: bool, alike: bool) -> exp.Subquery:
    """What stands in a model's place, under the name that it has there."""
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
    subquery = exp.Subquery(this=_parsed_rows(relation, single, alike).copy(), alias=alias.copy())
    for name in ("joins", "laterals"):
        if table.args.get(name):
            subquery.set(name, [each.copy() for each in table.args[name]])
    return subquery


@lru_cache(maxsize=100)
def _parsed_rows(relation: Relation, single: bool, alike: bool) -> exp.Expr:
    return parse_one(rows_at_cutoff(relation, single=single, alike=alike), dialect=Dialect)


def rows_at_cutoff(relation: Relation, *, single: bool, alike: bool = False) -> str:
    """The SELECT of a view's rows that were valid at the cutoff, each shard's at its own logical time.

    Numbers are as they were sent, or all written alike: without trailing zeros.
    """
    if relation.table is None:
        columns = [f"CAST(NULL AS {kind}) AS {_quoted(name)}" for name, kind in SYSTEM_TYPES.items()]
        columns += [f"CAST(NULL AS {kind}) AS {_quoted(name)}" for name, kind, _ in relation.columns]
        cut = (
            "$1::integer IS NULL AND $2::bigint IS NULL" if single else "$1::integer[] IS NULL AND $2::bigint[] IS NULL"
        )
        return f"SELECT {', '.join(columns)} WHERE FALSE AND {cut}"
    columns = [f"{value} AS {name}" for name, value in SYSTEM.items()]
    for name, kind, stored in relation.columns:
        value = f"v.{_quoted(stored)}"
        value = f"trim_scale({value})" if alike and kind == "numeric" else value
        columns.append(f"{value} AS {_quoted(name)}")
    chosen = f"SELECT {', '.join(columns)} FROM {relation.table} AS v"
    if single:
        return f"{chosen} WHERE v.actor_shard = $1 AND v.actor_from <= $2 AND v.actor_until > $2"
    return (
        f"{chosen} JOIN unnest($1::integer[], $2::bigint[]) AS cut(shard, time) ON cut.shard = v.actor_shard"
        " WHERE v.actor_from <= cut.time AND v.actor_until > cut.time"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _limit(tree: exp.Select, number: int) -> None:
    """No more rows than are wanted: those of the statement's own limit, or fewer."""
    most: exp.Expr = exp.Cast(
        this=exp.Parameter(this=exp.Literal.number(number)), to=exp.DataType.build("bigint", dialect=Dialect)
    )
    limit = tree.args.get("limit")
    given = None if limit is None else limit.args.get("count" if isinstance(limit, exp.Fetch) else "expression")
    if isinstance(limit, exp.Fetch) and given is None:
        given = exp.Literal.number(1)
    if given is not None and not isinstance(given, exp.Var):
        most = exp.Anonymous(this="LEAST", expressions=[given.copy(), most])
    tree.set("limit", exp.Limit(expression=most))


def kinds_of(variables: Mapping[str, str]) -> dict[str, str]:
    """SQL's types for declared kinds of host variables; raises Invalid for one that is not known."""
    kinds: dict[str, str] = {}
    for name, kind in variables.items():
        bare = kind.removesuffix("[]")
        if bare not in KINDS:
            detail = (
                f"{kind[:40]!r} is no type of a host variable; there are {', '.join(KINDS)}, and arrays such as text[]"
            )
            raise Invalid(f"variable {name}: {detail}", errors=(Offence(f"/variables/{name}", detail),))
        kinds[name] = KINDS[bare] + kind[len(bare) :]
    return kinds


def resolved(query: Checked, known: Iterable[str]) -> dict[tuple[str, bool], str]:
    """The actor type of each model that a query names: the very name, or without quotes the only one like it.

    Raises NoModel, with what there is, for a name that is no model.
    """
    known = list(known)
    found: dict[tuple[str, bool], str] = {}
    for name, is_quoted in query.models:
        alike = [each for each in known if each.lower() == name.lower()]
        if name in known:
            found[name, is_quoted] = name
        elif not is_quoted and len(alike) == 1:
            found[name, is_quoted] = alike[0]
        else:
            advice = f"; did you mean {_quoted(alike[0])}?" if alike else "; GET /directory/models lists them"
            why = f"there is no model {_quoted(name[:63])}{advice}"
            raise NoModel(f"the query is refused: {why}", errors=(Offence("/sql", why),))
    return found
