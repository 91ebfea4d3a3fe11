"""Work in the background: begun by somebody who does not wait for it, and never forgotten, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from peaceriver.postgres import DatabaseError, Unreachable

log = structlog.get_logger()
Result = TypeVar("Result")


class Background:
    """What was begun and has not ended yet. What fails is logged: whoever began it need not look."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_stopped = False

    def begin(self, work: Coroutine[Any, Any, Result], *, name: str) -> asyncio.Task[Result]:
        """Let something go on by itself, until it ends or all is stopped; ``name`` is for the log.

        Once all is stopped, it ends before it has begun.
        """
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if self._is_stopped:
            task.cancel()
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, (*Unreachable, DatabaseError)):
            log.warning(
                "work in the background failed at this node's database", work=task.get_name(), reason=str(error)
            )
        else:
            log.error("work in the background failed", work=task.get_name(), exc_info=error)

    async def stop(self) -> None:
        """Break off what is under way, and wait until it has ended; nothing begins any more."""
        self._is_stopped = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
