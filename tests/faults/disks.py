"""A disk of its own for each node's directory, where mounting is allowed: it can be full, and lose its power.

It is a file system in a file. Without power it drops whatever was not flushed (an ioctl that ext4 has for such tests),
and after that its journal is replayed, as after a real power cut. Mounts are this process's own and go with it: nobody
else sees them, and none is left however it ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

#: Room for a node's database, its write-ahead log, and the floor that it keeps free. The file has holes.
SIZE_BYTES = 3 * 1024 * 1024 * 1024
_NAMESPACE = 0x00020000
_PRIVATE = 0x00040000 | 0x4000
#: EXT4_IOC_SHUTDOWN, and not even what is in its journal is flushed before.
_SHUTDOWN, _NO_FLUSH = 0x8004587D, 2
_BALLAST = "ballast"
_GONE_S = 20.0
_PROGRAMS = ("mkfs.ext4", "mount", "umount")


def separate() -> bool:
    """Let this process, and what it starts, have disks of its own; False where that is not possible.

    Call it before there is a second thread: mounts are a thread's, and of those that it starts.
    """
    if sys.platform != "linux" or not all(shutil.which(each) for each in _PROGRAMS):
        return False
    if not os.access("/dev/loop-control", os.W_OK):
        return False
    libc = ctypes.CDLL(None)
    if libc.unshare(_NAMESPACE) != 0 or libc.mount(b"none", b"/", None, _PRIVATE, None) != 0:
        return False
    # Servers that are killed leave shared memory behind: with this it is gone when this process is.
    return bool(libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, None) == 0)


class Disk:
    """A disk that is mounted at ``place``."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._image = place.with_name(f"{place.name}.disk")

    def make(self) -> None:
        """Mount a new one."""
        with self._image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        lazy = "lazy_itable_init=1,lazy_journal_init=1"
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", lazy, str(self._image))
        self.place.mkdir(exist_ok=True)
        self._mount()
        (self.place / "lost+found").rmdir()

    def unmake(self) -> None:
        """Take it away, and all that is on it. Nobody may have it open."""
        _run("umount", str(self.place))
        self._image.unlink()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.place))

    def lose_power(self) -> None:
        """What was not flushed is gone; nothing can be read or written until ``power_up``."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
        finally:
            os.close(descriptor)

    def power_up(self) -> None:
        """Whoever still has it open must be about to end."""
        deadline = time.monotonic() + _GONE_S
        while True:
            try:
                _run("umount", str(self.place))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._mount()

    def fill(self, *, leave: int) -> None:
        """Put a file there that leaves so many bytes; none: as much as goes, whatever else is written meanwhile."""
        found = os.statvfs(self.place)
        size = found.f_bavail * found.f_frsize - leave
        with (self.place / _BALLAST).open("ab") as file:
            while size > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                    break
                except OSError:
                    # Somebody was faster, or the file system needs some for itself.
                    size = size * 9 // 10

    def free(self) -> None:
        """There is room again."""
        (self.place / _BALLAST).unlink(missing_ok=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(done.returncode, f"{command[0]}: {done.stderr.strip()}", command[-1])
