"""Answers of queries: one JSON object, or as streams CSV (RFC 4180) or one JSON object a line."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from peaceriver.answers import CUTOFF, MISSING, STAMP
from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.passing import passed_around
from peaceriver.errors import TooLarge
from peaceriver.jsontext import encode
from peaceriver.limits import STREAM_ROWS_MAX
from peaceriver.node.node import Node
from peaceriver.node.passing import here_or_around
from peaceriver.node.querying import Querying
from peaceriver.node.questions import Answer, Answering, Column, Missing, Question
from peaceriver.query.cutoff import Cutoff
from peaceriver.query.named import View
from peaceriver.query.values import public

CSV, LINES = "text/csv", "application/x-ndjson"
_QUOTED = re.compile(r'[",\r\n]')


async def answered(
    context: Context,
    question: Question,
    asked: Asked,
    *,
    variables: Mapping[str, Any],
    kinds: Mapping[str, str],
    kept: View | None = None,
) -> Response:
    """The answer to a question with its host variables, in the form that is asked for; raises what ``open`` does.

    What is not whole on this node is answered by another one that has all of it. The work for it ends when the client
    goes: nobody is to wait for what nobody reads. ``kept``: the view that it is asked of, where that is a kept one.
    """
    question = msgspec.structs.replace(question, variables=variables, kinds=kinds).begun
    async with asked.attended():
        return await here_or_around(
            context.node,
            lambda: _here(context.node, question, asked, kept),
            lambda left_s: passed_around(context, asked, timeout_s=left_s),
            timeout_s=question.timeout_s,
        )


async def _here(node: Node, question: Question, asked: Asked, kept: View | None) -> Response:
    media = next((each for each in (LINES, CSV) if asked.accepts(each)), None)
    if media is not None:
        question = msgspec.structs.replace(question, rows_max=STREAM_ROWS_MAX)
    found = None if kept is None else await node.kept.ask(kept, question)
    if found is not None:
        return _at_once(found, media)
    if media is not None:
        return await _streamed(node.querying, question, media)
    return answers.answered((await node.querying.ask(question)).public())


def _at_once(answer: Answer, media: str | None) -> Response:
    """An answer that is there already, in the form that is asked for."""
    if media is None:
        return answers.answered(answer.public())
    if media == LINES:
        content = _as_lines(answer.columns, answer.rows)
    else:
        content = _csv_head(answer.columns) + _as_csv(answer.columns, answer.rows)
    return Response(content, 200, heads(answer.cutoff, answer.missing), media)


async def _streamed(querying: Querying, question: Question, media: str) -> Response:
    """A stream: what goes wrong before the first part is a problem, and what does later breaks the connection off."""
    stack = AsyncExitStack()
    answering = await stack.enter_async_context(querying.open(question))
    try:
        first = await anext(answering.parts)
    except BaseException as error:
        await stack.__aexit__(type(error), error, error.__traceback__)
        raise
    return StreamingResponse(
        _lines(stack, answering, first, media, question.rows_max),
        200,
        heads(answering.cutoff, answering.missing),
        media,
    )


async def _lines(
    stack: AsyncExitStack, answering: Answering, first: Sequence[tuple[Any, ...]], media: str, rows_max: int
) -> AsyncIterator[bytes]:
    """The pieces of a stream. Raises TooLarge where there are more rows: it must not end as if it were whole."""
    write = _as_csv if media == CSV else _as_lines
    async with stack:
        if media == CSV:
            yield _csv_head(answering.columns)
        yield write(answering.columns, first)
        count = len(first)
        async for part in answering.parts:
            count += len(part)
            if count > rows_max:
                raise TooLarge(f"the answer has more than {rows_max:,} rows, and the stream breaks off")
            yield write(answering.columns, part)


def heads(cutoff: Cutoff, missing: Iterable[Missing]) -> dict[str, str]:
    """What the head of an answer says of its cutoff."""
    told = {CUTOFF: cutoff.vector()}
    stamp = cutoff.public()["stamp"]
    if stamp is not None:
        told[STAMP] = stamp
    absent = ",".join(str(each.shard) for each in missing)
    return told | ({MISSING: absent} if absent else {})


def _csv_head(columns: Sequence[Column]) -> bytes:
    return (",".join(_cell(each.name) for each in columns) + "\r\n").encode()


def _as_csv(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> bytes:
    kinds = [each.kind for each in columns]
    return "".join(
        ",".join(_cell(public(value, kind)) for value, kind in zip(row, kinds, strict=True)) + "\r\n" for row in rows
    ).encode()


def _cell(value: Any) -> str:
    """A value in CSV: null is nothing, text that is empty or has a comma, a quote or a line's end is quoted."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else encode(value).decode()
    return '"' + text.replace('"', '""') + '"' if text == "" or _QUOTED.search(text) else text


def _as_lines(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> bytes:
    names, kinds = distinct([each.name for each in columns]), [each.kind for each in columns]
    return b"".join(
        _one_line({name: public(value, kind) for name, value, kind in zip(names, row, kinds, strict=True)})
        for row in rows
    )


def _one_line(row: dict[str, Any]) -> bytes:
    """An object on a line of its own: a document is kept as it came, and may have line breaks between its tokens."""
    return b" ".join(encode(row).splitlines()) + b"\n"


def distinct(names: Sequence[str]) -> list[str]:
    """Names of columns as keys of an object: where two are alike, the second one is called name_2."""
    found: list[str] = []
    for name in names:
        number = 1
        unlike = name
        while unlike in found:
            number += 1
            unlike = f"{name}_{number}"
        found.append(unlike)
    return found
