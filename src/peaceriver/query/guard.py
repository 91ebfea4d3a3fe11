"""The guard: SQL text from outside, parsed and checked against what is allowed. Pure.

What runs is never the text that came, but a statement written anew from what was understood of it: every name quoted,
every relation one of ours, every value a constant or a host variable. So there is no way around by comments, quotes or
a second statement, and what the parser reads differently from PostgreSQL is still made of allowed parts only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise, zip_longest
from typing import Any, Final

import msgspec
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from peaceriver.errors import Invalid, Offence
from peaceriver.limits import (
    CHECKED_LETTERS_MAX,
    QUERY_BYTES_MAX,
    QUERY_DEPTH_MAX,
    QUERY_RELATIONS_MAX,
    QUERY_TOKENS_MAX,
)
from peaceriver.query import allowed
from peaceriver.query.dialect import Dialect, written
from peaceriver.query.faithful import decisive
from peaceriver.query.scopes import named_apart

#: Of a statement that the parser, or what comes after it, cannot follow all the way down.
TOO_DEEP: Final = "it is nested too deeply, or has too many operators in a row"
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_WORD = re.compile(r"[A-Za-z_]+( [A-Za-z_]+)*", re.ASCII)
#: How the parser says that a part is missing, and which word it came to instead.
_MISSING = re.compile(r"^Required keyword: '\w+' missing for <class '[\w.]+'>", re.ASCII)
_TOKEN = re.compile(r"(?<= name) but got <Token .*?>(?=\. Line \d)", re.DOTALL)
_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.CASE, TokenType.L_BRACE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.END, TokenType.R_BRACE}
#: What a SELECT may have; what else the parser knows of (locks, hints, INTO, samples) is of no use in a read.
_SELECT = allowed.words("with_ distinct expressions from_ joins laterals where group having windows order limit offset")
_OF_NODE: Final = {
    exp.Select: _SELECT,
    exp.SetOperation: allowed.words("with_ this expression distinct order limit offset expressions"),
    exp.Subquery: frozenset(("this", "alias", "with_", "order", "limit", "offset", "joins", "laterals")),
    exp.Table: frozenset(("this", "alias", "joins", "laterals", "rows_from", "ordinality", "only")),
    exp.Lateral: frozenset(("this", "alias", "view", "outer", "ordinality")),
    exp.Join: frozenset(("this", "on", "using", "method", "side", "kind", "global")),
    exp.Limit: frozenset(("this", "expression")),
    exp.Placeholder: frozenset(("this",)),
    exp.Cast: frozenset(("this", "to", "safe")),
    exp.Group: frozenset(("expressions", "grouping_sets", "cube", "rollup", "totals", "all")),
}


class Checked(msgspec.Struct, frozen=True):
    """A statement of which all is allowed; its tree is shared and is copied before anything is changed in it."""

    tree: exp.Query
    #: The models that it names, as it names them: the name, and whether it was quoted.
    models: frozenset[tuple[str, bool]]
    #: What its own relations (WITH) were called, by what they are called in the tree.
    called: Mapping[str, str]
    #: Its host variables, in the order in which they first stand there.
    variables: tuple[str, ...]
    #: The names of columns in it: some are only there where they are asked for.
    names: frozenset[str]
    #: How often it names a relation.
    relations: int


def checked(sql: str) -> Checked:
    """Parse one SELECT; raises Invalid, with what is not allowed, and what to do instead.

    Short ones are remembered: a long one takes much memory, and is mostly asked once.
    """
    return _remembered(sql) if len(sql) <= CHECKED_LETTERS_MAX else _bounded(sql)


def _bounded(sql: str) -> Checked:
    try:
        return _checked(sql)
    except RecursionError:
        raise refused(TOO_DEEP) from None


_remembered = lru_cache(maxsize=512)(_bounded)


def _checked(sql: str) -> Checked:
    tree = _parsed(sql)
    for node in tree.walk():
        _check(node)
    relations = sum(1 for _ in tree.find_all(exp.Table))
    if relations > QUERY_RELATIONS_MAX:
        raise refused(f"it names more than {QUERY_RELATIONS_MAX} relations")
    _fold_names(tree)
    models, called = named_apart(tree)
    text = written(tree)
    tokens = Dialect().tokenize(text)
    _check_calls(tokens)
    came = Dialect().tokenize(sql)
    _check_numbers(came)
    _check_faithful(came, tokens)
    variables = tuple(dict.fromkeys(each.name for each in tree.find_all(exp.Placeholder)))
    columns = (each.name for each in tree.find_all(exp.Column))
    using = (each.name for join in tree.find_all(exp.Join) for each in join.args.get("using") or ())
    return Checked(tree, models, called, variables, frozenset((*columns, *using)), relations)


def _parsed(sql: str) -> exp.Query:
    if "\x00" in sql:
        raise refused("the text must not hold \\u0000")
    if len(sql.encode("utf-8", "surrogatepass")) > QUERY_BYTES_MAX:
        raise refused(f"the text has more than {QUERY_BYTES_MAX:,} bytes")
    try:
        _check_size(sql)
        statements = Dialect().parse(sql)
    except SqlglotError as error:
        raise refused(f"it cannot be read as SQL: {_said(error)}") from None
    found = [each for each in statements if each is not None]
    if len(found) != 1:
        raise refused(f"one statement is run at a time, and these are {len(found)}")
    if not isinstance(found[0], exp.Query | exp.Values):
        raise refused("only a SELECT is run: what changes anything is a message")
    return found[0]  # type: ignore[return-value]  # VALUES alone is as good as a SELECT


def _check_size(sql: str) -> None:
    """Nesting and length, before the parser follows them: it would for very long."""
    depth = most = 0
    read = Dialect().tokenize(sql)
    if len(read) > QUERY_TOKENS_MAX:
        raise refused(f"it has more than {QUERY_TOKENS_MAX:,} words")
    for each in read:
        if each.token_type in _OPENING:
            depth += 1
            most = max(most, depth)
        elif each.token_type in _CLOSING:
            depth -= 1
    if most > QUERY_DEPTH_MAX:
        raise refused(f"it is nested more than {QUERY_DEPTH_MAX} deep")


def _said(error: SqlglotError) -> str:
    """What the parser says, without its colours and the names of its own parts."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = _MISSING.sub("it is not complete, something is missing at this place", text, count=1)
    text = _TOKEN.sub("", text, count=1).partition("\n")[0]
    return text.strip().rstrip(".")[:300]


