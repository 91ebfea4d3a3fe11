"""The inside of a rule's process: reads records, answers verdicts, and never returns."""

from __future__ import annotations

import gc
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from peaceriver.actor import Actor
from peaceriver.evaluation.frames import LENGTH, PROGRESS, Question, answer_of, question_of
from peaceriver.limits import RULE_MEMORY_BYTES_MAX, RULE_TIME_S, STEP_FOLLOW_UPS_BYTES_MAX, STEP_FOLLOW_UPS_MAX
from peaceriver.rule import Rule
from peaceriver.verdict import Verdict, decide

#: The status that a process ends with that a rule has filled up; whoever is asked next needs room.
OUT_OF_MEMORY = 112


def run(
    own: socket.socket, progress: mmap.mmap, rules: Mapping[str, Rule], models: Mapping[str, type[Actor]]
) -> NoReturn:
    """Answer questions until the node hangs up; called in a new child, which ends here."""
    status = 1
    try:
        _let_go(own.fileno())
        _serve(own, progress, rules, models)
        status = 0
    except (ConnectionError, BrokenPipeError):
        status = 0  # the node is gone, and with it whoever wanted an answer
    except MemoryError:
        status = OUT_OF_MEMORY
    finally:
        _leave(status)


def _leave(status: int) -> NoReturn:
    """End here, come what may: a child that got any further would go on as the node, and end the node's server."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _let_go(kept: int) -> None:
    """Give up what belongs to the node: its files, its signals, its garbage, and most of the machine's memory."""
    gc.freeze()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node, which hangs up when it has stopped
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(each, signal.SIG_DFL)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    _limit_memory()


def _limit_memory() -> None:
    """Let a rule run out of memory alone, before the machine does and the kernel chooses whom to end.

    What the node had counts as well, so the limit lies above that; where nobody says how much that is, there is none.
    """
    try:
        data_pages = int(Path("/proc/self/statm").read_text("ascii").split()[5])
    except (OSError, ValueError, IndexError):
        return
    limit = data_pages * os.sysconf("SC_PAGE_SIZE") + RULE_MEMORY_BYTES_MAX
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _serve(
    own: socket.socket, progress: mmap.mmap, rules: Mapping[str, Rule], models: Mapping[str, type[Actor]]
) -> None:
    own.setblocking(True)
    stream = own.makefile("rb")
    while head := stream.read(LENGTH.size):
        question = question_of(stream.read(LENGTH.unpack(head)[0]))
        answer = answer_of(question.rule, _verdicts(question, progress, rules[question.rule], models))
        own.sendall(LENGTH.pack(len(answer)) + answer)


def _verdicts(question: Question, progress: mmap.mmap, rule: Rule, models: Mapping[str, type[Actor]]) -> list[Verdict]:
    """One verdict per record, in order; fewer where the first ones led to as much as one step may hold."""
    verdicts: list[Verdict] = []
    count = size = 0
    for number, trigger in enumerate(question.triggers, start=1):
        PROGRESS.pack_into(progress, 0, number)
        signal.setitimer(signal.ITIMER_REAL, RULE_TIME_S)
        verdict = decide(rule, question.version, trigger, models)
        signal.setitimer(signal.ITIMER_REAL, 0)
        verdicts.append(verdict)
        count, size = count + len(verdict.follow_ups), size + verdict.bytes()
        if count >= STEP_FOLLOW_UPS_MAX or size >= STEP_FOLLOW_UPS_BYTES_MAX:
            break
    PROGRESS.pack_into(progress, 0, 0)
    return verdicts
