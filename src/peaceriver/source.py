"""The digest of a function's source: the same for the same behaviour, whatever its layout."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Mapping
from textwrap import dedent
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