def refused(why: str) -> Invalid:
    """The error for a statement that is not run."""
    return Invalid(f"the query is refused: {why}", errors=(Offence("/sql", why),))


# --- what each part may be


def _check(node: exp.Expr) -> None:
    kind = type(node).__name__
    function = allowed.function_name(node)
    if function:
        _check_function(node, function)
    elif kind not in allowed.SYNTAX:
        raise refused(f"{_shown(node)} is not part of the query language")
    for of, known in _OF_NODE.items():
        if isinstance(node, of):
            for name, value in node.args.items():
                if name not in known and value not in (None, False, []):
                    raise refused(f"{name.strip('_').upper().replace('_', ' ')} is not part of the query language")
    check = _CHECKS.get(kind)
    if check is not None:
        check(node)


def _check_function(node: exp.Expr, name: str) -> None:
    if name in allowed.ADVICE:
        raise refused(f"{name}: {allowed.ADVICE[name]}")
    if name not in allowed.FUNCTIONS:
        raise refused(f"the function {name[:63]} is not part of the query language")
    if name == "age" and len(node.expressions) != 2:
        raise refused(f"age of one moment counts up to today: {allowed.ADVICE['now']}, as in age(:now, x)")
    if isinstance(node, exp.Anonymous) and (node.args.get("quoted") or not isinstance(node.this, str)):
        raise refused(f"the function {name[:63]} is written without quotes")


def _check_table(node: exp.Expr) -> None:
    if isinstance(node.this, exp.Identifier) or node.args.get("rows_from") or node.this is None:
        return
    if not allowed.function_name(node.this):
        raise refused(f"{_shown(node)} is no model and no function that makes rows")


def _check_column(node: exp.Expr) -> None:
    if node.args.get("db") or node.args.get("catalog"):
        raise refused(f"{_shown(node)}: a column is named by its relation and its name")
    name = node.this
    if isinstance(name, exp.Identifier) and not name.quoted and not node.args.get("table"):
        advice = allowed.ADVICE.get(name.name.lower())
        if advice is not None:
            raise refused(f"{name.name}: {advice}")


def _check_placeholder(node: exp.Expr) -> None:
    if not isinstance(node.this, str) or not VARIABLE.fullmatch(node.this):
        raise refused("a host variable is written as a colon and a name of letters, digits and _, such as :customer")


def _check_type(node: exp.Expr) -> None:
    kind = node.this
    name = kind.value.lower() if isinstance(kind, exp.DType) else str(kind).lower()
    if kind is exp.DType.USERDEFINED and node.args["kind"].name.lower() == "jsonpath":
        name = "jsonpath"  # the parser does not know of it
    if name not in allowed.TYPES:
        raise refused(f"the type {_shown(node)} is not part of the query language")


