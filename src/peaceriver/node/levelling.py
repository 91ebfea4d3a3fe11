"""What this node does not know yet: the newest directory may say it, so it is asked once before anything is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from peaceriver.errors import NoModel, Unavailable
from peaceriver.limits import READ_TIMEOUT_S
from peaceriver.node.node import Node

T = TypeVar("T")


async def levelled(node: Node, work: Callable[[], Awaitable[T]], *, timeout_s: float) -> T:
    """What ``work`` answers; done again where it names a model that only a newer directory than this node's may have.

    Raises what ``work`` does.
    """
    before = node.directory.applied.value
    try:
        return await work()
    except NoModel:
        await level(node, timeout_s)
        if node.directory.applied.value == before:
            raise
    return await work()


async def level(node: Node, timeout_s: float) -> None:
    """Let this node's directory become the newest there is, where that can be had in time."""
    with suppress(TimeoutError, Unavailable):
        await node.cutoffs.level_directory(min(timeout_s, READ_TIMEOUT_S))
