"""Query parameters, read strictly: each one known, given once, and what it says it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import parse_qsl

from peaceriver.errors import Invalid, Malformed, Offence
from peaceriver.limits import CODE_MAX, READ_TIMEOUT_S, TIMEOUT_MAX_S
from peaceriver.message import moment
from peaceriver.node.cutoffs import Freshness
from peaceriver.query.cutoff import AtPositions, parse, parse_after
from peaceriver.shard.proposal import Concern
from peaceriver.stamp import Stamp

Pairs: TypeAlias = tuple[tuple[str, str], ...]

#: The parameters of every read, and of everything that is sent.
FRESH = ("as_of", "after", "timeout", "read")
SEND = ("concern", "timeout", "spool")
PARAMETERS_MAX = 100
_REMEMBERED_BYTES_MAX = 200

_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s)?", re.ASCII)
_CODES = re.compile(r"\d{1,10}(,\d{1,10})*", re.ASCII)
_CONCERNS: tuple[Concern, ...] = ("quorum", "local", "all")


class Parameters:
    """The query parameters of one request."""

    __slots__ = ("_values", "pairs")

    def __init__(self, pairs: Pairs) -> None:
        #: As they came, also those that name fields of documents.
        self.pairs = pairs
        self._values = dict(pairs)

    @classmethod
    def read(cls, query: bytes, known: frozenset[str], *, fields: bool) -> Parameters:
        """Raises Malformed, or Invalid naming each parameter that is unknown or given twice.

        ``fields``: parameters that are not known name fields of documents, which may be given more than once.
        """
        if not query:
            return NONE
        return (_remembered if len(query) <= _REMEMBERED_BYTES_MAX else _checked)(query, known, fields)

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number between ``low`` and ``high``; raises Invalid."""
        text = self._values.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 19 or not low <= int(text) <= high:
            raise _unfit(name, f"must be a whole number from {low} to {high}")
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        """A duration such as 5s, 500ms or 5, of at most TIMEOUT_MAX_S; raises Invalid."""
        text = self._values.get(name)
        if text is None:
            return default
        match = _SECONDS.fullmatch(text)
        seconds = -1.0 if match is None else float(match[1]) / (1_000 if match[2] == "ms" else 1)
        if not 0 <= seconds <= TIMEOUT_MAX_S:
            raise _unfit(name, f"must be a duration such as 5s or 500ms, of at most {TIMEOUT_MAX_S:g}s")
        return seconds

    def flag(self, name: str) -> bool:
        return self.choice(name, ("false", "true")) == "true"

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``, the first by default; raises Invalid."""
        text = self._values.get(name, choices[0])
        if text not in choices:
            raise _unfit(name, f"must be one of {', '.join(choices)}")
        return text

    def codes(self, name: str) -> tuple[int, ...] | None:
        """Sharding codes such as 100,110; raises Invalid."""
        text = self._values.get(name)
        if text is None:
            return None
        if not _CODES.fullmatch(text) or any(int(each) > CODE_MAX for each in text.split(",")):
            raise _unfit(name, "must be sharding codes such as 100,110")
        return tuple(dict.fromkeys(map(int, text.split(","))))

    def moment(self, name: str) -> datetime | None:
        """An RFC 3339 time; raises Invalid."""
        errors: list[Offence] = []
        read = moment(self._values.get(name), name, errors)
        if errors:
            raise Invalid(f"{name}: {errors[0].detail} (a + must be escaped as %2B)", errors=tuple(errors))
        return read

    def concern(self) -> Concern:
        """How many replicas must hold what is sent before it is answered; raises Invalid."""
        text = self.choice("concern", _CONCERNS)
        return next(each for each in _CONCERNS if each == text)


NONE = Parameters(())


def _checked(query: bytes, known: Collection[str], fields: bool) -> Parameters:
    pairs = _decoded(query)
    errors = [Offence(name.replace("\x00", ""), detail) for name, detail in _offences(pairs, known, fields)]
    if errors:
        named = ", ".join(dict.fromkeys(f"{each.pointer} {each.detail}" for each in errors))
        raise Invalid(f"the query parameters are not acceptable: {named}", errors=tuple(errors))
    return Parameters(pairs)


#: A client mostly asks with the same few parameters again and again.
_remembered = lru_cache(maxsize=512)(_checked)


def freshness(parameters: Parameters, header: str | None, *, after: str | None = None) -> Freshness:
    """How fresh an answer must be: ``as_of``, ``after`` (and its header), ``timeout`` and ``read``; raises Invalid."""
    as_of = parameters.text("as_of")
    waits: list[Stamp | AtPositions] = []
    if after is not None:
        waits.append(parse_after(after))
    if header:
        waits.append(parse_after(header, "Peaceriver-After"))
    return Freshness(
        as_of=None if as_of is None else parse(as_of, "as_of"),
        after=tuple(waits),
        latest=parameters.choice("read", ("local", "latest")) == "latest",
        timeout_s=parameters.seconds("timeout", READ_TIMEOUT_S),
    )


def _decoded(query: bytes) -> Pairs:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except UnicodeDecodeError as error:
        raise Malformed("the query parameters are not UTF-8 in percent encoding") from error
    except ValueError as error:
        raise Invalid(f"a request may have {PARAMETERS_MAX} query parameters at most") from error
    return tuple(pairs)


def _offences(pairs: Pairs, known: Collection[str], fields: bool) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            yield name, "must not hold \\u0000"
        if name not in known:
            if not fields:
                yield name, "is not known here"
            continue
        if name in seen:
            yield name, "is given twice"
        seen.add(name)


def _unfit(name: str, detail: str) -> Invalid:
    return Invalid(f"{name} {detail}", errors=(Offence(name, detail),))
