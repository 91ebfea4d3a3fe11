"""The limits of queries are those that the reference names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peaceriver import limits
from peaceriver.errors import Invalid
from peaceriver.jsontext import DEPTH_MAX
from peaceriver.query.guard import checked

_PAGE = Path(__file__).parents[2] / "docs/reference/query-language.md"
_LIMITS = (
    limits.BODY_BYTES_MAX,
    DEPTH_MAX,
    limits.QUERY_BYTES_MAX,
    limits.QUERY_TOKENS_MAX,
    30,
    limits.QUERY_DEPTH_MAX,
    limits.QUERY_RELATIONS_MAX,
    limits.TEXT_LETTERS_MAX,
    limits.LARGE_ROW_BYTES_MAX,
    2,
    limits.QUERY_ROWS_MAX,
    limits.QUERY_ANSWER_BYTES_MAX,
    limits.STREAM_ROWS_MAX,
    limits.KEPT_ROWS_MAX,
    limits.QUERY_TIMEOUT_S,
    limits.TIMEOUT_MAX_S,
    limits.STREAM_TIMEOUT_S,
    limits.STREAMS_MAX,
    limits.VIEW_VARIABLES_MAX,
)


def test_the_reference_names_every_limit() -> None:
    section = _PAGE.read_text("utf-8").partition("## Limits\n")[2].partition("\n## ")[0]
    told = [
        int(number.replace(",", ""))
        for row in re.findall(r"^\| [^|]+ \| ([^|]*\d[^|]*) \|", section, re.MULTILINE)
        for number in re.findall(r"\d[\d,]*(?=[ ,])", row + " ")
    ]
    assert told == list(map(int, _LIMITS))


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (f"select {'(' * 30}1{')' * 30}", f"select {'(' * 65}1{')' * 65}"),
        (f"select 1 from {'(select 1 from ' * 64}a{') as x' * 64}", f"select {'case when a then ' * 65}1{' end' * 65}"),
        (f"select '{'x' * 65_527}'", f"select '{'x' * 65_528}'"),
        (f"select {', '.join('1' * 4_999)}", f"select {', '.join('1' * 5_001)}"),
        (f"select 1 from {', '.join('a' * 100)}", f"select 1 from {', '.join('a' * 101)}"),
    ],
)
def test_a_statement_is_refused_beyond_its_limits(within: str, beyond: str) -> None:
    assert checked(within)
    with pytest.raises(Invalid, match="the query is refused"):
        checked(beyond)
