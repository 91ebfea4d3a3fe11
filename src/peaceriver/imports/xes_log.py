"""Event logs as XES (IEEE 1849-2016): XML, traces of events, typed attributes.

What belongs to a trace gets ``case:`` before its key, as it is written in CSV. Extensions, classifiers, globals, lists
and attributes of attributes say nothing about a single event and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from xml.parsers import expat

from peaceriver.errors import Invalid
from peaceriver.imports.events import EVENTS_MAX, LINE_BYTES_MAX, Columns, Event, Value, event, opened

_CHUNK_BYTES = 64 * 1024
_INTEGER = re.compile(r"[+-]?[0-9]{1,1000}")


def read(path: Path, columns: Columns) -> Iterator[Event]:
    """The events of an XES file in file order, one trace after the other.

    Raises Invalid, naming the line, where it is not XES. A document type is refused: XES has none, and entities
    declared in one can grow a small file without bound.
    """
    log = _Log(columns)
    with opened(path) as file:
        fed = 0
        while chunk := file.read(_CHUNK_BYTES):
            fed += len(chunk)
            yield from log.feed(chunk, fed)
        yield from log.close()


class _Log:
    """Where in the document the parser is, and the trace that it is in."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        #: Local names of the elements that are open, outermost first.
        self._open: list[str] = []
        self._trace: dict[str, Value] = {}
        self._trace_events: list[tuple[int, dict[str, Value]]] = []
        self._ready: list[Event] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def feed(self, chunk: bytes, fed: int) -> list[Event]:
        """The events of the traces that ended in ``chunk``; ``fed`` bytes have come so far."""
        self._parse(chunk, final=False)
        if fed - self._parser.CurrentByteIndex > LINE_BYTES_MAX + _CHUNK_BYTES:
            raise Invalid(f"line {self._parser.CurrentLineNumber}: a tag is longer than {LINE_BYTES_MAX:,} bytes")
        return self._taken()

    def close(self) -> list[Event]:
        self._parse(b"", final=True)
        return self._taken()

    def _parse(self, chunk: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(chunk, final)
        except expat.ExpatError as error:
            raise Invalid(f"line {error.lineno}: not well-formed XML: {expat.errors.messages[error.code]}") from None

    def _taken(self) -> list[Event]:
        taken, self._ready = self._ready, []
        return taken

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise Invalid(f"line {self._parser.CurrentLineNumber}: XES has no document type; remove the DOCTYPE")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        line = self._parser.CurrentLineNumber
        match self._open:
            case [] if local != "log":
                raise Invalid(f"line {line}: the document is a {local!r}, and XES is a 'log'")
            case ["log"] if local == "event":
                raise Invalid(f"line {line}: an event outside of every trace belongs to no case")
            case ["log", "trace"] if local == "event":
                if len(self._trace_events) >= EVENTS_MAX:
                    raise Invalid(f"line {line}: the trace has more than {EVENTS_MAX:,} events")
                self._trace_events.append((line, {}))
            case ["log", "trace"]:
                self._keep(self._trace, "case:", local, attributes, line)
            case ["log", "trace", "event"]:
                self._keep(self._trace_events[-1][1], "", local, attributes, line)
        self._open.append(local)

    def _end(self, _name: str) -> None:
        if self._open == ["log", "trace"]:
            # Only now: an attribute of the trace may stand behind its events.
            self._ready += [event(self._trace | own, self._columns, line) for line, own in self._trace_events]
            self._trace, self._trace_events = {}, []
        self._open.pop()

    def _keep(self, into: dict[str, Value], prefix: str, kind: str, attributes: dict[str, str], line: int) -> None:
        reading = _READING.get(kind)
        if reading is None:
            return
        try:
            key, text = attributes["key"], attributes["value"]
        except KeyError as error:
            raise Invalid(f"line {line}: a {kind} has no {error.args[0]!r}") from None
        if not text:
            return
        try:
            into[prefix + key] = reading(text)
        except (ValueError, InvalidOperation):
            raise Invalid(f"line {line}: {text[:60]!r} in {prefix + key!r} is no {kind}") from None


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


def _float(text: str) -> Decimal | str:
    """A number, exactly as written. JSON has no infinity and nothing that is not a number: those stay text."""
    if "_" in text:
        raise ValueError(text)
    number = Decimal(text.strip())
    return number if number.is_finite() else text


def _boolean(text: str) -> bool:
    if (word := text.strip()) not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[word]


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_READING: dict[str, Callable[[str], Value]] = {
    "string": str,
    "id": str,
    "date": str,
    "int": _integer,
    "float": _float,
    "boolean": _boolean,
}
