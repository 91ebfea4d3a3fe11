"""Planting a mistake: what is replaced must be there, or the mutant would be the product."""

from __future__ import annotations

from typing import Any


def plant(owner: Any, name: str, mistake: Any) -> None:
    """Put a mistake in a place that exists."""
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, mistake)


def without(statement: Any, condition: str, instead: str) -> None:
    """Change a statement's text; it must be as this was written for."""
    assert condition in statement.text, f"{statement.name} has no {condition!r}: {statement.text}"
    statement.text = statement.text.replace(condition, instead)
