"""The digest of a function's source: the same for the same behaviour, whatever its layout."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Mapping
from textwrap import dedent
from types import CodeType
from typing import Any


def digest_of(functions: Mapping[str, Callable[..., Any]]) -> str | None:
    """SHA-256 over the functions' syntax trees, in the order of their names; None where there are none.

    Comments, layout and docstrings do not count, nor does the Python version. What the functions call does not count
    either. Raises ``TypeError`` for a function whose source cannot be read.
    """
    if not functions:
        return None
    digest = hashlib.sha256()
    for name, function in sorted(functions.items()):
        digest.update(f"{name}\0{_shape(_tree(function))}\0".encode())
    return digest.hexdigest()


def digest_of_rule(action: Callable[..., Any], when: Callable[..., Any] | None) -> str:
    """SHA-256 over what a rule does and when; where a source cannot be read, over the compiled code.

    Decorators do not count: what they say of a rule is on its page. Compiled code differs between Python versions, so
    there a new Python makes a new version of the rule, which goes on where the old one was.
    """
    digest = hashlib.sha256()
    for part, function in (("action", action), ("when", when)):
        if function is not None:
            digest.update(f"{part}\0{_told(function)}\0".encode())
    return digest.hexdigest()


def _told(function: Callable[..., Any]) -> str:
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None:
        raise ValueError(f"{function!r} is no function written in Python, so nobody could tell when it changes.")
    try:
        if code.co_name == "<lambda>":
            return "".join(_shape(each) for each in _lambdas(function, code.co_firstlineno)) or _compiled(code)
        tree = _tree(function)
    except (OSError, SyntaxError, TypeError):
        return _compiled(code)
    if isinstance(tree, ast.FunctionDef):
        tree.decorator_list = []
    return _shape(tree)


def _lambdas(function: Callable[..., Any], line: int) -> list[ast.Lambda]:
    """The lambdas that begin in a line of a function's file; their source alone is no sentence that could be read."""
    lines, _ = inspect.findsource(function)
    tree = ast.parse("".join(lines))
    return [each for each in ast.walk(tree) if isinstance(each, ast.Lambda) and each.lineno == line]


def _compiled(code: CodeType) -> str:
    constants = [_compiled(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _tree(function: Callable[..., Any]) -> ast.AST:
    try:
        tree = ast.parse(dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError) as error:
        raise TypeError(
            f"The source of {function.__qualname__} cannot be read, so nobody could tell when it changes: "
            "define it with def, in a file."
        ) from error
    if isinstance(tree, ast.FunctionDef) and ast.get_docstring(tree, clean=False) is not None:
        tree.body = tree.body[1:]
    return tree


def _shape(node: Any) -> str:
    """A tree as text. ``ast.dump`` differs between Python versions in what it leaves out; this leaves out all of it."""
    match node:
        case ast.Constant(value=value):
            return f"{type(value).__name__} {value!r}"
        case ast.AST():
            fields = [(name, getattr(node, name, None)) for name in node._fields if name != "type_comment"]
            shown = ",".join(f"{name}={_shape(value)}" for name, value in fields if value is not None and value != [])
            return f"{type(node).__name__}({shown})"
        case list():
            return "[" + ",".join(map(_shape, node)) + "]"
        case _:
            return repr(node)
