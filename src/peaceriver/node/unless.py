"""Waiting for an answer that something else may make needless."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def unless(happens: Coroutine[Any, Any, object], asking: Coroutine[Any, Any, Answer]) -> Answer | None:
    """The answer, which is never None itself; None as soon as the other thing happens before it is there.

    However this ends, neither is under way any more: what is left is cancelled and waited for, also where whoever waits
    here is cancelled, and what it raises on its way out is dropped. An answer that is there counts, though the other
    thing has happened too. Raises what ``asking`` raises, and what ``happens`` raises where no answer is there.
    """
    answer, happening = asyncio.ensure_future(asking), asyncio.ensure_future(happens)
    try:
        await asyncio.wait((answer, happening), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        happening.result()
        return None
    finally:
        answer.cancel()
        happening.cancel()
        await asyncio.gather(answer, happening, return_exceptions=True)