def _check_literal(node: exp.Expr) -> None:
    """Wherever it stands, it may be compared with a time, and would mean the moment at which the query runs."""
    if not node.is_string and not isinstance(node, exp.RawString):
        return
    is_time = isinstance(node.parent, exp.Cast) and allowed.says_time(node.parent.to)
    if allowed.MOMENTS.fullmatch(node.name) or (is_time and allowed.MOMENT.search(node.name)):
        raise refused(f"'{node.name[:63]}': {allowed.ADVICE['now']}; one that is only a text as well")


def _check_declared(node: exp.Expr) -> None:
    """What JSON says becomes a date there without a function that could look at it."""
    kind = node.args.get("kind")
    if isinstance(kind, exp.DataType) and allowed.says_time(kind):
        name = node.name[:63]
        raise refused(f"{name} is declared as a date or time: declare it as text, and cast that, as in {name}::date")


def _check_word(node: exp.Expr) -> None:
    if not isinstance(node.this, str) or node.this.lower() not in allowed.WORDS:
        raise refused(f"{_shown(node)} is not part of the query language")


def _check_frame(node: exp.Expr) -> None:
    for name, value in node.args.items():
        if isinstance(value, str) and value.lower() not in allowed.FRAMES:
            raise refused(f"{value[:40]} as the {name.replace('_', ' ')} of a window is not part of the query language")


def _check_collation(node: exp.Expr) -> None:
    named = node.expression
    name = named.name if isinstance(named, exp.Identifier | exp.Column | exp.Var) else ""
    if name not in allowed.COLLATIONS:
        known = ", ".join(sorted(allowed.COLLATIONS))
        raise refused(f"COLLATE {_shown(named)}: how it sorts depends on the machine; use one of {known}")


def _check_zone(node: exp.Expr) -> None:
    if not isinstance(node.args["zone"], exp.Expr):
        raise refused("AT TIME ZONE takes the name of a zone")


_CHECKS: Final[dict[str, Any]] = {
    "Table": _check_table,
    "Column": _check_column,
    "Placeholder": _check_placeholder,
    "DataType": _check_type,
    "ColumnDef": _check_declared,
    "Literal": _check_literal,
    "RawString": _check_literal,
    "Var": _check_word,
    "WindowSpec": _check_frame,
    "Collate": _check_collation,
    "AtTimeZone": _check_zone,
}


def _shown(node: exp.Expr) -> str:
    try:
        return node.sql(dialect=Dialect, comments=False)[:80]
    except SqlglotError:
        return type(node).__name__


def _fold_names(tree: exp.Expr) -> None:
    """Names as PostgreSQL reads them: without quotes they are in small letters."""
    for each in tree.find_all(exp.Identifier):
        if not each.quoted:
            each.set("this", each.name.translate(_SMALL))
            each.meta["unquoted"] = True


_SMALL = {ord(large): ord(large.lower()) for large in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


# --- what will run, looked at once more


def _check_faithful(came: list[Token], runs: list[Token]) -> None:
    """Refuse what was understood as something else than what it says."""
    for said, meant in zip_longest(decisive(came), decisive(runs), fillvalue="nothing"):
        if said != meant:
            place = said.removeprefix("'")[:63]
            raise refused(f"it cannot be read for certain at {place}; set parentheses, or say it otherwise")


def _check_numbers(came: list[Token]) -> None:
    """Refuse digits with a letter right after them: what that is differs between versions of PostgreSQL."""
    for each, after in pairwise(came):
        if each.token_type == TokenType.NUMBER and after.start == each.end + 1 and after.text[:1].isidentifier():
            raise refused(f"a number ends before {after.text[:63]}: put a space there")


def _check_calls(tokens: list[Token]) -> None:
    """Refuse what the statement, as it will run, has before a parenthesis and that is no allowed function or word.

    The tree was checked part by part; this is a second look by other means, at the very text.
    """
    for name in _called(tokens):
        if name.lower() not in allowed.FUNCTIONS and name.lower() not in allowed.BEFORE_PARENTHESIS:
            raise refused(f"{name[:63]} is not part of the query language")


def _called(read: list[Token]) -> Iterator[str]:
    for before, each in pairwise(read):
        is_name = before.token_type != TokenType.IDENTIFIER and _WORD.fullmatch(before.text)
        if each.token_type == TokenType.L_PAREN and is_name:
            yield before.text.rpartition(" ")[2]
