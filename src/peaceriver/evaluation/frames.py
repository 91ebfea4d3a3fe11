"""What a node and its rules' processes say to each other: questions there, verdicts back, each as one frame.

A rule is code that makes values of its own. One that cannot be passed on, or is not what it says, is the rule's failure
at that record, and neither the process's nor the node's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from peaceriver.event import Trigger
from peaceriver.verdict import Failure, Verdict

#: The length of a frame, before it.
LENGTH = struct.Struct(">I")
#: The number of the record that a process is busy with, counted from 1; 0: none. Memory that node and process share.
PROGRESS = struct.Struct("=q")


class Question(msgspec.Struct, frozen=True, array_like=True):
    """Records that one rule is asked about, in order."""

    rule: str
    version: int
    triggers: list[Trigger]


encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
question_of = msgspec.msgpack.Decoder(Question).decode
_verdicts_of = msgspec.msgpack.Decoder(list[Verdict]).decode
_verdict_of = msgspec.msgpack.Decoder(Verdict).decode
_parts_of = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def answer_of(rule: str, verdicts: Sequence[Verdict]) -> bytes:
    """Verdicts as they travel to the node."""
    try:
        return encode(verdicts)
    except (TypeError, ValueError, OverflowError):
        return encode([_written(rule, each) for each in verdicts])


def verdicts_of(rule: str, answer: bytes) -> list[Verdict]:
    """Verdicts as they arrive at the node."""
    try:
        return _verdicts_of(answer)
    except msgspec.ValidationError:
        return [_read(rule, each) for each in _parts_of(answer)]


def _written(rule: str, verdict: Verdict) -> msgspec.Raw:
    try:
        return msgspec.Raw(encode(verdict))
    except (TypeError, ValueError, OverflowError) as error:
        return msgspec.Raw(encode(_unfit(rule, error)))


def _read(rule: str, part: msgspec.Raw) -> Verdict:
    try:
        return _verdict_of(part)
    except msgspec.ValidationError as error:
        return _unfit(rule, error)


def _unfit(rule: str, error: Exception) -> Verdict:
    detail = f"{rule} answered what cannot be passed on: {str(error)[:200]}"
    return Verdict(failure=Failure(detail, lasting=True))
