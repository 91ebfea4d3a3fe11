"""The node's side of rules' processes: asks them, and starts another one where one has died."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import signal
import socket
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Self, cast

import structlog

from peaceriver.actor import Actor
from peaceriver.errors import Unavailable
from peaceriver.evaluation.frames import LENGTH, PROGRESS, Question, encode, verdicts_of
from peaceriver.evaluation.worker import OUT_OF_MEMORY, run
from peaceriver.event import Trigger
from peaceriver.limits import RULE_MEMORY_BYTES_MAX, RULE_PROCESSES_MAX, RULE_QUESTION_BYTES_MAX, RULE_TIME_S
from peaceriver.rule import Rule
from peaceriver.verdict import Failure, Verdict

log = structlog.get_logger()
_IDLE_DEATHS_MAX = 3
#: How much longer than the time limit of one record the node waits before it ends the process itself.
_GRACE_S = 0.5


class _Died(Exception):
    """A process ended in the middle of an answer; ``number`` is the record that it was busy with, from 1, or 0."""

    def __init__(self, number: int, status: int) -> None:
        super().__init__(f"record {number}, status {status}")
        self.number = number
        self.status = status


class _Line(asyncio.Protocol):
    """The node's end of a socket pair: one question at a time, one frame back."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < LENGTH.size or self._answer is None:
            return
        end = LENGTH.size + LENGTH.unpack_from(self._received)[0]
        if len(self._received) >= end and not self._answer.done():
            self._answer.set_result(bytes(self._received[LENGTH.size : end]))
            del self._received[:end]

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the rule's process ended"))

    async def ask(self, question: bytes) -> bytes:
        """One answer; raises ConnectionError where the process ends instead."""
        assert self.transport is not None
        if self.transport.is_closing():
            raise ConnectionResetError("the rule's process has ended")
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(LENGTH.pack(len(question)) + question)
        return await self._answer


