"""The inside of a rule's process: reads records, answers verdicts, and never returns."""

from __future__ import annotations

import gc
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from peaceriver.actor import Actor
from peaceriver.event import Trigger
from peaceriver.limits import RULE_TIME_S, STEP_FOLLOW_UPS_BYTES_MAX, STEP_FOLLOW_UPS_MAX
from peaceriver.rule import Rule
from peaceriver.verdict import Verdict, decide

#: The length of a frame, before it.
LENGTH = struct.Struct(">I")
#: The number of the record that a process is busy with, counted from 1; 0: none. Memory that node and process share.
PROGRESS = struct.Struct("=q")


class Question(msgspec.Struct, frozen=True, array_like=True):
    """Records that one rule is asked about, in order."""

    rule: str
    version: int
    triggers: list[Trigger]


encode = msgspec.msgpack.Encoder().encode
question_of = msgspec.msgpack.Decoder(Question).decode
verdicts_of = msgspec.msgpack.Decoder(list[Verdict]).decode


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
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _let_go(kept: int) -> None:
    """Give up what belongs to the node: its files, its signals, its garbage."""
    gc.freeze()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node, which hangs up when it has stopped
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(each, signal.SIG_DFL)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _serve(
    own: socket.socket, progress: mmap.mmap, rules: Mapping[str, Rule], models: Mapping[str, type[Actor]]
) -> None:
    own.setblocking(True)
    stream = own.makefile("rb")
    while head := stream.read(LENGTH.size):
        question = question_of(stream.read(LENGTH.unpack(head)[0]))
        answer = encode(_verdicts(question, progress, rules[question.rule], models))
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
