"""What processes need, each with everything below it: CPU time and memory, as Linux tells them in /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the name, which stands in parentheses and may hold anything: see proc(5).
_PARENT = 1
_TIMES = slice(11, 15)


def family(roots: Iterable[int]) -> list[int]:
    """Processes and all that they have started, and so on, as far as they live."""
    children: dict[int, list[int]] = {}
    for each in _PROC.iterdir():
        if each.name.isdigit():
            with suppress(OSError, IndexError):  # it has just ended
                children.setdefault(int(_stat(int(each.name))[_PARENT]), []).append(int(each.name))
    found = list(roots)
    for each in found:
        found += children.get(each, ())
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds on a processor, in user mode and in the kernel, with those of children that have ended since."""
    ticks = 0
    for each in pids:
        with suppress(OSError):  # it has just ended, and counts with its parent now
            ticks += sum(map(int, _stat(each)[_TIMES]))
    return ticks / _TICKS_PER_S


def memory_mb(pids: Iterable[int]) -> float:
    """Resident memory in MB; what several processes share counts once, in equal parts (PSS)."""
    pss_bytes = 0
    for each in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            pss_bytes += _pss_bytes(each)
    return pss_bytes / 1e6


def _stat(pid: int) -> list[str]:
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _pss_bytes(pid: int) -> int:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc does not say what memory process {pid} needs")
