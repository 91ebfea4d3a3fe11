"""Answers of queries as tables for people: numbers to the right, nulls shown, what is wide is cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as Shown
from rich.text import Text

from peaceriver import jsontext
from peaceriver.asking import Table
from peaceriver.cli.terminal import complain, console, say
from peaceriver.moments import vector

_NUMBERS = frozenset(("int2", "int4", "int8", "float4", "float8", "numeric"))
#: What a value that is no number may have of the terminal's width, before the columns share it.
VALUE_LETTERS_MAX = 80
#: What it needs to say anything.
VALUE_LETTERS_MIN = 8
#: Between two columns.
_GAP = 3
#: What would move the cursor, or colour what follows.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def print_table(table: Table) -> None:
    """The rows, how many, and the cutoff as it can be asked for again."""
    names = [Text(_visible(name)) for name in table.columns]
    rows = [[_cell(value) for value in row] for row in table.rows]
    numbers = [kind in _NUMBERS for kind in table.types]
    widths = [max(cell.cell_len for cell in column) for column in zip(names, *rows, strict=True)]
    most = _most(widths, numbers, console.width)
    if most is None:
        _print_each(names, rows)
    else:
        _print_beside(names, rows, numbers, most)
    say(f"{len(rows):,} row{'' if len(rows) == 1 else 's'}, as of {vector(table.cutoff.positions)}{_stamp(table)}")


def _most(widths: Sequence[int], numbers: Sequence[bool], room: int) -> int | None:
    """How wide a value that is no number may be, so that all columns fit; None where they never do."""
    for most in range(VALUE_LETTERS_MAX, VALUE_LETTERS_MIN - 1, -1):
        wanted = sum(width if is_number else min(width, most) for width, is_number in zip(widths, numbers, strict=True))
        if wanted + _GAP * (len(widths) - 1) <= room:
            return most
    return None


def _print_beside(names: Sequence[Text], rows: Sequence[Sequence[Text]], numbers: Sequence[bool], most: int) -> None:
    """A column for each name; a number is never cut, for it would be another number."""
    shown = Shown(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name, is_number in zip(names, numbers, strict=True):
        shown.add_column(
            name if is_number else _cut(name, most), justify="right" if is_number else "left", no_wrap=True
        )
    for row in rows:
        shown.add_row(*(cell if is_number else _cut(cell, most) for cell, is_number in zip(row, numbers, strict=True)))
    console.print(shown)


def _print_each(names: Sequence[Text], rows: Sequence[Sequence[Text]]) -> None:
    """A line for each name: there are more columns than fit beside each other."""
    broad = max(name.cell_len for name in names)
    for number, row in enumerate(rows, 1):
        console.print(Text(f"row {number}", style="bold"))
        for name, cell in zip(names, row, strict=True):
            gap = " " * (broad - name.cell_len + _GAP - 1)
            console.print(_cut(Text.assemble(name, gap, cell), console.width), no_wrap=True)


def _cut(text: Text, most: int) -> Text:
    cut = text.copy()
    cut.truncate(most, overflow="ellipsis")
    return cut


def _stamp(table: Table) -> str:
    return f" ({table.cutoff.stamp})" if table.cutoff.stamp is not None else ""


def _cell(value: Any) -> Text:
    """A value as people read it, on one line."""
    if value is None:
        return Text("null", style="dim")
    return Text(_visible(value if isinstance(value, str) else jsontext.write(value)))


def _visible(text: str) -> str:
    """A text without anything that a terminal would obey."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def missing_told(missing: Iterable[Mapping[str, Any]]) -> None:
    """Say which departments are not in an answer."""
    for each in missing:
        complain(f"department {each['shard']} is missing{': ' + each['detail'] if 'detail' in each else ''}")
