"""What admission remembers of actors: a bounded memory of documents; what was not used for longest goes first."""

from __future__ import annotations

from collections.abc import Mapping

from peaceriver.limits import ACTORS_CACHED_BYTES_MAX, ACTORS_CACHED_MAX
from peaceriver.shard.journal import ActorState, type_and_id

_OVERHEAD_BYTES = 300


class ActorCache:
    """Actors by type and id. What is not here may exist all the same: the database knows.

    Two generations, each of half the limits: what is used moves to the young one, and when that is full the old one is
    forgotten as a whole. Nothing is kept in order, so remembering and looking up cost next to nothing.
    """

    def __init__(self, actors_max: int = ACTORS_CACHED_MAX, bytes_max: int = ACTORS_CACHED_BYTES_MAX) -> None:
        self._young: dict[type_and_id, ActorState] = {}
        self._old: dict[type_and_id, ActorState] = {}
        self._actors_max = actors_max
        self._bytes_max = bytes_max
        self._young_bytes = 0

    def get(self, key: type_and_id) -> ActorState | None:
        """An actor as it is now; None where it is not in memory."""
        state = self._young.get(key)
        if state is None:
            state = self._old.get(key)
            if state is not None:
                self._add(key, state)
        return state

    def __contains__(self, key: type_and_id) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def update(self, actors: Mapping[type_and_id, ActorState]) -> None:
        """Remember actors as they are now; forgets nothing of what is needed to decide about ``actors`` themselves."""
        for key, state in actors.items():
            self._add(key, state)

    def trim(self) -> None:
        """Forget the old generation where the young one is full; called between batches, never within one."""
        if len(self._young) > self._actors_max // 2 or self._young_bytes > self._bytes_max // 2:
            self._old, self._young, self._young_bytes = self._young, {}, 0

    def _add(self, key: type_and_id, state: ActorState) -> None:
        previous = self._young.get(key)
        self._young[key] = state
        self._young_bytes += len(state.document)
        self._young_bytes += _OVERHEAD_BYTES if previous is None else -len(previous.document)
