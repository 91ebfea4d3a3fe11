"""How several things are named in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Collection

#: So many are named, and the others counted.
_NAMED_MAX = 8


def named(kind: str, names: Collection[object], *, one: str = "", more: str = "") -> str:
    """Things of a kind by their names: ``department 100``, ``departments 100 and 101``; the first where there are many.

    ``one`` and ``more`` are the verbs that follow: ``named("rule", names, one="is", more="are")``.
    """
    texts = [str(each) for each in names]
    if len(texts) > _NAMED_MAX:
        texts = [*texts[:_NAMED_MAX], f"{len(texts) - _NAMED_MAX} more"]
    *first, last = texts
    several = f"{', '.join(first)} and {last}" if first else last
    verb = more if first else one
    return f"{kind}{'s' if first else ''} {several}{f' {verb}' if verb else ''}"
