"""Processes of a run. A peer answers one line of JSON on its standard output for each on its standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_STOP_TIMEOUT_S = 20.0


class Peer:
    """A contestant, or a source of load, in a process of its own."""

    def __init__(self, process: Process, module: str) -> None:
        self._process = process
        self._module = module

    async def ask(self, **question: Any) -> float:
        """Have something measured; answers the figure. Raises RuntimeError where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        answer = await self._process.stdout.readline()
        if not answer:
            code = await self._process.wait()
            raise RuntimeError(
                f"{self._module} ended with code {code} when asked for {question}; it has said why above"
            )
        return float(json.loads(answer))


@asynccontextmanager
async def peer(module: str, *arguments: str) -> AsyncIterator[Peer]:
    """A module of ours as a process for the block."""
    async with process("-m", module, *arguments, stdin=PIPE) as started:
        yield Peer(started, module)


@asynccontextmanager
async def process(
    *arguments: str, stdin: int = DEVNULL, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """A Python process for the block; its errors are ours to see."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=stdin, stdout=PIPE, cwd=_ROOT, env=environment
    )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await started.wait()
        except TimeoutError:
            started.kill()
            await started.wait()


def serve(answers: dict[str, Callable[..., float]]) -> None:
    """Be a peer: answer questions by the function that ``do`` names, until standard input ends."""
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(answers[question.pop("do")](**question)), flush=True)
