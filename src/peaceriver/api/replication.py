"""Between nodes: polls, questions about replicas, and messages that are sent on. No part of the public API."""

from __future__ import annotations

from starlette.responses import Response

from peaceriver.api import answers
from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.api.operations import Operation
from peaceriver.limits import BETWEEN_NODES_BYTES_MAX
from peaceriver.node import agreeing, drafts, overview, pulling, receipts, repairing, routing, talking, verifying
from peaceriver.node import latest as latest_positions
from peaceriver.node.wire import Ask, Forwarded, Poll, Wanted, WantedChains, WantedRows, framed, unframed

_MEDIA = "application/x-peaceriver"


async def poll(context: Context, asked: Asked) -> Response:
    """``POST /replication/poll``: what another node follows from here."""
    question, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), Poll)
    polled, rows = await context.node.replication.poll(question)
    return Response(framed(polled, rows), media_type=_MEDIA)


async def ask(context: Context, asked: Asked) -> Response:
    """``POST /replication/ask``: questions about replicas."""
    question, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), Ask)
    return Response(framed(await context.node.replication.ask(question)), media_type=_MEDIA)


async def send(context: Context, asked: Asked) -> Response:
    """``POST /replication/send``: messages for a department that is led here."""
    forwarded, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), Forwarded)
    return Response(framed(await context.node.routing.answer(forwarded)), media_type=_MEDIA)


async def tick(context: Context, asked: Asked) -> Response:
    """``POST /replication/tick``: a department that is led here is to write a record later than a logical time."""
    (code, at), _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), tuple[int, int])
    await context.node.routing.answer_tick(code, at)
    return Response(framed(None), media_type=_MEDIA)


async def known(context: Context, asked: Asked) -> Response:
    """``POST /replication/known``: what this node knows of a message, a stamp or a draft by itself."""
    wanted, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), Wanted)
    return Response(framed(await context.node.receipts.known(wanted)), media_type=_MEDIA)


async def latest(context: Context, asked: Asked) -> Response:
    """``POST /replication/latest``: how far departments are that are led here, confirmed by a majority."""
    codes, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), list[int])
    return Response(framed(await context.node.latest.led_here(codes)), media_type=_MEDIA)


async def all_drafts(context: Context, asked: Asked) -> Response:
    """``POST /replication/drafts``: the drafts that are kept here, so many, the last changed first."""
    limit, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), int)
    return answers.answered(await context.node.drafts.all(limit=limit, offset=0))


async def standing(context: Context, asked: Asked) -> Response:
    """``POST /replication/standing``: how this node stands."""
    return Response(framed(context.node.overview.own()), media_type=_MEDIA)


async def rows(context: Context, asked: Asked) -> Response:
    """``POST /replication/rows``: rows of a journal, for one that is damaged."""
    wanted, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), WantedRows)
    given, found = await context.node.verifying.given(wanted)
    return Response(framed(given, found), media_type=_MEDIA)


async def chains(context: Context, asked: Asked) -> Response:
    """``POST /replication/chains``: chains of a journal, to be compared with those of another replica."""
    wanted, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), WantedChains)
    return Response(framed(await context.node.verifying.chains(wanted)), media_type=_MEDIA)


async def verify(context: Context, asked: Asked) -> Response:
    """``POST /replication/verify``: some replicas that are held here, or all, are to be verified and repaired."""
    codes, _ = unframed(await asked.body(BETWEEN_NODES_BYTES_MAX), list[int])
    return Response(framed(await context.node.verifying.answer(codes)), media_type=_MEDIA)


BETWEEN_NODES = (
    Operation(method="POST", path=pulling.PATH, page=poll, summary="What another node follows", media=_MEDIA),
    Operation(method="POST", path=talking.PATH, page=ask, summary="Questions about replicas", media=_MEDIA),
    Operation(method="POST", path=routing.PATH, page=send, summary="Messages that are sent on", media=_MEDIA),
    Operation(method="POST", path=repairing.ROWS_PATH, page=rows, summary="Rows for a damaged journal", media=_MEDIA),
    Operation(method="POST", path=agreeing.CHAINS_PATH, page=chains, summary="Chains to compare", media=_MEDIA),
    Operation(method="POST", path=verifying.VERIFY_PATH, page=verify, summary="Verify, and repair", media=_MEDIA),
    Operation(method="POST", path=routing.TICK_PATH, page=tick, summary="A later record, please", media=_MEDIA),
    Operation(method="POST", path=receipts.PATH, page=known, summary="What a node knows by itself", media=_MEDIA),
    Operation(method="POST", path=latest_positions.PATH, page=latest, summary="How far leaders are", media=_MEDIA),
    Operation(method="POST", path=drafts.PATH, page=all_drafts, summary="What drafts a node keeps"),
    Operation(method="POST", path=overview.PATH, page=standing, summary="How this node stands", media=_MEDIA),
)
