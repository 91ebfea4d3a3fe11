"""When kept views that could not be computed, or were lost, are tried again: less and less often. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import msgspec

from peaceriver.limits import KEPT_RETRY_PAUSE_MAX_S, KEPT_RETRY_PAUSE_S, KEPT_WAIT_S
from peaceriver.query.kept import Kept


class _Tried(msgspec.Struct):
    """What became of a view the last time."""

    kept: Kept
    #: Why it is not kept; None where it is.
    reason: str | None
    #: When it is tried again, or since when it is kept.
    at: float
    #: How long it had to wait after the last time that it failed.
    pause_s: float


class Retries:
    """What became of the views of a node that are to be kept, by name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried: dict[str, _Tried] = {}

    def only(self, names: Collection[str]) -> None:
        """No other views are to be kept."""
        self._tried = {name: each for name, each in self._tried.items() if name in names}

    def is_kept(self, kept: Kept) -> None:
        """A view is kept now, or still."""
        before = self._of(kept)
        if before is None or before.reason is not None:
            pause_s = 0.0 if before is None else before.pause_s
            self._tried[kept.name] = _Tried(kept, None, self._clock(), pause_s)

    def is_lost(self, kept: Kept, reason: str) -> None:
        """The catalogue says so of a view: since it was kept, or since before this node was started."""
        before = self._of(kept)
        if before is None or before.reason is None:
            self.failed(kept, reason)

    def failed(self, kept: Kept, reason: str) -> None:
        """A view cannot be kept: it waits twice as long as the last time, unless it was kept for long since."""
        before, now = self._of(kept), self._clock()
        pause_s = KEPT_RETRY_PAUSE_S
        if before is not None and (before.reason is not None or now - before.at < KEPT_RETRY_PAUSE_MAX_S):
            pause_s = min(max(pause_s, 2 * before.pause_s), KEPT_RETRY_PAUSE_MAX_S)
        self._tried[kept.name] = _Tried(kept, reason, now + pause_s, pause_s)

    def waits(self, kept: Kept, reason: str) -> None:
        """Nothing is wrong with a view, but it cannot be kept now: it is tried again in a moment."""
        before = self._of(kept)
        self._tried[kept.name] = _Tried(
            kept, reason, self._clock() + KEPT_WAIT_S, 0.0 if before is None else before.pause_s
        )

    def again(self, is_meant: Callable[[Kept], bool]) -> None:
        """Views are tried again at once, for somebody says that it is worth it."""
        for each in self._tried.values():
            if each.reason is not None and is_meant(each.kept):
                each.at, each.pause_s = self._clock(), 0.0

    def is_due(self, kept: Kept) -> bool:
        """Whether a view that is not kept is to be tried now."""
        before = self._of(kept)
        return before is None or before.reason is None or before.at <= self._clock()

    def next_s(self) -> float | None:
        """In how long the next one is to be tried; None where there is none."""
        waiting = [each.at for each in self._tried.values() if each.reason is not None]
        return max(0.0, min(waiting) - self._clock()) if waiting else None

    def reason(self, kept: Kept) -> str | None:
        """Why a view is not kept, as far as that is known."""
        before = self._of(kept)
        return None if before is None else before.reason

    def _of(self, kept: Kept) -> _Tried | None:
        """What became of a view by this very definition."""
        before = self._tried.get(kept.name)
        return before if before is not None and before.kept == kept else None
