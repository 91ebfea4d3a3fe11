"""Event logs as CSV (RFC 4180): UTF-8, a header, one event a row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from peaceriver.errors import Invalid
from peaceriver.imports.events import LINE_BYTES_MAX, Columns, Event, event, opened


class _Lines(Protocol):
    def readline(self, size: int, /) -> bytes: ...


def read(path: Path, columns: Columns) -> Iterator[Event]:
    """The events of a CSV file in file order, streamed; raise Invalid, naming the line, at the first that is none."""
    with opened(path) as file:
        rows = _rows(file)
        _, header = next(rows, (1, []))
        _check_header(header, columns, path.name)
        for line, row in rows:
            if len(row) != len(header):
                raise Invalid(f"line {line}: the row has {len(row)} columns and the header has {len(header)}")
            yield event({name: text for name, text in zip(header, row, strict=True) if text}, columns, line)


def _check_header(header: list[str], columns: Columns, file_name: str) -> None:
    if not header:
        raise Invalid(f"{file_name} is empty; its first line should name its columns")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise Invalid(f"{file_name} has more than one column called {twice[0]!r}; give each its own name")
    missing = [name for name in (columns.case, columns.activity, columns.time) if name not in header]
    if missing:
        raise Invalid(f"{file_name} has no column {' and no '.join(map(repr, missing))}; it has {', '.join(header)}")


def _rows(file: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of its first line."""
    # Strict: an open quote at the end of the file is an error, not a long last value.
    reader = csv.reader(_lines(file), strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise Invalid(f"line {line}: not a row of CSV: {error}") from None


def _lines(file: _Lines) -> Iterator[str]:
    """The file's lines, decoded one by one: an error can name its line, and no line fills the memory."""
    number = 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > LINE_BYTES_MAX:
            raise Invalid(f"line {number} is longer than {LINE_BYTES_MAX:,} bytes")
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise Invalid(f"line {number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from None
        if "\0" in text:
            raise Invalid(f"line {number} holds a NUL character, which no text may hold")
        yield text
