"""Journals: complete records in order, as pages that can be waited for and as streams of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import structlog
from starlette.responses import Response, StreamingResponse

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.reads import LIMIT
from peaceriver.errors import Behind, Invalid, Offence, Withheld
from peaceriver.jsontext import encode
from peaceriver.limits import BATCH_BYTES_MAX, PAGE_RECORDS_MAX, POSITION_MAX, READ_TIMEOUT_S
from peaceriver.node.cutoffs import Freshness
from peaceriver.postgres import Unreachable
from peaceriver.query.cutoff import Cutoff
from peaceriver.record import Record
from peaceriver.stamp import Stamp

log = structlog.get_logger()

EVENTS = "text/event-stream"
#: A comment so often tells the client, and whatever lies between, that the stream lives.
HEARTBEAT_S = 15.0
#: A stream is written in pages; a client that reads slowly holds one of them up, and no more.
STREAM_RECORDS = 100
STREAM_CHUNK_BYTES = 64 * 1024
#: Records are fetched so many at first; then as many as their size allows.
FIRST_RECORDS = 100
PAGE_BYTES_MAX = BATCH_BYTES_MAX
#: A department that came up meanwhile is noticed so soon by those who wait for records of all.
LOOK_AGAIN_S = 1.0

#: What comes after a place, up to a number of records.
Fetch = Callable[[Any, int], Awaitable[list[Record]]]


async def of_department(context: Context, asked: Asked) -> Response:
    """``GET /shards/{code}/journal``: one department's complete records after a position."""
    code = asked.code()
    context.node.shards.at(code)
    after = asked.parameters.number("after", 0, 0, POSITION_MAX)
    limit = asked.parameters.number("limit", LIMIT, 1, PAGE_RECORDS_MAX)
    wait_s = asked.parameters.seconds("wait", 0.0)
    freshness = asked.freshness(after=False)
    if asked.accepts(EVENTS):
        last = await _last_event(context, asked, code)
        return _stream(_events(context, code, after if last is None else last.position))
    if freshness.as_of is not None:
        cutoff = await context.node.cutoffs.resolve([code], freshness)
        records = await _page(context, code, after, limit)
        records = [each for each in records if each.position <= cutoff.places[code].position]
    else:
        if freshness.latest:
            await context.node.cutoffs.resolve([code], freshness)
        records = await _page(context, code, after, limit)
        if not records and await _waited(context, context.node.shards[code].complete.passed(after), wait_s):
            records = await _page(context, code, after, limit)
    return answers.answered(
        {
            "records": [each.public() for each in records],
            "next": records[-1].position if records else after,
            "complete": context.node.shards[code].complete.value,
        }
    )


async def _page(context: Context, code: int, after: int, limit: int) -> list[Record]:
    async def fetch(last: Record | None, number: int) -> list[Record]:
        position = after if last is None else last.position
        return (await context.node.reading.journal(code, after=position, limit=number))[0]

    return (await bounded(fetch, limit)).records


async def of_all(context: Context, asked: Asked) -> Response:
    """``GET /journal``: all departments' records in stamp order, up to where all of them are complete."""
    after = _start(context, asked.parameters.text("after"))
    limit = asked.parameters.number("limit", LIMIT, 1, PAGE_RECORDS_MAX)
    wait_s = asked.parameters.seconds("wait", 0.0)
    freshness = asked.freshness(after=False)
    if asked.accepts(EVENTS):
        last = await _last_event(context, asked, None)
        return _stream(_merged_events(context, after if last is None else last.moment))
    if freshness.as_of is not None:
        return _merged_answer(await _merged_as_of(context, after, limit, freshness), after)
    if freshness.latest:
        await context.node.cutoffs.resolve(list(context.node.shards), freshness)
    page = await _merged_page(context, after, limit)
    if not page.records and await _something_new(context, after, wait_s):
        page = await _merged_page(context, after, limit)
    return _merged_answer(page, after)


class MergedPage(msgspec.Struct, frozen=True):
    """A page of the merged journal."""

    page: Page
    #: Up to which nothing more can come between the records.
    complete: Stamp

    @property
    def records(self) -> list[Record]:
        return self.page.records

    def following(self, after: Stamp) -> Stamp:
        """What to ask for after this page, which was asked for after ``after``."""
        return max(after, self.complete if self.page.ended else self.records[-1].moment)


def _merged_answer(merged: MergedPage, after: Stamp) -> Response:
    return answers.answered(
        {
            "records": [each.public() for each in merged.records],
            "next": str(merged.following(after)),
            "complete": str(merged.complete),
        }
    )


async def _merged_page(context: Context, after: Stamp, limit: int) -> MergedPage:
    """What follows a stamp. Idle departments are asked to tick only where the page would not be full without."""
    complete = await context.merging.complete()
    page = await bounded(_between(context, after, complete), limit)
    if page.ended and context.merging.newest.value > complete.time:
        complete = await context.merging.close()
        start = page.records[-1].moment if page.records else after
        more = await bounded(_between(context, start, complete), limit - len(page.records))
        page = Page(page.records + more.records, more.ended)
    return MergedPage(page, complete)


def _between(context: Context, after: Stamp, until: Stamp) -> Fetch:
    async def fetch(last: Record | None, number: int) -> list[Record]:
        return await context.merging.between(after if last is None else last.moment, until, number)

    return fetch


