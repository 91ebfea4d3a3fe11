"""Moments: what a client names as a cutoff, and how the API writes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from peaceriver.record import written_time
from peaceriver.stamp import Stamp

#: A cutoff, or what a read must have passed: a stamp, a time with an offset, a position per department, or such a text.
Moment = Stamp | datetime | Mapping[int, int] | str


def vector(positions: Mapping[int, int]) -> str:
    """A position per department as the API writes it: ``100:17,110:4``."""
    return ",".join(f"{code}:{position}" for code, position in sorted(positions.items()))


def moment_text(moment: Moment) -> str:
    """A cutoff as the API reads it."""
    match moment:
        case datetime():
            return written_time(moment)
        case Mapping():
            return vector(moment)
        case _:
            return str(moment)


def seconds(duration_s: float) -> str:
    """A duration as the API takes it."""
    return f"{duration_s:.3f}s"


def timeout_of(parameters: Mapping[str, str]) -> float:
    """How long the node itself may wait by a request's parameters, in seconds."""
    return float(parameters["timeout"].removesuffix("s")) if "timeout" in parameters else 0.0
