"""A wall clock that tests set forward and back: eight bytes of a file, looked at whenever a node asks the time."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_OFFSET = struct.Struct("<q")


class ClockFile:
    """How far a node's wall clock is off, in nanoseconds; seen at once by whoever has the file open."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_OFFSET.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _OFFSET.size)

    @property
    def offset_ns(self) -> int:
        offset: int = _OFFSET.unpack_from(self._memory)[0]
        return offset

    def set(self, offset_s: float) -> None:
        _OFFSET.pack_into(self._memory, 0, int(offset_s * 1e9))
