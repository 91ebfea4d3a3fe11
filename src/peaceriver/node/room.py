"""Room on the disk: messages are refused early, as a database on a full disk panics and stops reads too."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from peaceriver.errors import DiskFull
from peaceriver.limits import DISK_FREE_BYTES_MIN, ROOM_LOOK_S
from peaceriver.shard.trouble import Trouble


class Room:
    """The free space of the journal's disk; unknown, and so enough, for a database that was given to us by a DSN."""

    def __init__(self, directory: Path | None, free_bytes_min: int = DISK_FREE_BYTES_MIN) -> None:
        self.free_bytes_min = free_bytes_min
        self._directory = directory
        self._free_bytes = 0
        self._looked_at = self._since = float("-inf")

    @property
    def lack(self) -> Trouble | None:
        """Why nothing more may be written, if so. The disk is looked at once a second at most; it heals with space."""
        now = time.monotonic()
        if now - self._looked_at >= ROOM_LOOK_S and self._directory is not None:
            self._free_bytes, self._looked_at = shutil.disk_usage(self._directory).free, now
        if self._directory is None or self._free_bytes >= self.free_bytes_min:
            self._since = now
            return None
        return Trouble(
            f"the journal's disk has {self._free_bytes:,} bytes left and the floor is {self.free_bytes_min:,}",
            self._since,
        )

    def has(self, more_bytes: int) -> bool:
        """Whether so much more can be written, and the floor is kept."""
        return self.lack is None and (self._directory is None or self._free_bytes - more_bytes >= self.free_bytes_min)

    def check(self) -> None:
        """Raise DiskFull below the floor."""
        lack = self.lack
        if lack is not None:
            raise DiskFull(
                f"{lack.why}; reading goes on, and messages are taken again when there is room", retry_after_s=10.0
            )