class _Process:
    """One process that rules run in."""

    def __init__(self, pid: int, line: _Line, progress: mmap.mmap) -> None:
        self.pid = pid
        self._line = line
        self._progress = progress
        self._seen = 0
        self._watch: asyncio.TimerHandle | None = None
        self._status: int | None = None

    @classmethod
    async def start(cls, rules: Mapping[str, Rule], models: Mapping[str, type[Actor]]) -> Self:
        """Raises OSError where the machine has no room for another process."""
        own, others = socket.socketpair()
        own.setblocking(False)
        line = _Line()
        try:
            # Before the fork: while something was waited for after it, nobody would own the child.
            await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=own)
            progress = mmap.mmap(-1, PROGRESS.size)
            pid = _fork()
        except BaseException:
            others.close()
            if line.transport is not None:
                line.transport.abort()
            own.close()
            raise
        if pid == 0:
            run(others, progress, rules, models)
        others.close()
        return cls(pid, line, progress)

    async def verdicts(self, rule: str, question: bytes) -> list[Verdict]:
        """Raises _Died."""
        self._seen = 0
        self._look_later()
        try:
            return verdicts_of(rule, await self._line.ask(question))
        except ConnectionError as error:
            number = PROGRESS.unpack_from(self._progress)[0]
            raise _Died(number, self.end()) from error
        finally:
            assert self._watch is not None
            self._watch.cancel()

    def _look_later(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(RULE_TIME_S + _GRACE_S, self._look)

    def _look(self) -> None:
        """End a process that is busy with one record for too long: a rule may have switched its own alarm off."""
        number = PROGRESS.unpack_from(self._progress)[0]
        if number != 0 and number == self._seen:
            self.end()
            # As if its alarm had gone off.
            self._status = signal.SIGALRM
        else:
            self._seen = number
            self._look_later()

    def end(self) -> int:
        """End the process, if it has not ended itself; answers its wait status."""
        if self._status is None:
            if self._line.transport is not None:
                self._line.transport.abort()
            # It dies of this at once; or it is dead already and is only laid to rest. Then its id is another's to use.
            os.kill(self.pid, signal.SIGKILL)
            self._status = os.waitpid(self.pid, 0)[1]
        return self._status


def _fork() -> int:
    for stream in (sys.stdout, sys.stderr):
        # What the node has not written out yet would be written by the child as well. Nobody may be there to read it.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    with warnings.catch_warnings():
        # A fork of a process with threads may meet a lock that a thread held: the child takes none of the node's.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


class Evaluator:
    """Asks rules about records, in a bounded number of processes; lives as long as its node."""

    def __init__(self, rules: Mapping[str, Rule], models: Mapping[str, type[Actor]]) -> None:
        self.rules = rules
        self._models = models
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._places = asyncio.Semaphore(RULE_PROCESSES_MAX)
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The processes that there are now."""
        return [each.pid for each in (*self._idle, *self._busy)]

    async def verdicts(
        self, rule: str, version: int, triggers: Sequence[Trigger], *, anew: bool = False
    ) -> list[Verdict]:
        """The rule's verdicts about the first of the records, at least one, in order.

        A record that ends the process, or keeps it busy for longer than ``RULE_TIME_S``, has a failure as its verdict,
        and those after it have none yet. ``anew``: ask in a new process, as the application's names stand now. Raises
        Unavailable where there can be no process, and where the node is stopping.
        """
        asked, blamed, idle_deaths = _bounded(triggers), list[Verdict](), 0
        async with self._places:
            while asked:
                try:
                    verdicts = await self._ask(rule, encode(Question(rule, version, asked)), anew=anew)
                except _Died as death:
                    if self._closed:
                        raise _stopping() from death  # we ended it, and no rule is to blame
                    log.warning("a rule's process ended", rule=rule, status=death.status, record=death.number)
                    if death.number == 0:
                        # It ended between two records, so no rule is to blame.
                        idle_deaths += 1
                        if idle_deaths == _IDLE_DEATHS_MAX:
                            detail = f"processes for rules end before they answer: {death}"
                            raise Unavailable(detail, retry_after_s=1.0) from death
                    else:
                        blamed = [Verdict(failure=_blame(rule, death.status))]
                        # What came before is asked again on its own, so that it is not held up by this one.
                        asked = asked[: death.number - 1]
                else:
                    return verdicts + blamed if len(verdicts) == len(asked) else verdicts
        return blamed

    async def _ask(self, rule: str, question: bytes, *, anew: bool) -> list[Verdict]:
        """Raises _Died, and Unavailable."""
        process = await self._take(anew=anew)
        try:
            verdicts = await process.verdicts(rule, question)
        except _Died:
            self._busy.discard(process)
            raise
        except BaseException:
            # Whoever asked is gone, so nobody would take the answer off the line.
            self._busy.discard(process)
            process.end()
            raise
        self._busy.discard(process)
        self._idle.append(process)
        return verdicts

    async def _take(self, *, anew: bool) -> _Process:
        if anew and self._idle:
            self._idle.pop().end()
        process = self._idle.pop() if self._idle and not anew else await self._start()
        if self._closed:
            process.end()
            raise _stopping()
        self._busy.add(process)
        return process

    async def _start(self) -> _Process:
        if self._closed:
            raise _stopping()
        try:
            return await _Process.start(self.rules, self._models)
        except OSError as error:
            detail = f"the machine has no room for a process that rules could run in: {error}"
            raise Unavailable(detail, retry_after_s=1.0) from error

    def close(self) -> None:
        """End all processes, and start no more."""
        self._closed = True
        for each in (*self._idle, *self._busy):
            each.end()
        self._idle.clear()
        self._busy.clear()


def _bounded(triggers: Sequence[Trigger]) -> list[Trigger]:
    """The first records, at least one, with not more bytes than one question may have: the others are asked later."""
    size = 0
    for count, each in enumerate(triggers):
        size += each.size()
        if count and size > RULE_QUESTION_BYTES_MAX:
            return list(triggers[:count])
    return list(triggers)


def _stopping() -> Unavailable:
    return Unavailable("rules are not asked any more: the node is stopping", retry_after_s=1.0)


def _blame(rule: str, status: int) -> Failure:
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == OUT_OF_MEMORY:
        return Failure(f"{rule} needed more than {RULE_MEMORY_BYTES_MAX:,} bytes of memory and was ended")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return Failure(f"{rule} took longer than {RULE_TIME_S:g} s for one record and was ended")
    how = f"by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"with status {os.WEXITSTATUS(status)}"
    return Failure(f"{rule} ended its process {how}")
