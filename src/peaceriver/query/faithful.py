"""Whether what is run says what came: the same values, operators and decisive words, in the same order. Pure.

The parser is not PostgreSQL's. Where it understands something else it mostly writes something else, with a value
missing, an operator exchanged or a word moved. PostgreSQL then groups the operators by its own rules, as it would
those of the text that came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlglot.tokenizer_core import Token, TokenType

from peaceriver.query.allowed import words

#: Reserved words that decide on what a statement means; those that may be left out, or be names, are none of them.
_WORDS: Final = words("""
    AND OR NOT IS NULL TRUE FALSE IN LIKE ILIKE SIMILAR ESCAPE BETWEEN SYMMETRIC ANY SOME ALL EXISTS COLLATE CASE WHEN
    THEN ELSE END DISTINCT WHERE GROUP HAVING ORDER DESC LIMIT OFFSET UNION INTERSECT EXCEPT
    WITH JOIN LEFT RIGHT FULL CROSS NATURAL USING ON LATERAL
""")
_WRITTEN_OUT: Final = {
    "ISNULL": ("IS", "NULL"),
    "NOTNULL": ("IS", "NOT", "NULL"),
    "UNKNOWN": ("NULL",),
    "!=": ("<>",),
}
_CONSTANTS: Final = {TokenType.STRING, TokenType.NUMBER, TokenType.HEREDOC_STRING, TokenType.RAW_STRING}
#: Marks that stand for nothing by themselves, or come and go with how a cast or a group is written.
_MARKS: Final = frozenset(("(", ")", ",", ";", ".", "::"))


def decisive(tokens: Sequence[Token]) -> Iterator[str]:
    """What of a statement decides on its meaning, in order."""
    before = ""
    for place, each in enumerate(tokens):
        text, before, last = each.text, each.text, before
        if each.token_type in _CONSTANTS:
            yield f"'{'0.' if _is_fraction(tokens, place) else ''}{text}"
        elif each.token_type == TokenType.IDENTIFIER:
            continue
        elif (word := text.upper()) in _WRITTEN_OUT:
            yield from _WRITTEN_OUT[word]
        elif " " in word:
            yield from (part for part in word.split() if part in _WORDS)
        elif word == "*" and last.upper() == "SELECT":
            continue  # the parser puts it around VALUES
        elif word == "WITH" and [after.text.upper() for after in tokens[place + 1 : place + 3]] == ["TIME", "ZONE"]:
            continue  # of a type, which is written in one word
        elif word in _WORDS or not (word[:1].isalnum() or word[:1] == "_" or word in _MARKS):
            yield word


def _is_fraction(tokens: Sequence[Token], place: int) -> bool:
    """Whether a number stands right behind a dot: PostgreSQL takes both for one number, the parser for two words."""
    each, dot = tokens[place], tokens[place - 1]  # before the first word is the last, which ends behind it
    is_number = each.token_type == TokenType.NUMBER
    return is_number and dot.token_type == TokenType.DOT and dot.end + 1 == each.start