async def _merged_as_of(context: Context, after: Stamp, limit: int, freshness: Freshness) -> MergedPage:
    cutoff = await context.node.cutoffs.resolve(list(context.node.shards), freshness)
    until = Stamp(max(place.time for place in cutoff.places.values()), max(cutoff.places, key=str))

    async def fetch(last: Record | None, number: int) -> list[Record]:
        start = after if last is None else last.moment
        kept: list[Record] = []
        while len(kept) < number:
            read = await context.merging.between(start, until, number)
            kept += [each for each in read if _within(cutoff, each)]
            if len(read) < number:
                break
            start = read[-1].moment
        return kept[:number]

    return MergedPage(await bounded(fetch, limit), until)


def _within(cutoff: Cutoff, record: Record) -> bool:
    return record.shard in cutoff.places and record.position <= cutoff.places[record.shard].position


def _start(context: Context, text: str | None) -> Stamp:
    """The stamp to go on after; nothing and 0 stand for the beginning. Raises Invalid."""
    if text is None or text == "0":
        return Stamp(0, 0)
    after = Stamp.parse(text, pointer="after")
    if after.time > max(shard.tip.stamp for shard in context.node.shards.values()):
        raise Invalid(f"after={after} lies beyond every record", errors=(Offence("after", "lies in the future"),))
    return after


class Page(msgspec.Struct, frozen=True):
    """Some records, and whether there were no more."""

    records: list[Record]
    ended: bool


async def bounded(fetch: Fetch, limit: int) -> Page:
    """Up to ``limit`` records, fewer where they would be more than PAGE_BYTES_MAX; one at least if there is one."""
    found: list[Record] = []
    size, number = 0, min(limit, FIRST_RECORDS)
    while number > 0:
        more = await fetch(found[-1] if found else None, number)
        found += more
        if len(more) < number:
            return Page(found, ended=True)
        size += sum(len(each.body) for each in more)
        room = (PAGE_BYTES_MAX - size) * len(found) // max(size, 1)
        number = min(limit - len(found), room)
    return Page(found, ended=False)


# --- waiting


async def _waited(context: Context, something: Coroutine[Any, Any, None], wait_s: float) -> bool:
    """Whether something happened within the time; False as soon as the server stops."""
    happening = asyncio.ensure_future(something)
    stopping = asyncio.ensure_future(context.stopping.wait())
    try:
        await asyncio.wait((happening, stopping), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        return happening.done()
    finally:
        happening.cancel()
        stopping.cancel()


async def _something_new(context: Context, after: Stamp, wait_s: float) -> bool:
    deadline = asyncio.get_running_loop().time() + wait_s
    while not context.stopping.is_set():
        context.merging.look()
        rest_s = deadline - asyncio.get_running_loop().time()
        if rest_s <= 0:
            return False
        if await _waited(context, context.merging.newest.passed(after.time), min(rest_s, LOOK_AGAIN_S)):
            return True
    return False


# --- streams


async def _last_event(context: Context, asked: Asked, code: int | None) -> Record | None:
    """The record that ``Last-Event-ID`` names: a stream goes on right after it. Raises Invalid where there is none."""
    given = asked.header(b"last-event-id")
    if not given:
        return None
    stamp = Stamp.parse(given, pointer="Last-Event-ID")
    found = await context.node.stamps.find([stamp], READ_TIMEOUT_S)
    if found.behind:
        raise Behind(f"this node is not as far as Last-Event-ID {stamp} yet; connect again in a moment")
    record = found.records.get(stamp)
    if record is None or (code is not None and record.shard != code):
        raise Invalid(
            f"Last-Event-ID {stamp} is not the stamp of any record here; begin again without it",
            errors=(Offence("Last-Event-ID", "not the stamp of a record"),),
        )
    return record


def _stream(events: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(events, headers={"Cache-Control": "no-store"}, media_type=EVENTS)


async def _events(context: Context, code: int, after: int) -> AsyncIterator[bytes]:
    """One department's records as events, for as long as the client listens and the server runs."""
    yield b": open\n\n"
    complete = context.node.shards[code].complete
    try:
        while not context.stopping.is_set():
            records = await _page(context, code, after, STREAM_RECORDS)
            for chunk in _chunks(records):
                yield chunk
            if records:
                after = records[-1].position
            elif not await _waited(context, complete.passed(after), HEARTBEAT_S) and not context.stopping.is_set():
                yield b": alive\n\n"
    except (*Unreachable, Withheld) as error:
        log.warning("a stream ends: its journal cannot be read", shard=code, reason=repr(error))


async def _merged_events(context: Context, after: Stamp) -> AsyncIterator[bytes]:
    """All departments' records as events, in stamp order."""
    yield b": open\n\n"
    try:
        while not context.stopping.is_set():
            merged = await _merged_page(context, after, STREAM_RECORDS)
            for chunk in _chunks(merged.records):
                yield chunk
            after = merged.following(after)
            if (
                not merged.records
                and not await _something_new(context, after, HEARTBEAT_S)
                and not context.stopping.is_set()
            ):
                yield b": alive\n\n"
    except (*Unreachable, Withheld) as error:
        log.warning("a stream ends: a journal cannot be read", reason=repr(error))


def _chunks(records: list[Record]) -> list[bytes]:
    """Events, several together where they are small."""
    chunks: list[bytes] = []
    chunk = bytearray()
    for record in records:
        chunk += event(record)
        if len(chunk) >= STREAM_CHUNK_BYTES:
            chunks.append(bytes(chunk))
            chunk.clear()
    if chunk:
        chunks.append(bytes(chunk))
    return chunks


def event(record: Record) -> bytes:
    """A record as a server-sent event, its stamp the event's id.

    A body is kept as it came, line breaks between its tokens included: each line becomes a ``data`` line.
    """
    lines = encode(record.public()).splitlines()
    return b"".join((b"id: ", str(record.moment).encode(), b"\n", *(b"data: " + line + b"\n" for line in lines), b"\n"))
