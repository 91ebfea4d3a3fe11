"""Words for parts of a statement that several modules ask about. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp


def above(node: exp.Expr) -> Iterator[exp.Expr]:
    """What a part stands in, from the inside out."""
    while (parent := node.parent) is not None:
        yield parent
        node = parent


def is_query(node: exp.Expr) -> bool:
    """Whether a part is a query of its own: for ``walk(prune=...)``, which is to stay out of these."""
    return isinstance(node, exp.Query)


def is_model(table: exp.Table) -> bool:
    """Whether a table in FROM is a model: neither what a WITH of the statement is called, nor a function."""
    return isinstance(table.this, exp.Identifier) and not table.meta.get("own")
